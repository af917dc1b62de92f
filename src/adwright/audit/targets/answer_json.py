"""The ranking in an answer of JSON, wherever it stands in the text and whatever its keys are.

    ranks_of_json('Here: {"picks": [{"product": "B", "rank": 2}, {"product": "A", "rank": 1}]}', ..)

Values are read from left to right, each from its first bracket; a value that is cut off is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from adwright.audit.targets.matching import NameFinder

_RANK_KEYS = ("rank", "position", "place", "order", "number", "no", "index", "#")
_NAME_KEYS = ("name", "product", "productname", "title", "item", "recommendation", "model")
#: Brackets that are tried as the beginning of a value, and values inside each other.
_MOST_TRIES, _MOST_DEPTH = 200, 12


@dataclass(frozen=True)
class JsonRanks:
    """rows: of the names, the best first. invented: members that name no product. tied: whether
    two products have one rank."""

    rows: tuple[int, ...]
    invented: tuple[str, ...] = ()
    tied: bool = False


def ranks_of_json(text: str, finder: NameFinder) -> JsonRanks | None:
    """What the first JSON value with a ranking says; None where there is none."""
    for value in _values(text):
        found = _ranking(value, finder, 0)
        if found is not None and found.rows:
            return found
    return None


def _values(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    at = tries = 0
    while (start := _bracket(text, at)) >= 0 and tries < _MOST_TRIES:
        tries += 1
        try:
            value, at = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            at = start + 1
            continue
        yield value


def _bracket(text: str, at: int) -> int:
    found = re.compile(r"[\[{]").search(text, at)
    return -1 if found is None else found.start()


def _ranking(value: Any, finder: NameFinder, depth: int) -> JsonRanks | None:
    if depth > _MOST_DEPTH:
        return None
    if isinstance(value, list):
        found = _of_members([_member(one, finder) for one in value])
        return found if found.rows else _inside(value, finder, depth)
    if isinstance(value, dict):
        return _of_object(value, finder) or _inside(list(value.values()), finder, depth)
    return None


def _inside(values: Sequence[Any], finder: NameFinder, depth: int) -> JsonRanks | None:
    for one in values:
        found = _ranking(one, finder, depth + 1)
        if found is not None and found.rows:
            return found
    return None


def _of_object(value: dict[str, Any], finder: NameFinder) -> JsonRanks | None:
    """{"A": 1, "B": 2} and {"1": "A", "2": "B"}; one object with a name is a list of one."""
    by_name = [(finder.exactly(key), _number(rank), key) for key, rank in value.items()]
    if by_name and all(row is not None and rank is not None for row, rank, _ in by_name):
        return _of_members(by_name)
    by_rank = [
        (_name(one, finder), _number(key), str(one)[:80])
        for key, one in value.items()
        if _number(key) is not None
    ]
    if by_rank and len(by_rank) == len(value):
        return _of_members(by_rank)
    own = _member(value, finder)
    return _of_members([own]) if own[0] is not None else None


_Member = tuple[int | None, int | None, str]


def _of_members(members: Sequence[_Member]) -> JsonRanks:
    known = [(row, rank) for row, rank, _ in members if row is not None]
    invented = tuple(text for row, _, text in members if row is None and text)
    ranks = [rank for _, rank in known]
    if ranks and all(rank is not None for rank in ranks):
        known.sort(key=lambda one: one[1] or 0)
    tied = None not in ranks and len(set(ranks)) < len(ranks)
    return JsonRanks(tuple(row for row, _ in known), invented, tied)


def _member(one: Any, finder: NameFinder) -> _Member:
    """Row, rank and text of a member of a list; no row where it names no product."""
    if isinstance(one, str):
        return finder.first(one), None, one
    if not isinstance(one, dict):
        return None, None, ""
    bare = {re.sub(r"[\W_]", "", str(key).lower()) or str(key): held for key, held in one.items()}
    rank = next((_number(bare[key]) for key in _RANK_KEYS if key in bare), None)
    texts = [bare[key] for key in _NAME_KEYS if isinstance(bare.get(key), str)]
    for text in texts or [held for held in bare.values() if isinstance(held, str)]:
        row = finder.first(text)
        if row is not None:
            return row, rank, text
    return None, rank, texts[0] if texts else ""


def _name(one: Any, finder: NameFinder) -> int | None:
    return _member(one, finder)[0]


def _number(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return int(value)
    found = re.fullmatch(r"\s*(?:#|rank\s*|no\.?\s*)?(\d{1,3})[.):]?\s*", str(value), re.IGNORECASE)
    return int(found[1]) if isinstance(value, str) and found else None
