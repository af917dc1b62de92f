"""Words of tasks and of labels, made alike, and how much each tells in one document.

    terms_of("Renamed the offers")           # ("renam", "offer")
    weights = TermWeights(["Offers", "Offer name", "Vouchers"])
    weights.shared(terms_of("the name"), terms_of("Offer name *"))

Endings are cut, words without meaning are dropped, and a few words count as near others: who writes
"rename" or "called" speaks of a field "Name" or "Title". Rare words of a document tell more.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

__all__ = ["TermWeights", "near_terms", "terms_of"]

_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
_EMPTY = frozenset(
    (
        *("a", "an", "the", "of", "to", "for", "in", "on", "at", "is", "are", "be", "as"),
        *("and", "or", "it", "its", "this", "that", "these", "with", "please", "we", "i"),
        *("you", "our", "my", "me", "us", "your", "so", "from", "now", "by", "has", "have"),
        *("had", "do", "does", "should", "must", "may", "let", "there", "he", "she", "they"),
        *("them", "their", "was", "were", "will", "would", "like", "just", "too", "very"),
        *("here", "than", "then", "who", "whom", "whose", "also", "into", "per", "via"),
        *("which", "what", "where", "when", "if", "but", "all", "any", "each", "some", "such"),
        *("can", "could"),
    )
)
#: Words that mean nearly the same where a form asks for it.
_NEAR = (
    ("name", "title", "call", "rename", "entitle", "label", "headline", "caption"),
    ("number", "num", "no", "nr"),
    ("quantity", "amount", "count", "piece", "qty"),
    ("email", "mail"),
    ("text", "body", "message", "content", "say", "words", "note", "comment", "write"),
    ("url", "address", "link", "path", "slug"),
    ("price", "cost", "charge"),
    ("stock", "inventory", "warehouse"),
    ("status", "state"),
    ("type", "kind", "class", "sort"),
    ("start", "begin", "from", "launch"),
    ("end", "finish", "until", "close", "expire"),
    ("create", "new", "add"),
    ("delete", "remove", "trash", "bin"),
    ("important", "star", "favourite", "favorite"),
    ("reply", "respond"),
    ("user", "customer", "account", "people"),
    ("register", "sign up", "join"),
    ("basket", "cart", "bag"),
    ("tax", "vat"),
    ("active", "activate", "deactivate", "enable", "disable", "enabled", "disabled"),
    ("public", "publish", "unpublish", "hide", "visible"),
)
#: A near word counts so much as the word itself. Our choice.
_NEARLY = 0.6


def terms_of(text: str) -> tuple[str, ...]:
    """The words of a text that mean something, without their endings, in their order."""
    found = []
    for word in _WORD.findall(_CAMEL.sub(" ", text)):
        plain = word.casefold()
        if plain not in _EMPTY:
            found.append(_stem(plain))
    return tuple(found)


def near_terms(term: str) -> frozenset[str]:
    """The terms that mean nearly the same, the term left out."""
    return _NEAR_TERMS.get(term, frozenset()) - {term}


class TermWeights:
    """How much a term tells: ln(1 + N / n) of N texts, n of them with it; a term that no text has
    tells as much as one that a single text has."""

    def __init__(self, texts: Iterable[str]) -> None:
        sets = [set(terms_of(one)) for one in texts]
        self._texts = max(len(sets), 1)
        self._with = Counter(term for one in sets for term in one)

    def __getitem__(self, term: str) -> float:
        return math.log(1 + self._texts / max(self._with.get(term, 1), 1))

    def knows(self, term: str) -> bool:
        """Whether a text has it, or a near one."""
        return term in self._with or any(one in self._with for one in near_terms(term))

    def of(self, terms: Iterable[str]) -> float:
        """The sum over different terms."""
        return sum(self[one] for one in set(terms))

    def shared(self, wanted: Iterable[str], has: Iterable[str]) -> float:
        """How much of `wanted` is in `has`: the sum of weights, less for near terms."""
        there = set(has)
        total = 0.0
        for one in set(wanted):
            if one in there:
                total += self[one]
            elif near_terms(one) & there:
                total += _NEARLY * self[one]
        return total


def _stem(word: str) -> str:
    if word.isdigit() or len(word) < 4:
        return word
    if word.endswith("ies"):
        word = word[:-3] + "y"
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


_NEAR_TERMS = {
    _stem(one): frozenset(map(_stem, group)) for group in _NEAR for one in group if " " not in one
}
