"""`models`, `datasets` and `protocols`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("command", "name"),
    [("models", "merba"), ("datasets", "flow442"), ("protocols", "loso"), ("protocols", "megc3")],
)
def test_lists(microexpr: Callable[..., Any], command: str, name: str) -> None:
    shown = microexpr(command).stdout
    assert name in shown
    assert "…" not in shown
    rows = json.loads(microexpr(command, "--json").stdout)
    assert name in {row["name"] for row in rows}
    assert all(isinstance(value, str) for row in rows for value in row.values())


def test_what_was_never_tried_on_real_files_says_so(microexpr: Callable[..., Any]) -> None:
    rows = json.loads(microexpr("datasets", "--json").stdout)
    marked = {row["name"] for row in rows if row["standing"] == "unverified"}
    assert marked == {"mmew", "fourd_me"}
    assert microexpr("datasets").stdout.count("unverified") == 2
