"""The journal of drafts and decisions of a writing job, open for the job and for reviewers at once.

    with closing(Drafts.open(folder)) as drafts:
        drafts.write([Draft("p1", "headline", 0, "Fresh tea")])
        for draft in drafts.queue():
            drafts.decide(ReviewDecision(*draft.key, "approve"))

`FOLDER/drafts.jsonl` only grows, see `Journal`. What a text is now follows from its lines in
their order: a draft makes it unreviewed, a decision approved, edited or rejected, and an undo takes
the last decision back. A text that a person edited is never written anew unless that is asked for,
and an approved one only where its product has changed.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

from adwright.authoring.checks.limits import Finding
from adwright.authoring.tasks import AuthoringRequest, Product
from adwright.authoring.writer.config import WriteConfig, WriterSlot, slot_named
from adwright.authoring.writer.products import ProductTable
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import settings
from adwright.core.errors import (
    AdwrightError,
    ConfigError,
    DataError,
    FileUnreadableError,
    ResourceError,
    SchemaError,
)
from adwright.core.hashing import content_hash
from adwright.core.journal import Journal, append_rows

# --------------------------------------------------------------------------------------------------
# What the journal of a writing job holds: drafts, decisions about them, and rows that failed.
#
# Each is one line of JSON. Its first value is a list, the head, with all that is needed to tell the
# state of a text, so that a million lines are read without looking into texts; the rest is read
# when it is asked for.
#
#     {"draft":["p1","headline",0,"4f0c...",0,1,"99ab..."],"text":"...","before":"...","findings":[.
# ..],...}
# {"decision":["p1","headline",0,"edit"],"text":"...","reasons":[],"reviewer":"ann","time":"..."}
#     {"undo":["p1","headline",0],"reviewer":"ann","time":"..."}
#     {"failure":["p1","headline",1,"4f0c..."],"reason":"...","attempts":3,"time":"..."}
#     {"product":["p1","99ab..."],"title":"...","description":"...",...}
#     {"job":["77de..."],"config":{...}}

#: Which text: product, slot, variant.
Key = tuple[str, str, int]
ReviewKind = Literal["approve", "edit", "reject"]
LineKind = Literal["draft", "decision", "undo", "failure", "product", "job"]


@dataclass(frozen=True)
class Provenance:
    """Where a text comes from.

    model, adapter: as they were named; adapter_hash: of the files of the adapter. job: hash of the
    job's settings, whose line stands in the journal. prompt: hash of the messages. inputs: hash of
    all that the text follows from; another one means that the row is to be written anew. product:
    hash of the product. prompt_tokens, cached_tokens, answer_tokens, seconds: what it took;
    seconds are its share of its batch. attempts: times that it was asked for.
    """

    model: str = ""
    adapter: str = ""
    adapter_hash: str = ""
    job: str = ""
    prompt: str = ""
    inputs: str = ""
    product: str = ""
    seed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0
    attempts: int = 1
    time: str = ""


@dataclass(frozen=True)
class Draft:
    """A text as it was written.

    product: its id. slot: "headline", "description", ... variant: from 0, for A/B tests.
    text: after checks and repair. before: as the model gave it. findings: what checks still say
    of `text`. values: fields of the request beside the product, such as ("query", "green tea").

    Raises ConfigError without a product or slot, or for a variant below 0.
    """

    product: str
    slot: str
    variant: int
    text: str
    before: str = ""
    findings: tuple[Finding, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)
    values: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        _check_key(self.key)

    @property
    def key(self) -> Key:
        """Which text it is."""
        return self.product, self.slot, self.variant


@settings
class ReviewDecision:
    """What a person says of a draft.

    text: of an edit, which takes the place of the draft's. reasons: of a rejection or edit.
    time: ISO 8601, in UTC; empty for now.

    Raises ConfigError for an edit without a text.
    """

    product: str
    slot: str
    variant: int
    kind: ReviewKind
    text: str = ""
    reasons: tuple[str, ...] = ()
    reviewer: str = ""
    time: str = ""

    def __post_init__(self) -> None:
        _check_key(self.key)
        if self.kind == "edit" and not self.text.strip():
            raise ConfigError("an edit needs a text", where="text", hint="or reject the draft")

    @property
    def key(self) -> Key:
        """Which text it is about."""
        return self.product, self.slot, self.variant


@dataclass(frozen=True)
class RowFailure:
    """A text that could not be written. inputs: as `Provenance.inputs`. reason: in words.
    attempts: times that it was asked for."""

    product: str
    slot: str
    variant: int
    reason: str
    inputs: str = ""
    attempts: int = 1
    time: str = ""

    @property
    def key(self) -> Key:
        """Which text it is."""
        return self.product, self.slot, self.variant


def line_of(kind: LineKind, head: list[Any], rest: Mapping[str, Any]) -> bytes:
    """The line of a head and the rest, with its line end."""
    text = json.dumps({kind: head, **rest}, ensure_ascii=False, separators=(",", ":"))
    # Half a surrogate pair, which JSON can name and UTF-8 cannot hold, becomes a question mark.
    return text.encode("utf-8", "replace") + b"\n"


def draft_of(values: Mapping[str, Any]) -> Draft:
    """The draft of a parsed line; LookupError, TypeError or ValueError where it is none."""
    product, slot, variant, *_ = values["draft"]
    findings = tuple(Finding(*one) for one in values.get("findings", ()))
    known = {one.name for one in fields(Provenance)}
    by = {name: value for name, value in values.get("by", {}).items() if name in known}
    text, before = values["text"], values.get("before", values["text"])
    given = tuple((name, value) for name, value in values.get("values", ()))
    return Draft(product, slot, variant, text, before, findings, Provenance(**by), given)


def decision_of(values: Mapping[str, Any]) -> ReviewDecision:
    """The decision of a parsed line; errors as `draft_of`."""
    product, slot, variant, kind = values["decision"]
    given = {name: values[name] for name in ("text", "reviewer", "time") if name in values}
    reasons = tuple(values.get("reasons", ()))
    return ReviewDecision(product, slot, variant, kind, reasons=reasons, **given)


def failure_of(values: Mapping[str, Any]) -> RowFailure:
    """The failure of a parsed line; errors as `draft_of`."""
    product, slot, variant, inputs = values["failure"]
    given = {name: values[name] for name in ("attempts", "time") if name in values}
    return RowFailure(product, slot, variant, values.get("reason", ""), inputs, **given)


def product_of(values: Mapping[str, Any]) -> Product:
    """The product of a parsed line; errors as `draft_of`."""
    known = {one.name for one in fields(Product)}
    given = {name: value for name, value in values.items() if name in known}
    given["attributes"] = tuple((str(name), str(value)) for name, value in given["attributes"])
    return Product(id=values["product"][0], **given)


def draft_line(draft: Draft) -> bytes:
    """The line of a draft; `before` is left out where it is the text."""
    by = {name: value for name, value in asdict(draft.provenance).items() if value}
    errors = sum(one.severity == "error" for one in draft.findings)
    warnings = len(draft.findings) - errors
    head = [*draft.key, draft.provenance.inputs, errors, warnings, draft.provenance.product]
    rest: dict[str, Any] = {"text": draft.text}
    if draft.before != draft.text:
        rest["before"] = draft.before
    if draft.findings:
        rest["findings"] = [
            [one.rule, one.start, one.end, one.severity, one.message, one.fix]
            for one in draft.findings
        ]
    if draft.values:
        rest["values"] = [list(pair) for pair in draft.values]
    return line_of("draft", head, rest | {"by": by})


def decision_line(decision: ReviewDecision) -> bytes:
    """The line of a decision."""
    rest = {
        "text": decision.text,
        "reasons": list(decision.reasons),
        "reviewer": decision.reviewer,
        "time": decision.time,
    }
    return line_of("decision", [*decision.key, decision.kind], {n: v for n, v in rest.items() if v})


def failure_line(failure: RowFailure) -> bytes:
    """The line of a failure."""
    rest = {"reason": failure.reason, "attempts": failure.attempts, "time": failure.time}
    return line_of("failure", [*failure.key, failure.inputs], rest)


def product_line(product: Product, digest: str) -> bytes:
    """The line of a product. digest: its hash."""
    rest = {one.name: getattr(product, one.name) for one in fields(Product) if one.name != "id"}
    return line_of("product", [product.id, digest], rest)


def _check_key(key: Key) -> None:
    product, slot, variant = key
    if not product or not slot or variant < 0:
        raise ConfigError(
            "a text belongs to a product and a slot, and has a variant from 0",
            where=f"product {product!r:.80}, slot {slot!r:.80}, variant {variant}",
            hint="name all three",
        )


# --------------------------------------------------------------------------------------------------
# What a text of a journal is now: where its lines are, and what the last decision makes of it.

TextStatus = Literal["unreviewed", "approved", "edited", "rejected"]
#: Offset of a line in the journal, and its length.
Place: TypeAlias = tuple[int, int]

_AFTER: Mapping[str, TextStatus] = {"approve": "approved", "edit": "edited", "reject": "rejected"}


class TextState:
    """What a text is now.

    key: product, slot, variant. status: of its last decision. version: place of its last line in
    the journal, which changes with each thing that happens to it. inputs, product_hash: `inputs`
    and `product` of its draft's `Provenance`. errors, warnings: findings of its draft. rounds:
    drafts so far.
    """

    __slots__ = (
        *("_decisions", "_draft", "errors", "inputs", "key", "product_hash", "rounds"),
        *("version", "warnings"),
    )

    def __init__(self, key: Key) -> None:
        self.key = key
        self.inputs = self.product_hash = ""
        self.errors = self.warnings = self.rounds = self.version = 0
        self._draft: Place = (0, 0)
        self._decisions: tuple[tuple[int, int, TextStatus], ...] = ()

    @property
    def status(self) -> TextStatus:
        """What the last decision makes of it."""
        return self._decisions[-1][2] if self._decisions else "unreviewed"

    @property
    def draft_place(self) -> Place:
        """Offset and length of its draft's line."""
        return self._draft

    @property
    def decision_place(self) -> Place | None:
        """Offset and length of its decision's line."""
        return self._decisions[-1][:2] if self._decisions else None

    def drafted(self, place: Place, head: Sequence[Any]) -> None:
        """A draft came; decisions about the one before are no longer about this."""
        self._draft, self._decisions, self.version = place, (), place[0]
        self.inputs, self.errors, self.warnings, self.product_hash = head[3:7]
        self.rounds += 1

    def decided(self, place: Place, kind: str) -> None:
        """A decision came."""
        self._decisions = (*self._decisions, (*place, _AFTER[kind]))
        self.version = place[0]

    def undone(self, place: Place) -> None:
        """The last decision is taken back."""
        self._decisions = self._decisions[:-1]
        self.version = place[0]


