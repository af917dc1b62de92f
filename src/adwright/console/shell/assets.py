"""The files that a page asks for beside itself: our own, and htmx as its package brings it.

Nothing is copied and nothing is looked up by what a request says: the names are a closed list, and
each file is read once, when the application is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from adwright.core.errors import MissingExtraError

_OWN = {
    "console.css": "text/css; charset=utf-8",
    "keys.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_HTMX = "htmx.min.js"


@dataclass(frozen=True)
class Asset:
    """A file. digest: of its bytes, by which its address changes when it does."""

    name: str
    kind: str
    content: bytes
    digest: str


def load_assets() -> dict[str, Asset]:
    """All files, by name. Raises MissingExtraError without the package that brings htmx."""
    own = files("adwright.console") / "static"
    found = [_asset(name, kind, (own / name).read_bytes()) for name, kind in _OWN.items()]
    return {one.name: one for one in (*found, _asset(_HTMX, _OWN["keys.js"], _htmx()))}


def asset_url(assets: Mapping[str, Asset], name: str) -> str:
    """The address of an asset, which a browser may keep for ever."""
    return f"/static/{name}?v={assets[name].digest}"


def _asset(name: str, kind: str, content: bytes) -> Asset:
    return Asset(name, kind, content, hashlib.sha256(content).hexdigest()[:16])


def _htmx() -> bytes:
    # Found and not imported: the package would need Django for nothing but its folder of files.
    spec = find_spec("js_lib_htmx")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        file = Path(folder) / "static" / "htmx" / _HTMX
        if file.is_file():
            return file.read_bytes()
    raise MissingExtraError("the pages of the console", "service")
