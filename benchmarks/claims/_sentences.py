"""The sentences of the documentation that claim a lead, and the rows that they stand on.

A paragraph, or a line of a list or a table, that says who is ahead carries a mark that no reader
sees:

    <!-- claim: din/gauc_din_minus_base ahead; item_item/lastfm_x level -->

A row and the verdict that the sentence gives it, or `none` and why nothing measured is claimed:

    <!-- claim: none, of a log of one's own -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.claims._rows import ClaimRow
from benchmarks.common.result import ROOT

#: Pages without claims of ours: generated from the commands, or a history.
_LEFT_OUT = ("cli.md", "changelog.md", "floors.md", "errors.md")
CLAIMS = re.compile(
    r"\b((?<!who is )ahead(?! of the log)|(is|are|be) behind|(?<!to )beats?|wins|outperforms?|"
    r"(better|worse|higher|lower) than|as good as|gains? overall|the better for it|less alike|"
    r"finds? (more|\w+ times)|holds? more of|the lowest|steeper|makes no difference|"
    r"two are not told apart|costs nothing (here|that can be measured here))\b",
    re.IGNORECASE,
)
_MARK = re.compile(r"<!-- claim: (.*?) -->", re.DOTALL)
_TRAININGS = re.compile(r"\b(training|trainings|seed|seeds|single runs?)\b")
_HIDDEN = re.compile(
    r"^(`{3,}).*?^\1`*[ ]*$|<!-- generated:.*?<!-- end -->|^#.*?$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Passage:
    """A paragraph, or a line of a list or a table, without its marks. place: PAGE:LINE. marks:
    (row, verdict), or ("none", why)."""

    place: str
    text: str
    marks: tuple[tuple[str, str], ...]

    @property
    def claims(self) -> bool:
        """Whether it has the words of a claim."""
        return CLAIMS.search(self.text) is not None


def pages() -> list[Path]:
    """The README and the pages of docs/."""
    found = [page for page in sorted(ROOT.glob("docs/*.md")) if page.name not in _LEFT_OUT]
    return [ROOT / "README.md", *found]


def passages(page: str, text: str) -> Iterator[Passage]:
    """Of a page: what was written by hand. Code, and parts generated from the results, are left
    out."""
    # Line by line the same length, so that places stay.
    shown = _HIDDEN.sub(lambda match: "\n" * match[0].count("\n"), text)
    start = 0
    for part in re.split(r"(\n[ ]*\n|\n(?=[ ]*(?:[-*] |\d+\. |\|)))", shown):
        if part.strip():
            line = shown.count("\n", 0, start) + 1
            marks = tuple(
                (one.strip().partition(" ")[0].rstrip(","), one.strip().partition(" ")[2])
                for mark in _MARK.findall(part)
                for one in mark.split(";")
            )
            yield Passage(f"{page}:{line}", " ".join(_MARK.sub("", part).split()), marks)
        start += len(part)


def faults(passage: Passage, rows: Mapping[str, ClaimRow]) -> list[str]:
    """What is wrong with a passage: a claim without a mark, a mark that its row does not bear."""
    if passage.claims and not passage.marks:
        return [f"{passage.place}: a claim names no row: {passage.text}"]
    found = []
    for name, verdict in passage.marks:
        if name == "none":
            if not verdict:
                found.append(f"{passage.place}: say why no row is needed")
            continue
        row = rows.get(name)
        if row is None:
            found.append(f"{passage.place}: there is no row {name}")
        elif row.verdict != verdict:
            found.append(f"{passage.place}: {name} bears {row.words()!r}, not {verdict!r}")
        elif row.of_trainings and not _TRAININGS.search(passage.text):
            found.append(f"{passage.place}: {name} speaks of the trainings that were made: say so")
    return found
