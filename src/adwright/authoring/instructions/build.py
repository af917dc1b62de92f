"""Build instruction data: a catalogue and our seeds in, filtered and divided rows out.

    report = build_instructions(InstructionPlan(), read_products("shop.csv"), Path("rows"))

writes

    rows/
      train.jsonl, valid.jsonl, test.jsonl     rows, as `adwright tune run --data` reads them
      rejected.jsonl                           the first rows that each filter left out, and why
      report.json                              counts of every step

Each example gets an instruction of ours; rows are filtered, those that stand twice left out, as
many of each task kept as asked for, and products divided: all rows of one are on one side, which
follows from its name alone. The same plan, data and teacher give the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from adwright.authoring.checks.limits import BrandVoice
from adwright.authoring.instructions.examples import BY_PLAN, ExtraColumns, answered, examples_of
from adwright.authoring.instructions.filters import FilterConfig, filters_of, verdict
from adwright.authoring.instructions.rows import (
    AuthoringExample,
    InstructionRow,
    fits,
    load_seeds,
    row_of,
    with_details,
)
from adwright.authoring.tasks import LABELS_LINE, PromptBounds, task_named
from adwright.authoring.writer.products import ProductTable
from adwright.core.atomic import atomic_folder
from adwright.core.config import settings, to_jsonable
from adwright.core.draws import chosen, drawn, share
from adwright.core.errors import ConfigError, DataError
from adwright.core.progress import progress
from adwright.lm.engine.generation import LanguageModel

Side = Literal["train", "valid", "test"]
SIDES: tuple[Side, ...] = ("train", "valid", "test")
TASKS = ("ads", "titles", "classify", "intent", "answers", "descriptions")
#: Rows that a filter left out, of which so many are written, for each filter and task.
_SHOWN = 50


@settings
class InstructionPlan:
    """What is built, and how.

    tasks: names; the attributes of titles are one more than the usual six. held_out: of these,
    tasks whose rows all go to test, for zero-shot. extra: columns beside those of a product. most:
    rows of a task, 0 for all. valid, test: shares of the products. show_missing: facts that an
    answer has and its input lacks are shown as details where that can be; where not, the row is
    left out. voice: of the brand; it stands in every row, the teacher is told it, and texts with a
    word that it bans are left out.

    Raises ConfigError for a task that is unknown or given twice, and for numbers out of range.
    """

    tasks: tuple[str, ...] = TASKS
    held_out: tuple[str, ...] = ()
    extra: ExtraColumns = field(default_factory=ExtraColumns)
    most: int = 2000
    valid: float = 0.1
    test: float = 0.1
    show_missing: bool = True
    voice: BrandVoice | None = None
    seed: int = 0
    filters: FilterConfig = field(default_factory=FilterConfig)
    bounds: PromptBounds = field(default_factory=PromptBounds)

    def __post_init__(self) -> None:
        for name in (*self.tasks, *self.held_out):
            task_named(name)
        twice = len(set(self.tasks)) < len(self.tasks) or not self.tasks
        if twice or not set(self.held_out) <= set(self.tasks):
            raise ConfigError(
                "tasks are names, each once, and held_out are some of them",
                where=f"tasks {', '.join(self.tasks)}; held_out {', '.join(self.held_out)}",
                hint="name each task once",
            )
        sides = self.valid >= 0 and self.test >= 0 and self.valid + self.test < 1
        if self.most < 0 or not sides:
            raise ConfigError(
                "a number is out of range",
                where="InstructionPlan",
                hint="most from 0, valid and test below 1 together",
            )

    @property
    def voice_text(self) -> str:
        """What the system turn says of the voice; empty where there is none."""
        return "" if self.voice is None else self.voice.prompt()


@dataclass(frozen=True)
class InstructionReport:
    """What was built. seed: of the plan. teacher: "plan", or the model's name. products: of the
    table. skipped: by reason. answers_refused: of the teacher, by reason. left_out: by task and
    filter. duplicates: rows that stand twice; surplus: above `most`, by task. kept: by side and
    task. files: rows by file."""

    seed: int
    teacher: str
    products: int
    skipped: Mapping[str, int]
    answers_refused: Mapping[str, int]
    left_out: Mapping[str, Mapping[str, int]]
    duplicates: Mapping[str, int]
    surplus: Mapping[str, int]
    kept: Mapping[Side, Mapping[str, int]]
    files: Mapping[str, int]


def build_instructions(
    plan: InstructionPlan,
    table: ProductTable,
    out: str | Path,
    *,
    teacher: LanguageModel | None = None,
    overwrite: bool = False,
) -> InstructionReport:
    """Build what `plan` asks for into the folder `out`, which is there whole or not at all.

    teacher: writes the answers that no data have; None for those by plan. overwrite: replace the
    folder. Raises ResourceError where the folder is there or cannot be written, DataError where
    nothing is left, and what the teacher raises.
    """
    skipped, refused = Counter[str](), Counter[str]()
    left_out: defaultdict[str, Counter[str]] = defaultdict(Counter)
    with atomic_folder(Path(out), overwrite=overwrite) as folder:
        found = examples_of(table, plan.tasks, plan.extra, seed=plan.seed, skipped=skipped)
        examples = list(found)
        if teacher is not None:
            made = [one for one in examples if one.teacher == BY_PLAN]
            examples = [one for one in examples if one.teacher != BY_PLAN]
            voice, bounds = plan.voice_text, plan.bounds
            examples += answered(
                teacher, made, seed=plan.seed, voice=voice, bounds=bounds, refused=refused
            )
        shown: list[str] = []
        rows = _filtered(plan, examples, left_out, shown)
        rows, duplicates = _each_once(rows)
        kept = _at_most(rows, plan)
        parts: dict[Side, list[InstructionRow]] = {side: [] for side in SIDES}
        for row in kept:
            held = row.task in plan.held_out
            side = split_of(row.cluster, seed=plan.seed, valid=plan.valid, test=plan.test)
            parts["test" if held else side].append(row)
        if not kept:
            reasons = sum(left_out.values(), Counter(skipped))
            said = ", ".join(f"{name} {n}" for name, n in reasons.most_common(8))
            raise DataError(
                "no row is left after the filters",
                file=str(out),
                hint=f"left out on the way: {said or 'none were there'}",
            )
        report = InstructionReport(
            seed=plan.seed,
            teacher=BY_PLAN if teacher is None else teacher.info.name,
            products=len(table.products),
            skipped=dict(skipped),
            answers_refused=dict(refused),
            left_out={task: dict(n) for task, n in left_out.items() if n},
            duplicates=dict(duplicates),
            surplus=dict(Counter(one.task for one in rows) - Counter(one.task for one in kept)),
            kept={side: dict(Counter(one.task for one in own)) for side, own in parts.items()},
            files={f"{side}.jsonl": len(own) for side, own in parts.items()},
        )
        for side, own in parts.items():
            # Tasks stand mixed, so that any beginning of a file has all of them.
            mixed = sorted(own, key=lambda row: drawn(plan.seed, "order", row.id))
            _write_lines(folder / f"{side}.jsonl", (row.to_line() for row in mixed))
        _write_lines(folder / "rejected.jsonl", shown)
        _write_lines(folder / "report.json", [json.dumps(to_jsonable(report), indent=1)])
    return report


def split_of(cluster: str, *, seed: int, valid: float, test: float) -> Side:
    """The side of a cluster, by its name and `seed`. valid, test: shares of the clusters."""
    place = share(seed, "split", cluster)
    if place < test:
        return "test"
    return "valid" if place < test + valid else "train"


def _filtered(
    plan: InstructionPlan,
    examples: Sequence[AuthoringExample],
    left_out: defaultdict[str, Counter[str]],
    shown: list[str],
) -> list[InstructionRow]:
    """A row of each example that all filters let pass."""
    filters = filters_of(plan.filters, voice=plan.voice, bounds=plan.bounds)
    rows = []
    with progress(len(examples), "filters", "examples") as bar:
        for row in _rows(plan, examples):
            said = verdict(row, filters)
            name, why = next(((name, why) for name, why in said.items() if why), ("", ""))
            if not why:
                rows.append(row.with_passed(said))
            else:
                left_out[row.task][name] += 1
                if left_out[row.task][name] <= _SHOWN:
                    told = {"filter": name, "why": why, **json.loads(row.to_line())}
                    shown.append(json.dumps(told, ensure_ascii=True))
            bar.advance()
    return rows


def _rows(plan: InstructionPlan, examples: Sequence[AuthoringExample]) -> Iterator[InstructionRow]:
    seeds = {task: load_seeds(task) for task in plan.tasks}
    for example in examples:
        request = example.request
        task = request.task.name
        given = {name for name, value in request.values if value.strip()}
        able = [one for one in seeds[task] if fits(one.text, given)]
        seed = chosen(able, plan.seed, "instruction", task, example.source, request.product.id)
        asked = with_details(example) if plan.show_missing and task == "descriptions" else example
        yield row_of(asked, seed, voice=plan.voice_text, bounds=plan.bounds)


def _each_once(rows: Sequence[InstructionRow]) -> tuple[list[InstructionRow], Counter[str]]:
    """Rows whose data are those of no earlier row of their task, and how many others there are."""
    kept: dict[tuple[str, ...], InstructionRow] = {}
    for row in rows:
        # The list of labels is the same in all rows.
        kept.setdefault((row.task, row.shown.partition(LABELS_LINE)[0].casefold()), row)
    left = Counter(one.task for one in rows) - Counter(one.task for one in kept.values())
    return list(kept.values()), left


def _at_most(rows: Sequence[InstructionRow], plan: InstructionPlan) -> list[InstructionRow]:
    """As many rows of each task as are asked for, drawn; the order stays."""
    if not plan.most:
        return list(rows)
    kept = set[str]()
    for task in plan.tasks:
        own = sorted(
            (one.id for one in rows if one.task == task),
            key=lambda id: drawn(plan.seed, "kept", id),
        )
        kept.update(own[: plan.most])
    return [one for one in rows if one.id in kept]


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{line}\n" for line in lines)