#: Name of the journal in its folder.
JOURNAL = "drafts.jsonl"
#: What models took for the texts of that folder, failures too: a line each time that they answered.
USAGE = "usage.jsonl"
#: What became of a draft. "same": one of the same inputs is there. "human": a person's decision
#: stands.
Written: TypeAlias = Literal["written", "same", "human"]

_WAITING: tuple[TextStatus, ...] = ("unreviewed",)
_Read = TypeVar("_Read")
_DECODER = json.JSONDecoder()


class DraftMoved(AdwrightError):
    """A decision is about a text that has changed since its reviewer saw it."""


class Drafts:
    """The journal of a folder. Calls from several threads are allowed, and other processes may
    have it open; `refresh` reads what these wrote."""

    def __init__(self, journal: Journal, path: Path, clock: Clock) -> None:
        self._journal, self._path, self._clock = journal, path, clock
        self._states: dict[Key, TextState] = {}
        self._failures: dict[Key, Place] = {}
        self._products: dict[str, tuple[str, Place]] = {}
        self._jobs: dict[str, Place] = {}
        self._decided: list[Key] = []
        self.refresh()

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        reading_only: bool = False,
        existing: bool = False,
        clock: Clock | None = None,
    ) -> Drafts:
        """Open the journal of a folder, which is made where it is missing, unless `reading_only` or
        `existing`.

        Raises ResourceError where it cannot be opened, FileUnreadableError naming the line where
        it is no journal.
        """
        path = Path(folder) / JOURNAL
        if (existing or reading_only) and not path.exists():
            raise ResourceError(
                "there is no journal of drafts here",
                where=str(path),
                hint="name the folder that `adwright author write` wrote to",
            )
        journal = Journal(path, reading_only=reading_only)
        try:
            return cls(journal, path, SystemClock() if clock is None else clock)
        except BaseException:
            journal.close()
            raise

    @property
    def torn(self) -> int:
        """Bytes of an unfinished last line that were passed over."""
        return self._journal.torn

    def refresh(self) -> None:
        """Read what others have written since."""
        self._journal.read(self._take)

    def write(
        self, drafts: Sequence[Draft], *, over_edits: bool = False, again: bool = False
    ) -> list[Written]:
        """Write drafts, each only where nothing stands against it; say what became of each.

        over_edits: also over texts that a person edited or approved. again: also where the draft
        that is there has the same inputs. Of two drafts of one text, the first is written.
        """
        with self._journal.writing(self._take):
            became: list[Written] = []
            lines: dict[Key, bytes] = {}
            for draft in drafts:
                told = self._hinders(draft, over_edits=over_edits, again=again)
                became.append("same" if draft.key in lines else told)
                if became[-1] == "written":
                    by = draft.provenance
                    stamped = replace(by, time=by.time or self._now())
                    lines[draft.key] = draft_line(replace(draft, provenance=stamped))
            if lines:
                self._journal.append(list(lines.values()), self._take)
        return became

    def decide(self, decision: ReviewDecision, *, seen: int | None = None) -> TextState:
        """Write a decision; return what the text is now.

        seen: `TextState.version` as the reviewer saw it. Raises DraftMoved where it has changed
        since, DataError where there is no such draft.
        """
        decision = replace(decision, time=decision.time or self._now())
        with self._journal.writing(self._take):
            state = self._state(decision.key)
            if seen is not None and seen != state.version:
                raise DraftMoved(
                    f"the text has changed meanwhile: it is {state.status}",
                    where=_named(decision.key),
                    hint="look at it again",
                )
            self._journal.append([decision_line(decision)], self._take, flush="now")
        return state

    def undo(self, key: Key | None = None, *, reviewer: str = "") -> Key:
        """Take back the last decision about a text, by default the last of all; return its key.

        Raises DataError where there is none.
        """
        with self._journal.writing(self._take):
            last = self._last_decided() if key is None else key
            if last is None or self._state(last).decision_place is None:
                raise DataError("there is no decision to take back", file=str(self._path))
            rest = {"reviewer": reviewer, "time": self._now()}
            self._journal.append([line_of("undo", list(last), rest)], self._take, flush="now")
        return last

    def fail(self, failures: Sequence[RowFailure]) -> None:
        """Write that texts could not be written, where that is not what stands there."""
        with self._journal.writing(self._take):
            new = []
            for one in failures:
                place = self._failures.get(one.key)
                there = None if place is None else self._parsed(place, failure_of)
                if there is None or replace(there, time=one.time) != one:
                    new.append(failure_line(replace(one, time=one.time or self._now())))
            self._journal.append(new, self._take)

    def note_usage(self, prompt: int, cached: int, answer: int) -> None:
        """Note the tokens that were read, of these from a cache, and written; before what came of
        them is kept, so that a killed job has paid for all that it has."""
        row = {"prompt_tokens": prompt, "cached_tokens": cached, "answer_tokens": answer}
        append_rows(self._path.with_name(USAGE), [row], flush="system")

    def note_products(self, products: Sequence[tuple[Product, str]]) -> None:
        """Write products and their hashes, those that are not there as they are."""
        with self._journal.writing(self._take):
            new = {
                one.id: product_line(one, digest)
                for one, digest in products
                if self._products.get(one.id, ("",))[0] != digest
            }
            if new:
                self._journal.append(list(new.values()), self._take)

    def note_job(self, digest: str, config: Mapping[str, Any]) -> None:
        """Write the settings of a job, unless they are those of the last one."""
        with self._journal.writing(self._take):
            if digest not in self.jobs()[-1:]:
                line = line_of("job", [digest], {"config": config})
                self._journal.append([line], self._take, flush="now")

    def states(self) -> Mapping[Key, TextState]:
        """The state of each text, in the order in which the first drafts came."""
        return self._states

    def hinders(
        self,
        key: Key,
        inputs: str,
        product_hash: str,
        *,
        over_edits: bool = False,
        again: bool = False,
    ) -> Written:
        """What `write` would make of a draft of these inputs, as far as is known."""
        state = self._states.get(key)
        if state is None:
            return "written"
        same = state.inputs == inputs
        stands = state.status == "approved" and state.product_hash == product_hash
        if (state.status == "edited" or stands) and not over_edits:
            return "human"
        return "same" if same and not again else "written"

    def queue(
        self,
        *,
        slots: Collection[str] = (),
        status: Collection[TextStatus] = _WAITING,
        with_findings: bool | None = None,
    ) -> Iterator[Draft]:
        """Drafts that wait for a decision, in their order; none is read before it is asked for.

        slots: of these alone; empty for all. status: of these. with_findings: only drafts that
        checks have something to say of, or nothing.
        """
        for state in list(self._states.values()):
            found = bool(state.errors or state.warnings)
            if (
                state.status in status
                and (not slots or state.key[1] in slots)
                and with_findings in (None, found)
            ):
                yield self.draft(state.key)

    def draft(self, key: Key) -> Draft:
        """The draft of a text. Raises DataError where there is none."""
        return self._parsed(self._state(key).draft_place, draft_of)

    def decision(self, key: Key) -> ReviewDecision | None:
        """The decision about a text that stands. Raises DataError where there is no such text."""
        place = self._state(key).decision_place
        return None if place is None else self._parsed(place, decision_of)

    def text(self, key: Key) -> str:
        """The text as it is now: of an edit where there is one, else of the draft."""
        decision = self.decision(key)
        edited = decision is not None and decision.kind == "edit"
        return decision.text if decision is not None and edited else self.draft(key).text

    def damaged(self) -> dict[Key, FileUnreadableError]:
        """Texts whose draft or decision cannot be read, with the error that names the line."""
        found: dict[Key, FileUnreadableError] = {}
        for key in self._states:
            try:
                self.text(key)
            except FileUnreadableError as error:
                found[key] = error
        return found

    def failures(self) -> list[RowFailure]:
        """What could not be written, and was not later."""
        return [self._parsed(place, failure_of) for place in self._failures.values()]

    def product(self, product_id: str) -> Product | None:
        """The product as it was when its texts were written last."""
        found = self._products.get(product_id)
        return None if found is None else self._parsed(found[1], product_of)

    def job(self, digest: str) -> dict[str, Any] | None:
        """The settings of a job."""
        place = self._jobs.get(digest)
        return None if place is None else self._parsed(place, lambda line: dict(line["config"]))

    def jobs(self) -> list[str]:
        """Hashes of the jobs' settings, the last one last."""
        return list(self._jobs)

    def sync(self) -> None:
        """Flush what was written to the disk."""
        self._journal.sync()

    def close(self) -> None:
        """Flush and close; any number of times."""
        self._journal.close()

    def _take(self, offset: int, line: bytes) -> None:
        """Fold one line into the states."""
        text = line.decode()
        # {"KIND":[HEAD],...: the rest is left for later.
        end = text.index('":[')
        head, _ = _DECODER.raw_decode(text, end + 2)
        self._fold(text[2:end], head, (offset, len(line)))

    def _fold(self, kind: str, head: list[Any], place: Place) -> None:
        if kind == "product":
            self._products[head[0]] = head[1], place
            return
        if kind == "job":
            self._jobs.pop(head[0], None)
            self._jobs[head[0]] = place
            return
        key = sys.intern(head[0]), sys.intern(head[1]), int(head[2])
        if kind == "failure":
            self._failures[key] = place
            return
        if kind == "draft":
            if key not in self._states:
                self._states[key] = TextState(key)
            self._states[key].drafted(place, head)
            self._failures.pop(key, None)
        elif kind == "decision":
            self._states[key].decided(place, head[3])
            self._decided.append(key)
        elif kind == "undo":
            self._states[key].undone(place)
        else:
            raise ValueError(f"unknown kind {kind}")

    def _hinders(self, draft: Draft, *, over_edits: bool, again: bool) -> Written:
        by = draft.provenance
        return self.hinders(draft.key, by.inputs, by.product, over_edits=over_edits, again=again)

    def _last_decided(self) -> Key | None:
        """The text of the last decision that stands."""
        standing = [key for key in set(self._decided) if self._states[key].decision_place]
        places = {key: self._states[key].decision_place or (0, 0) for key in standing}
        return max(places, key=lambda key: places[key]) if places else None

    def _state(self, key: Key) -> TextState:
        state = self._states.get(key)
        if state is None:
            raise DataError(
                f"there is no draft of {_named(key)}",
                file=str(self._path),
                hint="`adwright author status` tells what there is",
            )
        return state

    def _parsed(self, place: Place, read: Callable[[Mapping[str, Any]], _Read]) -> _Read:
        return self._journal.parsed(*place, read)

    def _now(self) -> str:
        return self._clock.now().isoformat(timespec="milliseconds")


