"""What changed between two texts, word by word.

    removed, added = changed_spans("red tea, 80 bags", "green tea, 80 bags")
    removed == ((0, 3),) and added == ((0, 5),)

By the longest common runs of words that `difflib` finds. Signs are words of their own, and so are
the letters of scripts that do not put spaces between words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

#: Half-open places in a text, in order, that do not touch.
Spans = tuple[tuple[int, int], ...]

#: Kana, Chinese characters, Hangul, Thai, Lao, Khmer and Myanmar one by one.
_WORD = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]"
    r"|[^\W_]+(?:['’][^\W\d_]+)*|[^\w\s]|_"
)
#: Words between the common beginning and end. Beyond it all of them count as changed: the search
#: takes quadratic time.
_MOST = 3_000


def changed_spans(before: str, after: str) -> tuple[Spans, Spans]:
    """What of `before` is gone, and what of `after` is new. Spaces do not count."""
    old = [found.span() for found in _WORD.finditer(before)]
    new = [found.span() for found in _WORD.finditer(after)]
    words = [before[a:b] for a, b in old], [after[a:b] for a, b in new]
    start = _same(*words)
    tail = _same(words[0][start:][::-1], words[1][start:][::-1])
    inner = words[0][start : len(old) - tail], words[1][start : len(new) - tail]
    removed, added = list[int](), list[int]()
    for kind, a, b, c, d in _changes(*inner):
        if kind != "equal":
            removed += range(start + a, start + b)
            added += range(start + c, start + d)
    return _joined(before, old, removed), _joined(after, new, added)


def _same(one: list[str], other: list[str]) -> int:
    """How many words the two begin with alike."""
    pairs = zip(one, other, strict=False)
    differs = (at for at, (left, right) in enumerate(pairs) if left != right)
    return next(differs, min(len(one), len(other)))


def _changes(one: list[str], other: list[str]) -> Iterator[tuple[str, int, int, int, int]]:
    if max(len(one), len(other)) > _MOST:
        yield "replace", 0, len(one), 0, len(other)
    else:
        yield from SequenceMatcher(None, one, other, autojunk=False).get_opcodes()


def _joined(text: str, spans: list[tuple[int, int]], chosen: list[int]) -> Spans:
    """The chosen spans; those with nothing but spaces between them as one."""
    found = list[tuple[int, int]]()
    for start, end in (spans[at] for at in chosen):
        if found and not text[found[-1][1] : start].strip():
            found[-1] = found[-1][0], end
        else:
            found.append((start, end))
    return tuple(found)
