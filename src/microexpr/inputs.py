"""What a model eats: which planes, at what size, in what units (`Input`)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from microexpr.errors import UserError, suggest

PICTURES = ("onset_r", "onset_g", "onset_b", "apex_r", "apex_g", "apex_b", "grey")
CHANNELS = ("u", "v", "m", "strain", *PICTURES)
NORMALISATIONS = ("none", "robust", "relative", "minmax8")
FLOWS = ("tvl1", "farneback", "dis")


@dataclass(frozen=True, slots=True)
class Input:
    """One tensor ``(batch, channels, size, size)``, float32; with frames, ``(batch, frames, ...)``.

    Attributes:
        channels: Names of the planes in their order: ``u`` (horizontal flow, positive to the right
            of the picture), ``v`` (vertical flow, positive downwards), ``m`` (magnitude),
            ``strain`` (optical strain), ``onset_r``, ``onset_g``, ``onset_b`` (the onset frame),
            ``apex_r``, ``apex_g``, ``apex_b`` (the apex frame), ``grey`` (the frame of the moment
            itself: the apex, or with several frames each in turn). Pictures run from 0 to 255.
        size: Side of the square planes in pixels.
        flow: The algorithm that made the flow, which starts at the onset.
        normalisation: ``none``: flow in pixels of this size.
            ``robust``: the median of u and of v removed, then u, v and m over the mean magnitude.
            ``relative``: ``robust`` passed through ``tanh(x / 2)``: no unit, range (-1, 1).
            ``minmax8``: each plane of each clip stretched to whole numbers 0..255 on its own.
        frames: Moments of a clip. 1: the apex. More: spread evenly from onset to offset, both
            included; the flow runs from the onset to each of them.

    Raises:
        UserError: An unknown channel, flow or normalisation, a size below 1.
    """

    channels: tuple[str, ...] = ("u", "v", "m")
    size: int = 224
    flow: str = "tvl1"
    normalisation: str = "robust"
    frames: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        for channel in self.channels:
            _check("channel", channel, CHANNELS)
        _check("flow", self.flow, FLOWS)
        _check("normalisation", self.normalisation, NORMALISATIONS)
        if not self.channels or len(set(self.channels)) != len(self.channels):
            raise UserError(f"channels must be named once each, got {list(self.channels)}")
        if self.size < 1 or self.frames < 1:
            raise UserError(f"size and frames must be at least 1, got {self.size}, {self.frames}")

    @property
    def digest(self) -> str:
        """Twelve hex digits that differ whenever any field differs; part of a cache key.

        >>> Input(size=28).digest == Input(size=28).digest != Input(size=56).digest
        True
        """
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _check(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise UserError(f"unknown {what} '{name}': {suggest(name, known)}")
