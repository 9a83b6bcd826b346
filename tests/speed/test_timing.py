from __future__ import annotations

import socket
from pathlib import Path

import cv2
import pytest
import torch

from microexpr.speed import timing
from microexpr.speed.timing import interleaved, machine, threads


class Clock:
    """A clock that only calls move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_rivals_take_turns_and_medians_are_taken() -> None:
    clock, seen = Clock(), []
    lasts = {"a": iter([9, 1, 5, 2]), "b": iter([9, 3, 3, 3])}

    def call(name: str) -> None:
        seen.append(name)
        clock.now += next(lasts[name])

    rivals = {name: lambda name=name: call(name) for name in lasts}
    assert interleaved(rivals, 3, clock) == {"a": 2000.0, "b": 3000.0}
    assert seen == ["a", "b"] * 4


def test_fast_rivals_are_called_until_a_turn_is_long_enough() -> None:
    clock, calls = Clock(), []

    def call() -> None:
        calls.append(0)
        clock.now += timing.SHORTEST / 4

    assert interleaved({"fast": call}, 1, clock)["fast"] == pytest.approx(1e3 * timing.SHORTEST / 4)
    assert len(calls) == 8


def test_threads_are_set_and_set_back() -> None:
    before = torch.get_num_threads(), cv2.getNumThreads()
    with threads(2):
        assert (torch.get_num_threads(), cv2.getNumThreads()) == (2, 2)
    assert (torch.get_num_threads(), cv2.getNumThreads()) == before


def test_the_machine_is_described_but_not_named() -> None:
    about = machine()
    assert about["torch"] == torch.__version__
    assert about["processor"]
    text = str(about)
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text
