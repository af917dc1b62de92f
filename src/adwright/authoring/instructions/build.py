"""Build instruction data: seeds and sources in, filtered and divided rows out.

    report = build_instructions(InstructionPlan(DataSources.in_folder("data")), Path("rows"))

writes

    rows/
      train.jsonl, valid.jsonl, test.jsonl     rows, as `adwright tune run --data` reads them
      phrasings.jsonl                          instructions beside the seeds, with their origin
      rejected.jsonl                           the first rows that each filter left out, and why
      report.json                              counts of every step

In order: instructions are gathered (seeds, recombination, a teacher); the sources are read once, as
a stream, of which a sample by hash is kept for each task and source; each example gets an
instruction; rows are filtered, near-duplicates left out, tasks balanced, and clusters divided. The
same plan, data and teacher give the same bytes; memory follows from the plan, not from the sources.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from adwright.authoring.instructions.balance import balanced, interleaved
from adwright.authoring.instructions.draws import KeptByDraw, chosen, drawn
from adwright.authoring.instructions.facts import Unsupported, with_details
from adwright.authoring.instructions.filters import filters_of, verdict
from adwright.authoring.instructions.minhash import first_alike, signatures
from adwright.authoring.instructions.phrases import RECOMBINED, recombined_instructions
from adwright.authoring.instructions.plan import (
    BuildCounts,
    InstructionPlan,
    InstructionReport,
)
from adwright.authoring.instructions.recombine import (
    RECOMBINABLE,
    general_questions,
    recombined,
    with_keywords,
)
from adwright.authoring.instructions.rows import AuthoringExample, InstructionRow, row_of
from adwright.authoring.instructions.seeds import SeedInstruction, fits, load_seeds
from adwright.authoring.instructions.sources.given import given_examples, given_listings
from adwright.authoring.instructions.sources.products import Listing
from adwright.authoring.instructions.split import Side, divided
from adwright.authoring.instructions.teacher import answered, expanded
from adwright.authoring.tasks.prompts import LABELS_LINE
from adwright.authoring.tasks.task import task_named
from adwright.core.atomic import atomic_folder
from adwright.core.config import to_jsonable
from adwright.core.errors import DataError
from adwright.core.progress import progress
from adwright.lm.engine.generation import LanguageModel
from adwright.metrics.text.grounding import unsupported_spans

#: Rows that a filter left out, of which so many are written, for each filter and task.
_SHOWN = 50
#: Instructions under which a general question stands.
_COPIES = 4
_SEED, _TEACHER = "seed", "teacher"
Instructions = Mapping[str, Sequence[SeedInstruction]]
Kept = TypeVar("Kept")


def build_instructions(
    plan: InstructionPlan,
    out: str | Path,
    *,
    teacher: LanguageModel | None = None,
    unsupported: Unsupported = unsupported_spans,
    overwrite: bool = False,
) -> InstructionReport:
    """Build what `plan` asks for into the folder `out`, which is there whole or not at all.

    teacher: writes new instructions, and the answers that no data have; None for recombination,
    which needs no model. unsupported: finds the spans of a text that its facts do not support.
    overwrite: replace the folder.

    Raises ResourceError where the folder is there or cannot be written, DataError where a source
    cannot be read or nothing is left, and what the teacher raises.
    """
    counts = BuildCounts()
    with atomic_folder(Path(out), overwrite=overwrite) as folder:
        instructions = instructions_for(plan, teacher=teacher, counts=counts)
        examples = gathered_examples(plan, counts=counts)
        if teacher is not None:
            examples = _taught(plan, examples, teacher, counts)
        rows = _filtered(plan, examples, instructions, unsupported, counts)
        rows = _without_duplicates(plan, rows, counts)
        kept = balanced(rows, most=plan.most, seed=plan.seed)
        counts.surplus = Counter(row.task for row in rows) - Counter(row.task for row in kept)
        parts, leaked = divided(
            kept,
            seed=plan.seed,
            valid=plan.valid,
            test=plan.test,
            alike=plan.title_alike,
            held_out=plan.held_out,
        )
        by_id = {row.id: row for row in kept}
        counts.leaked.update(by_id[one.id].task for one in leaked)
        if not any(parts.values()):
            raise DataError(
                "no row is left after the filters",
                file=str(out),
                hint=f"left out on the way: {_told(counts)}",
            )
        report = _report(plan, parts, counts, teacher)
        _write(folder, parts, instructions, counts, report)
    return report


def instructions_for(
    plan: InstructionPlan,
    *,
    teacher: LanguageModel | None = None,
    counts: BuildCounts | None = None,
) -> dict[str, tuple[SeedInstruction, ...]]:
    """The instructions of each task of the plan: our seeds, then `plan.phrasings` new ones, from
    the teacher as far as it gives them, and else put together."""
    counts = BuildCounts() if counts is None else counts
    found = dict[str, tuple[SeedInstruction, ...]]()
    for name in plan.tasks:
        task, seeds = task_named(name), load_seeds(name)
        taught: tuple[SeedInstruction, ...] = ()
        if teacher is not None and plan.phrasings:
            refused = counts.phrasings_refused[name]
            taught = expanded(
                teacher, task, seeds, most=plan.phrasings, config=plan.teacher, refused=refused
            )
        left = plan.phrasings - len(taught)
        made = recombined_instructions(task, (*seeds, *taught), most=left, seed=plan.seed)
        sizes = {_SEED: len(seeds), _TEACHER: len(taught), RECOMBINED: len(made)}
        counts.phrasings[name].update({origin: n for origin, n in sizes.items() if n})
        found[name] = (*seeds, *taught, *made)
    return found


def gathered_examples(
    plan: InstructionPlan, *, counts: BuildCounts | None = None
) -> list[AuthoringExample]:
    """A sample of each task and source, in an order that follows from the seed.

    The sources are read row by row; of each task and source at most `plan.looked_at` are kept,
    drawn by hash, so that their order plays no part. Examples of people come first, then those
    that are put together from products.
    """
    counts = BuildCounts() if counts is None else counts
    given = dict[tuple[str, str], KeptByDraw[AuthoringExample]]()
    listed = dict[tuple[str, str], KeptByDraw[Listing]]()
    making = [name for name in plan.tasks if name in RECOMBINABLE]
    with progress(None, "sources", "rows") as bar:
        for example in given_examples(plan.sources, plan.tasks, skipped=counts.skipped):
            key = (example.request.task.name, example.source)
            _offer(given, key, example.request.product.id, example, plan)
            counts.seen[example.source] += 1
            bar.advance()
        for listing in given_listings(plan.sources, skipped=counts.skipped) if making else ():
            for name in making:
                _offer(listed, (name, listing.source), listing.product.id, listing, plan)
            counts.seen[f"{listing.source}, products"] += 1
            bar.advance()
    found = [one for key in sorted(given) for one in given[key].things()]
    for name, source in sorted(listed):
        made = (
            recombined(one, task_named(name), seed=plan.seed)
            for one in listed[name, source].things()
        )
        found += [one for one in made if one is not None]
    if "answers" in plan.tasks:
        found += list(general_questions())
    return found


def _offer(
    kept: dict[tuple[str, str], KeptByDraw[Kept]],
    key: tuple[str, str],
    name: str,
    thing: Kept,
    plan: InstructionPlan,
) -> None:
    if key not in kept:
        kept[key] = KeptByDraw(plan.looked_at, seed=plan.seed)
    kept[key].offer(name, thing)


def _taught(
    plan: InstructionPlan,
    examples: Sequence[AuthoringExample],
    teacher: LanguageModel,
    counts: BuildCounts,
) -> list[AuthoringExample]:
    """The examples, with the teacher's answers in the place of those that were put together."""
    made = [one for one in examples if one.teacher == RECOMBINED]
    rest = [one for one in examples if one.teacher != RECOMBINED]
    with progress(len(made), "teacher", "answers") as bar:
        for one in answered(
            teacher,
            made,
            config=plan.teacher,
            voice=plan.voice_text,
            bounds=plan.bounds,
            refused=counts.answers_refused,
        ):
            rest.append(one)
            bar.advance()
    return rest


