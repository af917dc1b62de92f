"""Why an edit is refused: a code, a sentence, and what it concerns."""

from __future__ import annotations

from typing import Literal

from adwright.core.config import settings

__all__ = ["Refusal", "RefusalCode"]

RefusalCode = Literal[
    "no_manifest",
    "no_consent",
    "expired",
    "minor",
    "age_unknown",
    "other_face",
    "political",
    "health_claim",
    "unknown_direction",
    "locked_direction",
    "not_allowed",
    "renamed_direction",
    "mixture",
    "too_far",
    "drift",
    "log_broken",
]


@settings
class Refusal:
    """reason: a sentence for people. face: its number, where it is about one. span: of the ad's
    text, first character and the one after the last, where it is about words."""

    code: RefusalCode
    reason: str
    face: int | None = None
    span: tuple[int, int] | None = None
