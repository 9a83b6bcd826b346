"""From annotated frames to planes: right flow, the same as in use, failures with reasons."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from microexpr.clip import Clip
from microexpr.datasets import open_dataset
from microexpr.errors import UserError
from microexpr.film import Movement, Portrait, Script, drawn_portrait, shoot
from microexpr.film.warp import stage
from microexpr.inputs import Input
from microexpr.preprocess import pipeline
from microexpr.preprocess.align import TIGHT, alignment
from microexpr.preprocess.closeup import closeup, model_input
from microexpr.preprocess.face import FaceModels, load_face_models
from microexpr.preprocess.pipeline import DEFAULT, draw_sheet, prepare, prepare_clip
from microexpr.preprocess.store import Store
from microexpr.preprocess.track import Look, Tracker, assemble
from microexpr.video import open_video, read_picture
from microexpr.videowriter import write_video

SMILE = Movement("happiness", ("12",), 0.1, 0.3, 0.5, 2.0)
FILM = Script(
    fps=50.0, seconds=0.6, events=(SMILE,), drift=0.0, noise=1.0, flicker=0.0, width=320,
    height=300, eyes=100.0,
)  # fmt: skip
CLIP = Clip("film", "one", "smile", "happiness", "smile", onset=105, apex=115, offset=125, fps=50.0)


@pytest.fixture(scope="module")
def models() -> FaceModels:
    return load_face_models()


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return drawn_portrait(4)


@pytest.fixture(scope="module")
def root(portrait: Portrait, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film as a folder of frames 100 to 129, as a video, and a wall without a face."""
    home = tmp_path_factory.mktemp("films")
    (home / "smile").mkdir()
    images = list(shoot(portrait, FILM))
    for i, image in enumerate(images):
        cv2.imwrite(str(home / "smile" / f"img{100 + i}.png"), image[..., ::-1])
    write_video(home / "smile.mp4", images, 50.0, crf=12)
    (home / "wall").mkdir()
    for number in (105, 115):
        cv2.imwrite(str(home / "wall" / f"{number}.png"), np.full((300, 320, 3), 120, np.uint8))
    return home


def expected(portrait: Portrait, models: FaceModels, root: Path) -> NDArray[np.float32]:
    """The film's true displacement, seen in the crop that models see: ``(2, 224, 224)``."""
    mesh = Tracker(models).look(read_picture(root / "smile" / "img105.png"))
    assert mesh is not None
    matrix = alignment(mesh.points, TIGHT, 224)
    field = stage(portrait, FILM).fields[0]
    seen = cv2.warpAffine(field, matrix, (224, 224))
    return np.asarray(np.moveaxis(seen @ matrix[:, :2].T.astype(np.float32), -1, 0))


def test_the_flow_is_that_of_the_film(root: Path, portrait: Portrait, models: FaceModels) -> None:
    done = prepare_clip(CLIP, root, DEFAULT, models)
    assert (done.onset, done.apex) == (105, 115)
    assert done.planes.shape == (2, 224, 224)
    true = expected(portrait, models, root)
    length = np.hypot(*true)
    error = np.hypot(*(done.planes - true))
    assert 2.2 < length.max() < 2.9  # 2 % of 132 pixels
    assert error[length > 0.5].mean() < 0.35
    assert error.mean() < 0.12