def _filtered(
    plan: InstructionPlan,
    examples: Sequence[AuthoringExample],
    instructions: Instructions,
    unsupported: Unsupported,
    counts: BuildCounts,
) -> list[InstructionRow]:
    """A row of each example that all filters let pass."""
    filters = filters_of(plan.filters, unsupported, voice=plan.voice, bounds=plan.bounds)
    rows, shown = list[InstructionRow](), Counter[tuple[str, str]]()
    with progress(len(examples), "filters", "examples") as bar:
        for row in _rows(plan, examples, instructions, unsupported, counts):
            counts.considered[row.task] += 1
            said = verdict(row, filters)
            name, why = next(((name, why) for name, why in said.items() if why), ("", ""))
            if not why:
                rows.append(row.with_passed(said))
            else:
                counts.left_out[row.task][name] += 1
                shown[row.task, name] += 1
                if shown[row.task, name] <= _SHOWN:
                    told = {"filter": name, "why": why, **json.loads(row.to_line())}
                    counts.shown.append(json.dumps(told, ensure_ascii=True))
            bar.advance()
    return rows


def _rows(
    plan: InstructionPlan,
    examples: Sequence[AuthoringExample],
    instructions: Instructions,
    unsupported: Unsupported,
    counts: BuildCounts,
) -> Iterator[InstructionRow]:
    for example in examples:
        task = example.request.task.name
        asked = shown = with_keywords(example, seed=plan.seed)
        if plan.show_missing and task == "descriptions":
            shown = with_details(asked, unsupported)
            counts.details[task] += shown is not asked
        values = {name for name, value in asked.request.values if value.strip()}
        able = [one for one in instructions[task] if fits(one.text, values)]
        for copy in range(1 if example.request.product.title.strip() else _COPIES):
            key = (task, example.source, example.request.product.id, str(copy))
            seed = chosen(able, plan.seed, "instruction", *key)
            yield row_of(shown, seed, voice=plan.voice_text, bounds=plan.bounds)


