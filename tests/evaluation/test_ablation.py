from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from microexpr.errors import UserError
from microexpr.evaluation.ablation import ablation
from microexpr.evaluation.predictions import Predictions, write_predictions
from microexpr.evaluation.report import ablation_to_markdown

TOML = """
[data]
dataset = "synthetic"
labels = "megc3"
[protocol]
name = "loso"
[model]
name = "smallcnn"
[grid]
"model.dropout" = [0.1, 0.2, 0.3]
"""
PUBLISHED = """
[published]
paper = "ours"
table = "I"
whole = "dropout=0.2"
rows = { "dropout=0.1" = "little", "dropout=0.2" = "some" }
"""
FIGURES = """paper,table,row,dataset,metric,value
ours,I,little,MOON,UF1,0.1234
ours,I,little,MOON,latency ms,5
ours,I,some,MOON,UF1,0.5
ours,I,some,MOON,UAR,0.6
ours,II,some,MOON,UF1,0.9
"""


@pytest.fixture
def grid(tmp_path: Path, by_chance: Callable[..., Predictions]) -> Path:
    """A grid of three arms, of which the first two are done."""
    path = tmp_path / "grid.toml"
    path.write_text(TOML + PUBLISHED)
    (tmp_path / "published.csv").write_text(FIGURES)
    for i, (arm, skill) in enumerate((("dropout=0.1", 0.4), ("dropout=0.2", 0.8))):
        write_predictions(by_chance(12, skill, salt=i), tmp_path / "out" / arm / "predictions.csv")
    return path


def test_arms_stand_beside_published_figures(grid: Path) -> None:
    found = ablation(grid, grid.parent / "out", resamples=50)
    assert found is not None
    assert found.source == "ours, table I (MOON)"
    assert [row.name for row in found.comparison.rows] == ["dropout=0.2", "dropout=0.1"]
    assert found.printed == ({"UF1": 0.5, "UAR": 0.6}, {"UF1": 0.1234})
    assert found.comparison.rows[1].differences["uf1"].value < 0
    text = ablation_to_markdown(found).splitlines()
    assert text[0].endswith("| published UF1 | published UAR | published ACC |")
    assert text[2].endswith("| .500 | .600 | – |")
    assert text[3].endswith("| .123 | – | – |")
    assert "as printed" in text[-1]


def test_a_grid_without_published_figures_is_a_table_too(grid: Path) -> None:
    grid.write_text(TOML)
    found = ablation(grid, grid.parent / "out", resamples=50)
    assert found is not None
    assert [row.name for row in found.comparison.rows] == ["dropout=0.1", "dropout=0.2"]
    assert "published" not in ablation_to_markdown(found).lower()
    assert ablation(grid, grid.parent / "nothing") is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"dropout=0.1" = "little"', '"dropout=0.9" = "little"', "names the arm 'dropout=0.9'"),
        ('"little"', '"litle"', "has no row 'litle' of that table: did you mean 'little'"),
        ("whole", "hole", "unknown key 'published.hole': did you mean 'whole'"),
        ('paper = "ours"\n', "", "missing key 'published.paper'"),
    ],
)
def test_mistakes_are_named(grid: Path, old: str, new: str, says: str) -> None:
    grid.write_text((TOML + PUBLISHED).replace(old, new))
    with pytest.raises(UserError, match=says):
        ablation(grid, grid.parent / "out", resamples=5)
