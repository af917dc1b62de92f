"""A bulk job: texts for all products of a table, written into a folder's journal, resumably.

    with open_writer(LmSpec()) as opened:
        report = run_job(read_products("products.csv"), "out", config, opened)

Each text that is written is in the journal before the next ones are asked for, so that a job which
is killed goes on where it was when the same command is given again: nothing is written twice. One
job writes to a folder at a time; reviewers may work in it meanwhile.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import polars as pl

from adwright.authoring.checks.limits import CheckConfig, Finding, brands_of, errors_of
from adwright.authoring.checks.names import is_bare
from adwright.authoring.checks.verdict import usable
from adwright.authoring.plan.names import Naming, fronts_of
from adwright.authoring.plan.planning import PlannedRow, Planner, TextJudge
from adwright.authoring.tasks import Product
from adwright.authoring.writer.asking import (
    RULE,
    AskedRow,
    Asker,
    DraftSource,
    FinishedRow,
    OpenedWriter,
    RowAnswer,
    cpu_seconds,
    finish,
    planned_draft,
)
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.drafts import (
    Draft,
    Drafts,
    RowFailure,
    WritePlan,
    WriteRow,
    make_plan,
)
from adwright.authoring.writer.labelling import (
    Encode,
    TrainedLabels,
    label_text,
    nearest_labels,
    scored_labels,
    sentence_vectors,
)
from adwright.authoring.writer.products import ProductTable
from adwright.authoring.writer.recipe import WriteRecipe, recipe_of, require_same_recipe, room_of
from adwright.core.atomic import atomic_write_text, claim
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import settings
from adwright.core.draws import drawn
from adwright.core.errors import ConfigError, DataError, ResourceError, SchemaError
from adwright.core.progress import progress
from adwright.lm.engine.generation import Usage
from adwright.lm.engine.weights import SMOLLM2

# --------------------------------------------------------------------------------------------------
# What a writing job did, in one form whatever the engine: `report.json` in its folder.

#: Name of the report in the folder of a job.
REPORT = "report.json"
#: How a job ended. "budget": its budget was used up. "stopped": by a person or an error.
JobEnd = Literal["done", "budget", "stopped"]


@settings
class WriteReport:
    """What one run of a job did.

    products: that were planned for; bad_products: rows of the table that make none. written,
    failed: texts; kept_same: that were there already; kept_human: that a person's decision keeps;
    left: that are still to be written. invalid_answers: of all that were asked for, `asked`.
    prompt_tokens, cached_tokens (part of them), answer_tokens. seconds: of the clock; cpu_seconds:
    of all processors, engines of this machine included. texts_per_cpu_second: 0 where no text was
    written. cost: in `currency`. findings: rule -> how often before and after repair. grounded:
    share of the texts without an unsupported span before and after repair; None where nothing was
    checked. usable: share of the wanted texts that are written without an error; None where none
    was wanted. made: how the written texts came about: by plan, free, mended, or by plan
    instead of what a model wrote. name_only: texts by plan that are the name alone. left_out: why
    texts are left out -> how many. said: what a person should know.
    """

    end: JobEnd
    model: str
    engine: str
    adapter: str
    job: str
    slots: tuple[str, ...]
    platform: str
    products: int
    bad_products: int
    written: int
    failed: int
    kept_same: int
    kept_human: int
    left: int
    asked: int
    invalid_answers: int
    prompt_tokens: int
    cached_tokens: int
    answer_tokens: int
    seconds: float
    cpu_seconds: float
    texts_per_cpu_second: float
    cost: float
    currency: str
    findings: dict[str, dict[str, int]]
    grounded: dict[str, float | None]
    usable: float | None = None
    made: dict[str, int] = field(default_factory=dict)
    name_only: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    said: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass
class WriteTally:
    """Counts while a job runs."""

    written: int = 0
    failed: int = 0
    kept_same: int = 0
    kept_human: int = 0
    asked: int = 0
    invalid: int = 0
    usage: Usage = field(default_factory=Usage)
    checked: int = 0
    wrong: int = 0
    bare: int = 0
    made: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    _before: Counter[str] = field(default_factory=Counter)
    _after: Counter[str] = field(default_factory=Counter)
    _ungrounded: Counter[str] = field(default_factory=Counter)

    def answered(self, usage: Usage) -> None:
        """A model has answered once."""
        self.asked += 1
        self.usage = self.usage + usage

    def found(self, before: Sequence[Finding], after: Sequence[Finding]) -> None:
        """A text was checked, and repaired."""
        self.checked += 1
        self.wrong += bool(errors_of(after))
        self._before.update(one.rule for one in before)
        self._after.update(one.rule for one in after)
        self._ungrounded["before"] += any(map(_is_grounding, before))
        self._ungrounded["after"] += any(map(_is_grounding, after))

    @property
    def findings(self) -> dict[str, dict[str, int]]:
        """By rule, how often before and after repair."""
        rules = sorted(self._before.keys() | self._after.keys())
        return {one: {"before": self._before[one], "after": self._after[one]} for one in rules}

    @property
    def grounded(self) -> dict[str, float | None]:
        """Share of the texts without an unsupported span."""
        return {
            when: 1 - self._ungrounded[when] / self.checked if self.checked else None
            for when in ("before", "after")
        }


def _is_grounding(finding: Finding) -> bool:
    return finding.rule.startswith("grounding/")


_LOCK = "writer.lock"
#: Seeds are below this, which every engine and server takes.
_SEEDS = 2**31


def run_job(
    table: ProductTable,
    folder: str | Path,
    config: WriteConfig,
    opened: OpenedWriter,
    *,
    clock: Clock | None = None,
    sleep: Callable[[float], None] = time.sleep,
    judge: TextJudge | None = None,
) -> WriteReport:
    """Write what is missing, and the report; return it.

    judge: chooses among texts by plan, in the model's place. clock: measures seconds.
    sleep: waits before an engine that did not answer is asked again.
    Raises ResourceError where another job writes there, the disk is full or the engine does not
    answer; ConfigError where the folder was written with other settings, and `rewrite` is not
    asked for. What was written by then is kept, and the report says so.
    """
    timer = SystemClock() if clock is None else clock
    place = Path(folder)
    known = _labelled(table, config.train) if config.train else {}
    if config.train:
        config = replace(config, labels=config.labels or tuple(sorted(set(known.values()))))
    with _alone(place), closing(Drafts.open(place, clock=timer)) as drafts:
        recipe = recipe_of(config, opened, brands=brands_of(table.products))
        require_same_recipe(drafts, recipe, rewrite=config.rewrite)
        plan = make_plan(table, config, recipe.digests, drafts)
        drafts.note_job(recipe.job, recipe.job_line(table))
        run = _Run(table, config, opened, drafts, plan, recipe, timer, sleep, judge, known)
        end: JobEnd = "stopped"
        try:
            end = run.write()
        finally:
            drafts.sync()
            report = run.report(end)
            atomic_write_text(place / REPORT, json.dumps(report.as_json(), indent=2) + "\n")
    return report


class _Run:
    """One run of a job."""

    def __init__(
        self,
        table: ProductTable,
        config: WriteConfig,
        opened: OpenedWriter,
        drafts: Drafts,
        plan: WritePlan,
        recipe: WriteRecipe,
        clock: Clock,
        sleep: Callable[[float], None],
        judge: TextJudge | None,
        known: dict[str, str],
    ) -> None:
        self._table, self._config, self._opened = table, config, opened
        self._drafts, self._plan, self._recipe, self._clock = drafts, plan, recipe, clock
        self._source = DraftSource(opened.name, opened.adapter, opened.adapter_hash, recipe.job)
        self._asker = (
            None
            if opened.model is None
            else Asker(
                opened.model, clock=clock, attempts=config.attempts, pause=config.pause, sleep=sleep
            )
        )
        naming = Naming(dict(config.codes), fronts_of(table.products))
        self._naming = naming
        self._planner = Planner(opened.model, naming=naming, judge=judge, seed=config.seed)
        # What takes the place of free text that cannot be used: chosen by the rule, at no cost.
        self._instead = Planner(None, naming=naming, seed=config.seed)
        self._known, self._said = known, list(table.said)
        self._trained: TrainedLabels | None = None
        self._tally = WriteTally(kept_same=plan.same, kept_human=plan.human)
        self._noted = Usage()
        self._start, self._cpu = clock.monotonic(), cpu_seconds()
        # What is still to be written: what the journal has of it is not what it is to be.
        self._open = {row.key for row in plan.rows}

    def write(self) -> JobEnd:
        """Write all rows, unless the budget is used up before."""
        rows = self._plan.rows

        def note() -> str:
            failed = self._tally.failed
            return f"{failed:,} failed" if failed else ""

        with progress(len(rows), "write", "texts", note=note) as bar:
            for batch in _batches(rows, self._config.batch):
                if self._spent():
                    return "budget"
                self._note_products(batch)
                for group in _groups(batch):
                    if self._spent():
                        return "budget"
                    self._write_group(group)
                    bar.advance(len(group))
        return "done"

    def report(self, end: JobEnd) -> WriteReport:
        """What was done by now."""
        tally, plan, config = self._tally, self._plan, self._config
        seconds, cpu = self._clock.monotonic() - self._start, cpu_seconds() - self._cpu
        usage = self._usage
        done = tally.written + tally.failed + tally.kept_same + tally.kept_human
        return WriteReport(
            end=end,
            model=self._opened.name,
            engine=self._opened.engine,
            adapter=self._opened.adapter,
            job=self._recipe.job,
            slots=config.slots,
            platform=config.platform,
            products=plan.products,
            bad_products=len(self._table.bad),
            written=tally.written,
            failed=tally.failed,
            kept_same=tally.kept_same,
            kept_human=tally.kept_human,
            left=len(plan.rows) + plan.same + plan.human - done,
            asked=tally.asked,
            invalid_answers=tally.invalid,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            answer_tokens=usage.completion_tokens,
            seconds=round(seconds, 3),
            cpu_seconds=round(cpu, 3),
            texts_per_cpu_second=round(tally.written / cpu, 3) if cpu > 0 else 0.0,
            cost=round(self._cost(), 6),
            currency=config.prices.currency,
            findings=tally.findings,
            grounded=tally.grounded,
            usable=self._usable_share(),
            made=dict(tally.made),
            name_only=tally.bare,
            left_out=dict(tally.left_out),
            said=tuple(self._said),
        )

    def _usable_share(self) -> float | None:
        tally = self._tally
        wanted = tally.written + tally.failed
        return (tally.written - tally.wrong) / wanted if wanted else None

    def _write_group(self, rows: Sequence[WriteRow]) -> None:
        """Write rows of one slot: by plan, or by asking, and again for those whose answers cannot
        be used."""
        asked = self._asked(rows)
        if rows[0].slot.task.form == "text" and self._config.by == "plan":
            self._plan_group(asked)
            return
        if rows[0].slot.task.form == "label" and self._label_group(asked):
            return
        if self._asker is None:
            raise ConfigError(
                "the rule writes by plan alone",
                where=f"slot {rows[0].slot.name}, model {self._opened.name}",
                hint="name a model",
            )
        # What was rejected is not to be written as it was.
        first = rows[0].variant == 0 and not self._config.again
        states = self._drafts.states()
        rounds = {row.key: states[row.key].rounds for row in rows if row.key in states}
        for attempt in range(1, self._config.attempts + 1):
            if not asked:
                return
            varied = not first or attempt > 1
            heat = self._config.variety if varied else self._config.temperature
            seeds = [self._seed(one.row, rounds.get(one.row.key, 0), attempt) for one in asked]
            answers = self._asker.ask(asked, temperature=heat, seeds=seeds)
            last = attempt == self._config.attempts or (varied and not heat)
            asked = self._keep(answers, attempt, last=last)

    def _plan_group(self, asked: Sequence[AskedRow]) -> None:
        start = self._clock.monotonic()
        found = self._planner.write([self._planned_row(one) for one in asked])
        share = (self._clock.monotonic() - start) / max(len(asked), 1)
        kept, failures = [], []
        for one, text in zip(asked, found, strict=True):
            row = one.row
            if not text.text:
                failures.append(RowFailure(*row.key, text.why, row.inputs, 1))
                continue
            done = planned_draft(one, text.text, self._checks(row), self._source, share)
            self._tally.found(done.before, done.after)
            self._tally.bare += is_bare(text.text, one.request.product)
            self._open.discard(row.key)
            kept += [done.draft] if done.draft else []
        self._tally.answered(self._planner.take_usage())
        self._tally.made["by plan"] += len(kept)
        self._note_usage()
        self._write(kept)
        self._fail(failures)

    def _label_group(self, asked: Sequence[AskedRow]) -> bool:
        """Give labels by what was trained, or by the model's scores; whether that can be done."""
        start = self._clock.monotonic()
        found: Sequence[str | None] | None = None
        if self._known:
            found = self._trained_labels([one.row.product for one in asked])
        elif self._is_small() and (encode := self._sentences):
            found = nearest_labels(encode, [one.request for one in asked])
        elif self._opened.model is not None:
            found = scored_labels(self._opened.model, [one.request for one in asked])
        if found is None:
            return False
        share = (self._clock.monotonic() - start) / max(len(asked), 1)
        kept, failures = [], []
        for one, label in zip(asked, found, strict=True):
            key = one.row.key
            if label is None:
                failures.append(RowFailure(*key, "nothing tells its label", one.row.inputs, 1))
                continue
            done = planned_draft(one, label, self._checks(one.row), self._source, share)
            self._open.discard(key)
            kept += [done.draft] if done.draft else []
        self._tally.made["labels, " + ("trained" if self._known else "compared")] += len(kept)
        self._write(kept)
        self._fail(failures)
        return True

    @cached_property
    def _sentences(self) -> Encode | None:
        return sentence_vectors()

    def _is_small(self) -> bool:
        """Whether no model was named of which more can be hoped than of vectors of sentences."""
        return self._opened.name in (RULE, SMOLLM2) and not self._opened.adapter

    def _trained_labels(self, products: Sequence[Product]) -> list[str | None]:
        """Of each the label that it has, else what the others teach; None where that is nothing."""
        if self._trained is None:
            texts = [label_text(one) for one in self._table.products if one.id in self._known]
            labels = [self._known[one.id] for one in self._table.products if one.id in self._known]
            self._trained = TrainedLabels.fit(
                texts, labels, sentences=self._sentences, seed=self._config.seed
            )
            self._said += self._trained.choice.sentences("accuracy")
        others = [one for one in products if one.id not in self._known]
        told = self._trained.predict([label_text(one) for one in others]) or []
        found = self._known | dict(zip([one.id for one in others], told, strict=False))
        return [found.get(one.id) for one in products]

    def _planned_row(self, asked: AskedRow) -> PlannedRow:
        row, request = asked.row, asked.request
        config, sentences = self._checks(row), row.slot.sentences

        def fits(text: str) -> bool:
            return not usable(text, request, config, sentences=sentences)

        room = room_of(self._config, row.slot)
        return PlannedRow(request, row.slot.kind, room, fits, tuple(self._others(row)))

    def _checks(self, row: WriteRow) -> CheckConfig:
        return self._recipe.checks[row.slot.name]

    def _seed(self, row: WriteRow, rounds: int, attempt: int) -> int:
        """What an attempt at a text draws from: never of what was asked before, so that a job which
        was killed goes on with the texts that it would have written."""
        parts = (*map(str, row.key), str(rounds), str(attempt))
        return drawn(self._config.seed, *parts) % _SEEDS

    def _asked(self, rows: Sequence[WriteRow]) -> list[AskedRow]:
        """Rows with their prompts; those that make none have failed."""
        found: list[AskedRow] = []
        failures: list[RowFailure] = []
        for row in rows:
            prompt = self._recipe.prompts[row.slot.name]
            try:
                request = row.request(self._config.labels)
                request = replace(request, product=self._naming.read(request.product))
                found.append(AskedRow(row, request, prompt.messages(request)))
            except DataError as error:
                failures.append(RowFailure(*row.key, str(error), row.inputs, 0))
        self._fail(failures)
        return found

    def _keep(self, answers: Sequence[RowAnswer], attempt: int, *, last: bool) -> list[AskedRow]:
        """Write what can be used, and return what is to be asked again."""
        kept: list[Draft] = []
        failures: list[RowFailure] = []
        again: list[AskedRow] = []
        for answer in answers:
            done = self._finished(answer, attempt, last=last)
            self._tally.answered(answer.usage)
            row = answer.asked.row
            if done.draft is not None:
                self._tally.found(done.before, done.after)
                self._tally.made[_way(done)] += 1
                self._open.discard(row.key)
                kept.append(done.draft)
                continue
            self._tally.invalid += answer.text is not None
            if last:
                failures.append(RowFailure(*row.key, done.reason, row.inputs, attempt))
            else:
                again.append(answer.asked)
        self._note_usage()
        self._write(kept)
        self._fail(failures)
        return again

    def _finished(self, answer: RowAnswer, attempt: int, *, last: bool) -> FinishedRow:
        row = answer.asked.row

        def instead() -> str:
            return self._instead.write([self._planned_row(answer.asked)])[0].text

        return finish(
            answer,
            self._checks(row),
            self._source,
            mend=self._config.repair,
            attempts=attempt,
            others=self._others(row),
            last=last,
            instead=instead,
        )

    def _others(self, row: WriteRow) -> list[str]:
        """The other variants of a text, those among them that an earlier run wrote."""
        if self._config.variants == 1:
            return []
        product, slot, own = row.key
        keys = [(product, slot, at) for at in range(self._config.variants) if at != own]
        states = self._drafts.states()
        return [self._drafts.text(key) for key in keys if key in states and key not in self._open]

    def _write(self, drafts: Sequence[Draft]) -> None:
        became = self._drafts.write(
            drafts, over_edits=self._config.over_edits, again=self._config.again
        )
        self._tally.written += became.count("written")
        self._tally.kept_same += became.count("same")
        self._tally.kept_human += became.count("human")

    def _fail(self, failures: Sequence[RowFailure]) -> None:
        if failures:
            self._drafts.fail(failures)
            self._tally.failed += len(failures)
            self._tally.left_out.update(re.sub(r" \([^()]*\)", "", one.reason) for one in failures)

    def _note_products(self, rows: Sequence[WriteRow]) -> None:
        found = {row.product.id: (row.product, row.product_hash) for row in rows}
        self._drafts.note_products(list(found.values()))

    def _note_usage(self) -> None:
        now, then = self._usage, self._noted
        self._drafts.note_usage(
            now.prompt_tokens - then.prompt_tokens,
            now.cached_tokens - then.cached_tokens,
            now.completion_tokens - then.completion_tokens,
        )
        self._noted = now

    @property
    def _usage(self) -> Usage:
        return self._tally.usage + (self._asker.warming if self._asker else Usage())

    def _cost(self) -> float:
        usage = self._usage
        return self._config.prices.of(
            usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens
        )

    def _spent(self) -> bool:
        """Whether the budget is used up."""
        budget, usage = self._config.budget, self._usage
        tokens = usage.prompt_tokens + usage.completion_tokens
        return (
            bool(budget.tokens and tokens >= budget.tokens)
            or bool(budget.seconds and self._clock.monotonic() - self._start >= budget.seconds)
            or bool(budget.money and self._cost() >= budget.money)
        )


