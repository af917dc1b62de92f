"""Rank by what a chat model answers: a local one, or any behind an OpenAI-compatible endpoint.

    model = open_model(HttpConfig("https://models.example/v1", model="large"))
    target = ChatTarget(model)

The answer is read by `parse_answer`; what was not named has rank n + 1. A greedy answer
(temperature 0) is the same for the same question on a local engine; a server may differ from time
to time, so ask again with another `seed`, and count what comes back.
"""

from __future__ import annotations

import json
import re
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from adwright.audit.catalogue import ShopListing
from adwright.audit.targets.target import Ask, Ranking, RankingCost
from adwright.core.config import settings
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, Message, check_least

# --------------------------------------------------------------------------------------------------
# Find the names of products in free text, whatever way they are written there.
#
#     finder = NameFinder(("Snap", "Snap Pro", "Grind&Brew Plus"))
#     finder.find("I like **snap-pro**, and the Grind & Brew Plus.")   # [(7, 15, 1), (25, 42, 2)]
#
# A name is found where its runs of letters and digits stand in their order, with at most three
# other
# characters between two of them: case, accents written in two characters, spaces, hyphens, marks of
# emphasis and a capital inside a word do not count, and "&" may be written "and". It begins and
# ends
# where no further letter or digit of an alphabet joins on (scripts without spaces between words
# may).
# Where names overlap the longest counts, so that a name inside a longer one is not taken for it.

#: Letters and digits of alphabets that put spaces between words.
_JOINS = r"[^\W_\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\U0010ffff]"
_RUN = re.compile(r"[^\W\d_]+|\d+|&")
_CAPITAL = re.compile(r"(?<=[^\W\d_])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])")
_CIRCLED = re.compile(r"[\u2460-\u2473\u2776-\u277f]")
_GAP = r"[\W_]{0,3}"
_AND = r"(?:&|and|und|et|y)"


class NamePlace(NamedTuple):
    """Where a name stands: characters from start to end of the text in its plain form, and its row
    in the names."""

    start: int
    end: int
    row: int


def plain_text(text: str) -> str:
    """The text as it is searched: compatible forms made one (NFKC), numbers in a circle or on a
    key made "1.", characters without width left out. Idempotent."""
    made = unicodedata.normalize("NFKC", _CIRCLED.sub(_digits, text)).replace("\u20e3", ".")
    return "".join(one for one in made if one != "\ufe0f" and unicodedata.category(one) != "Cf")


