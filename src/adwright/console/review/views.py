"""What a page shows of one draft, ready to be drawn.

The text as it is now stands beside the one that it would take the place of: what the shop has in
this slot today, where the product has such a field, else what the model wrote before repair.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from adwright.authoring.checks.limits import Finding
from adwright.authoring.tasks import Product
from adwright.authoring.writer.drafts import Draft, Key, ReviewDecision, TextState, TextStatus
from adwright.console.review.checking import Checked, RoomTaken
from adwright.console.review.marks import MarkedPiece, pieces_of
from adwright.console.review.word_diff import Spans, changed_spans
from adwright.console.shell.showing import has_hidden
from adwright.core.config import settings

#: Fields of a product by the words that a slot for them has in its name.
_FIELDS = (("description", "description"), ("title", "title"), ("headline", "title"))
_EXCERPT = 140
#: Two texts whose unchanged shares together are below this are two texts, not an old and a new one.
_ALIKE = 0.4
#: Characters of a text of the shop, and of a fact, that are shown: a cell may hold megabytes.
_SHOWN, _FACT, _FACTS = 20_000, 600, 60


@settings
class RowView:
    """A draft in the list. text: as it is now, shortened."""

    number: int
    key: Key
    status: TextStatus
    errors: int
    warnings: int
    text: str


@dataclass(frozen=True)
class DoneView:
    """What was just done. words: what, such as "Approved". seen, decided: version of the draft, and
    whether there is a decision to take back."""

    words: str
    number: int
    key: Key
    seen: int
    decided: bool


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

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What checks found."""
        return self.checked.findings

    @property
    def room(self) -> tuple[RoomTaken, ...]:
        """How much of each limit is taken."""
        return self.checked.room


def row_view(number: int, state: TextState, text: str) -> RowView:
    """A draft in the list."""
    short = _short(text, _EXCERPT)
    return RowView(number, state.key, state.status, state.errors, state.warnings, short)


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
