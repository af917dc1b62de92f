from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from adwright.authoring.checks.limits import Finding
from adwright.authoring.tasks import Product
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.drafts import Draft, Drafts, Provenance
from adwright.console.review.job_checks import JobChecks
from adwright.core.config import to_jsonable

STORED = (Finding("grounding.number", 0, 2, "error", "80 is in no fact"),)


@pytest.fixture
def drafts(tmp_path: Path) -> Iterator[Drafts]:
    with closing(Drafts.open(tmp_path)) as found:
        found.note_products([(Product("t1", "Mill Lane Assam tea, 40 bags"), "h")])
        for job, slots in (("j1", ("headline", "title", "description")), ("j2", ("headline",))):
            config = WriteConfig(slots, platform="google-rsa" if job == "j2" else "")
            found.note_job(job, {"settings": to_jsonable(config)})
        found.note_job("bad", {"settings": {"slots": "?"}})
        found.note_job("none", {})
        yield found


def draft(slot: str = "headline", job: str = "j1", product: str = "t1") -> Draft:
    values = (("query", "tea"),) if slot == "title" else ()
    return Draft(product, slot, 0, "80 bags", "", STORED, Provenance(job=job), values)


@pytest.mark.parametrize("slot", ["headline", "title", "description"])
def test_a_claim_that_no_fact_bears_out_is_found(drafts: Drafts, slot: str) -> None:
    checks = JobChecks(drafts)
    found = checks.check(draft(slot), "Assam tea, 90 bags")
    text = "Assam tea, 90 bags"
    assert any("90" in text[one.start : one.end] for one in found.findings)
    assert found.note == ""
    own = checks.check(draft(slot), "Assam tea, 40 bags")
    assert not [one for one in own.findings if one.rule.startswith("grounding")]


def test_the_brand_of_another_product_is_found(drafts: Drafts) -> None:
    checks = JobChecks(drafts)
    assert (
        checks.check(draft(), "Quxly tea").findings == checks.check(draft(), "Assam tea").findings
    )
    drafts.note_products([(Product("t2", "Green tea", brand="quxly"), "h")])
    drafts.write([Draft("t2", "headline", 0, "Green tea")])
    (found,) = checks.check(draft(), "quxly tea").findings
    assert (found.rule, found.start, found.end) == ("grounding/brand", 0, 5)


def test_the_room_of_a_slot_is_counted(drafts: Drafts) -> None:
    checks = JobChecks(drafts)
    (room,) = checks.check(draft(job="j2"), "x" * 31).room
    assert (room.used, room.most, room.holds) == (31, 30, False)
    assert checks.check(draft("description"), "A tea.").room[0].most == 600


@pytest.mark.parametrize(
    ("job", "product", "slot", "why"),
    [
        ("other", "t1", "headline", "settings of its job"),
        ("", "t1", "headline", "settings of its job"),
        ("bad", "t1", "headline", "cannot be read"),
        ("none", "t1", "headline", "are not there"),
        ("j1", "other", "headline", "does not have the product"),
        ("j1", "t1", "path", "no such slot"),
    ],
)
def test_what_cannot_be_checked_is_said(
    drafts: Drafts, job: str, product: str, slot: str, why: str
) -> None:
    one = draft(slot, job, product)
    found = JobChecks(drafts).check(one, one.text)
    assert why in found.note
    assert found.findings == STORED
    assert JobChecks(drafts).check(one, "another text").findings == ()