def _named(key: Key) -> str:
    return f"product {key[0]!r:.80}, slot {key[1]!r:.80}, variant {key[2]}"


# --------------------------------------------------------------------------------------------------
# Which texts a job has to write: a row each, told apart by the hash of all that it follows from.
#
#     plan = make_plan(table, config, recipe.digests, drafts)
#     plan.rows, plan.same, plan.human
#
# A row whose text is there with the same inputs is not written again, which makes a job resumable,
# and one whose product has changed is.

#: Digits of a hash: enough for billions of rows.
_DIGITS = 24


class WriteRow(NamedTuple):
    """A text that is to be written. values: further fields of its request. inputs: hash of all
    that it follows from."""

    product: Product
    slot: WriterSlot
    variant: int
    values: tuple[tuple[str, str], ...]
    product_hash: str
    inputs: str

    @property
    def key(self) -> Key:
        """Product, slot, variant."""
        return self.product.id, self.slot.name, self.variant

    def request(self, labels: Sequence[str]) -> AuthoringRequest:
        """What a model is asked. Raises ValueInvalidError where the product lacks what the task
        needs."""
        known = {slot.name for slot in self.slot.task.presented}
        values = tuple((name, text) for name, text in self.values if name in known)
        closed = tuple(labels) if self.slot.task.form == "label" else ()
        return AuthoringRequest(self.slot.task, self.product, values, closed)


