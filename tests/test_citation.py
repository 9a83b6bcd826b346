"""CITATION.cff: the fields of the Citation File Format 1.2.0 that it uses, and what they say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import microexpr
from microexpr.models import model_class

ROOT = Path(__file__).resolve().parents[1]
TEXT = {"type": "string", "minLength": 1}
PERSON = {
    "type": "object",
    "properties": {"given-names": TEXT, "family-names": TEXT},
    "required": ["given-names", "family-names"],
    "additionalProperties": False,
}
ENTITY = {
    "type": "object",
    "properties": {"name": TEXT},
    "required": ["name"],
    "additionalProperties": False,
}
AUTHORS = {"type": "array", "minItems": 1, "items": {"anyOf": [PERSON, ENTITY]}}
REFERENCE = {
    "type": "object",
    "properties": {
        "type": {"enum": ["article", "conference-paper", "software", "generic"]},
        "title": TEXT,
        "authors": AUTHORS,
        "year": {"type": "integer", "minimum": 1900},
        "identifiers": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"type": {"enum": ["doi", "url", "swh", "other"]}, "value": TEXT},
                "required": ["type", "value"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["type", "title", "authors"],  # of the format
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "properties": {
        "cff-version": {"const": "1.2.0"},
        "message": TEXT,
        "type": {"enum": ["software", "dataset"]},
        "title": TEXT,
        "version": TEXT,
        "license": TEXT,
        "authors": AUTHORS,
        "abstract": TEXT,
        "keywords": {"type": "array", "minItems": 1, "items": TEXT, "uniqueItems": True},
        "references": {"type": "array", "items": REFERENCE},
    },
    "required": ["cff-version", "message", "title", "authors"],  # of the format
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def citation() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    return found


def test_its_fields_are_those_of_the_format(citation: dict[str, Any]) -> None:
    jsonschema.validate(citation, SCHEMA)


def test_it_agrees_with_the_package(citation: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == project["version"] == microexpr.__version__
    assert citation["license"] == project["license"]
    assert citation["keywords"] == project["keywords"]
    assert citation["authors"][0]["name"] in (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize(("place", "name"), [(0, "merba"), (1, "ammsm")])
def test_it_cites_the_papers_as_their_heads_have_them(
    citation: dict[str, Any], shared_data: Path, place: int, name: str
) -> None:
    reference = citation["references"][place]
    told = model_class(name).paper
    assert str(reference["year"]) in told
    assert reference["title"].split(":")[0] in told
    for identifier in reference.get("identifiers", []):
        assert identifier["value"].removeprefix("arXiv:") in told
    title, authors = (shared_data.parent / "papers" / f"{name}.txt").read_text().split("\n\n")[:2]
    assert reference["title"] == title
    at = [
        authors.index(f"{author['given-names']} {author['family-names']}")
        for author in reference["authors"]
    ]
    assert at == sorted(at)
    marks = re.sub(r"[\d∗†,]+", ",", authors.partition("{")[0].partition("Copyright")[0])
    assert len([n for n in re.split(r",|\band\b", marks) if n.strip()]) == len(at)
