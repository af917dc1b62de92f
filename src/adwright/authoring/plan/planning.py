"""Texts by plan: a model chooses facts, their order and the frame; the grammar says them.

    planner = Planner(model, naming=Naming(), judge=None)
    (found,) = planner.write([PlannedRow(request, kind="ad", most=90, fits=passes)])
    found.text            # "Choose Steel tea tin by Leaf in green."

All is a choice among texts that are whole by construction: each fact is a phrase of `phrases_of`,
each frame one of grammar.toml, and what the checks refuse is no candidate. The model says by how
much the product makes each likelier: first the facts, whose order that gives, then the texts. A
judge of ads, where one is named, chooses in its place. Without a model the rule chooses: facts in
the order of the table, and the first frame that fits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from adwright.authoring.plan.names import Naming, SayableName, grammar
from adwright.authoring.plan.phrases import Phrase, phrases_of
from adwright.authoring.tasks import (
    AuthoringRequest,
    Product,
    PromptBounds,
    input_of,
    messages_of,
)
from adwright.core.config import check_literals
from adwright.core.draws import drawn
from adwright.core.errors import AdwrightError
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, Message, Prompt, Usage

#: What a slot's text is: a headline or a title without an end, the short text of an ad, sentences.
TextKind = Literal["headline", "title", "ad", "description", "answer"]
Floats = npt.NDArray[np.float64]

#: Facts and texts that are scored for one text, and texts that are checked for that.
_FACTS, _TEXTS, _TRIED = 6, 5, 40
#: Facts of a text of sentences: as many as fit, at most.
_MOST_FACTS = 3
#: Kinds of phrases that are no sentence of a fact by themselves, the last where several are said.
_NO_FACTS = ("told", "lead", "note", "kind", "occasion", "brand", "category")
#: Characters with which no two facts of a text begin.
_AGAIN = 14
#: A seller's sentence of several things.
_MANY = re.compile(
    r"(?:(?! is | has | was ).){3,80}? (?:are|were|have|offer|come|feature|provide|include|add)\b"
)
#: Share of its longest form that a name must have.
_NEARLY = 0.5
#: What a model is shown of a product to choose by.
_BOUNDS = PromptBounds(title=150, text=160, value=60, attributes=6)
#: In the place of the product, where it is asked how likely a text is anyway.
_ANY = Product("any", "product")
_WHICH = "Which of these texts is best for this product? Answer with its number alone."
_FIELD = re.compile(r"\{(\w+)\}")
_NO_ANSWER = "The seller does not say."


class TextJudge(Protocol):
    """Judges texts: of N candidates a number each, the higher the better."""

    def __call__(self, texts: Sequence[str], kind: TextKind, brand: str, /) -> Floats:
        """[N]."""
        ...


@dataclass(frozen=True)
class PlannedRow:
    """A text that is wanted. most: characters. fits: whether a text passes all checks. others:
    texts that it must not be like."""

    request: AuthoringRequest
    kind: TextKind
    most: int
    fits: Callable[[str], bool]
    others: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_literals(self)


@dataclass(frozen=True)
class PlannedText:
    """text: "" where none can be written, and `why` says why. tried: candidates that it was chosen
    from."""

    text: str
    why: str = ""
    tried: int = 0


class Planner:
    """Writes by plan. model: None for the rule. judge: chooses among texts in the model's place.
    seed: 0 takes the first frames that fit; another one draws others of the same tier, so that what
    is written again is not what was written before."""

    def __init__(
        self,
        model: LanguageModel | None,
        *,
        naming: Naming | None = None,
        judge: TextJudge | None = None,
        seed: int = 0,
    ) -> None:
        self._model, self._judge, self._seed = model, judge, seed
        self._naming = naming or Naming()
        self._orders: dict[str, tuple[Phrase, ...]] = {}
        self._usage = Usage()

    def take_usage(self) -> Usage:
        """What the model took since it was asked for last: tokens of the choices."""
        used, self._usage = self._usage, Usage()
        return used

    def write(self, rows: Sequence[PlannedRow]) -> list[PlannedText]:
        """A text of each row."""
        rows = [self._read(row) for row in rows]
        names = [self._naming.name(row.request.product) for row in rows]
        self._order(rows, names)
        made = [self._candidates(row, name) for row, name in zip(rows, names, strict=True)]
        chosen = self._chosen(rows, [texts for texts, _ in made])
        return [
            PlannedText(texts[at] if texts else "", why, len(texts))
            for (texts, why), at in zip(made, chosen, strict=True)
        ]

    def _read(self, row: PlannedRow) -> PlannedRow:
        product = self._naming.read(row.request.product)
        return replace(row, request=replace(row.request, product=product))

    def _order(self, rows: Sequence[PlannedRow], names: Sequence[SayableName]) -> None:
        """Let the model order the facts of products that are new to it."""
        new: dict[str, tuple[PlannedRow, tuple[Phrase, ...]]] = {}
        for row, name in zip(rows, names, strict=True):
            key = _key(row.request)
            if key not in self._orders and key not in new and name.forms:
                found = phrases_of(row.request.product, name.forms[0], row.request, name.language)
                new[key] = row, found
        pairs = [(row, one) for row, found in new.values() for one in found[:_FACTS]]
        scores = self._likely([(row.request, _said(one)) for row, one in pairs])
        at = 0
        for key, (_, found) in new.items():
            some = found[:_FACTS]
            if scores is None:
                self._orders[key] = found
            else:
                own = scores[at : at + len(some)]
                order = np.argsort(-own, kind="stable")
                self._orders[key] = (*(some[int(one)] for one in order), *found[_FACTS:])
            at += len(some)

    def _candidates(self, row: PlannedRow, name: SayableName) -> tuple[list[str], str]:
        """Texts that pass, each once, those of the first frames first; none, and why."""
        if not name.forms:
            return [], name.why
        facts = self._orders.get(_key(row.request), ())
        # Of a seed the order in which texts are tried is drawn, and the choice is between two.
        draw = partial(drawn, self._seed, _key(row.request)) if self._seed else None
        for texts in [_answers(row, facts)] if row.kind == "answer" else _texts(row, name, facts):
            ordered = sorted(texts, key=draw) if draw and row.kind != "answer" else texts
            kept: list[str] = []
            for text in dict.fromkeys(ordered[:_TRIED]):
                if row.fits(text) and not _is_like(text, row.others):
                    kept.append(text)
                if len(kept) == (2 if draw else _TEXTS):
                    break
            if kept:
                return kept, ""
        if name.language != "en" and row.kind in ("ad", "description"):
            said = name.language or "another language"
            return [], f"no sentence of the seller's fits, and ours are English ({said})"
        if not name.within(row.most):
            return [], f"no form of its name has {row.most} characters"
        return [], "no text of its facts passes the checks"

    def _chosen(self, rows: Sequence[PlannedRow], texts: Sequence[Sequence[str]]) -> list[int]:
        """The place of the best text of each row."""
        if self._judge is not None:
            return [self._judged(row, some) for row, some in zip(rows, texts, strict=True)]
        several = [
            (row.request, one)
            for row, some in zip(rows, texts, strict=True)
            if len(some) > 1
            for one in some
        ]
        scores = self._likely(several)
        if scores is None:
            return [self._picked(row, some) for row, some in zip(rows, texts, strict=True)]
        found, at = [], 0
        for some in texts:
            if len(some) < 2:
                found.append(0)
                continue
            found.append(int(np.argmax(scores[at : at + len(some)])))
            at += len(some)
        return found

    def _judged(self, row: PlannedRow, texts: Sequence[str]) -> int:
        if len(texts) < 2 or self._judge is None:
            return 0
        return int(np.argmax(self._judge(texts, row.kind, row.request.product.brand)))

    def _likely(self, pairs: Sequence[tuple[AuthoringRequest, str]]) -> Floats | None:
        """By how much the product makes each text likelier, in nats; None without a model, or where
        its server does not tell."""
        if self._model is None or not pairs:
            return None
        texts = [text for _, text in pairs]
        shown = [messages_of(request, bounds=_BOUNDS) for request, _ in pairs]
        bare = [messages_of(replace(request, product=_ANY), bounds=_BOUNDS) for request, _ in pairs]
        prompts: list[Prompt] = [*shown, *bare]
        try:
            scores = self._model.score(prompts, [*texts, *texts])
        except AdwrightError:
            return None
        self._usage = self._usage + Usage(prompt_tokens=int(scores.tokens.sum()))
        with_it, without = np.split(np.asarray(scores.log_likelihood, np.float64), 2)
        return with_it - without

    def _picked(self, row: PlannedRow, texts: Sequence[str]) -> int:
        """The text whose number a server's model answers, where it tells no likelihoods."""
        if self._model is None or len(texts) < 2:
            return 0
        shown = "\n".join(f"{at}. {text}" for at, text in enumerate(texts, start=1))
        asked = Message("user", f"{input_of(row.request, bounds=_BOUNDS)}\n\n{_WHICH}\n{shown}")
        numbers = [str(at) for at in range(1, len(texts) + 1)]
        config = GenerationConfig(max_tokens=8, json_schema={"type": "string", "enum": numbers})
        try:
            (answer,) = self._model.generate([(asked,)], config)
        except AdwrightError:
            return 0
        self._usage = self._usage + answer.usage
        said = answer.text.strip(' "\n')
        return numbers.index(said) if said in numbers else 0


