"""Whether a page is still the same: a hash of its text without what is new in each answer."""

from __future__ import annotations

import hashlib
import re

__all__ = ["page_content"]

_DIGITS = 32
_CHANGING = re.compile(
    rb"""<input[^>]*(?:csrf|token|nonce|authenticity)[^>]*>
    | \snonce=["'][^"']*["']
    | <meta\s[^>]*>
    | csrf\w*["']?\s*[:=]\s*["'][^"']*["']""",
    re.IGNORECASE | re.VERBOSE,
)


def page_content(body: bytes) -> str:
    """32 hexadecimal digits of SHA-256 of a page, without tokens against forged forms and what only
    programs read of it."""
    return hashlib.sha256(_CHANGING.sub(b"", body)).hexdigest()[:_DIGITS]
