"""Docstrings as Markdown, for the API reference.

mkdocs.yml names this file as an extension of griffe, which reads the docstrings. They are written
to be read in the source: a doctest needs a fence, or its ``>>>`` is taken for a quotation, and a
list an empty line before it, or it runs into the sentence above.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^( *)>>> .*(?:\n\1\S.*)*", re.MULTILINE)
LIST = re.compile(r"^((?![ -]).+)\n(?=- )", re.MULTILINE)


def markdown(text: str) -> str:
    """A docstring whose doctests and lists Markdown knows as such."""

    def fence(match: re.Match[str]) -> str:
        indent = match[1]
        return f"{indent}```pycon\n{match[0]}\n{indent}```"

    return LIST.sub(r"\1\n\n", DOCTEST.sub(fence, text))


class Docstrings(griffe.Extension):
    """Changes every docstring, once the modules are read."""

    def on_object(self, *, obj: griffe.Object, loader: Any, **kwargs: Any) -> None:
        """Changes the docstring of one module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)
