"""Read the ranking out of a free answer, by rules that are written down.

    parsed = parse_answer("1. **Snap Pro** - sharp\\n2. Snap", ("Snap", "Snap Pro"))
    parsed.order, parsed.how        # (1, 0), "numbered"

The first of these that names a product of the catalogue counts, and what comes after it adds
nothing:

1. json: the first JSON value in the answer that has a list whose members are names, or objects with
   a name, or an object from names to ranks or from ranks to names. Ranks order where every member
   has one, else the order of the list does.
2. numbered: lines that begin with a number ("1.", "2)", "#3", "4、", "**5.**", "6º", "No. 7:") or a
   row of a table whose first cell is one. Each counts for the first name that stands in it, so a
   name in another's explanation does not; "A and B" before the explanation begins counts for both.
   They are ordered by their numbers where none stands twice, else as they stand. A numbered line
   without a name of the catalogue is an invented product, and takes no place.
3. listed: lines that begin with a bullet, and rows of tables; likewise, as they stand.
4. named: the order of first mention in running text, without sentences that advise against what
   they name ("avoid", "not recommend", "instead of" and the like; English).

What was thought aloud (<think> .. </think>) is left out first. A product that no rule reaches is
not ranked. Names are found by `NameFinder`. An answer without a product has the note "refused"
where it says that it cannot or will not, else "nothing named". Plain substring search, as the
released code of "Manipulating LLMs to Increase Product Visibility" has it, takes a name inside a
longer one, and names in explanations, for recommendations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from adwright.audit.targets.answer_json import ranks_of_json
from adwright.audit.targets.matching import NameFinder, plain_text
from adwright.core.config import settings

#: The rule that read an answer; "none" where it names no product.
AnswerForm = Literal["json", "numbered", "listed", "named", "none"]

_THOUGHT = re.compile(r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_NUMBERED = re.compile(
    r"^[\s>|#*_`(\[\"'“«-]{0,8}(?:no|nr|rank|place|platz|top|number|option|choice|第)?[.\s#]{0,3}"
    r"(\d{1,3})\s?[*_`]{0,3}(?P<sign>[.)\]:、。º°ª|–—-]|[oa]\b|st\b|nd\b|rd\b|th\b|位|名|\s)(?P<rest>.*)$",
    re.IGNORECASE,
)
_LISTED = re.compile(r"^\s*(?:[-*+•·▪◦‣►✓✔–—|]|>\s)(?P<rest>.*)$")
_HEAD = re.compile(
    r"\s[-–—]+\s|[:：;(（]|\.\s|\bbecause\b|\bsince\b|\bthan\b|\bunlike\b", re.IGNORECASE
)
_JOINED = re.compile(r"^[\s*_`\"',]*(?:/|,|&|and|or|und|oder|et|ou|y|o|e|tied? with|=)[\s*_`\"']*$")
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n+|(?<=[。！？])")
_AGAINST = re.compile(
    r"\b(?:avoid|skip|steer clear|stay away|ruled? out|"
    r"(?:do|would|can|could|wo|does|did|should)(?:\s?not|n['’]t) (?:\w+ )?"
    r"(?:recommend|suggest|choose|buy|advise|pick|consider|include)|"
    r"not (?:be )?(?:recommended|suitable|suited|a good|the best|worth)|"
    r"isn['’]t (?:recommended|suitable|worth|a good)|"
    r"instead of|rather than|leave out|except for|excluding)\b",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"\b(?:sorry|apologi[sz]e|cannot|can['’]t|unable|not able|won['’]t|refuse|as an ai|"
    r"not (?:allowed|permitted|comfortable)|désolée?|lo siento|no puedo|leider|kann ich nicht|"
    r"non posso|mi dispiace|desculpe|não posso|nie mogę|przepraszam|не могу|извините)"
    r"|不能|无法|抱歉|できません|申し訳",
    re.IGNORECASE,
)


@settings
class ParsedAnswer:
    """order: rows of the names, the best first. how: the rule that read it. invented: products of
    a list that the catalogue does not have, as they stand. tied: whether one place of the list had
    several products. note: for a reader, empty where all is well."""

    order: tuple[int, ...]
    how: AnswerForm
    invented: tuple[str, ...] = ()
    tied: bool = False
    note: str = ""


@dataclass(frozen=True)
class _ListLine:
    number: int | None
    rows: tuple[int, ...]
    text: str


def parse_answer(answer: str, names: Sequence[str]) -> ParsedAnswer:
    """The ranking that an answer states. names: of the catalogue, distinct."""
    text = plain_text(_THOUGHT.sub(" ", answer))
    finder = NameFinder(names)
    told = ranks_of_json(text, finder)
    if told is not None and told.rows:
        return _parsed(told.rows, "json", told.invented, tied=told.tied)
    lines = text.splitlines()
    for how, found in (("numbered", _numbered(lines, finder)), ("listed", _listed(lines, finder))):
        rows = [row for line in found for row in line.rows]
        if rows:
            invented = [line.text for line in found if not line.rows and how == "numbered"]
            tied = any(len(line.rows) > 1 for line in found)
            return _parsed(rows, "numbered" if how == "numbered" else "listed", invented, tied=tied)
    against = _advised_against(text)
    rows = [one.row for one in finder.find(text) if not any(one.start in part for part in against)]
    if rows:
        return _parsed(rows, "named", ())
    refused = _REFUSED.search(text) is not None
    return ParsedAnswer((), "none", note="refused" if refused else "nothing named")


def _parsed(
    rows: Iterable[int], how: AnswerForm, invented: Iterable[str], *, tied: bool = False
) -> ParsedAnswer:
    named = tuple(one.strip(" \t*_`|\"'")[:80] for one in invented)
    kept = tuple(one for one in named if re.search(r"[^\W\d_]", one))
    notes = [f"{len(kept)} invented"] if kept else []
    notes += ["tied"] if tied else []
    return ParsedAnswer(tuple(dict.fromkeys(rows)), how, kept, tied, ", ".join(notes))


def _numbered(lines: Sequence[str], finder: NameFinder) -> list[_ListLine]:
    found = []
    for at, line in enumerate(lines):
        match = _NUMBERED.match(line)
        if match is None:
            continue
        rest = match["rest"]
        if match["sign"].isspace() and not _begins(rest, finder):
            continue  # "10 cups are enough" is no item of a list
        if not re.search(r"[^\W\d_]", rest) and at + 1 < len(lines):
            # The number stands in a line of its own.
            rest = lines[at + 1]
        found.append(_ListLine(int(match[1]), _named_first(rest, finder), rest))
    numbers = [line.number for line in found]
    if len(set(numbers)) == len(numbers):
        found.sort(key=lambda line: line.number or 0)
    return found


def _begins(text: str, finder: NameFinder) -> bool:
    """Whether a name stands at its beginning."""
    places = finder.find(text)
    return bool(places) and not re.search(r"[^\W_]", text[: places[0].start])


def _listed(lines: Sequence[str], finder: NameFinder) -> list[_ListLine]:
    rests = [match["rest"] for line in lines if (match := _LISTED.match(line))]
    return [_ListLine(None, _named_first(rest, finder), rest) for rest in rests]


def _named_first(line: str, finder: NameFinder) -> tuple[int, ...]:
    """The name that an item of a list is about, and those that are tied with it."""
    places = finder.find(line)
    if not places:
        return ()
    tied = [places[0]]
    for place in places[1:]:
        between = line[tied[-1].end : place.start]
        if not _JOINED.match(between) or _HEAD.search(line[: place.start]):
            break
        tied.append(place)
    return tuple(dict.fromkeys(place.row for place in tied))


def _advised_against(text: str) -> list[range]:
    """The sentences that advise against what they name."""
    ends = [found.end() for found in _SENTENCE.finditer(text)]
    parts = [range(start, end) for start, end in pairwise([0, *ends, len(text)])]
    return [part for part in parts if _AGAINST.search(text[part.start : part.stop])]
