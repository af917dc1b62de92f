from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adwright.authoring.preferences import PreferenceRow, preferences, prompt_of
from adwright.authoring.tasks import AuthoringRequest, Product, messages_of, task_named
from adwright.authoring.writer.drafts import Draft, Drafts, Provenance, ReviewDecision
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash
from adwright.training.tuning.texts import asked_and_answered

TEA = Product("t1", "Mill Lane Assam tea", brand="Mill Lane")
JOB = {
    "recipe": {
        "platform": "",
        "labels": [],
        "voice": "Calm.",
        "instructions": {"headline": "Write a headline.", "title": "Rewrite it."},
    },
    "settings": {},
}
VALUES = (("occasion", "Christmas"),)


def draft(variant: int, text: str, **more: Any) -> Draft:
    request = AuthoringRequest(task_named("ads"), TEA, VALUES)
    asked = messages_of(request, instruction="Write a headline.", voice="Calm.")
    digest = content_hash([[one.role, one.content] for one in asked])[:24]
    by = Provenance(job="j1", prompt=more.pop("prompt", digest), inputs=text)
    return Draft("t1", "headline", variant, text, provenance=by, values=VALUES)


@pytest.fixture
def drafts(tmp_path: Path) -> Iterator[Drafts]:
    with closing(Drafts.open(tmp_path)) as found:
        found.note_products([(TEA, "h1")])
        found.note_job("j1", JOB)
        found.write([draft(0, "Best tea"), draft(1, "Assam tea"), draft(2, "Tea tea tea")])
        yield found


def decide(drafts: Drafts, variant: int, kind: Any, **more: Any) -> None:
    drafts.decide(ReviewDecision("t1", "headline", variant, kind, reviewer="ann", **more))


def test_an_edit_is_preferred_to_its_draft(drafts: Drafts) -> None:
    decide(drafts, 0, "edit", text="Assam for the morning", reasons=("policy",))
    (row,) = preferences(drafts).rows
    assert (row.kind, row.chosen, row.rejected) == ("edit", "Assam for the morning", "Best tea")
    assert (row.reviewer, row.reasons) == ("ann", ("policy",))
    line = json.loads(json.dumps(row.as_json()))
    assert line["values"] == {"occasion": "Christmas"}
    assert line["chosen"][:-1] == line["rejected"][:-1]
    assert line["chosen"][0]["role"] == "system"
    assert "Calm." in line["chosen"][0]["content"]
    assert "Christmas" in line["chosen"][1]["content"]
    ((turns, answer),) = asked_and_answered(line["chosen"], file="f", row=0, column="chosen")
    assert (len(turns), answer) == (2, "Assam for the morning")


def test_a_good_variant_is_preferred_to_a_rejected_one(drafts: Drafts) -> None:
    decide(drafts, 0, "reject", reasons=("policy",))
    decide(drafts, 1, "approve")
    decide(drafts, 2, "edit", text="Tea")
    rows = preferences(drafts).rows
    assert [(row.kind, row.chosen, row.rejected) for row in rows] == [
        ("edit", "Tea", "Tea tea tea"),
        ("variant", "Assam tea", "Best tea"),
        ("variant", "Tea", "Best tea"),
    ]
    assert rows[1].reasons == ("policy",)


def test_what_tells_of_no_preference_is_left_out(drafts: Drafts) -> None:
    assert preferences(drafts).rows == ()
    decide(drafts, 0, "approve")
    decide(drafts, 1, "edit", text="Assam tea")
    assert preferences(drafts).rows == ()
    decide(drafts, 2, "reject", reasons=("voice",))
    drafts.undo(("t1", "headline", 2))
    assert preferences(drafts).rows == ()


def test_a_prompt_that_is_not_the_one_that_was_asked_is_left_out_and_counted(
    drafts: Drafts,
) -> None:
    drafts.write([draft(0, "Best tea", prompt="0" * 24)], again=True)
    decide(drafts, 0, "edit", text="Tea")
    found = preferences(drafts)
    assert (found.rows, found.unknown) == ((), 1)


def test_without_its_product_or_job_a_prompt_is_not_known(drafts: Drafts) -> None:
    known = drafts.draft(("t1", "headline", 0))
    assert prompt_of(drafts, known) is not None
    for product, slot, by in (
        ("other", "headline", known.provenance),
        ("t1", "headline", Provenance(job="other")),
        ("t1", "path", known.provenance),
        ("t1", "title", known.provenance),
        ("t1", "headline", Provenance(job="j1")),
    ):
        other = Draft(product, slot, 0, "x", provenance=by, values=VALUES)
        assert prompt_of(drafts, other) is None
    assert prompt_of(drafts, Draft(*known.key, "x", provenance=known.provenance)) is None


def test_a_kind_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="'made up'"):
        PreferenceRow("p", "s", "made up", (), "a", "b")  # type: ignore[arg-type]
