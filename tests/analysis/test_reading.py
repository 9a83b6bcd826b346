"""A model's reading of a movement: mirrored, combined, abstaining."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from microexpr.analysis import key_frames
from microexpr.analysis.reading import combine, mirrored, read_emotion
from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models import create_model
from microexpr.preprocess.closeup import Closeup, model_input
from microexpr.training.checkpoint import Checkpoint
from microexpr.training.default import WEIGHTS, default_card, fingerprint, load_default

LABELS = ("negative", "positive", "surprise")


def closeup(flip: bool = False) -> Closeup:
    """Three frames in which a part of a texture moves up."""
    noise = np.random.default_rng(0).random((224, 224, 3)).astype(np.float32)
    first = np.round(255 * np.clip(cv2.GaussianBlur(noise, (0, 0), 2) * 4 - 1.5, 0, 1))
    y, x = np.mgrid[:224, :224].astype(np.float32)
    shape = 2 * np.exp(-((x - 70) ** 2 + (y - 40) ** 2) / 800)
    faces = [cv2.remap(first.astype(np.uint8), x, y + k * shape, cv2.INTER_CUBIC) for k in range(3)]
    stack = np.stack(faces)[:, :, ::-1] if flip else np.stack(faces)
    stack = np.ascontiguousarray(stack)
    return Closeup(np.arange(3), np.arange(3) / 50, stack, stack, onset=0, apex=2, offset=2)


@pytest.mark.parametrize("normalisation", ["relative", "none"])
def test_mirrored_input_is_the_input_of_the_mirrored_face(normalisation: str) -> None:
    wants = Input(("u", "v", "m"), 28, "farneback", normalisation)
    plain = mirrored(model_input(closeup(), wants, 0, 2), wants)
    turned = model_input(closeup(flip=True), wants, 0, 2)
    assert np.corrcoef(plain.ravel(), turned.ravel())[0, 1] > 0.99


def test_mirrored_twice_is_as_before() -> None:
    planes = np.random.default_rng(0).integers(0, 256, (3, 3, 4, 4)).astype(np.float32)
    wants = Input(("u", "v", "strain"), 28, "tvl1", "minmax8")
    np.testing.assert_array_equal(mirrored(mirrored(planes, wants), wants), planes)
    np.testing.assert_array_equal(mirrored(planes, wants)[:, 0], 255 - planes[:, 0, :, ::-1])


def test_readings_are_averaged_and_their_spread_kept() -> None:
    reading = combine(np.array([[0.7, 0.2, 0.1], [0.9, 0.1, 0.0]]), LABELS, 0.6)
    assert reading.probabilities == (0.8, 0.15, 0.05)
    assert reading.lowest == (0.7, 0.1, 0.0)
    assert reading.highest == (0.9, 0.2, 0.1)
    assert (reading.emotion, reading.agreement) == ("negative", 1.0)


def test_the_model_abstains_when_unsure_or_of_two_minds() -> None:
    assert combine(np.array([[0.5, 0.3, 0.2]]), LABELS, 0.6).emotion is None
    torn = np.array([[0.99, 0.01, 0.0], [0.99, 0.01, 0.0], [0.45, 0.55, 0.0]])
    assert combine(torn, LABELS, 0.6).agreement == pytest.approx(0.667)
    assert combine(torn, LABELS, 0.6).emotion is None


def test_the_default_model_reads_a_movement() -> None:
    reading = read_emotion(closeup(), load_default())
    assert reading.labels == LABELS
    assert sum(reading.probabilities) == pytest.approx(1, abs=1e-3)
    for low, mean, high in zip(reading.lowest, reading.probabilities, reading.highest, strict=True):
        assert low <= mean <= high


def test_a_model_with_units_tells_which_are_active() -> None:
    torch.manual_seed(0)
    model = create_model("smallcnn", 3, units=["4", "12"]).eval()
    reading = read_emotion(closeup(), Checkpoint(model, "smallcnn", LABELS))
    pairs = [(0, 2), (0, 2), (1, 2), (0, 1), (0, 2)]  # of three frames, none is beside the ends
    planes = np.stack([model_input(closeup(), model.eats, a, b) for a, b in pairs])
    both = np.concatenate([planes, mirrored(planes, model.eats)])
    logits = model(torch.from_numpy(both)).detach().numpy().astype(np.float64)[:, 3:]
    wanted = (1 / (1 + np.exp(-logits))).mean(axis=0)
    assert [unit for unit, _ in reading.units] == ["4", "12"]
    assert [p for _, p in reading.units] == pytest.approx(wanted.tolist(), abs=1e-4)


def test_a_softer_model_is_less_sure_of_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_default()
    sharp = read_emotion(closeup(), found, confidence=0.0)
    monkeypatch.setattr(found.model, "temperature", 4 * found.model.temperature)
    soft = read_emotion(closeup(), found, confidence=0.0)
    assert max(soft.probabilities) < max(sharp.probabilities)


def test_the_card_belongs_to_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    card = default_card()
    assert "synthetic" in card.trained_on
    assert (card.uf1 is None) == (card.measured_on == "")
    assert len(fingerprint(WEIGHTS / "default.safetensors")) == 64
    monkeypatch.setattr("microexpr.training.default.fingerprint", lambda path: "another")
    with pytest.raises(UserError, match="other weights"):
        default_card()


def test_key_frames_must_be_in_order() -> None:
    assert key_frames(None, None, None) is None
    known = key_frames(3, None, 9)
    assert known is not None
    assert (known.onset, known.apex, known.offset) == (3, None, 9)
    for wrong in [(None, 4, 5), (3, None, None), (3, 3, 5), (3, 6, 5), (7, None, 5)]:
        with pytest.raises(UserError, match="onset"):
            key_frames(*wrong)
