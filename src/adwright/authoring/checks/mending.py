"""Takes a part out of a text so that the rest still reads well.

    cut("A soft red shirt, made in Paris.", [(7, 10)], "word")     # "A soft shirt, made in Paris."
    cut("A soft shirt, made in Paris.", [(22, 27)], "clause")      # "A soft shirt."
    cut("It is new. Made in Paris.", [(19, 24)], "sentence")       # "It is new."

"word" takes out no more than the part where it is an adjective before its noun or one of a list,
else its clause. "clause" takes a clause that hangs on the one before it (by a comma, a dash, "and",
"with" ...), and the whole sentence where it is the first. These are rules over words: no parser is
asked, and a check of the result decides.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from adwright.authoring.checks.limits import PlatformLimit, trim
from adwright.authoring.checks.policy import plain_text
from adwright.authoring.tasks import AuthoringRequest
from adwright.metrics.text.mentions import lexicon

#: How much is taken out.
Level = Literal["word", "clause", "sentence"]

_SENTENCE_END = re.compile(r"(?<![.!?])[.!?]++[\"”')\]]*+(?=\s|$)|[。！？]|\n")
_CLAUSE = re.compile(
    r"[,;:](?=\s)|\s[-–—|•](?=\s)|[—(|•]"
    r"|\s(?:and|but|or|with|for|in|plus|featuring|that|which|while|from|including|by|at|to|on|made"
    r"|und|mit|für|aus|et|avec|pour|en|y|con|para|e|per|voor|met)(?=\s)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_FUNCTION = {
    *("a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "from", "has", "have", "in"),
    *("is", "it", "its", "of", "off", "on", "or", "that", "the", "this", "to", "was", "we", "when"),
    *("which", "while", "will", "with", "you", "your", "can", "so", "if", "than", "then", "per"),
}
_RELATIVE = {
    *("that", "which", "while", "made", "designed", "built", "crafted", "woven", "ideal"),
    *("perfect", "great", "suitable", "inspired", "loved", "used", "known"),
}
_ADJECTIVE = re.compile(
    r"(?:ous|ful|able|ible|ive|ic|proof|resistant|free|ed|ing|less|est|best)$", re.IGNORECASE
)
_IS = {"is", "are", "was", "be", "been", "comes", "looks", "feels", "stays", "and", "or", "not"}
_ARTICLES = {"a", "an", "the", "our", "your", "this", "these", "its"}
_LEADS = {
    *("a", "an", "the", "our", "your", "this", "these", "its", "every", "each", "with", "of"),
    *("in", "for", "any", "new"),
}
_DANGLING = re.compile(
    r"(?<![\s,;:–—-])(?:\s++(?:and|or|with|for|in|of|but|plus|the|a|an|from|by|to|at|on|featuring)"
    r"|\s*+[,;:–—-]++){1,20}\s*"
    r"(?=[.!?](?:\s|$)|$)",
    re.IGNORECASE | re.MULTILINE,
)


def cut(text: str, parts: Sequence[tuple[int, int]], level: Level) -> str:
    """The text without the parts [start, end) and what hangs on them."""
    ends = [one.end() for one in _SENTENCE_END.finditer(text)]
    borders = sorted({0, *ends, len(text)})
    clauses = [one.start() for one in _CLAUSE.finditer(text)] if level != "sentence" else []
    gone = [_widened(text, start, end, level, borders, clauses) for start, end in parts]
    kept, at = [], 0
    for start, end in sorted(gone):
        if end > at:
            kept.append(text[at : max(start, at)])
            at = end
    kept.append(text[at:])
    return tidy(_joined(kept), like=text)


def tidy(text: str, *, like: str = "") -> str:
    """Text after a cut: no doubled spaces or marks, nothing that dangles, a capital where `like`
    began with one."""
    text = re.sub(r"[ \t\u00a0]{2,}", " ", text)
    text = re.sub(r"\(\s*[,;]?\s*\)|\[\s*\]", "", text)
    text = re.sub(r"(?<![ \t])[ \t]+(?=[,;:!?)](?:\s|$)|\.(?:\s|$))", "", text)
    text = re.sub(r"[,;:](?=[,;:.!?](?:\s|$))", "", text)
    text = re.sub(r"(?m)^[\s,;:–—|.!?)-]+(?=\w)|^[\s,;:–—|.!?)-]+$", "", text)
    text = _DANGLING.sub("", text)
    text = re.sub(r"[ \t]{2,}", " ", re.sub(r"(?<!\s)\s*\n\s*", "\n", text)).strip()
    first = _WORD.match(text)
    if first and like[:1].isupper() and first.group().islower():
        text = text[0].upper() + text[1:] if len(text[0].upper()) == 1 else text
    return text


def quieter(part: str) -> str:
    """Excessive capitals or punctuation in a milder form: "BUY NOW" as "Buy now", "!!!" as "!"."""
    if any(one.isalpha() for one in part):
        return part.capitalize()
    mark = next((one for one in part if one in "!?."), "")
    return mark + (" " if mark and part.endswith(" ") else "")


def _joined(kept: list[str]) -> str:
    """The pieces in a row; "a" and "an" as the letter after them asks."""
    text = kept[0]
    for piece in kept[1:]:
        article = re.search(r"(?i)(?<!\w)(a|an)(\s+)$", text)
        follows = piece.lstrip()[:1].lower()
        if article and follows.isalpha():
            right = "an" if follows in "aeiou" else "a"
            right = right.capitalize() if article.group(1)[0].isupper() else right
            text = text[: article.start(1)] + right + article.group(2) + piece.lstrip()
        else:
            text += piece
    return text


def _widened(
    text: str, start: int, end: int, level: Level, borders: list[int], clauses: list[int]
) -> tuple[int, int]:
    """The part with what has to go along with it."""
    first = borders[max(bisect_right(borders, start) - 1, 0)]
    last = borders[min(bisect_left(borders, max(end, start + 1)), len(borders) - 1)]
    if level == "word":
        few = _alone(text, start, end, first, last)
        if few is not None:
            return few
    if level != "sentence":
        before = bisect_right(clauses, start) - 1
        while before >= 0 and clauses[before] > first and _is_inside(text, clauses[before]):
            before -= 1
        after = bisect_left(clauses, end)
        if before >= 0 and clauses[before] > first:
            while (
                before > 0 and clauses[before - 1] > first and _is_relative(text, clauses, before)
            ):
                before -= 1
            while after < len(clauses) and _goes_on(text, clauses[after]):
                after += 1
            stop = clauses[after] if after < len(clauses) else last
            stop = min(stop, _before_mark(text, last))
            return clauses[before], max(stop, end)
    return first, max(last, end)


def _is_relative(text: str, clauses: list[int], at: int) -> bool:
    """Whether the clause before one begins with "that" or "made" and goes on after it."""
    before = _WORD.findall(text[clauses[at - 1] : clauses[at]].lower())
    return bool(before) and before[0] in _RELATIVE and text[clauses[at]].isspace()


def _goes_on(text: str, at: int) -> bool:
    """Whether what begins at `at` goes on with what was before: by "and", without a comma."""
    return re.match(r"\s(?:and|or)\s", text[at : at + 5]) is not None


def _is_inside(text: str, at: int) -> bool:
    """Whether the "and" at `at` stands between adjectives of one noun: a light and sturdy bag."""
    if not _goes_on(text, at):
        return False
    words = _WORD.findall(text[max(0, at - 60) : at])
    return len(words) > 1 and words[-2].lower() in _ARTICLES


def _before_mark(text: str, end: int) -> int:
    """The end of a sentence without the mark that ends it."""
    while end > 0 and text[end - 1] in ".!?\"”')]。！？\n":
        end -= 1
    return end


def _alone(text: str, start: int, end: int, first: int, last: int) -> tuple[int, int] | None:
    """The part alone, where the rest reads well without it."""
    before, after = text[max(first, start - 60) : start], text[end : min(last, end + 60)]
    words = _WORD.findall(before)
    listed = re.search(r"(?:,\s*(?:and\s|or\s)?|(?<!\s)\s+(?:and|or|&)\s+)$", before)
    if listed and re.match(r"\s*(?:[.,;!?)]|$|(?:and|or)\s)", after):
        return start - len(listed.group()), end
    leads = re.match(r"\s+(?:and|or|&)\s+(?=([^\W\d_]+))", after)
    if leads and (
        leads.group(1).lower() in lexicon("en").terms or (words and words[-1].lower() in _ARTICLES)
    ):
        return start, end + leads.end()
    follows = re.match(r"[ -]([^\W\d_]+)", after)
    if follows and follows.group(1).lower() not in _FUNCTION:
        if (
            listed
            and listed.group().strip() in ("and", "or", "&")
            and _is_adjective(text[start:end])
        ):
            return start - len(listed.group()), end
        led = not words or words[-1].lower() in _LEADS
        if led or (_is_adjective(text[start:end]) and words[-1].lower() not in _IS):
            return start, end + 1
    return None


def _is_adjective(part: str) -> bool:
    """Whether it begins with a colour or material, or ends as adjectives do."""
    if _ADJECTIVE.search(part):
        return True
    first = _WORD.search(part)
    terms = lexicon("en").terms.get(first.group().lower(), ()) if first else ()
    return any(term.kind in ("colour", "material") for term in terms)


# --------------------------------------------------------------------------------------------------
# A text out of the facts alone, for when nothing better is left: grounded by construction.
#
#     template_text(request, fits)     # "Mill Lane Assam 80 bags. Colour: navy."
#
# The title of the product stands first, or as many of its words as fit, since a part of a title may
# claim what the whole does not ("faux leather"). Then come further facts, word for word, a sentence
# each, as long as the text passes. `fits` decides every step, so that nothing is returned that a
# check refuses; where no fact passes the text is empty.

#: Facts after the first, and words that are taken off a title.
_MOST_FACTS, _MOST_WORDS = 6, 40
#: A fact of more characters is no sentence of an ad.
_LONGEST = 200


def template_text(
    request: AuthoringRequest, fits: Callable[[str], bool], limit: PlatformLimit | None = None
) -> str:
    """The text; "" where there is none that passes.

    fits: whether a text passes all checks. limit: into which it is trimmed.
    Cost: at most some fifty calls of `fits`.
    """
    text = ""
    for start in _starts(request):
        text = _shortened(start, fits, limit)
        if text:
            break
    if not text or request.task.wanted.name in ("title", "answer") or limit is not None:
        return text
    for fact in _facts(request):
        longer = f"{text.rstrip('.!? ')}. {fact}."
        if fits(longer):
            text = longer
    return text


def _starts(request: AuthoringRequest) -> Iterator[str]:
    product = request.product
    for one in (product.title, product.category, product.brand):
        tidy = " ".join(plain_text(one[:2000]).split())
        if tidy:
            yield tidy


def _shortened(text: str, fits: Callable[[str], bool], limit: PlatformLimit | None) -> str:
    if limit is not None:
        text = trim(text, limit)
    words = text.split(" ")
    for _ in range(_MOST_WORDS):
        candidate = " ".join(words).rstrip(" ,;:-–—&|/")
        if candidate and fits(candidate):
            return candidate
        words.pop()
        if not words:
            break
    return ""


def _facts(request: AuthoringRequest) -> list[str]:
    found = []
    for name, value in request.product.attributes:
        fact = " ".join(plain_text(f"{name}: {value}"[: 2 * _LONGEST]).split()).rstrip(".!? ")
        if value.strip() and len(fact) <= _LONGEST:
            found.append(fact)
    return found[:_MOST_FACTS]
