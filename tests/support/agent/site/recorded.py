"""A page as Chromium 156 has answered: a form whose fields hide properties, frames, a shadow tree.

Its address was http://shop.example/offers/7/; in it, a second frame came from a data: address,
and a paragraph was hidden.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def recorded_page() -> tuple[dict[str, Any], dict[str, Any]]:
    """The snapshot, and the accessibility trees by frame."""
    path = Path(__file__).with_name("recorded_page.json")
    found = json.loads(path.read_text("utf-8"))
    return found["snapshot"], found["trees"]
