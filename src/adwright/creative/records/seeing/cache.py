"""What was seen once, kept: a file of JSON for each content, part and version of the part.

    FOLDER/words-1f2e3d4c5b6a/9f/9f86d0...08.json

A second run over the same files finds all of it, whatever they are called by then, and a part that
changes its ways or its settings finds none of its own. Each file is written whole and carries its
own hash: one that is damaged, or no plain file, counts as missing and is written anew. Any number
of processes may share a folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adwright.core.atomic import atomic_write_text
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash
from adwright.core.regular import read_regular

__all__ = ["SeenCache"]

_MOST_BYTES = 16 << 20


class SeenCache:
    """The folder, which is made when something is kept."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def get(self, part: str, version: str, sha256: str) -> Any:
        """What is kept of the content with this hash; None where nothing is that can be read."""
        try:
            data = read_regular(self._path(part, version, sha256), most=_MOST_BYTES)
            kept = json.loads(data)
            value, said = kept["value"], kept["hash"]
            return value if content_hash(value) == said else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError, ConfigError):
            return None

    def put(self, part: str, version: str, sha256: str, value: Any) -> None:
        """Keep a value of plain JSON. Raises ResourceError where the folder cannot be written."""
        text = json.dumps({"hash": content_hash(value), "value": value}, ensure_ascii=False)
        atomic_write_text(self._path(part, version, sha256), text)

    def _path(self, part: str, version: str, sha256: str) -> Path:
        folder = f"{part}-{content_hash(version)[:12]}"
        return self.folder / folder / sha256[:2] / f"{sha256}.json"
