"""The drafts of a journal as a queue: numbered, filtered, counted, a page at a time.

A draft's number is its place among the first lines of all texts, so that it stays the same while
the journal grows, and from one run to the next. Nothing of a text is read before it is shown.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from adwright.authoring.writer.drafts import Drafts, Key, TextState
from adwright.console.review.filters import QueueFilter
from adwright.web.errors import ApiError


@dataclass(frozen=True)
class QueueCounts:
    """How many texts there are, by what was said of them; errors: whose draft has an error and is
    not reviewed. failed: that could not be written."""

    unreviewed: int
    approved: int
    edited: int
    rejected: int
    errors: int
    failed: int

    @property
    def total(self) -> int:
        """All texts."""
        return self.unreviewed + self.reviewed

    @property
    def reviewed(self) -> int:
        """Of which a person has said something."""
        return self.approved + self.edited + self.rejected


@dataclass(frozen=True)
class QueuePage:
    """numbers: of the drafts of page `page` of `pages`, from 1. found: drafts on all pages."""

    numbers: tuple[int, ...]
    page: int
    pages: int
    found: int


class ReviewQueue:
    """The queue of one journal, for several threads; see `turn`."""

    def __init__(self, drafts: Drafts) -> None:
        self.drafts = drafts
        self._lock = threading.RLock()
        self._order: list[TextState] = []
        self._numbers: dict[Key, int] = {}

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody else uses the queue until the block ends; what came since is read first."""
        with self._lock:
            self.drafts.refresh()
            self._note_new()
            yield

    def state(self, number: int) -> TextState:
        """What the text of that number is now. Raises ApiError 404 where there is none."""
        if not 0 <= number < len(self._order):
            raise ApiError(404, "there is no draft of this number", hint="go back to the queue")
        return self._order[number]

    def number(self, key: Key) -> int:
        """The number of a text."""
        return self._numbers[key]

    def counts(self, *, failed: bool = True) -> QueueCounts:
        """Of all texts. failed: count those that could not be written, whose lines are read."""
        count = Counter(state.status for state in self._order)
        errors = sum(state.errors > 0 and state.status == "unreviewed" for state in self._order)
        return QueueCounts(
            count["unreviewed"],
            count["approved"],
            count["edited"],
            count["rejected"],
            errors,
            len(self.drafts.failures()) if failed else 0,
        )

    def slots(self) -> list[str]:
        """The slots that there are, in order of the alphabet."""
        return sorted({state.key[1] for state in self._order})

    def page(self, shown: QueueFilter, page: int, rows: int) -> QueuePage:
        """One page of the texts that a filter takes; the last where there are not so many."""
        found = [number for number, state in enumerate(self._order) if shown.takes(state)]
        pages = max(1, -(-len(found) // rows))
        page = min(max(page, 1), pages)
        return QueuePage(tuple(found[(page - 1) * rows : page * rows]), page, pages, len(found))

    def beside(self, shown: QueueFilter, number: int, *, back: bool = False) -> int | None:
        """The next text that a filter takes, or the one before; None where there is none."""
        ways = range(number - 1, -1, -1) if back else range(number + 1, len(self._order))
        return next((at for at in ways if shown.takes(self._order[at])), None)

    def following(self, shown: QueueFilter, number: int) -> int | None:
        """The next text that a filter takes, from the beginning again after the end; never the text
        itself."""
        found = self.beside(shown, number)
        if found is None:
            first = (at for at in range(number) if shown.takes(self._order[at]))
            found = next(first, None)
        return found

    def _note_new(self) -> None:
        states = self.drafts.states()
        if len(states) > len(self._order):
            self._order = list(states.values())
            known = len(self._numbers)
            self._numbers |= {
                state.key: number for number, state in enumerate(self._order[known:], known)
            }