def _labelled(table: ProductTable, column: str) -> dict[str, str]:
    """Product -> its label, of those that have one. Raises SchemaError where the column is missing,
    DataError where none has."""
    if column not in table.frame.columns:
        hint = f"the table has {', '.join(one[:60] for one in table.frame.columns[:20])}"
        what = f"the table has no column {column!r} of labels"
        raise SchemaError(what, file=str(table.path), column=column, hint=hint)
    cells = table.frame[column].cast(pl.String)
    found = {one: (cells[row] or "").strip() for one, row in table.rows.items()}
    known = {one: label for one, label in found.items() if label}
    if not known:
        raise DataError("no row has a label", column=column, hint="name a column of labels")
    return known


def _way(done: FinishedRow) -> str:
    """How a text of a model's came about."""
    if done.draft is None or not errors_of(done.before):
        return "free"
    return "mended" if done.draft.text in (done.answer.text or "") else "by plan instead"


def _batches(rows: Sequence[WriteRow], size: int) -> Iterator[list[WriteRow]]:
    """The rows of so many products at a time."""
    batch: list[WriteRow] = []
    products: set[str] = set()
    for row in rows:
        if row.product.id not in products and len(products) == size:
            yield batch
            batch, products = [], set()
        products.add(row.product.id)
        batch.append(row)
    if batch:
        yield batch


def _groups(rows: Sequence[WriteRow]) -> Iterator[list[WriteRow]]:
    """Rows that are asked for together: of one slot and one variant, which then knows the ones
    before."""
    groups: Mapping[tuple[str, int], list[WriteRow]] = defaultdict(list)
    for row in rows:
        groups[row.slot.name, row.variant].append(row)
    yield from groups.values()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of the folder, which the kernel drops when its holder dies."""
    let_go = claim(folder / _LOCK)
    if let_go is None:
        raise ResourceError(
            "another job writes to this folder",
            where=str(folder),
            hint="wait for it, or name another folder",
        )
    try:
        yield
    finally:
        let_go()