def _key(request: AuthoringRequest) -> str:
    return repr((request.product.id, request.values))


def _texts(row: PlannedRow, name: SayableName, facts: tuple[Phrase, ...]) -> Iterator[list[str]]:
    """Of each tier every frame with the facts in their order, then with them begun one later, and
    so on."""
    tiers: list[list[str]] = grammar()["frames" if name.language == "en" else "neutral"][row.kind]
    turns = [facts[at:] + facts[:at] for at in range(max(1, min(3, len(facts))))]
    # A shorter name where a fact would not fit beside the longest.
    fit = name.spoken(row.most) if row.kind in ("ad", "description") else name.within(row.most)
    forms = [one for one in fit if len(one) > _NEARLY * len(fit[0])]
    for frames in tiers:
        found = []
        for turned in turns:
            for frame in frames:
                filled = (_filled(frame, form, turned, row) for form in forms)
                found += [next((one for one in filled if one and len(one) <= row.most), "")]
        yield [one for one in found if one]


def _filled(frame: str, name: str, facts: Sequence[Phrase], row: PlannedRow) -> str:
    """The frame with these facts; "" where it lacks one, or the text would be too long."""
    used: set[str] = set()
    kinds = {one.kind: one for one in facts}

    def take(fits: Callable[[Phrase], bool]) -> Phrase | None:
        found = next((one for one in facts if _said(one) not in used and fits(one)), None)
        if found:
            used.add(_said(found))
        return found

    parts: list[str] = []
    at, many = 0, False
    for field in _FIELD.finditer(frame):
        parts.append(frame[at : field.start()])
        at = field.end()
        match field[1]:
            case "name":
                put: str | None = name
            case "by":
                brand = kinds.get("brand")
                put = f" by {brand.value}" if brand else ""
            case "brand" | "price" | "category" | "occasion" | "kind":
                one = kinds.get(field[1])
                used |= {_said(one)} if one else set()
                put = one.value if one else None
                if put and field[1] in ("category", "kind"):
                    put = put[:1].upper() + put[1:]
                    put = None if _stems(put) & _stems(name) else put
            case "range":
                one = kinds.get("category")
                used |= {_said(one)} if one else set()
                put = _range(one.value) if one else None
            case "tail":
                own = take(
                    lambda one: bool(one.tail) and one.kind not in ("brand", "price", "author")
                )
                put = own.tail if own else None
            case "value":
                own = take(lambda one: one.plain)
                put = own.value if own else None
            case "fact":
                own = take(lambda one: bool(one.sentence) and one.kind not in _NO_FACTS)
                put = own.sentence if own else None
            case "told" | "lead" | "note":
                kind = field[1]
                own = take(partial(_is_of, kind))
                put = own.sentence if own else None
                many = many or (kind == "lead" and bool(_MANY.match(put or "")))
            case _:
                room = row.most - sum(map(len, parts)) - len(frame[at:])
                put = _sentences(facts, used, room, paired=field[1] == "pairs")
                put = _of_many(put) if put and many else put
        if put is None:
            return ""
        parts.append(put)
    text = "".join((*parts, frame[at:]))
    text = re.sub(r"([.!?])\.(?=\s|$)", r"\1", " ".join(text.split()))
    first = text.split(" ", 1)[0]
    return text[:1].upper() + text[1:] if first.islower() else text  # not of iPhone


