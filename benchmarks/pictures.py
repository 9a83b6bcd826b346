"""Draws the pictures of docs/: scan orders, action units, people, searches, cost of honesty, trust.

Run it as ``python benchmarks/pictures.py``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from microexpr.anatomy import UNITS, activations, displacement
from microexpr.datasets.films import Films
from microexpr.datasets.synthetic import Synthetic
from microexpr.drawing import contact_sheet, draw_scan_orders, flow_to_rgb, save
from microexpr.encoding import encode
from microexpr.evaluation.calibration import certainty, reliability, risk_coverage
from microexpr.evaluation.choices import draw_table
from microexpr.evaluation.honesty import honesty
from microexpr.evaluation.pictures import draw_honesty, draw_reliability, draw_risk_coverage
from microexpr.evaluation.predictions import datasets_of, read_predictions, take
from microexpr.film.archive import Archive, make_archive, people_of
from microexpr.inputs import Input
from microexpr.nn.orders import ORDERS, scan_order
from microexpr.preprocess.face import load_face_models
from microexpr.preprocess.pipeline import DEFAULT as PREPARED
from microexpr.preprocess.pipeline import prepare_clip
from microexpr.template import template
from microexpr.training.default import default_card
from microexpr.video import Image

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


def two_roads() -> None:
    """The same clips as films, prepared like a user's video, and as flow made directly."""
    asked = Archive(persons=6, clips=1, seed=5)
    data = people_of(asked)
    rough = Synthetic(None, asked.persons, asked.clips, asked.seed, realism="rough")
    wants = Input(("u", "v"), 56, normalisation="relative")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make_archive(Path(folder), asked, jobs=1)
        models = load_face_models()
        for film, clip in zip(Films(Path(folder)).clips(), data.clips(), strict=True):
            done = prepare_clip(film, Path(folder), PREPARED, models)
            seen = encode(done.planes, PREPARED, wants)
            faces = [done.closeup.tight[i] for i in (done.closeup.onset, done.closeup.apex)]
            fields = [seen, data.read(clip, wants), rough.read(clip, wants)]
            rows.append([*faces, *(_large(flow_to_rgb(u, v, scale=1.0)) for u, v in fields)])
    labels = [f"{clip.emotion}\n{'+'.join(clip.action_units)}" for clip in data.clips()]
    titles = ("onset", "apex", "film", "smooth", "rough")
    save(contact_sheet(rows, labels, titles, side=1.1), FOLDER / "two_roads.png")


def _large(picture: Image) -> Image:
    """A picture of 56 pixels beside one of 224."""
    return np.kron(picture, np.ones((4, 4, 1), np.uint8))


def honesty_study() -> None:
    """The columns of every committed run of ``benchmarks/honesty``; without one, nothing."""
    rows = honesty(sorted((BENCHMARKS / "honesty" / "results").glob("*")))
    if rows:
        save(draw_honesty(rows), FOLDER / "honesty.png")


def searches() -> None:
    """What AMMSM's searches chose on the real clips, after Figure 4 of the paper."""
    table = BENCHMARKS / "results" / "ammsm_nano_flow442" / "search.csv"
    draw_table(table, FOLDER / "ammsm_search.png")


def model_card() -> None:
    """Reliability and risk-coverage of the default model on the real clips, if it was measured."""
    run = BENCHMARKS / "results" / "default_model"
    if not (run / "predictions.csv").exists():
        return
    rows = read_predictions(run)
    sets = datasets_of(rows)
    parts = {"all": rows, **{name: take(rows, sets == name) for name in sorted(set(sets.tolist()))}}
    sure = {name: certainty(p.probabilities, p.pred, p.true) for name, p in parts.items()}
    bins = {
        "15 bins": reliability(*sure["all"]),
        "equal counts": reliability(*sure["all"], 10, True),
    }
    save(draw_reliability(bins), FOLDER / "reliability.png")
    curves = {name: risk_coverage(*one) for name, one in sure.items()}
    save(draw_risk_coverage(curves, default_card().confidence), FOLDER / "risk_coverage.png")


if __name__ == "__main__":
    model_card()
    searches()
    honesty_study()
    scan_orders()
    action_units()
    synthetic_people()
    two_roads()