@dataclass(frozen=True)
class WritePlan:
    """rows: to be written, all texts of a product after each other. same: texts that are there
    with these inputs. human: that a person's decision keeps. products: that are planned for."""

    rows: tuple[WriteRow, ...]
    same: int
    human: int
    products: int


def make_plan(
    table: ProductTable,
    config: WriteConfig,
    recipes: Mapping[str, str],
    drafts: Drafts | None = None,
) -> WritePlan:
    """The texts of a job. recipes: slot -> hash of what its texts follow from beside their product,
    see `WriteRecipe.digests`. drafts: those that are there.

    Raises SchemaError where a column of values is missing.
    """
    slots = [slot_named(name, config.platform) for name in config.slots]
    columns = _value_columns(table, config)
    rows: list[WriteRow] = []
    same = human = 0
    products = _sampled(table.products, config)
    for product in products:
        values = (*config.values, *_values_of(table, product, columns))
        digest = product_hash(product)
        for slot in slots:
            for variant in range(config.variants):
                inputs = _hash(recipes[slot.name], digest, slot.name, str(variant), repr(values))
                row = WriteRow(product, slot, variant, values, digest, inputs)
                became = "written" if drafts is None else _became(drafts, row, config)
                same += became == "same"
                human += became == "human"
                if became == "written":
                    rows.append(row)
    return WritePlan(tuple(rows), same, human, len(products))


