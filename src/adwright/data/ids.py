"""The one rule for ids, in files, in models, in the store and over HTTP.

An id has 1 to 500 characters, none of them a control character or half of a surrogate pair, and is
neither blank nor a word for nothing. The store and the API refuse others; so a model is refused
that would decide one. Readers of files take more, since a log may be looked at without being
served, and warn.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from adwright.data.schema import NOT_IDS

#: Characters: four bytes each at most, and PostgreSQL bounds a row of an index.
LONGEST_ID = 500
#: No C0 controls, no DEL; a class that Python's, Rust's and ECMAScript's expressions share.
PRINTABLE = r"^[^\x00-\x1f\x7f]+$"

_NO_ID = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_log = logging.getLogger("adwright")


def why_no_id(text: str) -> str:
    """Which part of the rule `text` breaks; empty for an id.

    >>> why_no_id("item-7"), why_no_id("nan")
    ('', 'it is blank, or a word for nothing')
    """
    if not text.strip() or text in NOT_IDS:
        return "it is blank, or a word for nothing"
    if len(text) > LONGEST_ID:
        return f"it has {len(text):,} characters, an id at most {LONGEST_ID}"
    if _NO_ID.search(text):
        return "it holds a control character, or half of a surrogate pair"
    return ""


def first_bad_id(ids: Iterable[str]) -> tuple[str, str] | None:
    """The first of `ids` that is none, and why; None where all are."""
    for one in ids:
        if why := why_no_id(one):
            return one, why
    return None


def warn_of_bad_ids(ids: Iterable[str], where: str) -> None:
    """Warn of the first of `ids` that the service will not take. where: the file or the column."""
    found = first_bad_id(ids)
    if found is not None:
        value, why = found
        _log.warning(
            "%s: %.80r can be read, but not served: %s. Rename it before a model is trained on it",
            where,
            value,
            why,
        )
