"""How single values are shown: numbers, and characters that the eye does not see."""

from __future__ import annotations

import re
import unicodedata

#: Controls but line ends and tabs; marks that turn the direction of text; what has no width, but
#: the joiners of Indic and Persian writing and of emoji; half surrogates; tags; what is private.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e"
    "\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\ue000-\uf8ff\U000e0000-\U000e0fff]"
)


def hidden_runs(text: str) -> list[tuple[str, str]]:
    """The text in pieces: `(piece, "")` for what is seen, `(" ", "U+202E RIGHT-TO-LEFT OVERRIDE")`
    for a character that is not, so that nobody approves what he cannot see."""
    pieces, at = list[tuple[str, str]](), 0
    for found in _HIDDEN.finditer(text):
        if found.start() > at:
            pieces.append((text[at : found.start()], ""))
        sign = found.group()
        name = unicodedata.name(sign, "")
        pieces.append((" ", f"U+{ord(sign):04X} {name}".strip()))
        at = found.end()
    if at < len(text):
        pieces.append((text[at:], ""))
    return pieces


def has_hidden(text: str) -> bool:
    """Whether a character of the text is not seen."""
    return _HIDDEN.search(text) is not None


def thousands(value: int) -> str:
    """12345 as 12,345."""
    return f"{value:,}"
