"""The 442 published flow images: the right ones or one clear line."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from microexpr.datasets import open_dataset
from microexpr.datasets.flow442 import Flow442
from microexpr.encoding import encode
from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.labels import label_scheme

RAW = Input(("u", "v", "strain"), 28, "tvl1", "minmax8")
RELATIVE = Input(("u", "v", "m"), 28, "tvl1", "relative")


@pytest.fixture(scope="module")
def published(flow442_root: Path) -> Flow442:
    return Flow442(flow442_root)


@pytest.fixture
def made_up(tmp_path: Path) -> Path:
    """A folder of the right form with random planes and made-up names."""
    sets = {"casme2": (145, 24), "smic": (164, 16), "samm": (133, 28)}
    rows = [
        [name, f"s{i % persons:02d}", f"clip{i:03d}"]
        for name, (clips, persons) in sets.items()
        for i in range(clips)
    ]
    labels = [0] * 250 + [1] * 109 + [2] * 83
    with (tmp_path / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["dataset", "subject", "clip", "label"])
        writer.writerows([*row, label] for row, label in zip(rows, labels, strict=True))
    random = np.random.default_rng(0)
    flow = random.integers(0, 256, (442, 28, 28, 3), dtype=np.uint8)
    np.savez_compressed(tmp_path / "flow.npz", flow=flow)
    return tmp_path


def edit(root: Path, old: str, new: str) -> None:
    path = root / "index.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_442_clips(published: Flow442) -> None:
    clips = published.clips()
    assert len(clips) == 442
    assert len({clip.person for clip in clips}) == 68
    assert Counter(clip.dataset for clip in clips) == {"smic": 164, "casme2": 145, "samm": 133}
    assert Counter(map(label_scheme("megc3").index, clips)) == {0: 250, 1: 109, 2: 83}
    ids = [clip.id for clip in clips]
    assert ids[0] == "casme2/sub01/EP02_01f"
    assert {"smic/s01/s01_ne_01", "samm/006/006_1_2"} <= set(ids)
    assert {clip.modality for clip in clips} == {"flow"}


def test_raw_planes_are_those_of_the_file(published: Flow442, flow442_root: Path) -> None:
    with np.load(flow442_root / "flow.npz") as archive:
        flow = archive["flow"]
    planes = published.read_many(published.clips(), RAW)
    assert planes.shape == (442, 3, 28, 28)
    assert planes.dtype == np.float32
    assert np.array_equal(planes, flow.transpose(0, 3, 1, 2))
    assert np.array_equal(published.read(published.clips()[7], RAW), planes[7])


@pytest.mark.parametrize("aligned", [False, True])
def test_one_clip_equals_its_row_in_a_batch(flow442_root: Path, aligned: bool) -> None:
    data = open_dataset("flow442", flow442_root, aligned=aligned)
    clips = data.clips()[::40]
    batch = data.read_many(clips, RELATIVE)
    for clip, planes in zip(clips, batch, strict=True):
        assert np.array_equal(data.read(clip, RELATIVE), planes)
    assert np.abs(batch).max() < 1
    assert data.read_many([], RELATIVE).shape == (0, 3, 28, 28)


def test_the_strain_plane_gives_back_the_ratio_of_scales(published: Flow442) -> None:
    """facts/synthetic.md: a median correlation of .87 to .89 at the ratio found."""
    flow = published.read_many(published.clips(), Input(("u", "v", "strain"), 28))
    strain = published.read_many(published.clips(), RAW)[:, 2]
    likeness = [
        np.corrcoef(found.ravel(), shipped.ravel())[0, 1]
        for found, shipped in zip(flow[:, 2], strain, strict=True)
    ]
    assert 0.87 < np.median(likeness) < 0.90


def test_smiles_pull_the_cheeks_apart(published: Flow442) -> None:
    """facts/evaluation.md C.7: u is the first channel, and positive to the right."""
    smiles = [clip for clip in published.clips() if clip.emotion == "positive"]
    u = published.read_many(smiles, RELATIVE)[:, 0].mean(axis=0)
    assert u[15:22, 18:].mean() > 0.05 > -0.05 > u[15:22, :10].mean()


def test_alignment_moves_positions_and_vectors(flow442_root: Path) -> None:
    """Twin: each aligned pixel read from the unaligned field by hand."""
    plain, aligned = Flow442(flow442_root), Flow442(flow442_root, aligned=True)
    flow = Input(("u", "v"), 28, "tvl1", "robust")
    rescale = {"smic": (1.0, 1.0, 0.0), "casme2": (1.05, 1.0, 0.0), "samm": (1.15, 0.85, -1.0)}
    for name, (rows, columns, shift) in rescale.items():
        clip = next(clip for clip in plain.clips() if clip.dataset == name)
        u, v = plain.read(clip, flow)
        twin = np.zeros((2, 28, 28), np.float32)
        for r in range(28):
            for c in range(28):
                y = min(max(13.5 + rows * (r - 13.5) + shift, 0), 27)
                x = min(max(13.5 + columns * (c - 13.5), 0), 27)
                y0, x0 = min(int(y), 26), min(int(x), 26)
                for plane, step, out in ((u, columns, 0), (v, rows, 1)):
                    top = plane[y0, x0] * (x0 + 1 - x) + plane[y0, x0 + 1] * (x - x0)
                    low = plane[y0 + 1, x0] * (x0 + 1 - x) + plane[y0 + 1, x0 + 1] * (x - x0)
                    twin[out, r, c] = (top * (y0 + 1 - y) + low * (y - y0)) / step
        np.testing.assert_allclose(aligned.read(clip, flow), encode(twin, flow, flow), atol=1e-4)


def test_what_was_lost_is_refused(published: Flow442) -> None:
    with pytest.raises(UserError, match="flow in pixels cannot be had"):
        published.read(published.clips()[0], Input(("u", "v"), 28, "tvl1", "none"))
    with pytest.raises(UserError, match="no pictures"):
        published.read(published.clips()[0], Input(("u", "onset_r"), 28))


def test_a_folder_of_the_right_form_opens(made_up: Path) -> None:
    data = Flow442(made_up)
    assert len(data.clips()) == 442
    assert data.read(data.clips()[0], RELATIVE).shape == (3, 28, 28)


def test_a_missing_folder_says_what_is_expected_and_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"index\.csv is missing.*HTNet and STSTNet") as caught:
        Flow442(tmp_path / "nowhere")
    assert "\n" not in str(caught.value)


def test_a_missing_or_corrupt_archive(made_up: Path, tmp_path: Path) -> None:
    archive = made_up / "flow.npz"
    whole = archive.read_bytes()
    for broken in (b"", b"not a zip", whole[: len(whole) // 2], whole[:5000] + whole[5400:]):
        archive.write_bytes(broken)
        with pytest.raises(UserError, match=r"flow\.npz cannot be read") as caught:
            Flow442(made_up)
        assert "\n" not in str(caught.value)
    archive.unlink()
    with pytest.raises(UserError, match=r"flow\.npz is missing"):
        Flow442(made_up)


@pytest.mark.parametrize(
    "arrays",
    [
        {"other": np.zeros((442, 28, 28, 3), np.uint8)},
        {"flow": np.array([{"a": 1}], dtype=object)},
    ],
)
def test_an_archive_of_something_else(made_up: Path, arrays: dict[str, np.ndarray]) -> None:  # type: ignore[type-arg]
    np.savez(made_up / "flow.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"flow\.npz cannot be read"):
        Flow442(made_up)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((441, 28, 28, 3), np.uint8), ((442, 28, 28, 3), np.float32)]
)
def test_an_array_of_another_form(
    made_up: Path, shape: tuple[int, ...], dtype: type[np.generic]
) -> None:
    np.savez_compressed(made_up / "flow.npz", flow=np.zeros(shape, dtype))
    with pytest.raises(UserError, match=r"flow\.npz holds"):
        Flow442(made_up)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("clip000,0", "clip000,3", "line 2: label '3' is not 0, 1 or 2"),
        ("clip000,0", "clip000,", "line 2: label '' is not 0, 1 or 2"),
        ("clip000,0", "clip000", "line 2: label 'None' is not 0, 1 or 2"),
        ("clip000,0", "clip000,1", "other labels than MEGC2019"),
        ("clip000,0", "clip024,0", "names a clip twice"),
        ("casme2,s00", "casme3,s00", r"has \(clips, persons\)"),
        ("casme2,s00", "casme2,s99", r"has \(clips, persons\)"),
        ("dataset,subject", "set,subject", "has the columns"),
    ],
)
def test_an_index_that_is_not_megc2019(made_up: Path, old: str, new: str, says: str) -> None:
    edit(made_up, old, new)
    with pytest.raises(UserError, match=says) as caught:
        Flow442(made_up)
    assert "\n" not in str(caught.value)


def test_an_index_that_is_not_text(made_up: Path) -> None:
    (made_up / "index.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match=r"index\.csv cannot be read"):
        Flow442(made_up)
    (made_up / "index.csv").unlink()
    shutil.copytree(made_up, made_up / "index.csv")
    with pytest.raises(UserError, match=r"index\.csv cannot be read"):
        Flow442(made_up)


def test_clips_of_others_are_refused(made_up: Path, published: Flow442) -> None:
    with pytest.raises(UserError, match="take clips from its clips"):
        Flow442(made_up).read(published.clips()[0], RAW)
