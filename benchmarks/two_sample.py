"""How well synthetic flow can be told from real flow by low-level statistics alone.

    python benchmarks/two_sample.py --data FOLDER [--films STORE] [--arm NAME ...]

FOLDER holds flow442. No label of a real clip is read, and no model that recognises anything is
scored: each clip, real or synthetic, becomes a few numbers a plane (moments, energy of gradients,
power spectrum, autocorrelation, patchiness, energy at the border), once in the encoding of flow442
(planes stretched to 0..255) and once in the `relative` one, both at 28x28. A logistic regression
(and, over all data sets, a small gradient boosting), cross-validated by person, tells the two
apart; the area under its ROC curve is .5 where nobody could. Writes
benchmarks/results/two_sample/ARM.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from microexpr.clip import Clip
from microexpr.datasets.flow442 import Flow442
from microexpr.datasets.synthetic import Synthetic
from microexpr.files import write_text
from microexpr.inputs import Input
from microexpr.preprocess.store import Store

Array = NDArray[np.float64]

RESULTS = Path(__file__).resolve().parent / "results" / "two_sample"
ENCODINGS = {
    "flow442": Input(("u", "v", "strain"), 28, "tvl1", "minmax8"),
    "relative": Input(("u", "v", "m", "strain"), 28, "tvl1", "relative"),
}
ARMS: dict[str, dict[str, Any]] = {
    "textbook": {},
    "counted": {"mixes": "counted"},
    "both": {"mixes": "both"},
    "disturbance_1.5": {"disturbance": 1.5},
    "disturbance_2": {"disturbance": 2.0},
    "rough": {"realism": "rough"},
    "published": {"realism": "published"},
    "published_both": {"realism": "published", "mixes": "both", "disturbance": 1.5},
}
FILMS = "films"
BANDS = ((0.5, 1.5), (1.5, 3.0), (3.0, 6.0), (6.0, 10.0), (10.0, 20.0))  # cycles across
FOLDS, DRAWS = 5, 200
SHOWN = 8  # statistics that give most away


def statistics(planes: NDArray[np.float32], channels: Sequence[str]) -> dict[str, Array]:
    """Low-level statistics of clips, by name, ``(clips,)`` each.

    Args:
        planes: ``(clips, channels, size, size)``.
        channels: Their names.
    """
    found: dict[str, Array] = {}
    for i, channel in enumerate(channels):
        for name, values in _of_plane(planes[:, i].astype(np.float64)).items():
            found[f"{channel} {name}"] = values
    u, v = (planes[:, channels.index(name)].astype(np.float64) for name in "uv")
    u, v = (plane - plane.mean(axis=(1, 2), keepdims=True) for plane in (u, v))
    var_u, var_v = ((plane**2).mean(axis=(1, 2)) + 1e-9 for plane in (u, v))
    found["u/v energy"] = np.log(var_u / var_v)
    found["u v correlation"] = np.abs((u * v).mean(axis=(1, 2))) / np.sqrt(var_u * var_v)
    return found


@np.errstate(divide="ignore", invalid="ignore")  # a plane without motion has none of these
def _of_plane(plane: Array) -> dict[str, Array]:
    """Statistics of one channel ``(clips, size, size)``; nothing depends on where a face is."""
    mean = plane.mean(axis=(1, 2))
    still = plane - mean[:, None, None]
    variance = (still**2).mean(axis=(1, 2)) + 1e-9
    unit = still / np.sqrt(variance)[:, None, None]
    across, down = np.diff(unit, axis=2), np.diff(unit, axis=1)
    spread = np.abs(unit - np.median(unit, axis=(1, 2), keepdims=True)).reshape(len(unit), -1)
    ordered = np.sort(spread**2, axis=1)[:, ::-1]
    rim = np.ones(plane.shape[1:], bool)
    rim[2:-2, 2:-2] = False
    found = {
        "mean": mean,
        "deviation": np.sqrt(variance),
        "skewness": (unit**3).mean(axis=(1, 2)),
        "kurtosis": np.log((unit**4).mean(axis=(1, 2))),
        "gradient energy": np.log((across**2).mean(axis=(1, 2)) + (down**2).mean(axis=(1, 2))),
        "gradient direction": np.log((across**2).mean(axis=(1, 2)) / (down**2).mean(axis=(1, 2))),
        "gradient kurtosis": np.log(
            (across**4).mean(axis=(1, 2)) / (across**2).mean(axis=(1, 2)) ** 2
        ),
        "autocorrelation x 3": (unit[:, :, 3:] * unit[:, :, :-3]).mean(axis=(1, 2)),
        "autocorrelation y 3": (unit[:, 3:] * unit[:, :-3]).mean(axis=(1, 2)),
        "patchiness": ordered[:, : ordered.shape[1] // 20].sum(axis=1) / ordered.sum(axis=1),
        "rest": (spread < 0.2).mean(axis=1),
        "border energy": np.log((unit[:, rim] ** 2).mean(axis=1) + 1e-9),
    }
    power = _spectrum(unit)
    return found | {
        f"power {low:g}-{high:g}": p for (low, high), p in zip(BANDS, power.T, strict=True)
    }


def _spectrum(unit: Array) -> Array:
    """Share of the power in each of `BANDS`, ``(clips, bands)``, logarithms, rim windowed out."""
    size = unit.shape[-1]
    window = np.hanning(size + 2)[1:-1]
    power = np.abs(np.fft.fft2(unit * window[:, None] * window)) ** 2
    line = np.fft.fftfreq(size) * size
    radius = np.hypot(line[:, None], line)
    inside = [(radius >= low) & (radius < high) for low, high in BANDS]
    shares = np.stack([power[:, part].sum(axis=1) for part in inside], axis=1)
    found: Array = np.log(shares / shares.sum(axis=1, keepdims=True) + 1e-9)
    return found


def table(planes: NDArray[np.float32], wants: Input) -> tuple[list[str], Array]:
    """Names of the statistics, and their values ``(clips, statistics)``."""
    found = statistics(planes, wants.channels)
    values = np.stack(list(found.values()), axis=1)
    return list(found), np.where(np.isfinite(values), values, 0)


def classifiers() -> dict[str, Any]:
    """What tells the two apart."""
    logistic = LogisticRegression(C=0.3, class_weight="balanced", max_iter=2000)
    boosting = HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=8, class_weight="balanced", random_state=0
    )
    return {"logistic": make_pipeline(StandardScaler(), logistic), "boosting": boosting}


def told_apart(
    x: Array, real: NDArray[np.bool_], persons: Sequence[str], by: Sequence[str]
) -> dict[str, Any]:
    """Area under the ROC curve of each classifier, each clip scored while its person is held out.

    The interval (95 %) is from persons drawn anew, real and synthetic ones apart.
    """
    found = {}
    for name in by:
        model = classifiers()[name]
        score = np.zeros(len(x))
        for train, test in GroupKFold(FOLDS).split(x, real, persons):
            score[test] = model.fit(x[train], real[train]).predict_proba(x[test])[:, 1]
        low, high = _interval(score, real, np.array(persons))
        found[name] = {"auc": round(float(roc_auc_score(real, score)), 4), "low": low, "high": high}
    return found


def _interval(score: Array, real: NDArray[np.bool_], persons: NDArray[Any]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    rows = {person: np.flatnonzero(persons == person) for person in dict.fromkeys(persons)}
    groups = [[r for r in rows.values() if real[r[0]] == kind] for kind in (True, False)]
    drawn = []
    for _ in range(DRAWS):
        chosen = np.concatenate([g[i] for g in groups for i in rng.integers(len(g), size=len(g))])
        drawn.append(roc_auc_score(real[chosen], score[chosen]))
    low, high = np.percentile(drawn, (2.5, 97.5))
    return round(float(low), 4), round(float(high), 4)


def compared(
    real: Mapping[str, Array], made: Array, names: list[str], persons: Mapping[str, list[str]]
) -> dict[str, Any]:
    """One encoding: who can be told apart, by what, and how many real clips lie inside.

    Args:
        real: Statistics of each real data set's clips.
        made: Those of the synthetic clips.
        names: Of the statistics.
        persons: Of each data set's clips, and under ``""`` of the synthetic ones.
    """
    sets: dict[str, Any] = {}
    for name in ("all", *real):
        parts = list(real) if name == "all" else [name]
        x = np.concatenate([*(real[part] for part in parts), made])
        who = [person for part in (*parts, "") for person in persons[part]]
        real_ones = np.arange(len(x)) < len(x) - len(made)
        by = list(classifiers()) if name == "all" else ["logistic"]
        sets[name] = told_apart(x, real_ones, who, by)
    every = np.concatenate(list(real.values()))
    low, high = np.percentile(made, (1, 99), axis=0)
    inside = ((every >= low) & (every <= high)).mean(axis=0)
    single = [
        roc_auc_score(
            np.arange(len(every) + len(made)) < len(every), np.r_[every[:, i], made[:, i]]
        )
        for i in range(len(names))
    ]
    order = np.argsort(-np.abs(np.array(single) - 0.5))
    return {
        "sets": sets,
        "giveaways": {names[i]: round(float(single[i]), 3) for i in order[:SHOWN]},
        "inside": {name: round(float(share), 3) for name, share in zip(names, inside, strict=True)},
    }


def measure(flow442: Path, made: Any, clips: Sequence[Clip]) -> dict[str, Any]:
    """Compares synthetic clips with the 442 real ones, in every encoding."""
    archive = Flow442(flow442)
    sets = ("casme2", "smic", "samm")
    theirs = {name: [c for c in archive.clips() if c.dataset == name] for name in sets}
    persons = {name: [c.person for c in own] for name, own in theirs.items()}
    persons[""] = [clip.person for clip in clips]
    told: dict[str, Any] = {}
    for encoding, wants in ENCODINGS.items():
        real = {
            name: table(archive.read_many(own, wants), wants)[1] for name, own in theirs.items()
        }
        names, x = table(made.read_many(clips, wants), wants)
        told[encoding] = compared(real, x, names, persons)
    return told


def people(settings: Mapping[str, Any], count: int) -> Synthetic:
    """Synthetic clips by some settings of the generator, five a person."""
    return Synthetic(None, count // 5, 5, seed=99, prior="megc3", **settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of flow442")
    parser.add_argument("--films", type=Path, help="store of prepared films: the arm 'films' too")
    parser.add_argument("--arm", action="append", choices=list(ARMS), help="only these")
    parser.add_argument("--clips", type=int, default=2000, help="synthetic clips of an arm")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    arms = {} if chosen.films and not chosen.arm else ARMS
    for name in chosen.arm or arms:
        made = people(ARMS[name], chosen.clips)
        _write(chosen.out, name, ARMS[name], measure(chosen.data, made, made.clips()), made.clips())
    if chosen.films:
        store = Store(chosen.films)
        clips = [clip for clip in store.clips("films") if not store.reason(clip)]
        _write(chosen.out, FILMS, {}, measure(chosen.data, store, clips), clips)


def _write(
    out: Path,
    name: str,
    settings: Mapping[str, Any],
    told: Mapping[str, Any],
    clips: Sequence[Clip],
) -> None:
    entry = {
        "arm": name,
        "settings": dict(settings),
        "clips": len(clips),
        "persons": len({clip.person for clip in clips}),
        "encodings": told,
    }
    write_text(json.dumps(entry, indent=1) + "\n", out / f"{name}.json")
    for encoding, found in told.items():
        one = found["sets"]["all"]
        areas = ", ".join(f"{kind} {value['auc']:.3f}" for kind, value in one.items())
        print(f"{name} {encoding}: {areas}; {', '.join(found['giveaways'])}", flush=True)


if __name__ == "__main__":
    main()
