"""What a reviewer does with a draft: look at it, decide, take the decision back.

A decision is about a text as its reviewer saw it. Where somebody else has decided, or the job has
written it anew meanwhile, it is not taken, and the reviewer is told.
"""

from __future__ import annotations

from typing import Literal, get_args

from adwright.authoring.writer.drafts import DraftMoved, ReviewDecision
from adwright.console.review.checking import Checked, DraftChecker
from adwright.console.review.filters import QueueFilter
from adwright.console.review.queue import QueueCounts, QueuePage, ReviewQueue
from adwright.console.review.views import DoneView, DraftView, RowView, row_view, view_of
from adwright.console.shell.forms import Form
from adwright.core.errors import DataError
from adwright.web.errors import ApiError

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
    ) -> tuple[QueuePage, list[RowView], QueueCounts, list[str]]:
        """A page of the queue: its place, its rows, how far the review is, and the slots."""
        queue = self.queue
        with queue.turn():
            place = queue.page(shown, page, rows)
            states = [(number, queue.state(number)) for number in place.numbers]
            views = [
                row_view(number, state, queue.drafts.text(state.key)) for number, state in states
            ]
            return place, views, queue.counts(), queue.slots()

    def view(self, number: int, text: str | None = None) -> DraftView:
        """A draft. text: to be checked in the place of its own; None for its own."""
        with self.queue.turn():
            state = self.queue.state(number)
            drafts = self.queue.drafts
            draft, decision = drafts.draft(state.key), drafts.decision(state.key)
            product = drafts.product(draft.product)
            now = drafts.text(state.key) if text is None else text
            checked = self._checked(number, now)
            return view_of(number, state, draft, now, checked, decision, product)

    def done(self, number: int, words: str) -> DoneView:
        """What was just done to a draft. words: what. Raises ApiError 404 without it."""
        with self.queue.turn():
            state = self.queue.state(number)
            decided = state.status != "unreviewed"
            return DoneView(words, number, state.key, state.version, decided)

    def checked(self, number: int, text: str) -> Checked:
        """What checks say of `text` in the place of a draft's."""
        with self.queue.turn():
            return self._checked(number, text)

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

    def _checked(self, number: int, text: str) -> Checked:
        draft = self.queue.drafts.draft(self.queue.state(number).key)
        return self._checker.check(draft, text)
