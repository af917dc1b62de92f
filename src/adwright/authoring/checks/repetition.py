"""Repetition: a word said twice, a phrase again and again, a title stuffed with keywords.

check_repetition("Tea tea tea, the best tea for tea")
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import pairwise

from adwright.authoring.checks.finding import Finding

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
#: Words that may follow themselves ("had had"), and short ones that any text is full of.
_MAY_DOUBLE = frozenset(("that", "had", "very", "so", "bye", "bora", "yo", "cha", "dum", "tom"))
_SHORT = 3
#: A phrase of so many words may stand so often; one content word so often and in so large a share.
_PHRASE, _PHRASES = 3, 2
_WORDS, _SHARE = 3, 0.2


def check_repetition(text: str) -> tuple[Finding, ...]:
    """Warnings for doubled words, phrases of three words that stand three times, and a word that
    is a fifth of a text and stands more than three times; an error where that is a third of it.
    """
    words = [(one.group().casefold(), one.start(), one.end()) for one in _WORD.finditer(text)]
    return (*_doubled(text, words), *_phrases(words), *_stuffed(words))


Words = list[tuple[str, int, int]]


def _doubled(text: str, words: Words) -> list[Finding]:
    found = []
    for (one, _, end), (other, start, last) in pairwise(words):
        is_same = one == other and text[end:start].isspace()
        if is_same and not one.isdigit() and one not in _MAY_DOUBLE:
            message = f"the word {text[start:last]!r:.60} stands twice in a row"
            found.append(
                Finding("repetition/doubled", end, last, "warning", message, "say it once")
            )
    return found


def _phrases(words: Words) -> list[Finding]:
    places: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for at in range(len(words) - _PHRASE + 1):
        phrase = tuple(word for word, _, _ in words[at : at + _PHRASE])
        if max(map(len, phrase)) >= _SHORT:
            places[phrase].append(at)
    found = []
    until = -1
    for phrase, ats in sorted(places.items(), key=lambda one: one[1]):
        if len(ats) <= _PHRASES or ats[0] <= until:
            continue
        until = ats[0] + _PHRASE - 1
        at = ats[_PHRASES]
        message = f"{' '.join(phrase)!r:.80} stands {len(ats)} times"
        found.append(
            Finding(
                "repetition/phrase",
                words[at][1],
                words[at + 2][2],
                "warning",
                message,
                "say it once",
            )
        )
    return found


def _stuffed(words: Words) -> list[Finding]:
    counts = Counter(word for word, _, _ in words if len(word) > _SHORT)
    found = []
    for word, count in counts.items():
        share = count / len(words)
        if count > _WORDS and share > _SHARE:
            places = [(start, end) for one, start, end in words if one == word]
            start, end = places[_WORDS]
            severity = "error" if share > 1 / 3 else "warning"
            found.append(
                Finding(
                    "repetition/stuffing",
                    start,
                    end,
                    severity,  # type: ignore[arg-type]
                    f"{word!r:.60} is {share:.0%} of the words",
                    "use it once or twice",
                )
            )
    return found
