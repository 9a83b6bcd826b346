"""Every figure of docs/speed.md in one interleaved run; some minutes on an idle machine.

    python benchmarks/speed/targets.py [--rounds 5]

Writes ``benchmarks/results/speed/targets.json``; `python benchmarks/tables.py` then fills the
document. It is what `microexpr bench --json FILE` measures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from microexpr.speed import measure
from microexpr.speed.figures import render, write_measured

RESULTS = Path(__file__).resolve().parents[1] / "results" / "speed" / "targets.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    measured = measure([], quick=False, rounds=parser.parse_args().rounds)
    Console(width=160).print(render(measured))
    write_measured(measured, RESULTS)


if __name__ == "__main__":
    main()
