"""A text out of the facts alone, for when nothing better is left: grounded by construction.

    template_text(request, fits)     # "Mill Lane Assam 80 bags. Colour: navy."

The title of the product stands first, or as many of its words as fit, since a part of a title may
claim what the whole does not ("faux leather"). Then come further facts, word for word, a sentence
each, as long as the text passes. `fits` decides every step, so that nothing is returned that a
check refuses; where no fact passes the text is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from adwright.authoring.checks.limits import PlatformLimit, trim
from adwright.authoring.checks.markup import plain_text
from adwright.authoring.tasks.task import AuthoringRequest

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
