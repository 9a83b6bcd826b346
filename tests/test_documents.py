"""Every command, program and experiment that README, CONTRIBUTING and docs/ show.

A block is run, in a folder where the things it names exist in small (`rehearsal.py`), unless a
comment before it says what it needs that is not here: ``<!-- needs a GPU -->``. Such a block is
still parsed: each command against the program it calls, each import against the package. `make
check` lists them as skipped.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import typer
import yaml

from microexpr import cli
from microexpr.evaluation.bench import build_model
from microexpr.evaluation.experiment import read_experiment

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
LANGUAGES = {"sh", "python", "toml"}
SHOWN = {"text", "json", "html", "yaml", "dockerfile"}  # what a reader is shown, not told to do
OTHERS = {"git", "cd", ".", "export", "curl", "ray", "sbatch", "srun", "kubectl", "torchrun"}
OTHERS |= {"docker", "podman", "for", "done", "do", "mkdir", "cat", "echo", "wait", "sleep"}
FENCE = re.compile(r'^( *)```+(\w*)(?:\s+title="([^"]+)")?\s*$')
NEEDS = re.compile(r"<!-- needs (.+?) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block: its place, what it is, the file it shows, and what it needs to be run."""

    page: Path
    line: int
    language: str
    title: str
    needs: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@lru_cache
def blocks(page: Path) -> tuple[Block, ...]:
    """The fenced blocks of a page in their order."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        match = FENCE.match(lines[number])
        if match:
            indent, language, title = match[1], match[2], match[3] or ""
            end = next(i for i in range(number + 1, len(lines)) if lines[i].strip() == "```")
            above = next((line for line in reversed(lines[:number]) if line.strip()), "")
            needs = NEEDS.fullmatch(above.strip())
            text = "\n".join(line.removeprefix(indent) for line in lines[number + 1 : end]) + "\n"
            found.append(Block(page, number + 1, language, title, needs[1] if needs else "", text))
            number = end
        number += 1
    return tuple(found)


def files(page: Path) -> dict[str, str]:
    """What a page shows as a file: its name and its text."""
    return {b.title: b.text for b in blocks(page) if b.title and b.language in ("python", "toml")}


ALL = [block for page in PAGES for block in blocks(page)]


def of(language: str) -> list[Block]:
    return [block for block in ALL if block.language == language]


def name(value: Any) -> str:
    return value.place if isinstance(value, Block) else str(value.relative_to(ROOT))


def commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a shell program, each as its words, without redirections."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("();<>|&"):
                while words and re.fullmatch(r"\w+=.*", words[0]):
                    words.pop(0)  # a variable for this command alone
                if words:
                    yield words
                words = []
            else:
                words.append(word)


# ---- what a command may say ------------------------------------------------------------------


PROGRAM: Any = typer.main.get_command(cli.app)


def check_microexpr(words: list[str], whole: bool = True) -> None:
    """Parses a command line as the program itself would; `whole`: nothing is left out."""
    while words and words[0].startswith("--"):
        assert words.pop(0) in {"--debug", "--help"}
    if not words:
        return
    assert words[0] in PROGRAM.commands, f"no command {words[0]}"
    command = PROGRAM.commands[words[0]]
    if "--help" not in words:
        command.make_context(words[0], list(words[1:]), resilient_parsing=not whole)
    known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    said = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert said <= known | {"--help"}, f"{words[0]} has no {said - known}"


def check_python(words: list[str]) -> None:
    """``-m MODULE``, ``-c CODE`` or a script of this repository, whose options are in its text."""
    if words[:1] == ["-c"]:
        compile(words[1], "-c", "exec")
    elif words[:1] == ["-m"]:
        assert importlib.util.find_spec(words[1]), words[1]
    elif words:
        text = (ROOT / words[0]).read_text(encoding="utf-8")
        for word in words[1:]:
            assert not word.startswith("--") or f'"{word}"' in text, f"{words[0]} has no {word}"


def check_pip(words: list[str]) -> None:
    """The extras that are installed exist."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r"microexpr\[(.+?)\]|\.\[(.+?)\]", " ".join(words)):
        for extra in (extras[0] or extras[1]).split(","):
            assert extra in known["optional-dependencies"], extra


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {word for word in words if "=" not in word} <= set(targets), words


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "microexpr": check_microexpr,
    "python": check_python,
    "pip": check_pip,
    "make": check_make,
}


def test_every_block_says_what_it_is() -> None:
    assert not [b.place for b in ALL if b.language not in LANGUAGES | SHOWN]
    for page in PAGES:
        marks = len(re.findall(r"^ *<!-- needs ", page.read_text(encoding="utf-8"), re.MULTILINE))
        assert marks == sum(bool(block.needs) for block in blocks(page)), page.name


