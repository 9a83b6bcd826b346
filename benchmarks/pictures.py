"""Draws the pictures of docs/: scan orders, action units, people, searches, cost of honesty.

Run it as ``python benchmarks/pictures.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from microexpr.anatomy import UNITS, activations, displacement
from microexpr.datasets.synthetic import Synthetic
from microexpr.drawing import contact_sheet, draw_scan_orders, flow_to_rgb, save
from microexpr.evaluation.choices import draw_table
from microexpr.evaluation.honesty import honesty
from microexpr.evaluation.pictures import draw_honesty
from microexpr.inputs import Input
from microexpr.nn.orders import ORDERS, scan_order
from microexpr.template import template

BENCHMARKS = Path(__file__).resolve().parent
FOLDER = BENCHMARKS.parent / "docs" / "pictures"
SIDE = 112


def scan_orders() -> None:
    """Figure 2 of MERba: the four asymmetric orders of a 7x7 window."""
    orders = {ORDERS[key]: (7, 7, scan_order(key, 7, 7)) for key in "abcd"}
    save(draw_scan_orders(orders), FOLDER / "scan_orders.png")


def action_units() -> None:
    """The displacement field of each action unit on the template face, in flow colours."""
    face = template() * (0.3 * SIDE) + np.array([SIDE / 2, 0.33 * SIDE])
    names = sorted(UNITS, key=int)
    x, y = np.rint(face.reshape(-1, 2).T).astype(int)
    pictures = []
    for name in names:
        u, v = displacement(face, activations({name: 1.0}), SIDE, SIDE)
        pictures.append(flow_to_rgb(u, v, scale=0.02 * 0.3 * SIDE))
        pictures[-1][y.clip(0, SIDE - 1), x.clip(0, SIDE - 1)] = 60  # the landmarks, as dots
    per_row = 6
    rows = [pictures[i : i + per_row] for i in range(0, len(pictures), per_row)]
    labels = ["AU " + ", ".join(names[i : i + per_row]) for i in range(0, len(pictures), per_row)]
    save(contact_sheet(rows, labels, side=1.3), FOLDER / "action_units.png")


def synthetic_people() -> None:
    """Six clips of each megc3 class, as flow at 28x28 and as the label-free representation."""
    data = Synthetic(None, persons=30, clips_per_person=6, prior="megc3")
    wants = Input(("u", "v"), 56, normalisation="relative")
    rows, labels = [], []
    for label, emotions in {
        "negative": ("anger", "disgust", "fear", "sadness", "contempt"),
        "positive": ("happiness",),
        "surprise": ("surprise",),
    }.items():
        clips = [clip for clip in data.clips() if clip.emotion in emotions][:8]
        fields = data.read_many(clips, wants)
        rows.append([flow_to_rgb(u, v, scale=1.0) for u, v in fields])
        labels.append(label)
    save(contact_sheet(rows, labels), FOLDER / "synthetic.png")


def honesty_study() -> None:
    """The columns of every committed run of ``benchmarks/honesty``; without one, nothing."""
    rows = honesty(sorted((BENCHMARKS / "honesty" / "results").glob("*")))
    if rows:
        save(draw_honesty(rows), FOLDER / "honesty.png")


def searches() -> None:
    """What AMMSM's searches chose on the real clips, after Figure 4 of the paper."""
    table = BENCHMARKS / "results" / "ammsm_nano_flow442" / "search.csv"
    draw_table(table, FOLDER / "ammsm_search.png")


if __name__ == "__main__":
    searches()
    honesty_study()
    scan_orders()
    action_units()
    synthetic_people()
