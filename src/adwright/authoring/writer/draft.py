"""What the journal of a writing job holds: drafts, decisions about them, and rows that failed.

Each is one line of JSON. Its first value is a list, the head, with all that is needed to tell the
state of a text, so that a million lines are read without looking into texts; the rest is read
when it is asked for.

    {"draft":["p1","headline",0,"4f0c...",0,1,"99ab..."],"text":"...","before":"...","findings":[...],...}
    {"decision":["p1","headline",0,"edit"],"text":"...","reasons":[],"reviewer":"ann","time":"..."}
    {"undo":["p1","headline",0],"reviewer":"ann","time":"..."}
    {"failure":["p1","headline",1,"4f0c..."],"reason":"...","attempts":3,"time":"..."}
    {"product":["p1","99ab..."],"title":"...","description":"...",...}
    {"job":["77de..."],"config":{...}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from adwright.authoring.checks.finding import Finding
from adwright.authoring.tasks.product import Product
from adwright.core.config import settings
from adwright.core.errors import ConfigError

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


#: Its short name in this room; delivery has a Decision of its own.
Decision = ReviewDecision


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
    return ReviewDecision(
        product,
        slot,
        variant,
        kind,
        values.get("text", ""),
        tuple(values.get("reasons", ())),
        values.get("reviewer", ""),
        values.get("time", ""),
    )


def failure_of(values: Mapping[str, Any]) -> RowFailure:
    """The failure of a parsed line; errors as `draft_of`."""
    product, slot, variant, inputs = values["failure"]
    return RowFailure(
        product,
        slot,
        variant,
        values.get("reason", ""),
        inputs,
        values.get("attempts", 1),
        values.get("time", ""),
    )


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