def test_an_annotated_clip_needs_two_frames(
    root: Path, models: FaceModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counting(path: Path) -> Any:
        read.append(path.name)
        return read_picture(path)

    monkeypatch.setattr(pipeline, "read_picture", counting)
    prepare_clip(CLIP, root, DEFAULT, models)
    assert read == ["img105.png", "img115.png"]


def test_a_missing_apex_is_found(root: Path, models: FaceModels) -> None:
    done = prepare_clip(replace(CLIP, apex=None), root, DEFAULT, models)
    assert abs(done.apex - 115) <= 2
    assert done.onset == 105
    assert len(done.closeup.numbers) == 21


@pytest.mark.parametrize(
    "wants",
    [
        DEFAULT,
        Input(("u", "v", "m", "onset_r", "apex_g"), 56, "dis", "relative"),
        Input(("grey", "u"), 64, "farneback", "none", frames=5),
    ],
)
def test_training_and_use_are_one_road(root: Path, models: FaceModels, wants: Input) -> None:
    video = open_video(root / "smile", fps=50.0)
    mesh = Tracker(models).look(read_picture(root / "smile" / "img105.png"))
    seen = closeup(video, assemble([Look(float(video.times[5]), mesh)], 1), 105, 115, 125, 20)
    used = model_input(seen, wants, seen.onset, seen.apex)
    trained = prepare_clip(CLIP, root, wants, models).planes
    assert trained.shape == used.shape
    assert np.allclose(trained, used, atol=1e-4)


def test_a_video_file_counts_its_frames_from_one(root: Path, models: FaceModels) -> None:
    clip = replace(CLIP, source="smile.mp4", onset=6, apex=16, offset=26)
    done = prepare_clip(clip, root, DEFAULT, models)
    assert (done.onset, done.apex) == (6, 16)
    true = prepare_clip(CLIP, root, DEFAULT, models).planes
    assert np.abs(done.planes - true).mean() < 0.1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"source": ""}, "its frames are not there"),
        ({"source": "wall"}, "no face is to be seen at the onset, frame 105"),
        ({"source": "nowhere"}, "nowhere"),
        ({"apex": 140}, "frame 140 is missing in smile"),
        ({"apex": None, "offset": 131}, "frame 131 is missing in smile"),
        ({"onset": None}, "its annotation has no onset"),
        ({"apex": None, "offset": None}, "neither apex nor offset"),
        ({"apex": 105}, "its apex, frame 105, does not come after its onset"),
        ({"apex": None, "offset": 105}, "its offset, frame 105, does not come after its onset"),
        ({"source": "smile.mp4"}, "frame 105 is missing in smile.mp4"),
    ],
)
def test_what_cannot_be_prepared_says_why(
    root: Path, models: FaceModels, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises((UserError, OSError), match=says):
        prepare_clip(replace(CLIP, **changes), root, DEFAULT, models)


def test_frames_of_two_sizes_are_refused(root: Path, models: FaceModels, tmp_path: Path) -> None:
    shutil.copytree(root / "smile", tmp_path / "smile")
    cv2.imwrite(str(tmp_path / "smile" / "img115.png"), np.zeros((200, 200, 3), np.uint8))
    with pytest.raises(UserError, match="differ in size: 200x200, 320x300"):
        prepare_clip(CLIP, tmp_path, DEFAULT, models)


def test_a_tree_is_prepared_once(tmp_path: Path, trees: ModuleType) -> None:
    root, store = trees.casme2(tmp_path / "casme2", trees.face, 1), tmp_path / "store"
    clips = open_dataset("casme2", root, complete=False).clips()
    apex = root / clips[1].source / "img49.jpg"
    kept = apex.read_bytes()
    apex.write_bytes(b"no picture")
    steps: list[tuple[str, int, int]] = []

    def go() -> tuple[int, int, list[str]]:
        done = prepare("casme2", clips, root, store, watch=lambda *step: steps.append(step))
        return done.made, done.kept, list(done.failed.values())

    made, there, failed = go()
    assert (made, there) == (3, 0)
    assert len(failed) == 1
    assert "img49.jpg is no picture that can be read" in failed[0]
    assert [step[1:] for step in steps if step[0] == "clips"] == [(i, 4) for i in range(5)]
    assert Store(store).reason(clips[1]) == failed[0]
    apex.write_bytes(kept)
    assert go() == (1, 3, [])
    assert go() == (0, 4, [])
    next(store.glob("casme2/sub01/EP01_01f.*.npy")).write_bytes(b"damaged")
    assert go() == (1, 3, [])
    planes = Store(store).read_many(clips, replace(DEFAULT, size=28, normalisation="relative"))
    assert planes.shape == (4, 2, 28, 28)
    assert planes.std(axis=(1, 2, 3)).min() > 0.1
    sheet = draw_sheet(clips, root, store, DEFAULT, 2)
    assert sheet == store / "contact_sheet.png"
    picture = cv2.imread(str(sheet))
    assert picture is not None
    assert min(picture.shape[:2]) > 300
    assert draw_sheet([], root, store, DEFAULT, 2) is None


def test_without_face_models_nothing_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> FaceModels:
        raise UserError("the face model face_landmark.tflite is missing; mend it with: pip ...")

    monkeypatch.setattr(pipeline, "load_face_models", missing)
    with pytest.raises(UserError, match="face_landmark"):
        prepare("casme2", [CLIP], tmp_path, tmp_path / "store")
    assert not (tmp_path / "store").exists()