def product_hash(product: Product) -> str:
    """Hash of all that is known of a product."""
    return content_hash(asdict(product))[:_DIGITS]


def _became(drafts: Drafts, row: WriteRow, config: WriteConfig) -> str:
    state = drafts.states().get(row.key)
    again = config.again and state is not None and state.status == "rejected"
    return drafts.hinders(
        row.key, row.inputs, row.product_hash, over_edits=config.over_edits, again=again
    )


def _sampled(products: Sequence[Product], config: WriteConfig) -> Sequence[Product]:
    """All, or as many as are asked for: those of the least hashes, so that a larger sample holds a
    smaller one, whatever else the table has."""
    if not config.sample or config.sample >= len(products):
        return products
    drawn = sorted(products, key=lambda one: _hash(str(config.seed), one.id))[: config.sample]
    chosen = {one.id for one in drawn}
    return [one for one in products if one.id in chosen]


def _value_columns(table: ProductTable, config: WriteConfig) -> Mapping[str, str]:
    for name, column in config.value_columns:
        if column not in table.frame.columns:
            raise SchemaError(
                f"the table has no column {column!r}, which is to be {name}",
                file=str(table.path),
                column=column,
                hint=f"the table has {', '.join(one[:60] for one in table.frame.columns[:20])}",
            )
    return dict(config.value_columns)


def _values_of(
    table: ProductTable, product: Product, columns: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    row = table.rows[product.id]
    found = ((name, table.frame[column][row]) for name, column in columns.items())
    return tuple((name, str(cell)) for name, cell in found if cell is not None)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).hexdigest()[:_DIGITS]
