"""Models on the hub, against a hub of a few lines on 127.0.0.1: no request leaves this machine."""

from __future__ import annotations

import base64
import importlib.util
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants

import microexpr
from microexpr import hub
from microexpr.errors import UserError
from microexpr.training import pretrained


@dataclass
class Shelf:
    """What the fake hub holds and was asked."""

    address: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    refuse: int = 0  # a status with which everything is refused


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as three small files need."""

    shelf: Shelf

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        shelf = self.note()
        if shelf.refuse:
            return self.answer({}, shelf.refuse)
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            shelf.repos.setdefault(f"{asked['organization']}/{asked['name']}", {})
            return self.answer({"url": f"{shelf.address}/{asked['organization']}/{asked['name']}"})
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        _, _, _, owner, name, what, *_ = self.path.split("/")
        if what == "preupload":
            files = [f["path"] for f in json.loads(body)["files"]]
            plain = {"uploadMode": "regular", "shouldIgnore": False}
            return self.answer({"files": [{"path": path, **plain} for path in files]})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                shelf.repos[f"{owner}/{name}"][line["value"]["path"]] = content
        sha = self.sha(f"{owner}/{name}")
        url = f"{shelf.address}/{owner}/{name}/commit/{sha}"
        return self.answer({"commitUrl": url, "commitOid": sha})

    def do_GET(self) -> None:
        shelf = self.note()
        parts = self.path.partition("?")[0].strip("/").split("/")
        if shelf.refuse:
            return self.answer({}, shelf.refuse)
        repo = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        if repo not in shelf.repos:
            return self.answer({}, 401, **{"X-Error-Code": "RepoNotFound"})
        files, sha = shelf.repos[repo], self.sha(repo)
        if parts[0] == "api" and parts[4] == "revision":
            if parts[5] not in ("main", sha):
                return self.answer({}, 404, **{"X-Error-Code": "RevisionNotFound"})
            return self.answer({"id": repo, "sha": sha, "siblings": [], "tags": []})
        if parts[0] == "api":
            listed = [
                {"type": "file", "path": p, "size": len(c), "oid": sha1(c).hexdigest()}
                for p, c in files.items()
            ]
            return self.answer(listed)
        content = files[parts[-1]]
        etag = f'"{sha1(content).hexdigest()}"'
        return self.answer(content, **{"ETag": etag, "X-Repo-Commit": sha})

    do_HEAD = do_GET

    def note(self) -> Shelf:
        self.shelf.asked.append(f"{self.command} {self.path}")
        self.shelf.tokens.add(self.headers.get("Authorization", ""))
        return self.shelf

    def sha(self, repo: str) -> str:
        files = sorted(self.shelf.repos[repo].items())
        return sha1(repr(files).encode()).hexdigest()

    def answer(self, content: Any, status: int = 200, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shelf]:
    """A hub at an address that huggingface_hub takes for the real one; its cache is empty."""
    found = Shelf()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Mine", (Hub,), {"shelf": found}))
    found.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", found.address)
    template = found.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    yield found
    server.shutdown()
    server.server_close()


def test_a_model_is_shared_and_loaded(shelf: Shelf) -> None:
    default = microexpr.load()
    url = default.push_to_hub("ann/merba", token="hf_ann", private=True)
    assert url.startswith(f"{shelf.address}/ann/merba/commit/")
    assert set(shelf.repos["ann/merba"]) == set(hub.FILES)
    assert "Bearer hf_ann" in shelf.tokens
    shelf.repos["ann/merba"]["pytorch_model.bin"] = b"never fetched"
    found = microexpr.load("ann/merba")
    x = torch.rand(2, 3, 28, 28)
    assert np.array_equal(found.predict(x)[1], default.predict(x)[1])
    assert found.card == default.card
    assert not any("pytorch_model.bin" in line for line in shelf.asked)
    shelf.asked.clear()
    again = microexpr.load("ann/merba", local_files_only=True)
    assert again.labels == found.labels
    assert shelf.asked == []
    sha = Path(pretrained.locate("ann/merba")).name
    assert microexpr.load("ann/merba", revision=sha).labels == found.labels


def test_what_is_not_there_is_told(shelf: Shelf) -> None:
    microexpr.load().push_to_hub("ann/merba")
    for name, options, told in (
        ("ann/merbra", {}, "no model of that name on the hub"),
        ("ann/merba", {"revision": "v9"}, "has no revision 'v9'"),
        ("ann/other", {"local_files_only": True}, "the hub was not asked"),
        ("a--b/c", {}, "is no name of the hub"),
    ):
        with pytest.raises(UserError, match=told) as caught:
            microexpr.load(name, **options)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
    del shelf.repos["ann/merba"]["model.safetensors"]
    with pytest.raises(UserError, match=r"holds no model\.safetensors"):
        microexpr.load("ann/merba")
    for status in (401, 403, 500):
        shelf.refuse = status
        with pytest.raises(UserError, match="the hub refuses ann/new") as caught:
            microexpr.load().push_to_hub("ann/new")
        assert ("hf auth login" in str(caught.value)) == (status != 500)
        assert "\n" not in str(caught.value)


def test_the_hub_is_asked_for_its_names_alone(shelf: Shelf, tmp_path: Path) -> None:
    microexpr.load()
    (tmp_path / "ann").mkdir()
    microexpr.load().save_pretrained(tmp_path / "ann" / "merba")
    for name in ("runs/model.safetensors", "ann/merba/x", "./ann/none", Path("ann/none"), "merba"):
        with pytest.raises(UserError, match="no checkpoint at"):
            microexpr.load(name)
    with pytest.MonkeyPatch.context() as inside:
        inside.chdir(tmp_path)
        assert microexpr.load("ann/merba").labels  # the folder, not the model of the hub
    with pytest.raises(UserError, match="named owner/name"):
        microexpr.load().push_to_hub("merba")
    assert shelf.asked == []


def test_without_network_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"neither a file or folder here .* cannot be reached"):
        microexpr.load("ann/merba")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="the hub was not asked"):
        microexpr.load("ann/merba")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'microexpr\[hub\]'"):
        microexpr.load("ann/merba")
