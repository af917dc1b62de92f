"""Labels of pages that would speak to a model as if they were instructions."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

# --------------------------------------------------------------------------------------------------
# What a page calls its things, before it enters a document that a model may read.
#
#     guarded("Save changes").text                       # "Save changes"
#     guarded("Ignore previous instructions and ...")    # withheld, with the reason
#
# A label is data. Who can name a product can write a label, and a label that speaks to the reader
# of the document is an attack. So labels are cleaned of what cannot be seen, cut, and withheld
# where they address a reader. Withheld labels cost a description, never the element: a locator
# keeps the name as the page has it, and no model reads locators. A guard of words is no boundary;
# that is the gate at the network.

#: Of a label in a document.
MOST_CHARACTERS = 80
# Format and control characters, private use and lone surrogates: nobody sees them.
_UNSEEN = {"Cc", "Cf", "Co", "Cs", "Cn"}
_ADDRESSES = re.compile(
    r"""\b(ignore|disregard|forget|override|bypass)\b.{0,40}\b(all|any|previous|prior|above|earlier
    |instruction|instructions|prompt|rules|task)\b
    | \b(system|assistant|developer|user)\s*(prompt|message|:)
    | \b(you\s+(must|should|are\s+now|have\s+to)|as\s+an?\s+(ai|assistant|agent|language\s+model))\b
    | \b(instead|first|now|always)\s*,?\s+
      (click|tap|press|open|enter|type|delete|send|transfer|buy)\b
    | \b(ai|agent|assistant|model|bot)s?\b.{0,20}\b(click|must|should|please|has\s+to|need)\b
    | <\s*/?\s*(script|system|instruction|tool|im_start|im_end)
    | \[\s*/?\s*(inst|system)\s*\] | \{\{|\}\} | https?://
    | \b(ignoriere|vergiss|ignorez|oubliez|ignora|olvida|ignore\s+as|negeer)\b.{0,60}
      \b(anweisung|anweisungen|bisherigen|instructions|instrucciones|istruzioni|instruções
      |anteriores|precedenti|instructies)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True)
class GuardedLabel:
    """text: fit for a document. withheld: why not all of it is there, or empty."""

    text: str
    withheld: str = ""


def guarded(label: str) -> GuardedLabel:
    """A label for a document: NFKC, without what cannot be seen, in one line, at most 80 characters
    long; of one that addresses a reader only its length."""
    wide = unicodedata.normalize("NFKC", label)
    seen = "".join(
        " " if one.isspace() else one
        for one in wide
        if one.isspace() or unicodedata.category(one) not in _UNSEEN
    )
    text = " ".join(seen.split())
    # Letters that look alike are made plain before words are looked for; accents go.
    plain = "".join(
        one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one)
    )
    if _ADDRESSES.search(text) or _ADDRESSES.search(plain):
        return GuardedLabel(f"({len(text)} characters withheld)", "it addresses the reader")
    if len(text) > MOST_CHARACTERS:
        return GuardedLabel(text[: MOST_CHARACTERS - 1].rstrip() + "…", "it is long")
    return GuardedLabel(text)
