"""From a video to its movements: times real time, and where the time goes.

    python benchmarks/speed/video.py [--json] [--rounds 3] [--seconds 6]

A synthetic film of a talking-head size (640x480, H.264 crf 23) at each frame rate: decoding,
detection, landmarks, alignment, flow, removal of the head's motion and spotting, as `analyze` does
them up to and with the spotted movements. Two tables:

- real time: seconds of film over seconds of work. `wall` is by the clock with all processors (so a
  busy machine shows), `one processor` by processor time in one thread, which other programs do not
  add to: on two processors it can only be more.
- parts: milliseconds of processor time for a second of film, one thread (the decoder has its own).
  The landmarks look about 15 times a second at any frame rate; all else is done for every frame.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
from timing import machine, show, single_thread

from microexpr.film import drawn_portrait, film, write_script
from microexpr.preprocess import motion as moving
from microexpr.preprocess import track as tracking
from microexpr.preprocess.face import FaceModels, load_face_models
from microexpr.preprocess.flow import FLOWS
from microexpr.preprocess.spot import spot
from microexpr.video import open_video

RATES = (30.0, 200.0)
SEED = 5
PARTS = {  # what is timed, and under which name; the rest is "other"
    "frames": "decoding",
    "detect": "detection",
    "mesh": "landmarks",
    "visibility": "blur and exposure",
    "alignment": "alignment",
    "warp": "alignment",
    "grey": "alignment",
    "rigid_motion": "head motion",
}
Spent = dict[str, float]  # seconds by part
NAMES = tuple(dict.fromkeys((*PARTS.values(), "flow", "spotting", "other")))


def look(path: Path, models: FaceModels, spotting: Callable[..., Any] = spot) -> None:
    """All that is timed."""
    video = open_video(path)
    found = tracking.track(models, video)
    spotting(moving.motion(video, found), video.fps or 0.0)


class Stopwatch:
    """Processor time of this thread by part; what is called inside a part counts for that part."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(NAMES, 0.0)
        self.inside = False

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """A function that is timed."""

        def wrapped(*words: Any, **settings: Any) -> Any:
            if self.inside:
                return call(*words, **settings)
            self.inside, start = True, time.thread_time()
            try:
                return call(*words, **settings)
            finally:
                self.inside = False
                self.spent[name] += time.thread_time() - start

        return wrapped

    def steps(self, name: str, call: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
        """A generator of which each step is timed."""

        def wrapped(*words: Any, **settings: Any) -> Iterator[Any]:
            following = self.timed(name, partial(next, call(*words, **settings), None))
            while (value := following()) is not None:
                yield value

        return wrapped


def parts(path: Path, models: FaceModels) -> Spent:
    """Seconds of processor time by part, in one thread, and the decoder's own."""
    watch = Stopwatch()
    with ExitStack() as stack:
        for module in (tracking, moving):
            for name, part in PARTS.items():
                if hasattr(module, name):
                    wrap = watch.steps if name == "frames" else watch.timed
                    timed = wrap(part, getattr(module, name))
                    stack.enter_context(patch.object(module, name, timed))
        stack.enter_context(patch.dict(FLOWS, {"dis": watch.timed("flow", FLOWS["dis"])}))
        here, everywhere = time.thread_time(), time.process_time()
        look(path, models, watch.timed("spotting", spot))
        here, everywhere = time.thread_time() - here, time.process_time() - everywhere
    told = watch.spent
    told["other"] = here - sum(told.values())
    told["decoding"] += everywhere - here  # the decoder's threads
    return told


def by_the_clock(path: Path, models: FaceModels) -> float:
    """Seconds, with all processors."""
    cv2.setNumThreads(-1)
    start = time.perf_counter()
    look(path, models)
    single_thread()
    return time.perf_counter() - start


def measure(
    fps: float, seconds: float, rounds: int, folder: Path
) -> tuple[float, dict[str, float]]:
    """Median seconds for a second of film: by the clock, and of a processor by part."""
    path, models = folder / f"{fps:g}.mp4", load_face_models()
    film(drawn_portrait(SEED), write_script(SEED, fps, seconds, events=1), path)
    look(path, models)  # to warm up
    clock, spent = [], []
    for _ in range(rounds):
        clock.append(by_the_clock(path, models) / seconds)
        spent.append({name: s / seconds for name, s in parts(path, models).items()})
    middle = {name: statistics.median(row[name] for row in spent) for name in NAMES}
    return statistics.median(clock), middle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of the films")
    chosen = parser.parse_args()
    single_thread()
    with tempfile.TemporaryDirectory() as folder:
        found = {fps: measure(fps, chosen.seconds, chosen.rounds, Path(folder)) for fps in RATES}
    rates = [
        {
            "frames a second": f"{fps:g}",
            "x real time, wall": 1 / clock,
            f"s for a second, {machine()['processors']} processors": clock,
            "x real time, one processor": 1 / sum(spent.values()),
            "s for a second, one processor": sum(spent.values()),
        }
        for fps, (clock, spent) in found.items()
    ]
    show("real time", rates, chosen.json)
    table = [
        {"part": name} | {f"{fps:g} fps": 1e3 * spent[name] for fps, (_, spent) in found.items()}
        for name in NAMES
    ]
    show("parts", table, chosen.json)


if __name__ == "__main__":
    main()