@pytest.mark.parametrize("block", of("sh"), ids=name)
def test_every_command_is_one_that_there_is(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
    for words in commands(block.text):
        program = words[0].removeprefix("$").strip()
        assert program in CHECKS or program in OTHERS, f"unknown program {program}"
        if program in CHECKS:
            CHECKS[program](words[1:])


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_within_sentences_exist(page: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for said in re.findall(r"`(microexpr [^`]+|python [^`]+|make [^`]+)`", text):
        program, *words = shlex.split(said)
        if words[0] == "...":
            continue
        check_microexpr(words, whole=False) if program == "microexpr" else CHECKS[program](words)


@pytest.mark.parametrize("block", of("python"), ids=name)
def test_every_import_is_one_that_there_is(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("microexpr"):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


def completed(text: str) -> str:
    """An experiment of which a page shows a part, with the least of what is missing."""
    table = tomllib.loads(text)
    missing = {
        "data": '[data]\ndataset = "synthetic"\nlabels = "megc3"\n',
        "protocol": '[protocol]\nname = "loso"\n',
        "model": '[model]\nname = "ammsm"\nsize = "nano"\nspatial = false\n',
    }
    return text + "".join(part for key, part in missing.items() if key not in table)


@pytest.mark.parametrize("block", of("toml"), ids=name)
def test_every_experiment_can_be_read_and_its_model_built(
    block: Block, rehearsal: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsal.write_files(files(block.page), tmp_path, monkeypatch)
    path = tmp_path / "shown.toml"
    path.write_text(completed(block.text), encoding="utf-8")
    for experiment in read_experiment(path).values():
        with torch.device("meta"):
            build_model(experiment)


def test_every_command_and_every_published_row_is_documented() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    for command in PROGRAM.commands:
        assert f"microexpr {command}" in text, command
    rows = (DOCS / "reproduce.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "benchmarks").glob("*.toml")):
        assert f"`{path.stem}`" in rows, path.name


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_and_picture_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```|`[^`\n]+`", "", page.read_text("utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"\w+:|#", target):
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_every_page_is_in_the_navigation() -> None:
    def leaves(node: Any) -> Iterator[str]:
        if isinstance(node, str):
            yield node
        else:
            for part in node.values() if isinstance(node, dict) else node:
                yield from leaves(part)

    shown = sorted(leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert shown == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


# ---- what they do ---------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[Block], None]:
    """Runs a block as a reader would who types it in the folder."""
    place = [tmp_path / "bin", Path(sys.executable).parent, os.environ["PATH"]]
    env = os.environ | {"PATH": os.pathsep.join(map(str, place)), "HOME": str(tmp_path)}
    env |= {"COLUMNS": "100", "OMP_NUM_THREADS": "1"}

    def run(block: Block) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.text],
            cwd=tmp_path, env=env, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block.place}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"

    return run


RUN = {block.page for block in ALL if block.language in ("sh", "python") and not block.needs}


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(RUN), ids=name)
def test_what_a_page_shows_works(
    page: Path,
    shell: Callable[[Block], None],
    trees: ModuleType,
    rehearsal: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    todo = [block for block in blocks(page) if not block.needs]
    rehearsal.furnish(tmp_path, "".join(block.text for block in todo), trees)
    rehearsal.write_files(files(page), tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    names = rehearsal.given(page) | {"__name__": "shown"}
    from microexpr.evaluation.protocols import PROTOCOLS

    monkeypatch.setattr(sys.modules["microexpr.evaluation.protocols"], "PROTOCOLS", {**PROTOCOLS})
    for block in todo:
        if block.language == "sh":
            shell(block)
        elif block.language == "python" and not block.title:
            exec(compile(block.text, block.place, "exec"), names)
    if page.name == "tour.md":  # what it says of its leak
        told = json.loads((tmp_path / "results" / "leak" / "report.json").read_text())
        last, oracle = (c["parts"][0]["scores"]["uf1"]["value"] for c in told["columns"])
        assert last < 0.4 < 0.5 < oracle


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in ALL if block.needs], ids=name)
def test_what_is_parsed_only(block: Block) -> None:
    pytest.skip(f"{block.place} needs {block.needs}: parsed, not run")


@pytest.mark.slow
def test_the_pages_are_built_without_a_warning_and_fetch_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = list(tmp_path.rglob("*.html"))
    assert len(built) > len(list(DOCS.rglob("*.md")))  # and the page for what is not found
    for path in built:
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//[^"]+', text), path
        assert not re.findall(r'<link[^>]+href="(?:https?:)?//[^"]+', text), path
