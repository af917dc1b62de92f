"""Records of DeepMatcher and Ditto: pairs of products, and whether they are the same one.

    COL name VAL speck seethru case COL price VAL 9.99 \t COL name VAL ... \t 1

A file holds each product as often as it is paired. `read_matches` gives each once, with a cluster
that it shares with the products that it is matched with, across all files of a folder.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from adwright.core.errors import DataError, FileUnreadableError

_COLUMN = re.compile(r"(?:^|(?<=\s))COL\s+(\S+)\s+VAL(?=\s|$)")
_PARTS = 3
_DIGITS = 12
#: Files of a folder, in this order, then others that end so.
_FIRST = ("train.txt", "valid.txt", "test.txt")


@dataclass(frozen=True)
class MatchRecord:
    """One product. id: of its side and text. fields: as in the file. side: 0 or 1, the shop.
    cluster: shared with its matches. source: the folder's or the file's name."""

    id: str
    fields: dict[str, str]
    side: int
    cluster: str
    source: str


def read_matches(path: str | Path) -> Iterator[MatchRecord]:
    """The products of a file, or of all .txt files of a folder, each once, in order.

    Raises DataError, naming file and row, for a line that is no pair; FileUnreadableError where
    there is nothing to read.
    """
    path = Path(path)
    files = _files(path)
    source = path.name if path.is_dir() else path.stem
    texts: dict[tuple[int, str], int] = {}
    above: list[int] = []
    for left, right, same in (pair for file in files for pair in _pairs(file)):
        places = []
        for key in ((0, left), (1, right)):
            place = texts.setdefault(key, len(texts))
            if place == len(above):
                above.append(place)
            places.append(place)
        if same:
            low, high = sorted(_top(above, place) for place in places)
            above[high] = low
    ids = [f"{source}-{side}-{_digest(text)}" for side, text in texts]
    for (side, text), place in texts.items():
        cluster = ids[_top(above, place)]
        yield MatchRecord(ids[place], record_fields(text), side, cluster, source)


def record_fields(text: str) -> dict[str, str]:
    """The fields of one record.

    >>> record_fields("COL name VAL tea, 80 bags COL price VAL ")
    {'name': 'tea, 80 bags', 'price': ''}
    """
    found = list(_COLUMN.finditer(text))
    ends = [*(one.start() for one in found[1:]), len(text)][: len(found)]
    return {one[1]: text[one.end() : end].strip() for one, end in zip(found, ends, strict=True)}


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.txt"), key=lambda file: (file.name not in _FIRST, file.name))
    if not found:
        raise FileUnreadableError(
            "the folder has no .txt file of matches",
            file=str(path),
            hint="put train.txt, valid.txt and test.txt there",
        )
    return found


def _pairs(file: Path) -> Iterator[tuple[str, str, bool]]:
    try:
        with file.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream):
                if not line.strip():
                    continue
                parts = line.rstrip("\n").split("\t")
                good = len(parts) == _PARTS and parts[2].strip() in ("0", "1")
                if not (good and all(_COLUMN.search(part) for part in parts[:2])):
                    raise DataError(
                        "a line is no pair of records",
                        file=str(file),
                        row=number,
                        value=line[:60],
                        hint="COL name VAL ..., a tab, the other record, a tab, and 0 or 1",
                    )
                yield parts[0].strip(), parts[1].strip(), parts[2].strip() == "1"
    except (OSError, UnicodeDecodeError) as error:
        raise FileUnreadableError(
            f"the matches cannot be read: {error}", file=str(file), hint="check the path"
        ) from error


def _top(above: list[int], one: int) -> int:
    while above[one] != one:
        above[one] = above[above[one]]
        one = above[one]
    return one


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