def _is_of(kind: str, one: Phrase) -> bool:
    return one.kind == kind


def _of_many(text: str) -> str:
    """Sentences of ours about several things: they come with, you will find them."""
    text = re.sub(r"\b(I|i)t (is|has|\w+s)\b", _they, text)
    return text.replace("You will find it ", "You will find them ")


def _they(found: re.Match[str]) -> str:
    verb = {"is": "are", "has": "have"}.get(found[2], found[2][:-1])
    return f"{'They' if found[1] == 'I' else 'they'} {verb}"


def _said(one: Phrase) -> str:
    return one.sentence or one.value


def _range(category: str) -> str | None:
    """A category as what people browse: of several things, in small letters; None for another."""
    last = category.casefold().split(" ")[-1]
    several = last.endswith("s") and not last.endswith(("ss", "us", "is"))
    if not several and last not in grammar()["words"]["ranges"]:
        return None
    return category[:1].lower() + category[1:] if category[1:].islower() else category


def _sentences(facts: Sequence[Phrase], used: set[str], room: int, *, paired: bool) -> str | None:
    """As many facts as fit, a sentence each, or two in a sentence; None where not one does."""
    kept: list[str] = []
    for one in facts:
        if one.kind in _NO_FACTS[:-1] or not one.sentence or _said(one) in used:
            continue
        if len(kept) == _MOST_FACTS:
            break
        if any(other[:_AGAIN] == one.sentence[:_AGAIN] for other in kept):
            continue  # not twice where it is found
        if sum(map(len, kept)) + len(kept) + len(one.sentence) <= room:
            used.add(_said(one))
            kept.append(one.sentence)
    if not kept:
        return None
    if paired and len(kept) > 1 and kept[1].startswith(("The ", "It ")):
        first = f"{kept[0].rstrip('.')} and {kept[1][:1].lower()}{kept[1][1:]}"
        kept = [first, *kept[2:]] if len(first) <= room else kept
    return " ".join(kept)


def _answers(row: PlannedRow, facts: Sequence[Phrase]) -> list[str]:
    """Facts that share a word with the question; that nobody says it, where none does."""
    asked = _stems(" ".join(text for name, text in row.request.values if name == "question"))
    title = _stems(row.request.product.title)

    def shared(one: Phrase) -> int:
        return len((_stems(f"{one.kind} {one.sentence}") - title) & asked)

    found = sorted((one for one in facts if shared(one)), key=lambda one: -shared(one))
    best = [one.sentence for one in found if one.sentence and shared(one) == shared(found[0])]
    return best or [_NO_ANSWER]


def _stems(text: str) -> set[str]:
    words = re.findall(r"[^\W_]+", text.casefold())
    meant: dict[str, str] = grammar()["words"]["meant"]
    bare = [word.rstrip("s") for word in words if word not in grammar()["words"]["stop"]]
    return {meant.get(one, one) for one in bare}


def _is_like(text: str, others: Sequence[str]) -> bool:
    words = set(_plain(text))
    return any(len(words & set(_plain(one))) >= 0.9 * max(len(words), 1) for one in others)


def _plain(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())
