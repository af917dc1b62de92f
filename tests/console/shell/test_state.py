from __future__ import annotations

from adwright.console.shell.assets import load_assets
from adwright.console.shell.config import ConsoleConfig
from adwright.console.shell.pages import Pages
from adwright.console.shell.state import ConsoleState


def test_what_each_page_says_in_its_head() -> None:
    assets = load_assets()
    pages = Pages(assets, "t")
    state = ConsoleState(ConsoleConfig(), pages, assets)
    assert state.known("ann", "drafts") == {
        "reviewer": "ann",
        "signed_in": False,
        "room": "drafts",
        "has_pairs": False,
    }
    signed = ConsoleState(ConsoleConfig(key="k"), pages, assets, has_pairs=True)
    known = signed.known("ann", "pairs")
    assert (known["signed_in"], known["room"], known["has_pairs"]) == (True, "pairs", True)
