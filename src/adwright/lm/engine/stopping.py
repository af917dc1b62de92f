"""The text of an answer while its tokens arrive: whole characters, and stop strings.

A token is not a piece of text: a character may be spread over several tokens, and a stop string
may begin inside one token and end inside another. So the text is rebuilt from the tokens, and what
could still become a stop string is held back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["AnswerText"]

_UNFINISHED = "\ufffd"
#: A character has at most four bytes, so after so many tokens it is really not one.
_PATIENCE = 4
#: Tokens that are decoded again with each new one: those in front decide about its leading space.
_CONTEXT = 4
_WINDOW = 16


class AnswerText:
    """Turns the tokens of one answer into text as soon as it is certain.

    decode: tokens to text; called with a few of the last tokens, so that an answer costs time in
    proportion to its length. stop: the text ends before the first of these strings.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: tuple[str, ...] = ()) -> None:
        self._decode = decode
        self._stop = stop
        self._longest = max(map(len, stop), default=0)
        self._ids: list[int] = []
        self._ends: list[int] = []  # length of the text after each token
        self._first = 0  # where the window begins
        self._known = ""  # text of the window, as far as it is in the whole text
        self._text = ""
        self._shown = 0
        self._waiting = 0  # tokens at the end that are not a whole character yet
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met."""
        return self._stopped

    @property
    def text(self) -> str:
        """The whole text so far, without a stop string."""
        return self._text

    @property
    def kept(self) -> int:
        """How many of the tokens, from the first, it takes to write `text`."""
        if not self._stopped:
            return len(self._ids)
        whole = len(self._text)
        if not whole:
            return 0
        reached = (row for row, end in enumerate(self._ends, start=1) if end >= whole)
        return next(reached, len(self._ids))

    def add(self, token: int) -> str:
        """Add a token; return the text that became certain, empty once a stop string was met."""
        if self._stopped:
            return ""
        self._ids.append(token)
        window = self._decode(self._ids[self._first :])
        if window.endswith(_UNFINISHED) and self._waiting + 1 < _PATIENCE:
            self._waiting += 1
            self._ends.append(len(self._text))
            return ""
        self._waiting = 0
        return self._take(window)

    def finish(self) -> str:
        """End the answer; return the rest of the text."""
        if not self._stopped:
            window = self._decode(self._ids[self._first :]) if self._ids else ""
            if len(window) > len(self._known):
                self._extend(window)
        rest = self._text[self._shown :]
        self._shown = len(self._text)
        return rest

    def _take(self, window: str) -> str:
        self._extend(window)
        self._ends.append(len(self._text))
        if not self._stopped and len(self._ids) - self._first > _WINDOW:
            self._first = len(self._ids) - _CONTEXT
            self._known = self._decode(self._ids[self._first :])
        certain = len(self._text) - (0 if self._stopped else self._held_back())
        piece = self._text[self._shown : certain]
        self._shown = max(self._shown, certain)
        return piece

    def _extend(self, window: str) -> None:
        before = len(self._text)
        self._text += window[len(self._known) :]
        self._known = window
        start = max(0, before - self._longest + 1)
        found = [at for at in (self._text.find(stop, start) for stop in self._stop) if at >= 0]
        if found:
            self._text = self._text[: min(found)]
            self._stopped = True

    def _held_back(self) -> int:
        """Length of the longest end of the text with which a stop string begins."""
        for length in range(min(self._longest - 1, len(self._text)), 0, -1):
            if any(stop.startswith(self._text[-length:]) for stop in self._stop):
                return length
        return 0
