"""Label schemes: from what a data set wrote to the classes of a protocol.

Sources: MEGC2019 (See et al., FG 2019) for `megc3`; the usual five-class settings of CASME II and
SAMM; the four and seven classes of CAS(ME)^3 (Li et al., 2023) for `casme3_4` and `casme3_7`; DFME
(Zhao et al., 2023) for `dfme7`, with the coarse classes of MERba, section III-C.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from microexpr.clip import Clip
from microexpr.errors import UserError, suggest

_NEGATIVE_ALWAYS = ("anger", "disgust", "fear", "sadness", "contempt", "repression")


@dataclass(frozen=True, slots=True)
class LabelScheme:
    """The classes of a protocol and who belongs to them.

    Attributes:
        name: Key in `SCHEMES`.
        labels: Class names; predictions are indices into this tuple.
        assign: ``Clip -> label``, or None where the clip is not part of the protocol.
        coarse: ``label -> coarse class`` for coarse-to-fine heads (MERba's DGCM), or None.
    """

    name: str
    labels: tuple[str, ...]
    assign: Callable[[Clip], str | None]
    coarse: Mapping[str, str] | None = None

    def __call__(self, clip: Clip) -> str | None:
        """The label of a clip, or None where the protocol leaves it out."""
        return self.assign(clip)

    def index(self, clip: Clip) -> int:
        """The label of a clip as an index into `labels`.

        Raises:
            UserError: The scheme leaves this clip out.
        """
        label = self.assign(clip)
        if label is None:
            raise UserError(f"{clip.id} ('{clip.emotion}') has no label in the scheme {self.name}")
        return self.labels.index(label)

    def coarse_indices(self) -> tuple[int, ...]:
        """For each label the index of its coarse class, coarse classes in order of appearance.

        >>> SCHEMES["dfme7"].coarse_indices()
        (0, 1, 0, 0, 2, 0, 3)

        Raises:
            UserError: The scheme declares no coarse classes.
        """
        if self.coarse is None:
            raise UserError(f"the label scheme {self.name} declares no coarse classes")
        order = list(dict.fromkeys(self.coarse[label] for label in self.labels))
        return tuple(order.index(self.coarse[label]) for label in self.labels)


def _megc3(clip: Clip) -> str | None:
    """MEGC2019: negative, positive, surprise.

    SMIC and flow442 carry these three labels themselves. SAMM: anger, contempt, disgust, fear and
    sadness are negative, "other" is dropped. CASME II: disgust and repression are negative, and
    sadness, fear and others are dropped, as are two disgust clips that the official list lacks.
    """
    if clip.emotion in {"negative", "positive", "surprise"}:
        return clip.emotion
    if clip.emotion == "happiness":
        return "positive"
    if clip.id in MEGC2019_LEFT_OUT:
        return None
    negative = ("disgust", "repression") if clip.dataset == "casme2" else _NEGATIVE_ALWAYS
    return "negative" if clip.emotion in negative else None


MEGC2019_LEFT_OUT = {
    "casme2/sub04/EP12_01f": "its apex is '/' in the coding sheet; not in the MEGC2019 list",
    "casme2/sub05/EP09_05f": "apex equals onset in the coding sheet; not in the MEGC2019 list",
}


def _megc3_noise(clip: Clip) -> str | None:
    """A class by chance, as often as in MEGC2019 (250, 109 and 83 of 442), for the honesty study.

    It is drawn from a hash of the clip's id, so it has nothing to do with what the clip shows.
    """
    if _megc3(clip) is None:
        return None
    draw = int.from_bytes(hashlib.sha256(clip.id.encode()).digest()[:8], "big") % 442
    return "negative" if draw < 250 else "positive" if draw < 359 else "surprise"


def _casme3_4(clip: Clip) -> str | None:
    """CAS(ME)^3 in four classes; part C carries these labels itself."""
    if clip.emotion in {"negative", "positive", "surprise", "others"}:
        return clip.emotion
    if clip.emotion == "happy":
        return "positive"
    return "negative" if clip.emotion in {"disgust", "fear", "anger", "sad"} else None


def _own(*labels: str) -> Callable[[Clip], str | None]:
    """The data set's own labels, where they are among `labels`."""
    return lambda clip: clip.emotion if clip.emotion in labels else None


_CASME5 = ("happiness", "surprise", "disgust", "repression", "others")
_SAMM5 = ("anger", "contempt", "happiness", "surprise", "other")
_CASME3_7 = ("disgust", "surprise", "others", "fear", "anger", "sad", "happy")
_DFME7 = ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")

SCHEMES: dict[str, LabelScheme] = {
    scheme.name: scheme
    for scheme in (
        LabelScheme("megc3", ("negative", "positive", "surprise"), _megc3),
        LabelScheme("megc3_noise", ("negative", "positive", "surprise"), _megc3_noise),
        LabelScheme("casme5", _CASME5, _own(*_CASME5)),
        LabelScheme("samm5", _SAMM5, _own(*_SAMM5)),
        LabelScheme("casme3_4", ("negative", "positive", "surprise", "others"), _casme3_4),
        LabelScheme("casme3_7", _CASME3_7, _own(*_CASME3_7)),
        LabelScheme(
            "dfme7",
            _DFME7,
            _own(*_DFME7),
            coarse={
                "anger": "negative",
                "contempt": "others",
                "disgust": "negative",
                "fear": "negative",
                "happiness": "positive",
                "sadness": "negative",
                "surprise": "surprise",
            },
        ),
    )
}


def label_scheme(name: str) -> LabelScheme:
    """The scheme of that name.

    Raises:
        UserError: Unknown name; the message names the nearest.
    """
    if name not in SCHEMES:
        raise UserError(f"unknown label scheme '{name}': {suggest(name, SCHEMES)}")
    return SCHEMES[name]
