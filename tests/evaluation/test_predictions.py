from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microexpr.errors import UserError
from microexpr.evaluation.predictions import (
    COLUMNS,
    Predictions,
    check_labels,
    concatenate,
    datasets_of,
    in_common,
    read_predictions,
    selected,
    take,
    write_predictions,
)
from microexpr.labels import label_scheme

Maker = Callable[..., Predictions]
HEADER = "clip,person,fold,seed,selection,true,pred,p_a,p_b\n"
GOOD = "smic/s1/c1,smic/s1,smic/s1,0,last,0,1,0.25,0.75\n"


def _assert_equal(a: Predictions, b: Predictions) -> None:
    assert a.labels == b.labels
    for f in fields(Predictions):
        if f.name == "probabilities":
            np.testing.assert_allclose(a.probabilities, b.probabilities, atol=5.1e-7)
        elif f.name != "labels":
            np.testing.assert_array_equal(getattr(a, f.name), getattr(b, f.name))


@given(order=st.randoms(use_true_random=False), sharp=st.floats(0.1, 30))
def test_what_is_written_is_read_and_bytes_do_not_depend_on_the_order(
    tmp_path_factory: pytest.TempPathFactory, order: object, sharp: float
) -> None:
    rng = np.random.default_rng(0)
    persons = np.array([f"samm/{i:03d}" for i in range(6)]).repeat(4)
    probabilities = np.exp(sharp * rng.normal(size=(24, 3)))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    made = Predictions(
        labels=("negative", "positive, or so", "surprise"),
        clip=np.array([f"{person}/c{i % 2}" for i, person in enumerate(persons)]),
        person=persons,
        fold=persons,
        seed=np.tile([0, 0, 1, 1], 6),
        selection=np.full(24, "last"),
        true=np.tile([1, 0], 12),
        pred=probabilities.argmax(axis=1),
        probabilities=probabilities,
    )
    index = list(range(24))
    order.shuffle(index)  # type: ignore[attr-defined]
    folder = tmp_path_factory.mktemp("round")
    write_predictions(made, folder / "a.csv")
    write_predictions(take(made, np.array(index)), folder / "b.csv")
    assert (folder / "a.csv").read_bytes() == (folder / "b.csv").read_bytes()
    _assert_equal(read_predictions(folder / "b.csv"), concatenate([made]))


def test_rows_stand_by_seed_selection_fold_and_clip(by_chance: Maker, tmp_path: Path) -> None:
    parts = [
        by_chance(4, selection=selection, seeds=(1, 0)) for selection in ("oracle", "inner", "last")
    ]
    write_predictions(concatenate(parts), tmp_path / "predictions.csv")
    found = read_predictions(tmp_path)
    keys = zip(found.seed.tolist(), found.selection.tolist(), strict=True)
    assert list(dict.fromkeys(keys)) == [
        (seed, selection) for seed in (0, 1) for selection in ("last", "inner", "oracle")
    ]
    first = found.clip[: len(set(found.clip.tolist()))].tolist()
    assert first == sorted(first)


