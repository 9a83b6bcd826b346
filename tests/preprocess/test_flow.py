from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microexpr import inputs
from microexpr.errors import UserError
from microexpr.preprocess.flow import FLOWS, flow, flow_backend
from microexpr.preprocess.tvl1 import native_available

SIDE, RIM = 96, 10


def smooth(rng: np.random.Generator, sigma: float) -> np.ndarray:
    found = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)).astype(np.float32), (0, 0), sigma)
    return found / np.abs(found).max()


def warped(seed: int, pixels: float = 1.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two frames of skin-like texture and the true flow between them, at most `pixels`."""
    rng = np.random.default_rng(seed)
    truth = pixels * np.stack([smooth(rng, 12), smooth(rng, 12)], axis=-1)
    texture = smooth(rng, 1.5) + smooth(rng, 3) + smooth(rng, 8)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    moved = (x + truth[..., 0], y + truth[..., 1])
    before = cv2.remap(texture, *moved, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return grey(before), grey(texture), truth


def grey(texture: np.ndarray) -> np.ndarray:
    return np.clip(128 + 60 * texture, 0, 255).astype(np.uint8)


def endpoint_error(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.hypot(*(found - truth)[RIM:-RIM, RIM:-RIM].transpose(2, 0, 1)).mean())


def test_the_methods_are_those_an_input_may_name() -> None:
    assert tuple(FLOWS) == inputs.FLOWS


@pytest.mark.parametrize(("method", "bound"), [("tvl1", 0.1), ("farneback", 0.12), ("dis", 0.12)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_known_warp_is_found(method: str, bound: float, seed: int) -> None:
    before, after, truth = warped(seed)
    found = FLOWS[method](before, after)
    assert found.dtype == np.float32
    assert found.shape == (SIDE, SIDE, 2)
    assert endpoint_error(found, truth) < bound
    assert endpoint_error(np.zeros_like(truth), truth) > 3 * bound


@pytest.mark.parametrize("method", FLOWS)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 99))
def test_a_flip_of_the_frames_flips_the_flow_and_negates_u(method: str, seed: int) -> None:
    before, after, _ = warped(seed)
    plain = FLOWS[method](before, after)
    flipped = FLOWS[method](before[:, ::-1], after[:, ::-1])[:, ::-1] * np.float32([-1, 1])
    assert endpoint_error(flipped, plain) < 0.03
    assert endpoint_error(flipped * np.float32([-1, 1]), plain) > 0.3


@pytest.mark.parametrize("method", FLOWS)
def test_equal_frames_do_not_move(method: str) -> None:
    frame, _, _ = warped(3)
    found = FLOWS[method](frame, frame)[RIM:-RIM, RIM:-RIM]  # Farneback errs at the border
    assert np.abs(found).max() < 1e-3


def test_the_backend_is_named() -> None:
    assert flow_backend("tvl1", "opencv") == f"tvl1-opencv-{cv2.__version__}"
    assert (flow_backend("tvl1") != flow_backend("tvl1", "opencv")) == native_available()


def test_backends_agree() -> None:
    before, after, _ = warped(4)
    both = [flow(before, after, "tvl1", backend) for backend in ("auto", "opencv")]
    assert endpoint_error(*both) < 0.02


def test_bad_frames_and_names_are_refused() -> None:
    frame = np.zeros((32, 32), np.uint8)
    with pytest.raises(UserError, match="did you mean 'tvl1'"):
        flow(frame, frame, "tvl2")
    with pytest.raises(UserError, match="unknown backend"):
        flow(frame, frame, "tvl1", "cuda")
    with pytest.raises(UserError, match="no native dis"):
        flow(frame, frame, "dis", "native")
    with pytest.raises(UserError, match="of one size"):
        flow(frame, frame[:20])
    for wrong in (frame[:8], frame.astype(float), np.zeros((32, 32, 3), np.uint8)):
        with pytest.raises(UserError, match="grey uint8 frames"):
            flow(wrong, wrong)
