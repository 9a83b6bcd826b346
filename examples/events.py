"""Finds the micro-expressions in a video and prints them.

    python examples/events.py VIDEO [MODEL]

MODEL is a checkpoint, a folder of `save_pretrained`, or owner/name on the hub.
"""

from __future__ import annotations

import sys

import microexpr


def main(video: str, model: str | None = None) -> None:
    """One line a movement: when, how sure it is one, what the model makes of it."""
    analysis = microexpr.load(model).analyze(video)
    if not analysis.face_seen:
        print("no face was seen")
    for warning in (*analysis.video.warnings, *analysis.spotting.warnings):
        print(f"note: {warning}")
    for finding in analysis.findings:
        event, reading = finding.event, finding.reading
        times = f"{event.onset_time:.2f} {event.apex_time:.2f} {event.offset_time:.2f} s"
        named = reading.emotion if reading else None
        units = ", ".join(f"AU{unit.unit}" for unit in finding.units)
        print(f"{event.kind}  {times}  {named or 'no emotion named'}  {units}  ({finding.quality})")
        if reading:
            shares = zip(reading.labels, reading.probabilities, strict=True)
            print("   " + ", ".join(f"{label} {share:.2f}" for label, share in shares))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
