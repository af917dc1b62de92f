"""Make a draft of an answer: read in the form that was asked for, tidied, checked and repaired."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from adwright.authoring.checks.finding import Finding, errors_of
from adwright.authoring.checks.settings import CheckConfig
from adwright.authoring.checks.variants import alikeness
from adwright.authoring.checks.verdict import check, repair
from adwright.authoring.tasks.answers import read_answer
from adwright.authoring.writer.draft import Draft, Provenance
from adwright.authoring.writer.engine.asking import RowAnswer
from adwright.authoring.writer.shop.markup import plain_text

#: What a spreadsheet would take for the beginning of a formula.
_FORMULA = "=+-@\t\r"
_BLANK = re.compile(r"[ \t]+")
#: ROUGE-L from which on two variants are alike, and what is said then.
_ALIKE = 0.7
_SAID, _FIX = "it is like another variant", "keep one of them"
#: Names that models put before what they write.
_NAMED = re.compile(
    r"^\W*(?:ad|ad text|headline|title|description|product description|sentence|text)\s*:\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class DraftSource:
    """What the provenance of all drafts of a job says: see `Provenance`."""

    model: str
    adapter: str
    adapter_hash: str
    job: str


class FinishedRow(NamedTuple):
    """draft: None where the answer cannot be used, for the `reason`. before: findings in the
    answer as it came; after: in the draft."""

    answer: RowAnswer
    draft: Draft | None
    reason: str
    before: tuple[Finding, ...] = ()
    after: tuple[Finding, ...] = ()


def finish(
    answer: RowAnswer,
    config: CheckConfig,
    source: DraftSource,
    *,
    mend: bool,
    attempts: int,
    others: Sequence[str] = (),
    last: bool = False,
) -> FinishedRow:
    """The draft of an answer. mend: repair what the checks find. attempts: times that it was asked
    for. others: texts of the other variants, none of which it is to be like: one that is the same
    is no draft, nor is one that is alike (ROUGE-L of 0.7, our choice) unless it is the `last`
    attempt; then it has a finding that says so."""
    if answer.text is None:
        return FinishedRow(answer, None, answer.reason)
    request = answer.asked.request
    # Markup of an answer is no turn of a chat, and is taken out before turns are looked for.
    shown = answer.text if request.task.form == "label" else plain_text(answer.text)[0]
    read = read_answer(request, shown)
    if not read.valid:
        return FinishedRow(answer, None, f"the answer cannot be used: {read.reason}")
    if read.label is not None:
        draft = _draft(answer, read.label, (), source, attempts)
        return FinishedRow(answer, draft, "")
    text = tidy(read.text)
    if not text:
        return FinishedRow(answer, None, "the answer cannot be used: empty")
    if mend:
        mended = repair(text, request, config)
        text, before, after = mended.text, mended.findings_before, mended.findings_after
        if mended.failed or not text:
            rules = ", ".join(sorted({one.rule for one in errors_of(before)}))
            what = f"the answer cannot be mended: {rules}"
            return FinishedRow(answer, None, what, before, after)
    else:
        before = after = check(text, request, config)
    if folded(text) in map(folded, others):
        return FinishedRow(answer, None, "the answer is that of another variant", before, after)
    if others and alikeness((text, *others))[0, 1:].max() >= _ALIKE:
        if not last:
            return FinishedRow(answer, None, "the answer is like another variant", before, after)
        after = (*after, Finding("variants/alike", 0, len(text), "warning", _SAID, _FIX))
    return FinishedRow(answer, _draft(answer, text, after, source, attempts), "", before, after)


def tidy(text: str) -> str:
    """The text without markup, its own name before it, quotes and blanks around it, and what would
    begin a formula."""
    shown, _ = plain_text(text)
    bare = _NAMED.sub("", shown).strip('"\u201c\u201d* \n')
    return _BLANK.sub(" ", bare.lstrip(_FORMULA + " \n")).strip()


def folded(text: str) -> str:
    """Letters and digits alone, in lower case: what two variants must differ in."""
    return re.sub(r"[\W_]", "", text.casefold())


def _draft(
    answer: RowAnswer,
    text: str,
    findings: tuple[Finding, ...],
    source: DraftSource,
    attempts: int,
) -> Draft:
    row, usage = answer.asked.row, answer.usage
    by = Provenance(
        model=source.model,
        adapter=source.adapter,
        adapter_hash=source.adapter_hash,
        job=source.job,
        prompt=answer.asked.prompt_hash,
        inputs=row.inputs,
        product=row.product_hash,
        seed=answer.seed,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        answer_tokens=usage.completion_tokens,
        seconds=round(answer.seconds, 4),
        attempts=attempts,
    )
    return Draft(*row.key, text, answer.text or "", findings, by, answer.asked.request.values)
