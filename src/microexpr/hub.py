"""Models on the Hugging Face hub: the one place of this package that asks a network for anything.

It is asked only for what a user names ``owner/name``, through huggingface_hub (extra ``hub``), and
only the three files of a model of ours are fetched. Its cache, its login (``hf auth login``) and
its switches (``HF_HUB_OFFLINE``, ``HF_ENDPOINT``) are those of huggingface_hub.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from microexpr.errors import UserError

MODEL, CONFIG, CARD = FILES = ("model.safetensors", "config.json", "README.md")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/\w[\w.-]*", re.ASCII)
_FILE = re.compile(r"\.(safetensors|pth|pt|bin|pkl|pickle|ckpt|joblib|onnx|toml|json)$", re.I)


def is_hub_id(name: str) -> bool:
    """Whether a name has the form ``owner/name`` and is not plainly a file's.

    >>> [is_hub_id(n) for n in ("ann/merba", "./ann/merba", "a/b/c", "runs/model.safetensors")]
    [True, False, False, False]
    """
    return bool(_ID.fullmatch(name)) and not _FILE.search(name)


def download(
    repo_id: str,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """The folder with the files of a model, fetched if they are not in the cache.

    Args:
        repo_id: ``owner/name``.
        revision: Branch, tag or commit; None: the newest of ``main``.
        local_files_only: Take what is in the cache and ask nobody.
        token: For private models; None: that of ``hf auth login``, if any.

    Raises:
        UserError: huggingface_hub is missing, there is no such model or revision, it may not be
            read, or the hub cannot be reached and the cache does not hold it.
    """
    with _plainly(repo_id, revision):
        from huggingface_hub import snapshot_download

        found = snapshot_download(
            repo_id,
            revision=revision,
            local_files_only=local_files_only,
            token=token,
            allow_patterns=list(FILES),
        )
    return Path(found)


def upload(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    message: str = "Upload a model of microexpr",
    create_pr: bool = False,
) -> str:
    """Makes the repository if need be, and commits the files of a model to it.

    Args:
        folder: Holds `FILES`.
        repo_id: ``owner/name``.
        private: Of a new repository; None: as the owner's settings say.
        token: With the right to write; None: that of ``hf auth login``.
        revision: Branch; None: ``main``.
        message: Of the commit.
        create_pr: Propose the commit instead of making it.

    Returns:
        The address of the commit.

    Raises:
        UserError: huggingface_hub is missing, nobody is logged in, or the hub refuses or is away.
    """
    with _plainly(repo_id, revision):
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            allow_patterns=list(FILES),
            commit_message=message,
            revision=revision,
            create_pr=create_pr,
        )
    return str(done.commit_url)


@contextmanager
def _plainly(repo_id: str, revision: str | None) -> Iterator[None]:
    """What goes wrong on the hub, in one line."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise UserError(f"'{repo_id}' is on the hub: run  pip install 'microexpr[hub]'")
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise UserError(f"'{repo_id}' is no name of the hub: {_line(error)}") from error
    except errors.GatedRepoError as error:
        told = f"the owner of {repo_id} lets in whom they choose: ask on its page, then log in"
        raise UserError(f"{told} with `hf auth login`") from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{repo_id} has no revision '{revision}'") from error
    except errors.RepositoryNotFoundError as error:
        told = f"no file or folder {repo_id} here, and no model of that name on the hub"
        raise UserError(f"{told} (a private one needs `hf auth login`)") from error
    except errors.LocalEntryNotFoundError as error:
        cause = error.__cause__
        asked = cause is not None and not isinstance(cause, errors.OfflineModeIsEnabled)
        why = f"cannot be reached ({_line(cause)})" if asked else "was not asked"
        told = f"{repo_id} is neither a file or folder here nor in the cache of the hub"
        raise UserError(f"{told}, and the hub {why}") from error
    except errors.HfHubHTTPError as error:
        hint = " (log in with `hf auth login`)" if error.response.status_code in (401, 403) else ""
        raise UserError(f"the hub refuses {repo_id}: {_line(error)}{hint}") from error
    except Exception as error:  # of its network library, and of several layers above it
        raise UserError(f"the hub did not answer for {repo_id}: {_line(error)}") from error


def _line(error: BaseException | None) -> str:
    """The first line that says something."""
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