def _without_duplicates(
    plan: InstructionPlan, rows: Sequence[InstructionRow], counts: BuildCounts
) -> list[InstructionRow]:
    """Rows whose instruction and data are nearly those of no earlier row of their task."""
    kept = []
    for task in plan.tasks:
        own = [row for row in rows if row.task == task]
        # The list of labels is the same in all rows, and would make them alike.
        texts = [f"{row.instruction}\n{row.shown.partition(LABELS_LINE)[0]}" for row in own]
        first = first_alike(signatures(texts), plan.alike)
        new = [row for at, row in enumerate(own) if first[at] == at]
        counts.duplicates[task] += len(own) - len(new)
        kept += new
    return kept


def _report(
    plan: InstructionPlan,
    parts: Mapping[Side, Sequence[InstructionRow]],
    counts: BuildCounts,
    teacher: LanguageModel | None,
) -> InstructionReport:
    every = [row for side in parts.values() for row in side]
    parties = interleaved(every)
    read_by: defaultdict[str, Counter[str]] = defaultdict(Counter)
    used: defaultdict[str, set[str]] = defaultdict(set)
    for row in every:
        read_by[row.task][" + ".join(row.read)] += 1
        used[row.task].add(row.seed)
    return InstructionReport(
        seed=plan.seed,
        teacher=RECOMBINED if teacher is None else teacher.info.name,
        seen=dict(counts.seen),
        skipped=_plain(counts.skipped),
        considered=dict(counts.considered),
        answers_refused=dict(counts.answers_refused),
        details={task: n for task, n in counts.details.items() if n},
        left_out=_plain(counts.left_out),
        ungrounded={task: n["grounded"] for task, n in counts.left_out.items() if n["grounded"]},
        duplicates={task: n for task, n in counts.duplicates.items() if n},
        surplus=dict(counts.surplus),
        leaked=dict(counts.leaked),
        kept={side: dict(Counter(row.task for row in rows)) for side, rows in parts.items()},
        read_by=_plain(read_by),
        parties={party: dict(n) for party, n in parties.items()},
        interleaved=all(n for one in parties.values() for n in one.values()),
        phrasings=_plain(counts.phrasings),
        phrasings_refused=_plain(counts.phrasings_refused),
        seeds_used={task: len(names) for task, names in used.items()},
        files={f"{side}.jsonl": len(rows) for side, rows in parts.items()},
    )


def _write(
    folder: Path,
    parts: Mapping[Side, Sequence[InstructionRow]],
    instructions: Instructions,
    counts: BuildCounts,
    report: InstructionReport,
) -> None:
    for side, rows in parts.items():
        # Tasks stand mixed, so that any beginning of a file has all of them.
        mixed = sorted(rows, key=lambda row: drawn(report.seed, "order", row.id))
        _write_lines(folder / f"{side}.jsonl", (row.to_line() for row in mixed))
    new = (one for own in instructions.values() for one in own if not _is_ours(one))
    _write_lines(
        folder / "phrasings.jsonl",
        (json.dumps(to_jsonable(one), ensure_ascii=True) for one in new),
    )
    _write_lines(folder / "rejected.jsonl", counts.shown)
    _write_lines(folder / "report.json", [json.dumps(to_jsonable(report), indent=1)])


def _is_ours(seed: SeedInstruction) -> bool:
    return seed.id in {one.id for one in load_seeds(seed.task)}


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{line}\n" for line in lines)


def _plain(counts: Mapping[str, Counter[str]]) -> dict[str, dict[str, int]]:
    return {name: dict(own) for name, own in counts.items() if own}


def _told(counts: BuildCounts) -> str:
    """What was left out on the way, the most frequent reasons first."""
    every = sum(counts.left_out.values(), Counter[str]())
    every += sum(counts.skipped.values(), Counter[str]())
    return ", ".join(f"{name} {n}" for name, n in every.most_common(8)) or "none were there"
