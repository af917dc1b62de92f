"""What reviewers prefer, as data that a model learns from.

    found = preferences(drafts)
    lines = [row.as_json() for row in found.rows]

Two things tell of a preference: an edit, whose text is chosen over the draft's; and a rejected
variant beside an approved or edited one of the same slot. A line has both as conversations, which
begin with what the model was asked, as trainers of preferences take them:

    {"chosen": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}],
     "rejected": [...], "product": "p1", "slot": "headline", "kind": "edit",
     "values": {"occasion": "Christmas"}, ...}

`adwright tune run --messages-field chosen` learns to write as what was chosen.

The prompt is put together anew from product and job as the journal has them. Where its hash is not
the one in the draft's provenance, as after a change of our own words, the row is left out and
counted: a model would learn the answer to another question.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from adwright.authoring.tasks import AuthoringRequest, messages_of
from adwright.authoring.writer.config import slot_named
from adwright.authoring.writer.drafts import Draft, Drafts, Key, ReviewDecision
from adwright.core.config import settings
from adwright.core.errors import AdwrightError
from adwright.core.hashing import content_hash
from adwright.lm.engine.generation import Message

#: edit: a person's text over the draft. variant: one draft over another of the same slot.
PreferenceKind = Literal["edit", "variant"]


@settings
class PreferenceRow:
    """One text that was preferred to another. prompt: what the model was asked. reasons: of the
    rejection or edit. values: fields of the request beside the product, such as an occasion."""

    product: str
    slot: str
    kind: PreferenceKind
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    reviewer: str = ""
    reasons: tuple[str, ...] = ()
    values: tuple[tuple[str, str], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The line of a file."""
        asked = [{"role": one.role, "content": one.content} for one in self.prompt]
        return {
            "chosen": [*asked, {"role": "assistant", "content": self.chosen}],
            "rejected": [*asked, {"role": "assistant", "content": self.rejected}],
            "product": self.product,
            "slot": self.slot,
            "kind": self.kind,
            "reviewer": self.reviewer,
            "reasons": list(self.reasons),
            "values": dict(self.values),
        }


@dataclass(frozen=True)
class Preferences:
    """rows: in the order of the journal. unknown: preferences whose prompt is not known."""

    rows: tuple[PreferenceRow, ...]
    unknown: int


def preferences(drafts: Drafts) -> Preferences:
    """All preferences that the decisions of a journal tell. Raises as `Drafts.draft`."""
    slots: dict[tuple[str, str], list[Key]] = defaultdict(list)
    for key, state in drafts.states().items():
        if state.status != "unreviewed":
            slots[key[:2]].append(key)
    rows, unknown = list[PreferenceRow](), 0
    for keys in slots.values():
        for draft, chosen, kind, decision in _pairs(drafts, keys):
            prompt = prompt_of(drafts, draft)
            if prompt is None:
                unknown += 1
                continue
            rows.append(
                PreferenceRow(
                    draft.product,
                    draft.slot,
                    kind,
                    prompt,
                    chosen,
                    draft.text,
                    decision.reviewer,
                    decision.reasons,
                    draft.values,
                )
            )
    return Preferences(tuple(rows), unknown)


def prompt_of(drafts: Drafts, draft: Draft) -> tuple[Message, ...] | None:
    """What the model was asked for a draft, by product and job; None where these do not give the
    messages whose hash the draft has."""
    by = draft.provenance
    product, job = drafts.product(draft.product), drafts.job(by.job)
    if product is None or job is None:
        return None
    try:
        recipe = job["recipe"]
        slot = slot_named(draft.slot, recipe["platform"])
        labels = tuple(recipe["labels"]) if slot.task.form == "label" else ()
        request = AuthoringRequest(slot.task, product, draft.values, labels)
        instruction = recipe["instructions"][draft.slot]
        messages = messages_of(request, instruction=instruction, voice=recipe["voice"])
    except (AdwrightError, LookupError, TypeError, ValueError):
        return None
    digest = content_hash([[one.role, one.content] for one in messages])
    return messages if by.prompt and digest.startswith(by.prompt) else None


def _pairs(
    drafts: Drafts, keys: list[Key]
) -> Iterator[tuple[Draft, str, PreferenceKind, ReviewDecision]]:
    """Of the variants of a slot: the draft that lost, the text that it lost to, how, and by whose
    word."""
    good, bad = list[str](), list[tuple[Draft, ReviewDecision]]()
    for key in keys:
        draft, decision = drafts.draft(key), drafts.decision(key)
        if decision is None:
            continue
        if decision.kind == "reject":
            bad.append((draft, decision))
            continue
        text = drafts.text(key)
        good.append(text)
        if decision.kind == "edit" and text != draft.text:
            yield draft, text, "edit", decision
    for draft, decision in bad:
        for text in dict.fromkeys(good):
            if text != draft.text:
                yield draft, text, "variant", decision
