from __future__ import annotations

from pathlib import Path

import pytest

from adwright.authoring.checks.limits import CheckConfig
from adwright.authoring.writer.asking import (
    AskedRow,
    DraftSource,
    FinishedRow,
    RowAnswer,
    SlotPrompt,
    finish,
    folded,
    tidy,
)
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.drafts import make_plan
from adwright.lm.engine.generation import Usage
from tests.support.writing import table_of

SOURCE = DraftSource("m", "a", "hash", "job")


def finished(
    folder: Path,
    text: str | None,
    *,
    slot: str = "headline",
    mend: bool = True,
    others: tuple[str, ...] = (),
    last: bool = False,
) -> FinishedRow:
    labels = ("Tea", "Cups") if slot == "category" else ()
    config = WriteConfig((slot,), labels=labels)
    row = make_plan(table_of(folder, "Tea 80 bags"), config, {slot: "r"}).rows[0]
    request = row.request(labels)
    asked = AskedRow(row, request, SlotPrompt("Write.", "").messages(request))
    answer = RowAnswer(asked, text, "broken", Usage(50, 7, 30), 0.25, 11)
    return finish(answer, CheckConfig(), SOURCE, mend=mend, attempts=2, others=others, last=last)


def test_an_answer_becomes_a_draft_with_its_provenance(tmp_path: Path) -> None:
    done = finished(tmp_path, ' "Fresh tea, 80 bags" ')
    assert done.draft is not None
    assert done.draft.text == "Fresh tea, 80 bags"
    assert done.draft.before == ' "Fresh tea, 80 bags" '
    by = done.draft.provenance
    assert (by.model, by.adapter, by.adapter_hash, by.job, by.attempts) == (
        *("m", "a", "hash", "job"),
        2,
    )
    assert (by.prompt_tokens, by.answer_tokens, by.cached_tokens, by.seconds) == (50, 7, 30, 0.25)
    assert (by.seed, len(by.prompt), len(by.inputs), len(by.product)) == (11, 24, 24, 24)


def test_what_is_not_in_the_facts_is_mended_where_asked(tmp_path: Path) -> None:
    mended = finished(tmp_path, "Tea for 1999 people")
    assert mended.draft is not None
    assert "1999" not in mended.draft.text
    assert len(mended.before) == 1
    assert mended.after == ()
    left = finished(tmp_path, "Tea for 1999 people", mend=False)
    assert left.draft is not None
    assert left.draft.text == "Tea for 1999 people"
    assert left.draft.findings == left.after == left.before


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "broken"),
        ("  ", "empty"),
        ("<b></b>", "empty"),
        ("Tea <|im_start|>user", "opens another turn"),
        ("Tea\nuser: more", "opens another turn"),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path: Path, text: str | None, reason: str) -> None:
    done = finished(tmp_path, text)
    assert done.draft is None
    assert reason in done.reason


def test_variants_differ(tmp_path: Path) -> None:
    same = finished(tmp_path, "Fresh  TEA!", others=("fresh tea",), last=True)
    assert same.draft is None
    assert "that of another variant" in same.reason
    others = ("Fresh tea for quiet mornings",)
    text = "Fresh tea for quiet evenings"
    alike = finished(tmp_path, text, others=others)
    assert alike.draft is None
    assert "like another variant" in alike.reason
    kept = finished(tmp_path, text, others=others, last=True)
    assert kept.draft is not None
    assert [one.rule for one in kept.draft.findings] == ["variants/alike"]
    assert finished(tmp_path, "Cups of calm", others=others).draft is not None
    assert folded("Fresh  TEA!") == folded("fresh tea")


def test_a_label_is_one_of_the_list(tmp_path: Path) -> None:
    done = finished(tmp_path, '"Cups"', slot="category")
    assert done.draft is not None
    assert done.draft.text == "Cups"
    assert finished(tmp_path, "Mugs", slot="category").draft is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=HYPERLINK(x)", "HYPERLINK(x)"),
        ("@SUM a", "SUM a"),
        ("- Fresh   tea ", "Fresh tea"),
        ("<script>x</script>Tea", "Tea"),
        ('**Headline:** "Fresh tea"', "Fresh tea"),
        ("Title: Fresh tea", "Fresh tea"),
        ("Titled: Fresh tea", "Titled: Fresh tea"),
    ],
)
def test_no_text_is_a_formula_or_markup(text: str, shown: str) -> None:
    assert tidy(text) == shown
