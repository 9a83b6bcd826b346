"""The 442 published flow images of the MEGC2019 composite, as HTNet and STSTNet use them.

One image a clip, TV-L1 flow from onset to apex at 28x28: u, v and optical strain (not magnitude).
Every plane of every image was stretched to 0..255 on its own: the zero and the scale of u and v are
gone, and so is how far a face moved. `microexpr.encoding.scale_ratio` recovers what the strain
plane still knows: the ratio of the two scales.
"""

from __future__ import annotations

import csv
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from microexpr.clip import Clip
from microexpr.datasets.base import Dataset
from microexpr.encoding import encode, interpolation
from microexpr.errors import UserError
from microexpr.inputs import Input

LABELS = ("negative", "positive", "surprise")  # 0, 1, 2 in index.csv
CLIPS_AND_PERSONS = {"casme2": (145, 24), "smic": (164, 16), "samm": (133, 28)}
CLASS_COUNTS = {"negative": 250, "positive": 109, "surprise": 83}

_COLUMNS = ["dataset", "subject", "clip", "label"]
_SHIPS = Input(("u", "v", "strain"), 28, "tvl1", "minmax8")
_FLOW = Input(("u", "v"), 28, "tvl1", "robust")
# How each set's crop differs from SMIC's: scale of rows, of columns, rows it sits too high.
# Read off the positions of the eyes, which no label enters.
_ALIGN = {"smic": (1.0, 1.0, 0.0), "casme2": (1.05, 1.0, 0.0), "samm": (1.15, 0.85, -1.0)}


class Flow442(Dataset):
    """MEGC2019's composite of SMIC-HS, CASME II and SAMM as 28x28 flow images.

    Args:
        root: Folder with ``flow.npz`` (array ``flow``, uint8 442 x 28 x 28 x 3) and ``index.csv``
            (dataset, subject, clip, label) in the same order.
        aligned: Resample SAMM and CASME II to the crop of SMIC, vectors included. Strain is then
            computed from the recovered flow, not read.

    Raises:
        UserError: The folder does not hold these files, or not these 442 clips.
    """

    title = "Flow images of the MEGC2019 composite: 442 clips, 68 persons, 28x28"
    paper = "See et al., FG 2019 (MEGC2019); flow as published with STSTNet and HTNet"
    access = "flow images published beside the HTNet and STSTNet code; the faces under each licence"
    ships = _SHIPS

    def __init__(self, root: Path, aligned: bool = False) -> None:
        super().__init__(root)
        self.aligned = aligned
        self._clips = _read_index(self.root)
        self._flow = _read_flow(self.root)
        self._row = {clip.id: row for row, clip in enumerate(self._clips)}

    def clips(self) -> list[Clip]:
        """The 442 clips under their sources' ids (``smic/s01/s01_ne_01``), in published order."""
        return list(self._clips)

    def read(self, clip: Clip, wants: Input) -> NDArray[np.float32]:
        """The flow image of one clip, encoded as `wants`."""
        planes: NDArray[np.float32] = self.read_many([clip], wants)[0]
        return planes

    def read_many(self, clips: Sequence[Clip], wants: Input) -> NDArray[np.float32]:
        """The flow images of several clips, encoded as `wants`."""
        unknown = [clip.id for clip in clips if clip.id not in self._row]
        if unknown:
            raise UserError(f"flow442 has no clip '{unknown[0]}': take clips from its clips()")
        rows = [self._row[clip.id] for clip in clips]
        planes = self._flow[rows].transpose(0, 3, 1, 2).astype(np.float32)
        if not self.aligned:
            return encode(planes, _SHIPS, wants)
        flow = encode(planes, _SHIPS, _FLOW)
        for name in _ALIGN:
            here = [i for i, clip in enumerate(clips) if clip.dataset == name]
            flow[here] = _align(flow[here], *_ALIGN[name])
        return encode(flow, _FLOW, wants)


def _align(
    flow: NDArray[np.float32], rows: float, columns: float, shift: float
) -> NDArray[np.float32]:
    """Flow ``(n, 2, 28, 28)`` seen through the crop of SMIC: positions and vectors.

    ``output(r, c) = input(13.5 + rows (r - 13.5) + shift, 13.5 + columns (c - 13.5))``, linear
    between pixels and clamped at the border; a step of the input is 1 / rows or 1 / columns steps
    of the output.
    """
    line = np.arange(28) - 13.5
    r = interpolation(13.5 + rows * line + shift, 28)
    c = interpolation(13.5 + columns * line, 28)
    unit = np.array([1 / columns, 1 / rows], np.float32)[:, None, None]
    aligned: NDArray[np.float32] = np.matmul(np.matmul(r, flow), c.T) * unit
    return aligned


def _wrong(what: str) -> UserError:
    return UserError(
        f"{what}; flow442 is flow.npz ('flow', uint8 442x28x28x3: u, v, strain) and index.csv "
        "(dataset,subject,clip,label), from the images published beside the HTNet and STSTNet code"
    )


def _read_flow(root: Path) -> NDArray[np.uint8]:
    path = root / "flow.npz"
    try:
        with np.load(path, allow_pickle=False) as archive:
            flow: NDArray[np.uint8] = archive["flow"]
    except FileNotFoundError:
        raise _wrong(f"{path} is missing") from None
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise _wrong(f"{path} cannot be read ({error})") from None
    if flow.shape != (442, 28, 28, 3) or flow.dtype != np.uint8:
        raise _wrong(f"{path} holds {flow.dtype} {flow.shape}")
    return flow


def _read_index(root: Path) -> list[Clip]:
    path = root / "index.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns, rows = reader.fieldnames, list(reader)
    except FileNotFoundError:
        raise _wrong(f"{path} is missing") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _wrong(f"{path} cannot be read ({error})") from None
    if columns != _COLUMNS:
        raise _wrong(f"{path} has the columns {columns}")
    clips = [_clip(path, line, row) for line, row in enumerate(rows, start=2)]
    _check_counts(path, clips)
    return clips


def _clip(path: Path, line: int, row: dict[str, str]) -> Clip:
    if row["label"] not in {"0", "1", "2"}:
        raise _wrong(f"{path} line {line}: label '{row['label']}' is not 0, 1 or 2")
    return Clip(
        row["dataset"],
        row["subject"],
        row["clip"],
        LABELS[int(row["label"])],
        modality="flow",
    )


def _check_counts(path: Path, clips: Sequence[Clip]) -> None:
    found = {
        name: (
            sum(clip.dataset == name for clip in clips),
            len({clip.person for clip in clips if clip.dataset == name}),
        )
        for name in {clip.dataset for clip in clips}
    }
    if found != CLIPS_AND_PERSONS:
        raise _wrong(f"{path} has (clips, persons) {found}, expected {CLIPS_AND_PERSONS}")
    if len({clip.id for clip in clips}) != len(clips):
        raise _wrong(f"{path} names a clip twice")
    if Counter(clip.emotion for clip in clips) != CLASS_COUNTS:
        raise _wrong(f"{path} has other labels than MEGC2019 ({CLASS_COUNTS})")
