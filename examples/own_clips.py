"""How well a model reads clips of your own, of which you know onset, apex and emotion.

    python examples/own_clips.py CLIPS.csv [MODEL]

CLIPS.csv has the columns video, onset, apex and label; frame numbers count from the first frame of
the video. The model has not seen your people: the scores are honest, if you look once.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

import microexpr
from microexpr.analysis import KeyFrames
from microexpr.evaluation.metrics import confusion, uar, uf1


def main(table: str, model: str | None = None) -> None:
    """Prints what the model says of each clip, then the scores."""
    predictor, true, said = microexpr.load(model), [], []
    for row in csv.DictReader(Path(table).read_text(encoding="utf-8").splitlines()):
        known = KeyFrames(int(row["onset"]), int(row["apex"]))
        findings = predictor.analyze(Path(table).parent / row["video"], key_frames=known).findings
        if findings and findings[0].reading:  # else no face is seen at the onset
            true.append(predictor.labels.index(row["label"]))
            said.append(int(np.argmax(findings[0].reading.probabilities)))
            print(f"{row['video']}: {row['label']}, read as {predictor.labels[said[-1]]}")
    counts = confusion(np.array(true, np.int64), np.array(said, np.int64), len(predictor.labels))
    print(f"{len(true)} clips: UF1 {uf1(counts):.3f}, UAR {uar(counts):.3f}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