class NameFinder:
    """Looks for names. Two that are written alike but for case and signs are one: the first."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._patterns: list[tuple[re.Pattern[str], int]] = []
        known: set[str] = set()
        for row, name in enumerate(names):
            pattern = _pattern(name)
            if pattern and pattern not in known:
                known.add(pattern)
                self._patterns.append((re.compile(pattern, re.IGNORECASE), row))

    def find(self, text: str) -> list[NamePlace]:
        """All places of all names in a plain text (`plain_text`), in the order of the text."""
        places = [
            NamePlace(found.start(), found.end(), row)
            for pattern, row in self._patterns
            for found in pattern.finditer(text)
        ]
        # The longest first; what overlaps it is a part of it.
        places.sort(key=lambda one: (one.start - one.end, one.start, one.row))
        taken: list[NamePlace] = []
        for one in places:
            if all(one.end <= other.start or one.start >= other.end for other in taken):
                taken.append(one)
        return sorted(taken)

    def first(self, text: str) -> int | None:
        """The row of the name that stands first; None where none does."""
        places = self.find(text)
        return places[0].row if places else None

    def exactly(self, text: str) -> int | None:
        """The row of the name that the whole text is; None where it is more or less."""
        places = self.find(plain_text(text))
        if len(places) != 1:
            return None
        left = plain_text(text)[: places[0].start] + plain_text(text)[places[0].end :]
        return None if re.search(r"[^\W_]", left) else places[0].row


def _digits(found: re.Match[str]) -> str:
    return f"{int(unicodedata.numeric(found[0]))}."


def _pattern(name: str) -> str:
    runs = [
        part
        for run in _RUN.findall(plain_text(name))
        for part in (_CAPITAL.split(run) if run != "&" else ["&"])
        if part
    ]
    if not any(run != "&" for run in runs):
        # A name of signs alone is looked for as it stands.
        return re.escape(name.strip())
    body = _GAP.join(_AND if run == "&" else re.escape(run) for run in runs)
    return f"(?<!{_JOINS}){body}(?!{_JOINS})"


# --------------------------------------------------------------------------------------------------
# The ranking in an answer of JSON, wherever it stands in the text and whatever its keys are.
#
#     ranks_of_json('Here: {"picks": [{"product": "B", "rank": 2}, {"product": "A", "rank": 1}]}',
# ..)
#
# Values are read from left to right, each from its first bracket; a value that is cut off is none.

_RANK_KEYS = ("rank", "position", "place", "order", "number", "no", "index", "#")
_NAME_KEYS = ("name", "product", "productname", "title", "item", "recommendation", "model")
#: Brackets that are tried as the beginning of a value, and values inside each other.
_MOST_TRIES, _MOST_DEPTH = 200, 12


@dataclass(frozen=True)
class JsonRanks:
    """rows: of the names, the best first. invented: members that name no product. tied: whether
    two products have one rank."""

    rows: tuple[int, ...]
    invented: tuple[str, ...] = ()
    tied: bool = False


def ranks_of_json(text: str, finder: NameFinder) -> JsonRanks | None:
    """What the first JSON value with a ranking says; None where there is none."""
    for value in _values(text):
        found = _ranking(value, finder, 0)
        if found is not None and found.rows:
            return found
    return None


def _values(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    at = tries = 0
    while (start := _bracket(text, at)) >= 0 and tries < _MOST_TRIES:
        tries += 1
        try:
            value, at = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            at = start + 1
            continue
        yield value


def _bracket(text: str, at: int) -> int:
    found = re.compile(r"[\[{]").search(text, at)
    return -1 if found is None else found.start()


def _ranking(value: Any, finder: NameFinder, depth: int) -> JsonRanks | None:
    if depth > _MOST_DEPTH:
        return None
    if isinstance(value, list):
        found = _of_members([_member(one, finder) for one in value])
        return found if found.rows else _inside(value, finder, depth)
    if isinstance(value, dict):
        return _of_object(value, finder) or _inside(list(value.values()), finder, depth)
    return None


def _inside(values: Sequence[Any], finder: NameFinder, depth: int) -> JsonRanks | None:
    for one in values:
        found = _ranking(one, finder, depth + 1)
        if found is not None and found.rows:
            return found
    return None


def _of_object(value: dict[str, Any], finder: NameFinder) -> JsonRanks | None:
    """{"A": 1, "B": 2} and {"1": "A", "2": "B"}; one object with a name is a list of one."""
    by_name = [(finder.exactly(key), _number(rank), key) for key, rank in value.items()]
    if by_name and all(row is not None and rank is not None for row, rank, _ in by_name):
        return _of_members(by_name)
    by_rank = [
        (_name(one, finder), _number(key), str(one)[:80])
        for key, one in value.items()
        if _number(key) is not None
    ]
    if by_rank and len(by_rank) == len(value):
        return _of_members(by_rank)
    own = _member(value, finder)
    return _of_members([own]) if own[0] is not None else None


_Member = tuple[int | None, int | None, str]


def _of_members(members: Sequence[_Member]) -> JsonRanks:
    known = [(row, rank) for row, rank, _ in members if row is not None]
    invented = tuple(text for row, _, text in members if row is None and text)
    ranks = [rank for _, rank in known]
    if ranks and all(rank is not None for rank in ranks):
        known.sort(key=lambda one: one[1] or 0)
    tied = None not in ranks and len(set(ranks)) < len(ranks)
    return JsonRanks(tuple(row for row, _ in known), invented, tied)


def _member(one: Any, finder: NameFinder) -> _Member:
    """Row, rank and text of a member of a list; no row where it names no product."""
    if isinstance(one, str):
        return finder.first(one), None, one
    if not isinstance(one, dict):
        return None, None, ""
    bare = {re.sub(r"[\W_]", "", str(key).lower()) or str(key): held for key, held in one.items()}
    rank = next((_number(bare[key]) for key in _RANK_KEYS if key in bare), None)
    texts = [bare[key] for key in _NAME_KEYS if isinstance(bare.get(key), str)]
    for text in texts or [held for held in bare.values() if isinstance(held, str)]:
        row = finder.first(text)
        if row is not None:
            return row, rank, text
    return None, rank, texts[0] if texts else ""


def _name(one: Any, finder: NameFinder) -> int | None:
    return _member(one, finder)[0]


def _number(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return int(value)
    found = re.fullmatch(r"\s*(?:#|rank\s*|no\.?\s*)?(\d{1,3})[.):]?\s*", str(value), re.IGNORECASE)
    return int(found[1]) if isinstance(value, str) and found else None


# --------------------------------------------------------------------------------------------------
# Read the ranking out of a free answer, by rules that are written down.
#
#     parsed = parse_answer("1. **Snap Pro** - sharp\n2. Snap", ("Snap", "Snap Pro"))
#     parsed.order, parsed.how        # (1, 0), "numbered"
#
# The first of these that names a product of the catalogue counts, and what comes after it adds
# nothing:
#
# 1. json: the first JSON value in the answer that has a list whose members are names, or objects
# with
#    a name, or an object from names to ranks or from ranks to names. Ranks order where every member
#    has one, else the order of the list does.
# 2. numbered: lines that begin with a number ("1.", "2)", "#3", "4、", "**5.**", "6º", "No. 7:") or
# a
#    row of a table whose first cell is one. Each counts for the first name that stands in it, so a
#    name in another's explanation does not; "A and B" before the explanation begins counts for
# both.
#    They are ordered by their numbers where none stands twice, else as they stand. A numbered line
#    without a name of the catalogue is an invented product, and takes no place.
# 3. listed: lines that begin with a bullet, and rows of tables; likewise, as they stand.
# 4. named: the order of first mention in running text, without sentences that advise against what
#    they name ("avoid", "not recommend", "instead of" and the like; English).
#
# What was thought aloud (<think> .. </think>) is left out first. A product that no rule reaches is
# not ranked. Names are found by `NameFinder`. An answer without a product has the note "refused"
# where it says that it cannot or will not, else "nothing named". Plain substring search, as the
# released code of "Manipulating LLMs to Increase Product Visibility" has it, takes a name inside a
# longer one, and names in explanations, for recommendations.

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


# --------------------------------------------------------------------------------------------------
# What a language model is told: the products, one line of JSON each, and the shopper's sentence.
#
#     messages = list_messages(ask)
#     # the answer of a model that complies begins:  ANSWER_START + " " + name of the best product
#
# After the set-up of "Manipulating LLMs to Increase Product Visibility" (Kumar and Lakkaraju 2024,
# section 3): the model is asked for a numbered list, the best first, of what fits the request. Its
# released wording is another; this one is ours.

INSTRUCTION = (
    "You are a shopping assistant. You recommend products from the list that the user gives, and "
    "no others. Answer with a numbered list, the most suitable product first, and begin each line "
    "with the exact name of the product."
)
#: How an answer begins that is such a list; the name follows after a space.
ANSWER_START = "1."


def user_text(listings: Sequence[ShopListing], request: str) -> str:
    """What the user says: the listings as they are shown, in this order, then the request."""
    lines = "\n".join(one.shown() for one in listings)
    return f"Products:\n{lines}\n\n{request}"


def list_messages(ask: Ask) -> tuple[Message, Message]:
    """The chat that asks for a list."""
    return Message("system", INSTRUCTION), Message("user", user_text(ask.shown, ask.request))


def plain_prompt(ask: Ask) -> str:
    """The same as one text, for a model without a chat template; the answer's start is next."""
    return f"{INSTRUCTION}\n\n{user_text(ask.shown, ask.request)}\n\nRecommendations:\n"


