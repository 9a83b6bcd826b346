"""The composite of MEGC2019 (CDE): SMIC-HS, CASME II and SAMM, three classes, 442 clips.

Made from the three sets' own label files by the label scheme ``megc3``, in the order of the
challenge's list: CASME II (coding of 2014), SMIC, SAMM. The 68 persons keep their own sets' ids, so
leaving one person out over this set is the challenge's protocol.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from microexpr.clip import Clip
from microexpr.datasets import open_dataset
from microexpr.datasets.base import Dataset, check_choice
from microexpr.lists import expect, select


class Megc2019(Dataset):
    """The composite of MEGC2019.

    Args:
        root: A folder with the three sets in sub-folders ``casme2``, ``smic`` and ``samm``, or one
            in which their label files lie side by side.
        apex: Where SMIC takes its apex from: ``"none"``, ``"middle"`` or ``"spotted"``.
        pictures: ``"raw"`` or ``"cropped"``: which frames `Clip.source` points to.
        complete: Refuse anything but the 442 clips of the list.

    Raises:
        UserError: A setting has no such value.
    """

    title = "MEGC2019 composite of CASME II, SMIC-HS and SAMM: 442 clips, 68 persons, 3 classes"
    paper = "See et al., FG 2019"
    access = "obtain CASME II, SMIC and SAMM, each under its licence agreement"
    members = ("casme2", "smic", "samm")

    def __init__(
        self, root: Path, apex: str = "none", pictures: str = "raw", complete: bool = True
    ) -> None:
        super().__init__(root)
        check_choice("apex", apex, ("none", "middle", "spotted"))
        check_choice("pictures", pictures, ("raw", "cropped"))
        self.apex, self.pictures, self.complete = apex, pictures, complete

    def clips(self) -> list[Clip]:
        """The clips of the list, in its order, under their own sets' ids and emotions."""
        clips = [clip for member in self.members for clip in self._member(member)]
        return (expect if self.complete else select)("megc2019", clips)

    def _member(self, name: str) -> list[Clip]:
        folder = self.root / name
        if not folder.is_dir():
            folder = self.root
        settings = {"apex": self.apex} if name == "smic" else {}
        dataset = open_dataset(
            name, folder, pictures=self.pictures, complete=self.complete, **settings
        )
        above = folder.relative_to(self.root)
        return [
            replace(clip, source=(above / clip.source).as_posix()) if clip.source else clip
            for clip in dataset.clips()
        ]
