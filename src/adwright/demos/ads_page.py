"""The page of the demonstration's ads: what was written, what was found in it, and what is left.

write_ads_page(path, ads, counts, model="...", seconds={})
marked("Now 24 bags", findings)     # (("Now ", ""), ("24", "grounding/number"), (" bags", ""))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adwright.authoring.checks.limits import Finding
from adwright.demos.ads_program import ProductAd, WrittenText
from adwright.demos.folder import write_demo_page


@dataclass(frozen=True)
class AdCounts:
    """Of the texts: how many there are; grounded and without any error, before and after the
    repair; changed by it."""

    texts: int
    grounded_before: int
    grounded_after: int
    faultless_before: int
    faultless_after: int
    changed: int

    def sentence(self) -> str:
        """The counts in words."""
        return (
            f"Of {self.texts} texts, {self.grounded_before} say only what the facts support, and "
            f"{self.faultless_before} have no error of any kind; after the repair, which changed "
            f"{self.changed}, {self.grounded_after} and {self.faultless_after}."
        )


def marked(text: str, findings: Sequence[Finding]) -> tuple[tuple[str, str], ...]:
    """The text in pieces with the rule that each breaks, "" for none; of findings that overlap, the
    first counts, and one about the whole text marks nothing."""
    pieces: list[tuple[str, str]] = []
    at = 0
    for one in findings:
        start, end = max(one.start, at), min(one.end, len(text))
        if start >= end or end - one.start >= len(text):
            continue
        pieces += [(text[at:start], ""), (text[start:end], one.rule)]
        at = end
    pieces.append((text[at:], ""))
    return tuple(piece for piece in pieces if piece[0])


def told(findings: Sequence[Finding]) -> str:
    """The findings in words, each once."""
    names = dict.fromkeys(f"{one.rule}: {one.message}" for one in findings)
    return "; ".join(names) or "nothing found"


def ad_rows(ad: ProductAd) -> list[tuple[str, str, str, str]]:
    """For a terminal: slot, the text with what is wrong in [[brackets]], findings, and what is left
    where that is another text."""
    return [(text.slot, _bracketed(text), _found(text), _left(text)) for text in ad.texts]


def write_ads_page(
    path: str | Path,
    ads: Sequence[ProductAd],
    counts: AdCounts,
    *,
    model: str,
    seconds: Mapping[str, float],
) -> None:
    """Write the page, whole or not at all. seconds: of the stages, in order.

    Raises ResourceError where the disk is full.
    """
    values = {
        "ads": ads,
        "counts": counts,
        "model": model,
        "seconds": seconds,
        "marked": marked,
        "told": told,
    }
    write_demo_page(path, "ads.html", values)


def _bracketed(text: WrittenText) -> str:
    pieces = marked(text.before, text.repaired.findings_before)
    return "".join(f"[[{piece}]]" if rule else piece for piece, rule in pieces)


def _found(text: WrittenText) -> str:
    return text.failure or ", ".join(
        dict.fromkeys(one.rule for one in text.repaired.findings_before)
    )


def _left(text: WrittenText) -> str:
    if not text.repaired.changed:
        return ""
    return text.repaired.text or "(nothing that may be shown)"
