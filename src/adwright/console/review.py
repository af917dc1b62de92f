"""The queue of drafts: what was written, what is wrong with it, and what a person says of it."""

from __future__ import annotations

import re
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from difflib import SequenceMatcher
from itertools import islice, pairwise
from typing import Any, Literal, Protocol, get_args
from urllib.parse import urlencode

from adwright.authoring.checks.limits import CheckConfig, Finding, brands_of, limit_named
from adwright.authoring.checks.verdict import check
from adwright.authoring.tasks import AuthoringRequest, Product
from adwright.authoring.writer.config import WriteConfig, WriterSlot, slot_named
from adwright.authoring.writer.drafts import (
    Draft,
    DraftMoved,
    Drafts,
    Key,
    ReviewDecision,
    TextState,
    TextStatus,
)
from adwright.authoring.writer.recipe import check_configs
from adwright.console.shell import Form, has_hidden
from adwright.core.config import from_jsonable, settings
from adwright.core.errors import AdwrightError, ConfigError, DataError
from adwright.web.errors import ApiError

# --------------------------------------------------------------------------------------------------
# What a page asks of checks: findings of a text, and how much of its room it takes.


@dataclass(frozen=True)
class RoomTaken:
    """What is counted of a limit, such as characters. name: in words. least: that must be there."""

    name: str
    used: int
    most: int
    least: int = 0

    @property
    def holds(self) -> bool:
        """Whether the limit is kept."""
        return self.least <= self.used <= self.most


@dataclass(frozen=True)
class Checked:
    """findings: in the order of their places. room: of each limit. note: what could not be checked,
    in words; empty for nothing."""

    findings: tuple[Finding, ...] = ()
    room: tuple[RoomTaken, ...] = ()
    note: str = ""


class DraftChecker(Protocol):
    """Checks a text as the job that wrote its draft does."""

    def check(self, draft: Draft, text: str) -> Checked:
        """Check `text` in the place of the draft's own."""
        ...


# --------------------------------------------------------------------------------------------------
# Which drafts of the queue are shown; it travels in the address of each page.

StatusShown = Literal["unreviewed", "approved", "edited", "rejected", "all"]
#: errors: at least one. some: errors or warnings. none: neither.
FindingsShown = Literal["all", "errors", "some", "none"]
_MOST = 200
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "status": get_args(StatusShown),
    "findings": get_args(FindingsShown),
    "slot": (),
    "product": (),
}


@settings
class QueueFilter:
    """status, findings: see the types. slot: of that alone; empty for all. product: what the id of
    the product holds, in any case; empty for all.

    Raises ConfigError for a choice that is none.
    """

    status: StatusShown = "unreviewed"
    findings: FindingsShown = "all"
    slot: str = ""
    product: str = ""

    def takes(self, state: TextState) -> bool:
        """Whether a text is shown."""
        if self.status not in ("all", state.status):
            return False
        some = state.errors + state.warnings > 0
        found = {"all": True, "errors": state.errors > 0, "some": some, "none": not some}
        if not found[self.findings]:
            return False
        product, slot, _ = state.key
        return (not self.slot or slot == self.slot) and self.product.lower() in product.lower()

    def query(self, more: Mapping[str, str | int] | None = None) -> str:
        """The part of an address behind the path, which `read_filter` reads: "?slot=headline", or
        empty. more: further values for it."""
        kept = {
            one.name: value
            for one in fields(self)
            if (value := getattr(self, one.name)) != one.default
        }
        pairs = kept | dict(more or {})
        return f"?{urlencode(pairs, errors='replace')}" if pairs else ""


def read_filter(query: Mapping[str, str]) -> QueueFilter:
    """The filter of an address. Raises ApiError 422 for a choice that there is none of."""
    given: dict[str, Any] = {}
    for name, choices in _CHOICES.items():
        value = query.get(name, "")[:_MOST]
        if value and choices and value not in choices:
            raise ApiError(422, f"{name} cannot be that", hint=f"it is one of {', '.join(choices)}")
        if value:
            given[name] = value
    return QueueFilter(**given)


