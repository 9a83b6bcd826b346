"""What is installed and works here, what a data set's folder holds, and what mends the rest.

A look at one thing never stops the others: whatever goes wrong becomes a line of the result.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from microexpr.clip import Clip
from microexpr.errors import UserError
from microexpr.layout import numbered_pictures
from microexpr.registry import parse_settings

STATES = ("ok", "note", "wrong")
# What the package cannot do without: the name to import and the name to install.
NEEDED = {
    "numpy": "numpy",
    "torch": "torch",
    "cv2": "opencv-contrib-python-headless",
    "av": "av",
    "safetensors": "safetensors",
    "lightning_fabric": "lightning-fabric",
    "pandas": "pandas",
    "openpyxl": "openpyxl",
    "sklearn": "scikit-learn",
    "matplotlib": "matplotlib",
}
OPENCVS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
SHOWN = 5  # clips named in a line


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the result.

    Attributes:
        name: What was looked at.
        state: ``"ok"``; ``"note"``: absent, and most works without; ``"wrong"``: to be mended.
        detail: What was found.
        mend: What to do; empty if nothing.
    """

    name: str
    state: str
    detail: str
    mend: str = ""


def examine(dataset: str | None, root: Path | None, settings: Sequence[str]) -> list[Finding]:
    """The machine and, where one is named, a data set's folder.

    Args:
        dataset: Name of a data set.
        root: Its folder.
        settings: Words ``KEY=VALUE``: settings of the data set.

    Raises:
        UserError: An unknown data set or setting, or a data set without a folder.
    """
    if dataset is None:
        return examine_machine()
    try:
        from microexpr.datasets import dataset_names, every_setting
    except ImportError as error:
        return [*examine_machine(), Finding(dataset, "wrong", f"cannot be read: {error}")]
    if root is None and Path(dataset).is_dir() and dataset not in dataset_names():
        raise UserError(f"name the data set first: microexpr doctor NAME {dataset}")
    known = every_setting(dataset, {})
    if root is None:
        raise UserError(f"give the folder too: microexpr doctor {dataset} FOLDER")
    chosen = parse_settings(f"data set '{dataset}'", settings, known)
    return examine_machine() + examine_dataset(dataset, root, chosen)


def render(findings: Sequence[Finding]) -> str:
    """A line for each finding, and below it what mends it."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        mark = {"ok": "ok   ", "note": "-    ", "wrong": "WRONG"}[finding.state]
        lines.append(f"{mark}  {finding.name:{width}}  {finding.detail}")
        if finding.mend:
            lines.append(f"{'':{width + 9}}-> {finding.mend}")
    return "\n".join(lines)


def examine_machine() -> list[Finding]:
    """Everything that is installed; takes a few seconds, for it imports it all."""
    looks: dict[str, Callable[[], Finding]] = {"python": _python}
    looks |= {package: partial(_package, module, package) for module, package in NEEDED.items()}
    looks |= {
        "OpenCV": _opencv,
        "TV-L1": _tvl1,
        "face models": _face_models,
        "native library": _native,
        "scan backends": _scan,
        "H.264": _h264,
        "GPU": _gpu,
    }
    return [_safely(name, look) for name, look in looks.items()] + _extras()


def examine_dataset(name: str, root: Path, settings: Mapping[str, Any]) -> list[Finding]:
    """What of a data set is in a folder, which clips are missing, and what to do."""
    from microexpr.datasets import dataset_class, open_dataset, other_pictures

    found = [_safely("folder", lambda: _folder(root))]
    if found[0].state == "wrong":
        return found
    if dataset_class(name).unverified:
        about = "written from published descriptions and never tried on the real files"
        found.append(
            Finding("adapter", "note", about, "compare what it lists with your label file")
        )
    try:
        dataset = open_dataset(name, root, **settings)
        clips = dataset.clips()
    except (UserError, OSError) as error:
        detail, _, mend = str(error).rpartition("; ")
        return [*found, Finding("annotations", "wrong", detail or mend, mend if detail else "")]
    except Exception as error:  # a doctor reports, whatever ails
        return [*found, Finding("annotations", "wrong", f"{type(error).__name__}: {error}")]
    found.append(_safely("annotations", lambda: _annotations(clips)))
    if dataset.ships is None:
        there = any(clip.source for clip in clips)
        other = "" if there else other_pictures(name, root, settings)
        mend = f"--set {other} finds some" if other else _unpack(root, dataset.access)
        found.append(_safely("frames", lambda: _frames(root, clips, mend)))
        if there:
            found.append(_safely("key frames", lambda: _key_frames(root, clips)))
    return found


def worst(findings: Sequence[Finding]) -> str:
    """The worst state among some findings."""
    return max((finding.state for finding in findings), key=STATES.index, default="ok")


def _safely(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except UserError as error:
        words = str(error).partition("mend it with: ")
        return Finding(name, "wrong", words[0].rstrip("; "), words[2])
    except Exception as error:  # a doctor reports, whatever ails
        return Finding(name, "wrong", f"{type(error).__name__}: {' '.join(str(error).split())}")


# --- the machine ---------------------------------------------------------------------------------


def _python() -> Finding:
    about = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("python", "ok", f"{about}, {os.cpu_count()} processor cores")


def _package(module: str, package: str) -> Finding:
    mend = f"pip install {package}"
    try:
        importlib.import_module(module)
    except ImportError as error:
        return Finding(package, "wrong", f"cannot be imported: {error}", mend)
    try:
        return Finding(package, "ok", importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return Finding(package, "ok", "imported, installed by other means")


def _opencv() -> Finding:
    """Packages that bring a cv2 overwrite each other's files."""
    there = [name for name in OPENCVS if _installed(name)]
    if len(there) <= 1:
        import cv2

        return Finding("OpenCV", "ok", f"{cv2.__version__}, from {' '.join(there) or 'elsewhere'}")
    mend = f"pip uninstall -y {' '.join(there)} && pip install {OPENCVS[-1]}"
    return Finding("OpenCV", "wrong", f"{' and '.join(there)} overwrite each other", mend)


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _tvl1() -> Finding:
    import numpy as np

    from microexpr.preprocess.flow import flow, flow_backend

    flow(np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8), "tvl1")
    return Finding("TV-L1", "ok", flow_backend("tvl1"))


