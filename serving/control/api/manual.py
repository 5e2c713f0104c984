"""The page at `/docs`: what can be asked, written out from the application's description of itself.

It is plain HTML that a browser shows as it is. The usual pages are a megabyte and a half of somebody else's script,
from somebody else's server or out of a package; whatever runs in a page of this origin can do whatever its reader may,
so none does, and the policy on the answer forbids it.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html import escape
from typing import Any, Final

_STYLE: Final = """\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .875rem; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid #8886; border-radius: .25rem; }
section { border-top: 1px solid #8886; margin-top: 1.5rem; }
h3 code { font-size: 1rem; }
td, th { text-align: left; vertical-align: top; padding: .125rem 1rem .125rem 0; }
"""

POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of the page: its own style sheet, by its hash, and nothing else."""

_Json = Mapping[str, Any]


def page(description: _Json) -> str:
    """The whole page.

    Args:
        description: the OpenAPI document.
    """
    title = escape(description["info"]["title"])
    return "\n".join(
        (
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>',
            f"<h1>{title} {escape(description['info']['version'])}</h1>",
            _paragraphs(description["info"].get("description", "")),
            '<p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>',
            *_operations(description["paths"]),
            "<h2>Shapes</h2>",
            *_shapes(description.get("components", {}).get("schemas", {})),
            "</body></html>",
        )
    )


def _operations(paths: _Json) -> Iterator[str]:
    for path, operations in paths.items():
        for method, operation in operations.items():
            yield f"<section><h3><code>{escape(method.upper())} {escape(path)}</code></h3>"
            yield f"<p><strong>{escape(operation.get('summary', ''))}</strong></p>"
            yield _paragraphs(operation.get("description", ""))
            yield from _parameters(operation.get("parameters", ()))
            yield from _contents("Body", operation.get("requestBody", {}))
            for status, answer in operation["responses"].items():
                yield from _contents(f"{status}: {answer.get('description', '')}", answer)
            yield "</section>"


def _parameters(parameters: Any) -> Iterator[str]:  # noqa: ANN401 - a list of the document's
    if not parameters:
        return
    yield "<table><tr><th>parameter</th><th>in</th><th></th><th>takes</th></tr>"
    for one in parameters:
        needed = "needed" if one.get("required") else ""
        words = escape(one.get("description", ""))
        yield f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(one['in'])}</td><td>{needed}</td>"
        yield f"<td><code>{escape(json.dumps(one.get('schema', {})))}</code> {words}</td></tr>"
    yield "</table>"


def _contents(title: str, holder: _Json) -> Iterator[str]:
    for kind, content in holder.get("content", {}).items():
        yield f"<p>{escape(title)} (<code>{escape(kind)}</code>) {_shape(content.get('schema', {}))}</p>"


def _shape(schema: _Json) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    if name:
        return f'<a href="#{escape(name)}">{escape(name)}</a>'
    return f"<code>{escape(json.dumps(schema))}</code>"


def _shapes(schemas: _Json) -> Iterator[str]:
    for name, schema in schemas.items():
        yield f'<section><h3 id="{escape(name)}"><code>{escape(name)}</code></h3>'
        yield f"<pre>{escape(json.dumps(schema, indent=2))}</pre></section>"


def _paragraphs(text: str) -> str:
    return "\n".join(f"<p>{escape(part)}</p>" for part in text.strip().split("\n\n") if part)