# --------------------------------------------------------------------------------------------------
# The drafts of a journal as a queue: numbered, filtered, counted, a page at a time.
#
# A draft's number is its place among the first lines of all texts, so that it stays the same while
# the journal grows, and from one run to the next. Nothing of a text is read before it is shown.


@dataclass(frozen=True)
class QueueCounts:
    """How many texts there are, by what was said of them; errors: whose draft has an error and is
    not reviewed. failed: that could not be written."""

    unreviewed: int
    approved: int
    edited: int
    rejected: int
    errors: int
    failed: int

    @property
    def total(self) -> int:
        """All texts."""
        return self.unreviewed + self.reviewed

    @property
    def reviewed(self) -> int:
        """Of which a person has said something."""
        return self.approved + self.edited + self.rejected


@dataclass(frozen=True)
class QueuePage:
    """numbers: of the drafts of page `page` of `pages`, from 1. found: drafts on all pages."""

    numbers: tuple[int, ...]
    page: int
    pages: int
    found: int


class ReviewQueue:
    """The queue of one journal, for several threads; see `turn`."""

    def __init__(self, drafts: Drafts) -> None:
        self.drafts = drafts
        self._lock = threading.RLock()
        self._order: list[TextState] = []

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody else uses the queue until the block ends; what came since is read first."""
        with self._lock:
            self.drafts.refresh()
            if len(states := self.drafts.states()) > len(self._order):
                self._order = list(states.values())
            yield

    def state(self, number: int) -> TextState:
        """What the text of that number is now. Raises ApiError 404 where there is none."""
        if not 0 <= number < len(self._order):
            raise ApiError(404, "there is no draft of this number", hint="go back to the queue")
        return self._order[number]

    def counts(self, *, failed: bool = True) -> QueueCounts:
        """Of all texts. failed: count those that could not be written, whose lines are read."""
        count = Counter(state.status for state in self._order)
        errors = sum(state.errors > 0 and state.status == "unreviewed" for state in self._order)
        return QueueCounts(
            count["unreviewed"],
            count["approved"],
            count["edited"],
            count["rejected"],
            errors,
            len(self.drafts.failures()) if failed else 0,
        )

    def slots(self) -> list[str]:
        """The slots that there are, in order of the alphabet."""
        return sorted({state.key[1] for state in self._order})

    def page(self, shown: QueueFilter, page: int, rows: int) -> QueuePage:
        """One page of the texts that a filter takes; the last where there are not so many."""
        found = [number for number, state in enumerate(self._order) if shown.takes(state)]
        pages = max(1, -(-len(found) // rows))
        page = min(max(page, 1), pages)
        return QueuePage(tuple(found[(page - 1) * rows : page * rows]), page, pages, len(found))

    def beside(self, shown: QueueFilter, number: int, *, back: bool = False) -> int | None:
        """The next text that a filter takes, or the one before; None where there is none."""
        ways = range(number - 1, -1, -1) if back else range(number + 1, len(self._order))
        return next((at for at in ways if shown.takes(self._order[at])), None)

    def following(self, shown: QueueFilter, number: int) -> int | None:
        """The next text that a filter takes, from the beginning again after the end; never the text
        itself."""
        ways = (*range(number + 1, len(self._order)), *range(number))
        return next((at for at in ways if shown.takes(self._order[at])), None)


# --------------------------------------------------------------------------------------------------
# What changed between two texts, word by word.
#
#     removed, added = changed_spans("red tea, 80 bags", "green tea, 80 bags")
#     removed == ((0, 3),) and added == ((0, 5),)
#
# By the longest common runs of words that `difflib` finds. Signs are words of their own, and so are
# the letters of scripts that do not put spaces between words.

#: Half-open places in a text, in order, that do not touch.
Spans = tuple[tuple[int, int], ...]

#: Kana, Chinese characters, Hangul, Thai, Lao, Khmer and Myanmar one by one.
_WORD = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]"
    r"|[^\W_]+(?:['’][^\W\d_]+)*|[^\w\s]|_"
)
#: Words between the common beginning and end. Beyond it all of them count as changed: the search
#: takes quadratic time.
_COMPARED = 3_000


def changed_spans(before: str, after: str) -> tuple[Spans, Spans]:
    """What of `before` is gone, and what of `after` is new. Spaces do not count."""
    old = [found.span() for found in _WORD.finditer(before)]
    new = [found.span() for found in _WORD.finditer(after)]
    words = [before[a:b] for a, b in old], [after[a:b] for a, b in new]
    start = _same(*words)
    tail = _same(words[0][start:][::-1], words[1][start:][::-1])
    inner = words[0][start : len(old) - tail], words[1][start : len(new) - tail]
    removed, added = list[int](), list[int]()
    if max(map(len, inner)) > _COMPARED:
        changes = [("replace", 0, len(inner[0]), 0, len(inner[1]))]
    else:
        changes = list(SequenceMatcher(None, *inner, autojunk=False).get_opcodes())
    for kind, a, b, c, d in changes:
        if kind != "equal":
            removed += range(start + a, start + b)
            added += range(start + c, start + d)
    return _joined(before, old, removed), _joined(after, new, added)


def _same(one: list[str], other: list[str]) -> int:
    """How many words the two begin with alike."""
    pairs = zip(one, other, strict=False)
    differs = (at for at, (left, right) in enumerate(pairs) if left != right)
    return next(differs, min(len(one), len(other)))


def _joined(text: str, spans: list[tuple[int, int]], chosen: list[int]) -> Spans:
    """The chosen spans; those with nothing but spaces between them as one."""
    found = list[tuple[int, int]]()
    for start, end in (spans[at] for at in chosen):
        if found and not text[found[-1][1] : start].strip():
            found[-1] = found[-1][0], end
        else:
            found.append((start, end))
    return tuple(found)


# --------------------------------------------------------------------------------------------------
# A text in pieces, so that a page can mark what changed and what a check found.
#
# pieces_of("Best tea", changed=((0, 4),), found=((0, 4),))
# == (MarkedPiece("Best", changed=True, found=(1,), opens=(1,)), MarkedPiece(" tea"))

#: Findings that are marked in one text; the list beside it has all.
_MARKED = 200


@dataclass(frozen=True)
class MarkedPiece:
    """A part of a text. changed: it is not in the other text. found: the numbers, from 1, of the
    findings that it belongs to; closes: of those that end with it."""

    text: str
    changed: bool = False
    found: tuple[int, ...] = ()
    closes: tuple[int, ...] = ()


def pieces_of(
    text: str, changed: Spans = (), found: Sequence[tuple[int, int]] = ()
) -> tuple[MarkedPiece, ...]:
    """The pieces, which joined are the text.

    changed: places that differ from the other text. found: places of findings, in their order;
    they may lie in each other, and beyond the text, where nothing is marked.
    """
    length = len(text)
    inside = {
        number: (max(0, start), min(length, end))
        for number, (start, end) in enumerate(found[:_MARKED], 1)
        if start < min(length, end) and end > 0
    }
    cuts = {0, length}
    for start, end in (*changed, *inside.values()):
        cuts |= {max(0, start), min(length, end)}
    borders = sorted(cuts)
    begins = [start for start, _ in changed]
    pieces = list[MarkedPiece]()
    for start, end in pairwise(borders):
        covering = tuple(n for n, (a, b) in inside.items() if a <= start and end <= b)
        pieces.append(
            MarkedPiece(
                text[start:end],
                (at := bisect_right(begins, start)) > 0 and end <= changed[at - 1][1],
                covering,
                tuple(n for n in covering if inside[n][1] == end),
            )
        )
    return tuple(pieces)


# --------------------------------------------------------------------------------------------------
# What a page shows of one draft, ready to be drawn.
#
# The text as it is now stands beside the one that it would take the place of: what the shop has in
# this slot today, where the product has such a field, else what the model wrote before repair.

#: Fields of a product by the words that a slot for them has in its name.
_FIELDS = (("description", "description"), ("title", "title"), ("headline", "title"))
_EXCERPT = 140
#: Two texts whose unchanged shares together are below this are two texts, not an old and a new one.
_ALIKE = 0.4
#: Characters of a text of the shop, and of a fact, that are shown: a cell may hold megabytes.
_SHOWN, _FACT, _FACTS = 20_000, 600, 60


@settings
class DraftView:
    """A draft with all that is known of it.

    seen: version that a decision is about. text: as it is now; base: what it is compared with, and
    base_name: what that is. base_pieces, pieces: both in pieces, with what changed; in `pieces`
    findings are marked, too. raw_pieces: what the model wrote before it was repaired, where that is
    another text than both. unseen: the text has characters that are not seen. same: no word
    differs. apart: so few words are the same that what changed is not marked.
    """

    number: int
    key: Key
    status: TextStatus
    seen: int
    text: str
    base: str
    base_name: str
    base_pieces: tuple[MarkedPiece, ...]
    pieces: tuple[MarkedPiece, ...]
    raw_pieces: tuple[MarkedPiece, ...]
    checked: Checked
    decision: ReviewDecision | None
    product: Product | None
    draft: Draft
    unseen: bool
    same: bool
    apart: bool


def shop_text(slot: str, product: Product | None) -> str:
    """What the shop has in a slot today; empty where a product has no such field."""
    if product is None:
        return ""
    name = slot.lower()
    fields = (field for word, field in _FIELDS if word in name)
    field = next(fields, "")
    text: str = getattr(product, field) if field else ""
    return text


def facts_of(product: Product | None) -> list[str]:
    """The facts of a product, as many and as much of each as a person reads."""
    facts = () if product is None else product.facts()
    return [_short(fact, _FACT) for fact in facts[:_FACTS]]


def told_of(draft: Draft) -> list[tuple[str, str]]:
    """What the model was told beside the product, such as a query, as names and values."""
    given = ((_short(name, _FACT), _short(value, _FACT)) for name, value in draft.values[:_FACTS])
    return [(name.replace("_", " "), value) for name, value in given]


def origin_of(draft: Draft) -> list[tuple[str, str]]:
    """Where a text comes from, as names and values; what is not known is left out."""
    by = asdict(draft.provenance)
    return [(name.replace("_", " "), str(value)) for name, value in by.items() if value]


def view_of(
    number: int,
    state: TextState,
    draft: Draft,
    text: str,
    checked: Checked,
    decision: ReviewDecision | None,
    product: Product | None,
) -> DraftView:
    """The view of a draft. text: as it is now, which `checked` is about."""
    shop = _short(shop_text(draft.slot, product), _SHOWN)
    wrote = draft.before or draft.text
    base, name = (shop, "In the shop now") if shop else (wrote, "As the model wrote it")
    removed, added = changed_spans(base, text)
    apart = bool(base and text) and _kept(base, removed) + _kept(text, added) < _ALIKE
    if apart:
        removed = added = ()
    raw = wrote if wrote not in (text, base) else ""
    gone, _ = changed_spans(raw, text)
    places = [(one.start, one.end) for one in checked.findings]
    return DraftView(
        number=number,
        key=state.key,
        status=state.status,
        seen=state.version,
        text=text,
        base=base,
        base_name=name,
        base_pieces=pieces_of(base, removed),
        pieces=pieces_of(text, added, places),
        raw_pieces=pieces_of(raw, gone) if raw else (),
        checked=checked,
        decision=decision,
        product=product,
        draft=draft,
        unseen=has_hidden(text),
        same=not removed and not added and not apart,
        apart=apart,
    )


def _kept(text: str, changed: Spans) -> float:
    """The share of a text that has not changed."""
    return 1 - sum(end - start for start, end in changed) / len(text)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


DeskAction = Literal["approve", "edit", "reject", "undo"]
#: Why a draft is rejected; a reviewer may add words of his own.
REASONS = {
    "not_true": "A claim is not true of the product",
    "missing": "Something important is missing",
    "policy": "It breaks a policy",
    "voice": "It does not sound like the brand",
    "language": "Grammar, spelling or the wrong language",
    "unclear": "It is hard to understand",
    "repetitive": "It repeats itself",
    "other": "Another reason",
}
TEXT_LENGTH = 20_000
_NOTE_LENGTH = 500


class Moved(Exception):
    """A decision that was not taken. view: the draft as it is now. text: what an edit had, which is
    not lost."""

    def __init__(self, view: DraftView, text: str) -> None:
        super().__init__(view.key)
        self.view, self.text = view, text


class ReviewDesk:
    """The queue and the checks of one journal."""

    def __init__(self, queue: ReviewQueue, checker: DraftChecker) -> None:
        self.queue = queue
        self._checker = checker

    def counts(self) -> QueueCounts:
        """How far the review is."""
        with self.queue.turn():
            return self.queue.counts()

    def listed(
        self, shown: QueueFilter, page: int, rows: int
    ) -> tuple[QueuePage, list[tuple[int, TextState, str]], QueueCounts, list[str]]:
        """A page of the queue: its place, its rows (number, state and text, shortened), how far the
        review is, and the slots."""
        queue = self.queue
        with queue.turn():
            place = queue.page(shown, page, rows)
            states = [(number, queue.state(number)) for number in place.numbers]
            shortened = [
                (number, state, _short(queue.drafts.text(state.key), _EXCERPT))
                for number, state in states
            ]
            return place, shortened, queue.counts(), queue.slots()

    def view(self, number: int, text: str | None = None) -> DraftView:
        """A draft. text: to be checked in the place of its own; None for its own."""
        with self.queue.turn():
            state = self.queue.state(number)
            drafts = self.queue.drafts
            draft, decision = drafts.draft(state.key), drafts.decision(state.key)
            product = drafts.product(draft.product)
            now = drafts.text(state.key) if text is None else text
            checked = self._checker.check(draft, now)
            return view_of(number, state, draft, now, checked, decision, product)

    def state(self, number: int) -> TextState:
        """What a draft is now. Raises ApiError 404 without it."""
        with self.queue.turn():
            return self.queue.state(number)

    def act(self, number: int, action: str, form: Form, reviewer: str) -> None:
        """Do what a form asks for. seen, text, reason, note: its fields.

        Raises ApiError 422 for what cannot be done, 404 without such a draft, Moved where the
        draft is not any more what the reviewer saw.
        """
        if action not in get_args(DeskAction):
            raise ApiError(422, "a draft is approved, edited or rejected", hint="press a button")
        seen, text = form.one("seen", most=20), form.one("text", most=TEXT_LENGTH)
        with self.queue.turn():
            self.queue.state(number)
            if not seen.isascii() or not seen.isdigit():
                raise ApiError(422, "the form says not what was seen", hint="load the page anew")
            if action == "undo":
                self._undo(number, int(seen), reviewer)
                return
            decision = self._decision(number, action, text, form, reviewer)
            try:
                self.queue.drafts.decide(decision, seen=int(seen))
            except DraftMoved:
                raise Moved(self.view(number), text) from None

    def _decision(
        self, number: int, action: str, text: str, form: Form, reviewer: str
    ) -> ReviewDecision:
        product, slot, variant = self.queue.state(number).key
        if action == "approve":
            if self.queue.state(number).status == "edited":
                # The draft would be approved, and what the person sees is the edit.
                hint = "take it back to approve the draft"
                raise ApiError(422, "the edit stands, and needs no approval", hint=hint)
            return ReviewDecision(product, slot, variant, "approve", reviewer=reviewer)
        if action == "edit":
            if not text.strip():
                raise ApiError(422, "an edit needs a text", hint="reject the draft instead")
            return ReviewDecision(product, slot, variant, "edit", text, reviewer=reviewer)
        chosen = [name for name in form.many("reason") if name in REASONS]
        note = form.one("note", most=_NOTE_LENGTH).strip()
        if not chosen and not note:
            raise ApiError(422, "a rejection needs a reason", hint="choose one, or write your own")
        reasons = (*dict.fromkeys(chosen), *([note] if note else []))
        return ReviewDecision(product, slot, variant, "reject", reasons=reasons, reviewer=reviewer)

    def _undo(self, number: int, seen: int, reviewer: str) -> None:
        state = self.queue.state(number)
        if state.version != seen:
            raise Moved(self.view(number), "")
        try:
            self.queue.drafts.undo(state.key, reviewer=reviewer)
        except DataError:
            raise ApiError(
                422, "there is no decision to take back", hint="load the page anew"
            ) from None


# --------------------------------------------------------------------------------------------------
# Checks of the job that wrote a draft, as its journal tells: limits, voice, policy, facts.
#
#     checks = JobChecks(drafts)
#     checks.check(draft, "Assam tea, 80 bags").findings
#
# Where the journal does not have the product or the job's settings, only what was found when the
# draft was written is known, and the page says so.


#: The settings of a job, and its checks by slot.
_KnownJob = tuple[WriteConfig, dict[str, CheckConfig]]


class JobChecks:
    """Checks by the settings in a journal. Of each job and product they are read once."""

    def __init__(self, drafts: Drafts) -> None:
        self._drafts = drafts
        self._jobs: dict[str, _KnownJob | str] = {}
        # Brands of the products that have texts, and how many texts were looked at for them.
        self._brands: frozenset[str] = frozenset()
        self._looked_at = 0
        self._products: set[str] = set()

    def check(self, draft: Draft, text: str) -> Checked:
        """Check `text` in the place of the draft's own."""
        name, product = draft.provenance.job, self._drafts.product(draft.product)
        if name not in self._jobs:
            self._jobs[name] = self._read(name)
        job = self._jobs[name]
        if isinstance(job, str):
            return self._stored(draft, text, job)
        if product is None:
            return self._stored(draft, text, "the journal does not have the product")
        asked, checks = job
        if draft.slot not in checks:
            return self._stored(draft, text, "the job has no such slot")
        slot = slot_named(draft.slot, asked.platform)
        try:
            labels = asked.labels if slot.task.form == "label" else ()
            request = AuthoringRequest(slot.task, product, draft.values, labels)
            config = replace(checks[draft.slot], brands=self._all_brands())
            found = check(text, request, config)
        except AdwrightError as error:
            return self._stored(draft, text, error.what)
        return Checked(found, _room(checks[draft.slot], slot, text))

    def _all_brands(self) -> frozenset[str]:
        """The brands of all products of the journal, so that another one's is found."""
        states = self._drafts.states()
        if len(states) > self._looked_at:
            new = {key[0] for key in islice(states, self._looked_at, None)} - self._products
            found = (self._drafts.product(one) for one in new)
            self._brands |= brands_of(one for one in found if one is not None)
            self._products |= new
            self._looked_at = len(states)
        return self._brands

    def _stored(self, draft: Draft, text: str, why: str) -> Checked:
        found = draft.findings if text == draft.text else ()
        return Checked(found, note=f"This text could not be checked: {why}.")

    def _read(self, name: str) -> _KnownJob | str:
        """The job of that name, or why it is not known."""
        line = self._drafts.job(name)
        if line is None:
            return "the journal does not have the settings of its job"
        try:
            config = from_jsonable(WriteConfig, line["settings"])
            return config, check_configs(config)
        except (ConfigError, DataError) as error:
            return f"the settings of its job cannot be read: {error}"
        except (LookupError, TypeError):
            return "the settings of its job are not there"


def _room(config: CheckConfig, slot: WriterSlot, text: str) -> tuple[RoomTaken, ...]:
    """Of the limit of a platform, and of what it shows; else of the slot itself."""
    if not config.limit:
        own = slot.characters
        return (RoomTaken("Characters", len(text), own),) if own else ()
    limit = limit_named(config.limit)
    size, unit = limit.size(text), limit.unit.capitalize()
    found = [RoomTaken(f"{unit} of {limit.name}", size, limit.most)]
    if limit.visible:
        found.append(RoomTaken(f"{unit} that are shown", size, limit.visible))
    return tuple(found)
