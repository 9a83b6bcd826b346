"""The REST interface as a page to read: one file, no script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid; border-radius: .3rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .2rem 1rem .2rem 0; }
h2 { margin-top: 2.5rem; }
"""
_EXAMPLES = """curl --form video=@interview.mp4 http://127.0.0.1:7860/api/analyze
curl --header 'Content-Type: video/mp4' --data-binary @interview.mp4 \\
     'http://127.0.0.1:7860/api/analyze?name=interview.mp4&amp;confidence=0.8'

curl --form video=@interview.mp4 http://127.0.0.1:7860/api/jobs      # answers with a ticket
curl http://127.0.0.1:7860/api/jobs/TICKET
curl --remote-name http://127.0.0.1:7860/api/jobs/TICKET/events.csv
curl --request DELETE http://127.0.0.1:7860/api/jobs/TICKET"""


def api_page(openapi: dict[str, Any]) -> str:
    """The page for a description of the interface, as served at ``/api/openapi.json``.

    Args:
        openapi: OpenAPI 3.1.

    Returns:
        HTML.
    """
    about = openapi["info"]
    title = f"{escape(about['title'])} {escape(about['version'])}: REST interface"
    head = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style>"
    )
    intro = (
        f"<h1>{title}</h1><p>{escape(about.get('description', ''))}</p>"
        '<p>For programs: <a href="/api/openapi.json">openapi.json</a>.</p>'
        f"<pre>{_EXAMPLES}</pre>"
    )
    routes = "".join(_routes(openapi["paths"]))
    shapes = "".join(_shape(name, s) for name, s in openapi["components"]["schemas"].items())
    return f"{head}<body>{intro}{routes}<h2>Shapes</h2>{shapes}</body></html>\n"


def _routes(paths: dict[str, Any]) -> Iterator[str]:
    for path, methods in paths.items():
        for method, told in methods.items():
            yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
            yield f"<p>{escape(told.get('description', ''))}</p>"
            options = [
                (p["name"], _kind(p["schema"]), p["schema"].get("description", ""))
                for p in told.get("parameters", ())
            ]
            if options:
                yield _table(("parameter", "type", "what"), options)
            body = told.get("requestBody", {}).get("content", {})
            if body:
                kinds = " or ".join(f"<code>{escape(kind)}</code>" for kind in body)
                yield f"<p>Body: {kinds}.</p>"
            answers = [(c, _answer(a), a["description"]) for c, a in told["responses"].items()]
            yield _table(("status", "body", "when"), answers)


def _answer(told: dict[str, Any]) -> str:
    """What an answer holds, as a link to its shape."""
    schemas = [content.get("schema", {}) for content in told.get("content", {}).values()]
    return ", ".join(_kind(schema) for schema in schemas)


def _shape(name: str, schema: dict[str, Any]) -> str:
    rows = [
        (field, _kind(told), told.get("description", ""))
        for field, told in schema.get("properties", {}).items()
    ]
    about = escape(schema.get("description", ""))
    table = _table(("key", "type", "what"), rows)
    return f'<h3 id="{escape(name)}">{escape(name)}</h3><p>{about}</p>{table}'


def _kind(schema: dict[str, Any]) -> str:
    """The type of a value, in HTML.

    >>> _kind({"anyOf": [{"type": "integer"}, {"type": "null"}]})
    'integer or null'
    >>> _kind({"type": "array", "items": {"$ref": "#/components/schemas/Event"}})
    'list of <a href="#Event">Event</a>'
    """
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[-1])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return " or ".join(escape(repr(v)) for v in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        inside = schema.get("prefixItems", [schema.get("items", {})])
        return f"list of {_kind(inside[0])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"name → {_kind(schema['additionalProperties'])}"
    return escape(str(schema.get("format") or schema.get("type") or "file"))


def _table(head: tuple[str, ...], rows: list[tuple[str, str, str]]) -> str:
    """A table; of each row, the second cell is HTML already."""
    cells = "".join(f"<th>{name}</th>" for name in head)
    lines = "".join(
        f"<tr><td><code>{escape(a)}</code></td><td>{b}</td><td>{escape(c)}</td></tr>"
        for a, b, c in rows
    )
    return f'<div class="wide"><table><tr>{cells}</tr>{lines}</table></div>'
