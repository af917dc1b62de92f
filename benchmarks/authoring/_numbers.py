"""Constrained decoding: a model can write no number but those of the facts.

    grammar = number_grammar(request)       # GBNF, which every engine takes
    model.generate(prompt, GenerationConfig(max_tokens=60, grammar=grammar))

With N the numbers of the facts and S any character that is neither a figure nor one of .,/:'- ,
the text is a word of

    (N | nothing) ( any character but a figure | S N )*

A number thus begins the text or follows an S: two numbers cannot grow together, and 1 and 5 do
not make 1.5 or 1-5. Numbers stand as the facts have them, 1,000 also as 1000; a code keeps its
figures. Figures of other scripts and fractions such as ½ are excluded like ours.

It bounds figures alone. Numbers in words, and a number of the facts with another unit, remain for
`check` to find.
"""

from __future__ import annotations

import re

from adwright.authoring.checks.limits import CheckConfig, facts_of
from adwright.authoring.tasks import AuthoringRequest

_NUMBER = re.compile(r"\d+(?:[.,/:'-]\d+)*", re.ASCII)
#: Figures in all scripts that have them below U+FFFF, raised, lowered and as fractions.
_FIGURES = (
    "0-9\u00b2\u00b3\u00b9\u00bc-\u00be\u0660-\u0669\u06f0-\u06f9\u07c0-\u07c9\u0966-\u096f"
    "\u09e6-\u09ef\u0a66-\u0a6f\u0ae6-\u0aef\u0b66-\u0b6f\u0be6-\u0bef\u0c66-\u0c6f\u0ce6-\u0cef"
    "\u0d66-\u0d6f\u0e50-\u0e59\u0ed0-\u0ed9\u0f20-\u0f29\u1040-\u1049\u17e0-\u17e9\u1810-\u1819"
    "\u2070-\u2079\u2080-\u2089\u2150-\u2189\u2460-\u249b\u24ea-\u24ff\u2776-\u2793\uff10-\uff19"
)
_MARKS = ".,/:'"
_MOST = 200
_LONGEST = 40


def fact_numbers(request: AuthoringRequest, config: CheckConfig | None = None) -> tuple[str, ...]:
    """The numbers of the facts, as they may be written, each once, the longest first.

    At most 200 of at most 40 figures: of more facts the first count.
    """
    settings = CheckConfig() if config is None else config
    found: dict[str, None] = {}
    for fact in facts_of(request, settings):
        for one in _NUMBER.findall(fact):
            plain = re.sub(r"(?<=\d)[,'](?=\d{3}(?!\d))", "", one)
            found |= dict.fromkeys(each for each in (one, plain) if len(each) <= _LONGEST)
    return tuple(sorted(list(found)[:_MOST], key=lambda one: (-len(one), one)))


def number_grammar(request: AuthoringRequest, config: CheckConfig | None = None) -> str:
    """The grammar in GBNF, for `GenerationConfig.grammar`."""
    numbers = fact_numbers(request, config)
    if not numbers:
        return f"root ::= [^{_FIGURES}]*\n"
    choices = " | ".join(f'"{one}"' for one in numbers)
    return (
        "root ::= number? part*\n"
        f"part ::= [^{_FIGURES}] | safe number\n"
        f"safe ::= [^{_FIGURES}{_MARKS}-]\n"
        f"number ::= {choices}\n"
    )
