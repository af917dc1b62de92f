"""What a person sees who opens the service in a browser: where to go, and what each call takes.

The page is written from the OpenAPI, with no script and nothing from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

__all__ = ["docs_page", "front"]

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}"
    "pre{background:#f4f4f4;padding:.7rem;overflow-x:auto}td,th{text-align:left;padding:.2rem 1rem "
    ".2rem 0;vertical-align:top}h2{margin-top:2.5rem}code{font-size:.95em}"
)


def front(version: str) -> dict[str, str]:
    """What `GET /` answers: what this is, and where it is described."""
    return {
        "service": "adwright",
        "version": version,
        "openapi": "/openapi.json",
        "docs": "/docs",
        "ready": "/readyz",
        "key": "send the key of a tenant in X-API-Key; `adwright key TENANT` makes one",
    }


def docs_page(openapi: Mapping[str, Any]) -> str:
    """HTML that lists the calls of an OpenAPI document: fields, an example, a curl."""
    return "\n".join(_page(openapi))


def _page(openapi: Mapping[str, Any]) -> Iterator[str]:
    info = openapi["info"]
    title = escape(f"{info['title']} {info['version']}")
    yield '<!doctype html><html lang="en"><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width">'
    yield f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
    yield f"<pre>{escape(info.get('description', '').strip())}</pre>"
    yield '<p>The same for programs: <a href="openapi.json">openapi.json</a></p>'
    schemas = openapi.get("components", {}).get("schemas", {})
    for path, calls in openapi["paths"].items():
        for method, call in calls.items():
            yield from _call(method.upper(), path, call, schemas)
    yield "</html>"


def _call(
    method: str, path: str, call: Mapping[str, Any], schemas: Mapping[str, Any]
) -> Iterator[str]:
    yield f"<h2><code>{method} {escape(path)}</code></h2>"
    yield f"<p>{escape(call.get('summary', ''))}. {escape(call.get('description', ''))}</p>"
    rows = [
        (one["name"], "needed" if one.get("required") else "", one.get("description", ""))
        for one in call.get("parameters", [])
    ]
    schema = _body(call, schemas)
    needed = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        rows.append((name, "needed" if name in needed else "", field.get("description", "")))
    if rows:
        cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
        yield f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
    for example in schema.get("examples", [])[:1]:
        body = json.dumps(example, indent=1)
        yield f"<pre>{escape(_curl(method, path, body))}</pre>"


def _body(call: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a call's body; empty where it has none."""
    content = call.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    found: Mapping[str, Any] = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
    return found


def _curl(method: str, path: str, body: str) -> str:
    return (
        f"curl -X {method} http://127.0.0.1:8000{path} -H 'X-API-Key: KEY' \\\n"
        f"  -H 'Content-Type: application/json' -d '{body}'"
    )