def test_the_table_is_plain_text(tmp_path: Path, hand_made: Maker) -> None:
    write_predictions(hand_made([("smic/s1/c1", 0, 1)]), tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text() == (
        "clip,person,fold,seed,selection,true,pred,p_negative,p_positive,p_surprise\n"
        "smic/s1/c1,smic/s1,smic/s1,0,last,0,1,0.100000,0.800000,0.100000\n"
    )


def test_columns_may_stand_in_another_order(tmp_path: Path) -> None:
    lines = [line.strip().split(",") for line in (HEADER, GOOD)]
    text = "".join(",".join([*line[7:], *line[:7]]) + "\n" for line in lines)
    (tmp_path / "p.csv").write_text(text)
    (tmp_path / "q.csv").write_text(HEADER + GOOD)
    _assert_equal(read_predictions(tmp_path / "p.csv"), read_predictions(tmp_path / "q.csv"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + GOOD + GOOD, "line 3: smic/s1/c1 occurs twice for seed 0 and selection last"),
        (HEADER + GOOD.replace(",0,1,", ",2,1,"), "line 2: label 2 is not in 0..1"),
        (HEADER + GOOD.replace(",0,1,", ",0,-1,"), "line 2: label -1 is not in 0..1"),
        (HEADER + GOOD.replace("0.75", "0.7"), "line 2: the probabilities of smic/s1/c1 must"),
        (HEADER + GOOD.replace("0.75", "nan"), "line 2: the probabilities of smic/s1/c1 must"),
        (HEADER + GOOD.replace("0.25,0.75", "-0.5,1.5"), "must be at least 0"),
        (HEADER + GOOD.replace("last", "best"), "line 2: selection 'best' is none of last, inner"),
        (HEADER + GOOD.replace("c1,smic/s1", "c1,smic/s2"), "is not of the person smic/s2"),
        (HEADER + GOOD + GOOD.replace(",0,last,0", ",1,last,1"), "line 3: the truth of smic/s1/c1"),
        (HEADER + GOOD.replace(",0,last", ",zero,last"), "line 2: invalid literal"),
        (HEADER + GOOD.replace("0.75", "much"), "line 2: could not convert"),
        (HEADER + GOOD.replace(",0.75", ""), "line 2: 8 values for 9 columns"),
        (HEADER.replace("fold,", "") + GOOD, "line 1: the column 'fold' must stand there once"),
        (HEADER.replace("p_b", "b") + GOOD, "line 1: after the seven columns come p_<class>"),
        (HEADER, "holds no row"),
        ("", "line 1: the column 'clip'"),
    ],
)
def test_bad_tables_get_one_line_with_file_and_row(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_predictions(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_and_no_text_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no predictions at"):
        read_predictions(tmp_path)
    (tmp_path / "predictions.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match="is not a text table"):
        read_predictions(tmp_path)


def test_broken_rows_are_not_written(tmp_path: Path, hand_made: Maker) -> None:
    with pytest.raises(UserError, match="row 1: smic/s1/c1 occurs twice"):
        write_predictions(hand_made([("smic/s1/c1", 0, 1)] * 2), tmp_path / "p.csv")
    assert list(tmp_path.iterdir()) == []


def test_labels_are_checked_in_their_order(hand_made: Maker) -> None:
    made = hand_made([("smic/s1/c1", 0, 1)])
    check_labels(made, label_scheme("megc3"))
    with pytest.raises(UserError, match="the predictions are of surprise, positive, negative"):
        check_labels(replace(made, labels=made.labels[::-1]), label_scheme("megc3"))


def test_two_tables_are_joined_by_clip(hand_made: Maker) -> None:
    a = hand_made([("smic/s1/c1", 0, 0), ("smic/s1/c2", 1, 1), ("smic/s2/c1", 2, 2)])
    b = hand_made([("smic/s2/c1", 2, 0), ("smic/s3/c1", 1, 1), ("smic/s1/c1", 0, 1)])
    one, other = in_common(a, b)
    assert one.clip.tolist() == ["smic/s1/c1", "smic/s2/c1"]
    assert sorted(other.clip.tolist()) == ["smic/s1/c1", "smic/s2/c1"]
    half = concatenate([a, hand_made([("smic/s1/c1", 0, 2)], seed=1)])
    assert set(in_common(half, b)[0].clip.tolist()) == {"smic/s1/c1"}


def test_tables_that_cannot_be_joined_are_refused(hand_made: Maker) -> None:
    a = hand_made([("smic/s1/c1", 0, 0)])
    with pytest.raises(UserError, match="no clip in common"):
        in_common(a, hand_made([("smic/s1/c2", 0, 0)]))
    with pytest.raises(UserError, match="is negative in one and positive in the other"):
        in_common(a, hand_made([("smic/s1/c1", 1, 0)]))
    with pytest.raises(UserError, match="cannot compare predictions of"):
        in_common(a, replace(a, labels=("a", "b", "c")))
    with pytest.raises(UserError, match="different labels"):
        concatenate([a, replace(a, labels=("a", "b", "c"))])


def test_rows_are_chosen_by_selection_and_known_by_data_set(hand_made: Maker) -> None:
    made = concatenate(
        [
            hand_made([("smic/s1/c1", 0, 0), ("samm/006/c", 1, 0)]),
            hand_made([("samm/006/c", 1, 1)], selection="inner"),
        ]
    )
    assert datasets_of(selected(made, "last")).tolist() == ["samm", "smic"]
    assert selected(made, "inner").pred.tolist() == [1]
    with pytest.raises(UserError, match=r"selection 'oracle' \(there are: inner, last\)"):
        selected(made, "oracle")


def test_reading_and_scoring_imports_neither_torch_nor_video() -> None:
    code = (
        "import sys, microexpr.evaluation.report\n"
        "heavy = {'torch', 'cv2', 'av', 'sklearn', 'pandas', 'matplotlib', 'rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_columns_are_those_of_the_format() -> None:
    assert COLUMNS == ("clip", "person", "fold", "seed", "selection", "true", "pred")
