"""What an exploration has seen, page by page, in a file that the next run goes on from.

A line of JSON a page, written as soon as the page was read: a run that is killed loses one page. A
later line about the same page replaces the earlier one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from adwright.agent.explore.describe import SeenElement
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.journal import append_rows, read_rows, write_rows


@dataclass(frozen=True)
class PageRecord:
    """A page, or what tapping something on a page has shown.

    url: at which it was opened; key: that of the page in the records. address: its URL when it had
    loaded, after redirects. tapped: names of elements that were tapped on it first, of the page's
    own. template, skeleton, title: as in a document. etag: of its answer; content: hash of its text
    without what changes each time.
    """

    url: str
    address: str
    template: str
    skeleton: str
    title: str
    elements: tuple[SeenElement, ...]
    tapped: tuple[str, ...] = ()
    etag: str = ""
    content: str = ""
    depth: int = 0

    @property
    def key(self) -> str:
        """What tells it from other records."""
        return " ".join((self.url, *self.tapped))


class PageRecords:
    """The records of a folder, in the order in which pages were first seen."""

    def __init__(self, folder: Path | None = None) -> None:
        self._path = None if folder is None else folder / "pages.jsonl"
        self._records: dict[str, PageRecord] = {}
        if self._path is not None:
            read = partial(from_jsonable, PageRecord)
            self._records = {one.key: one for one in read_rows(self._path, read)}

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, key: str) -> bool:
        return key in self._records

    @property
    def all(self) -> Sequence[PageRecord]:
        """All of them."""
        return tuple(self._records.values())

    def add(self, record: PageRecord) -> None:
        """Keep a page, also on the disk. Raises ResourceError where that is full."""
        self._records[record.key] = record
        if self._path is not None:
            append_rows(self._path, [to_jsonable(record)], flush="system")

    def drop(self, url: str) -> None:
        """Forget a page, and what was tapped on it."""
        self._records = {key: one for key, one in self._records.items() if one.url != url}
        self.rewrite()

    def reorder(self, urls: Sequence[str]) -> None:
        """Put the pages of `urls` first, in that order, each with what was tapped on it."""
        place = {url: number for number, url in enumerate(urls)}
        last = len(place)
        kept = sorted(self._records.items(), key=lambda one: place.get(one[1].url, last))
        self._records = dict(kept)
        self.rewrite()

    def rewrite(self) -> None:
        """Write the file anew, one line a page."""
        if self._path is not None:
            write_rows(self._path, [to_jsonable(one) for one in self._records.values()])
