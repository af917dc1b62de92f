"""Whether an answer keeps to the facts that its request shows, and how missing facts are shown.

    missing = unsupported(row, unsupported_spans)      # spans that no fact supports
    example = with_details(example, unsupported_spans) # the same, with those words among its facts

A model that is tuned on descriptions whose numbers are not in the input learns to invent numbers,
while its loss falls. So an example is either left out, or what its answer says beyond the facts is
given as an attribute `Details`, as a seller's notes would be: some words around each such span.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from adwright.authoring.instructions.rows import AuthoringExample
from adwright.authoring.tasks.harmless import harmless
from adwright.authoring.tasks.task import AuthoringRequest

#: Name of the attribute that holds what the other facts lack.
DETAILS = "Details"
_TOKEN = re.compile(r"\S+")
#: Tokens on each side of a span that are shown with it.
_AROUND = 1
#: Characters of a fact that are read.
_LONGEST = 4000
#: Details of more characters than this share of the answer would be the answer itself.
_MOST_SHARE = 0.7


class FoundSpan(Protocol):
    """A part of a text that no fact supports."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def text(self) -> str: ...


class Unsupported(Protocol):
    """Finds the spans of a text that no fact supports, as `metrics.text.grounding` does."""

    def __call__(
        self, text: str, facts: Sequence[str], *, locale: str = "en"
    ) -> Sequence[FoundSpan]:
        """locale: the language of text and facts (BCP 47)."""


def facts_of(request: AuthoringRequest) -> tuple[str, ...]:
    """What an answer may rest on: the facts of the product, without the one that is asked for, and
    the values of the request; each as a prompt shows it, see `harmless`."""
    wanted, product = request.task.wanted.name, request.product
    if wanted == "description":
        product = replace(product, description="")
    if wanted == "category":
        product = replace(product, category="")
    if wanted == "attributes":
        product = replace(product, attributes=())
    values = (value for _, value in request.values)
    return tuple(filter(None, (harmless(one, _LONGEST) for one in (*product.facts(), *values))))


def missing_facts(example: AuthoringExample, unsupported: Unsupported) -> Sequence[FoundSpan]:
    """The spans of the answer that the facts of its request do not support."""
    request = example.request
    return unsupported(example.answer, facts_of(request), locale=request.product.locale)


def with_details(example: AuthoringExample, unsupported: Unsupported) -> AuthoringExample:
    """The example with what its facts lack as an attribute; itself where they lack nothing.

    Shown are the spans of the answer that are not supported, each with a word on either side; spans
    that touch are one. Where that would be more than 0.7 of the answer, the example stays as it is:
    to copy its input is not what it should teach.
    """
    spans = missing_facts(example, unsupported)
    if not spans:
        return example
    answer = example.answer
    pieces = [answer[start:end].strip(" ,;:.()-") for start, end in _widened(answer, spans)]
    details = "; ".join(dict.fromkeys(filter(None, pieces)))
    if len(details) > _MOST_SHARE * len(answer):
        return example
    product = example.request.product
    pairs = (*product.attributes, (DETAILS, details))
    request = replace(example.request, product=replace(product, attributes=pairs))
    return replace(example, request=request)


def _widened(text: str, spans: Sequence[FoundSpan]) -> Iterator[tuple[int, int]]:
    """Spans with the tokens around them, in order; those that overlap or touch are one."""
    tokens = [one.span() for one in _TOKEN.finditer(text)]
    wanted = set[int]()
    for span in spans:
        inside = [
            at for at, (start, end) in enumerate(tokens) if start < span.end and end > span.start
        ]
        if inside:
            low, high = max(inside[0] - _AROUND, 0), min(inside[-1] + _AROUND, len(tokens) - 1)
            wanted.update(range(low, high + 1))
    begin = None
    for at in range(len(tokens) + 1):
        if at in wanted:
            begin = at if begin is None else begin
        elif begin is not None:
            yield tokens[begin][0], tokens[at - 1][1]
            begin = None