def _face_models() -> Finding:
    from microexpr.preprocess.face import load_face_models, model_files

    load_face_models()
    folder = {path.parent for path in model_files().values()}
    return Finding("face models", "ok", f"in {', '.join(map(str, sorted(folder)))}")


def _native() -> Finding:
    from microexpr.native import instruction_set, library

    if library() is not None:
        return Finding("native library", "ok", f"loaded, for {instruction_set()}")
    mend = "install a C++ compiler, then: pip install --force-reinstall --no-deps microexpr"
    return Finding("native library", "note", "not there: all works, several times slower", mend)


def _scan() -> Finding:
    import torch

    from microexpr.nn.scan import backends

    there = backends()
    if torch.cuda.is_available():
        there += [f"{name} (GPU)" for name in backends("cuda") if name not in there]
    return Finding("scan backends", "ok", f"{', '.join(there)}; PyTorch {torch.__version__}")


def _h264() -> Finding:
    import av

    if "libx264" in av.codecs_available:
        return Finding("H.264", "ok", f"PyAV {av.__version__} writes it")
    return Finding(
        "H.264", "wrong", "this PyAV cannot write it", "pip install --force-reinstall av"
    )


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("GPU", "note", "none; everything runs on the processor")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Finding("GPU", "ok", ", ".join(names))


def _extras() -> list[Finding]:
    """The optional parts that pyproject.toml declares, except what only developers need."""
    try:
        about = importlib.metadata.metadata("microexpr")
    except importlib.metadata.PackageNotFoundError:
        mend = "pip install microexpr"
        return [Finding("extras", "note", "this package was not installed, only found", mend)]
    needs = importlib.metadata.requires("microexpr") or []
    found = []
    for extra in about.get_all("Provides-Extra") or []:
        if extra == "test":
            continue
        marker = re.compile(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""")
        names = [re.split(r"[^A-Za-z0-9_.-]", need)[0] for need in needs if marker.search(need)]
        lacking = [name for name in names if not _installed(name)]
        state = "note" if lacking else "ok"
        detail = f"without {', '.join(lacking)}" if lacking else f"with {', '.join(names)}"
        mend = f"pip install 'microexpr[{extra}]'" if lacking else ""
        found.append(Finding(f"extra {extra}", state, detail, mend))
    return found


# --- a data set ----------------------------------------------------------------------------------


def _folder(root: Path) -> Finding:
    if not root.is_dir():
        return Finding("folder", "wrong", f"{root} is not a folder", "give the data set's folder")
    names = sorted(
        path.name + ("/" if path.is_dir() else "")
        for path in root.iterdir()
        if not path.name.startswith(".")
    )
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return Finding("folder", "ok", f"{root}: {', '.join(names[:12]) or 'empty'}{more}")


def _annotations(clips: Sequence[Clip]) -> Finding:
    persons = len({clip.person for clip in clips})
    emotions = ", ".join(
        f"{name} {n}" for name, n in Counter(c.emotion for c in clips).most_common()
    )
    return Finding("annotations", "ok", f"{len(clips)} clips of {persons} persons ({emotions})")


def _unpack(root: Path, access: str) -> str:
    return f"unpack the frames below {root}; to obtain them: {access}"


def _frames(root: Path, clips: Sequence[Clip], mend: str) -> Finding:
    lost = [clip for clip in clips if not clip.source or not (root / clip.source).exists()]
    homes = Counter(clip.source.partition("/")[0] for clip in clips if clip not in lost)
    where = ", ".join(f"{home}/ {n}" for home, n in homes.most_common(SHOWN))
    if not lost:
        return Finding("frames", "ok", f"of all {len(clips)} clips ({where})")
    detail = f"{len(lost)} of {len(clips)} clips have none: {_named(lost)}"
    return Finding("frames", "wrong", detail + (f"; found: {where}" if where else ""), mend)


def _key_frames(root: Path, clips: Sequence[Clip]) -> Finding:
    """Whether onset, apex and offset are among the pictures of each clip's folder."""
    folders: dict[str, set[int]] = {}
    lost = []
    there = [clip for clip in clips if clip.source and (root / clip.source).is_dir()]
    for clip in there:
        if clip.source not in folders:
            folders[clip.source] = set(numbered_pictures(root / clip.source))
        wanted = {clip.onset, clip.offset if clip.apex is None else clip.apex} - {None}
        if clip.onset is None or not wanted <= folders[clip.source]:
            lost.append(clip)
    if not lost:
        return Finding("key frames", "ok", f"onset and apex of {len(there)} clips are there")
    mend = "copy these clips again from the owners' archive"
    return Finding("key frames", "wrong", f"missing in {len(lost)} clips: {_named(lost)}", mend)


def _named(clips: Sequence[Clip]) -> str:
    more = f" and {len(clips) - SHOWN} more" if len(clips) > SHOWN else ""
    return ", ".join(clip.id for clip in clips[:SHOWN]) + more