@dataclass(frozen=True)
class ChatTargetConfig:
    """max_tokens: of an answer; a list of ten with reasons has about 400. temperature, seed: as
    `GenerationConfig`."""

    max_tokens: int = 500
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_least(self, {"max_tokens": 1, "temperature": 0, "seed": 0})


@dataclass(frozen=True)
class ChatAnswer:
    """text: as the model wrote it. parsed: what it says of the listings. cost: of the call."""

    text: str
    parsed: ParsedAnswer
    cost: RankingCost


class ChatTarget:
    """A chat model asked for a list. It closes the model with itself."""

    def __init__(
        self,
        model: LanguageModel,
        config: ChatTargetConfig | None = None,
    ) -> None:
        self.model = model
        self.config = ChatTargetConfig() if config is None else config

    @property
    def name(self) -> str:
        """The model and how it is asked."""
        return f"{self.model.info.name}, free answer (temperature {self.config.temperature:g})"

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        """One ranking per question, of the products that its answer names. Raises as the model's
        `generate`: ConfigError where an endpoint refuses, ResourceError where it is not there."""
        return [
            Ranking(one.parsed.order, None, one.cost, one.parsed.note) for one in self.answers(asks)
        ]

    def answers(self, asks: Sequence[Ask]) -> list[ChatAnswer]:
        """The answers themselves."""
        if not asks:
            return []
        began, config = time.process_time(), self.config
        generation = GenerationConfig(
            max_tokens=config.max_tokens, temperature=config.temperature, seed=config.seed
        )
        answers = self.model.generate([list_messages(ask) for ask in asks], generation)
        seconds = (time.process_time() - began) / len(asks)
        found = []
        for ask, answer in zip(asks, answers, strict=True):
            usage = answer.usage
            cost = RankingCost(1, usage.prompt_tokens, usage.completion_tokens, seconds)
            parsed = parse_answer(answer.text, [one.name for one in ask.listings])
            found.append(ChatAnswer(answer.text, parsed, cost))
        return found

    def close(self) -> None:
        """Close the model."""
        self.model.close()
