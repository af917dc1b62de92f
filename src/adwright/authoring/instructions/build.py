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
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from adwright.authoring.checks.limits import BrandVoice
from adwright.authoring.instructions.recombine import (
    RECOMBINABLE,
    FilterConfig,
    even_text,
    filters_of,
    first_alike,
    general_questions,
    recombined,
    signatures,
    verdict,
    with_keywords,
)
from adwright.authoring.instructions.rows import (
    RECOMBINED,
    AuthoringExample,
    InstructionRow,
    KeptByDraw,
    SeedInstruction,
    chosen,
    drawn,
    fits,
    load_seeds,
    recombined_instructions,
    row_of,
    share,
    with_details,
)
from adwright.authoring.instructions.sources import (
    DataSources,
    Listing,
    given_examples,
    given_listings,
)
from adwright.authoring.instructions.teacher import TeacherConfig, answered, expanded
from adwright.authoring.tasks import LABELS_LINE, Party, PromptBounds, task_named
from adwright.core.atomic import atomic_folder
from adwright.core.config import settings, to_jsonable
from adwright.core.errors import ConfigError, DataError
from adwright.core.progress import progress
from adwright.lm.engine.generation import LanguageModel

# --------------------------------------------------------------------------------------------------
# How many rows of each kind are kept, so that no task and no pair of parties outweighs another.
#
#     shares = water_filled([900, 40, 300], most=600)      # [280, 40, 280]
#     kept = balanced(rows, most=2000)
#
# A task gets at most `most` rows. Within it, rows are told apart by the parties whose features they
# show (an ad with an occasion reads seller and platform, one without reads the seller alone), and
# by
# their source: each kind gets the same number, and what a small kind leaves over goes to the
# others.


def water_filled(counts: Sequence[int], most: int) -> list[int]:
    """How much of each count is kept so that together they are at most `most`, each the same or, of
    the small ones, all; 0 stands for all of all.

    >>> water_filled([900, 40, 300], 600), water_filled([5, 5, 5], 4)
    ([280, 40, 280], [2, 1, 1])
    """
    if not most or sum(counts) <= most:
        return list(counts)
    kept, left = [0] * len(counts), most
    order = sorted(range(len(counts)), key=lambda at: counts[at])
    for done, at in enumerate(order):
        each, over = divmod(left, len(order) - done)
        # Of equal shares, what does not divide goes to the first kinds.
        ahead = sum(1 for later in order[done + 1 :] if later < at)
        kept[at] = min(counts[at], each + (1 if over > ahead else 0))
        left -= kept[at]
    return kept


def balanced(
    rows: Sequence[InstructionRow], *, most: int = 0, seed: int = 0
) -> list[InstructionRow]:
    """At most `most` rows of each task, evenly over the parties that they read and their sources.

    Which rows of a kind are kept is drawn by `seed` and the row's id; the order stays. 0 keeps all.
    """
    kinds: defaultdict[str, defaultdict[tuple[object, ...], list[InstructionRow]]]
    kinds = defaultdict(lambda: defaultdict(list))
    for row in rows:
        kinds[row.task][row.read, row.source, row.teacher].append(row)
    kept = set[str]()
    for own in kinds.values():
        groups = [own[key] for key in sorted(own, key=str)]
        for group, count in zip(
            groups, water_filled([len(one) for one in groups], most), strict=True
        ):
            by_draw = sorted(group, key=lambda row: drawn(seed, "balance", row.id))
            kept.update(row.id for row in by_draw[:count])
    return [row for row in rows if row.id in kept]


def interleaved(rows: Sequence[InstructionRow]) -> dict[Party, dict[str, int]]:
    """In how many rows each party's features are read, and written.

    The mix is interleaved, as LLaMA-E asks, where no number is 0.
    """
    found: dict[Party, dict[str, int]] = {
        party: {"read": 0, "written": 0} for party in ("customer", "seller", "platform")
    }
    for row in rows:
        for party in row.read:
            found[party]["read"] += 1
        found[row.written]["written"] += 1
    return found


# --------------------------------------------------------------------------------------------------
# What instruction data are to be built, counts of each step, and the report of what was.

Counts = Mapping[str, int]


@settings
class InstructionPlan:
    """What is built, and how.

    sources: the data. tasks: names; the attributes of titles are one more than the usual six.
    held_out: of these, tasks whose rows all go to test, for zero-shot. most: rows of a task, 0 for
    all. spare: so many times as many are looked at, since filters leave some out. valid, test:
    shares of the product clusters. phrasings: new instructions of a task, beside the seeds.
    alike: estimated similarity from which on two rows are near-duplicates; title_alike: and two
    titles, on two sides of the split. show_missing: facts that an answer has and its input lacks
    are shown as details where that can be; where not, the row is left out. voice: of the brand; it
    stands in every row, the teacher is told it, and texts with a word that it bans are left out.

    Raises ConfigError for a task that is unknown or given twice, and for numbers out of range.
    """

    sources: DataSources
    tasks: tuple[str, ...] = ("ads", "titles", "classify", "intent", "answers", "descriptions")
    held_out: tuple[str, ...] = ()
    most: int = 2000
    spare: float = 2.0
    valid: float = 0.1
    test: float = 0.1
    phrasings: int = 24
    alike: float = 0.9
    title_alike: float = 0.9
    show_missing: bool = True
    voice: BrandVoice | None = None
    seed: int = 0
    filters: FilterConfig = field(default_factory=FilterConfig)
    bounds: PromptBounds = field(default_factory=PromptBounds)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)

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
        shares = 0 < self.alike <= 1 and 0 < self.title_alike <= 1
        counts = self.most >= 0 and self.phrasings >= 0 and self.spare >= 1
        sides = self.valid >= 0 and self.test >= 0 and self.valid + self.test < 1
        if not (shares and counts and sides):
            raise ConfigError(
                "a number is out of range",
                where="InstructionPlan",
                hint="most and phrasings from 0, spare from 1, alike above 0 and at most 1, valid "
                "and test below 1 together",
            )

    @property
    def voice_text(self) -> str:
        """What the system turn says of the voice; empty where there is none."""
        return "" if self.voice is None else self.voice.prompt()

    @property
    def looked_at(self) -> int:
        """Examples of one task and source that are looked at; 0 for all."""
        return round(self.most * self.spare)


@dataclass(frozen=True)
class InstructionReport:
    """What was built. Counts are by task unless said otherwise.

    seed: of the plan. teacher: "recombination", or the model's name. seen: examples and products
    offered, by source; skipped: rows of a source that could not be used, by reason. considered:
    examples that were looked at. answers_refused: of the teacher, by reason. details: examples
    whose missing facts are shown as details. left_out: by task and filter; ungrounded: those of
    them with an unsupported span. duplicates: near-duplicates of an earlier row. surplus: rows
    above `most`. leaked: rows of valid and test with nearly a title of an earlier side. kept: by
    side and task. read_by: by task and the parties that are read. parties: in how many rows each
    party is read and written; interleaved: whether no number of them is 0. phrasings: instructions
    by origin; phrasings_refused: of the teacher, by reason. seeds_used: how many of them stand in
    rows. files: rows by file.
    """

    seed: int
    teacher: str
    seen: Counts
    skipped: Mapping[str, Counts]
    considered: Counts
    answers_refused: Counts
    details: Counts
    left_out: Mapping[str, Counts]
    ungrounded: Counts
    duplicates: Counts
    surplus: Counts
    leaked: Counts
    kept: Mapping[str, Counts]
    read_by: Mapping[str, Counts]
    parties: Mapping[str, Counts]
    interleaved: bool
    phrasings: Mapping[str, Counts]
    phrasings_refused: Mapping[str, Counts]
    seeds_used: Counts
    files: Counts = field(default_factory=dict)


def _by_name() -> defaultdict[str, Counter[str]]:
    return defaultdict(Counter)


@dataclass
class BuildCounts:
    """Counts of all steps while they run, by what `InstructionReport` calls them. shown: lines that
    tell of rows that were left out."""

    seen: Counter[str] = field(default_factory=Counter)
    skipped: defaultdict[str, Counter[str]] = field(default_factory=_by_name)
    considered: Counter[str] = field(default_factory=Counter)
    answers_refused: Counter[str] = field(default_factory=Counter)
    details: Counter[str] = field(default_factory=Counter)
    left_out: defaultdict[str, Counter[str]] = field(default_factory=_by_name)
    duplicates: Counter[str] = field(default_factory=Counter)
    surplus: Counter[str] = field(default_factory=Counter)
    leaked: Counter[str] = field(default_factory=Counter)
    phrasings: defaultdict[str, Counter[str]] = field(default_factory=_by_name)
    phrasings_refused: defaultdict[str, Counter[str]] = field(default_factory=_by_name)
    shown: list[str] = field(default_factory=list)


# --------------------------------------------------------------------------------------------------
# Rows divided by product into those to train on, to choose by and to test with.
#
#     side = split_of("pricerunner-17", seed=7, valid=0.1, test=0.1)      # always the same
#     parts, dropped = divided(rows, seed=7, valid=0.1, test=0.1)
#
# All rows of a cluster are on one side, and which one follows from its name alone, so that data
# that grow later keep their sides. Products of different clusters may still have nearly the same
# title: such rows are taken out of validation and test, where they would be remembered instead of
# answered, and are named.

Side = Literal["train", "valid", "test"]
SIDES: tuple[Side, ...] = ("train", "valid", "test")


@dataclass(frozen=True)
class LeakedRow:
    """A row that was taken out because a row of an earlier side has nearly its title. side: where
    it was. id, like: of the two rows. title, like_title: what is alike."""

    side: str
    id: str
    like: str
    title: str
    like_title: str


def split_of(cluster: str, *, seed: int, valid: float, test: float) -> Side:
    """The side of a cluster, by its name and `seed`. valid, test: shares of the clusters.

    Raises ConfigError for shares that leave nothing to train on.
    """
    if not (valid >= 0 and test >= 0 and valid + test < 1):
        raise ConfigError(
            "valid and test are shares that leave some to train on",
            where=f"valid {valid}, test {test}",
            hint="0.1 and 0.1",
        )
    place = share(seed, "split", cluster)
    if place < test:
        return "test"
    return "valid" if place < test + valid else "train"


def divided(
    rows: Sequence[InstructionRow],
    *,
    seed: int = 0,
    valid: float = 0.1,
    test: float = 0.1,
    alike: float = 0.9,
    held_out: Collection[str] = (),
) -> tuple[dict[Side, list[InstructionRow]], list[LeakedRow]]:
    """Rows by side, in their order, and those taken out.

    alike: estimated Jaccard similarity of two titles from which on they are nearly the same; of
    two sides, the later one (train, valid, test) loses the row. held_out: tasks of which every row
    goes to test, for what a model does without having been tuned on it.
    """
    parts: dict[Side, list[InstructionRow]] = {side: [] for side in SIDES}
    for row in rows:
        own = split_of(row.cluster, seed=seed, valid=valid, test=test)
        parts["test" if row.task in held_out else own].append(row)
    leaked = _leaked(parts, alike, held_out)
    out = {one.id for one in leaked}
    kept = {side: [row for row in parts[side] if row.id not in out] for side in SIDES}
    return kept, leaked


def _leaked(
    parts: dict[Side, list[InstructionRow]], alike: float, held_out: Collection[str]
) -> list[LeakedRow]:
    """Rows of valid and test whose title is nearly one of an earlier side."""
    every = [
        (place, row)
        for place, side in enumerate(SIDES)
        for row in parts[side]
        if row.product.title.strip() and row.task not in held_out
    ]
    # One of each title: earlier sides come first, so that they keep it.
    first = dict[str, tuple[int, InstructionRow]]()
    for place, row in every:
        first.setdefault(even_text(row.product.title), (place, row))
    titles = list(first)
    near = first_alike(signatures(titles), alike).tolist()
    like = {title: first[titles[at]] for title, at in zip(titles, near, strict=True)}
    found = []
    for place, row in every:
        before, other = like[even_text(row.product.title)]
        if before < place:
            found.append(
                LeakedRow(SIDES[place], row.id, other.id, row.product.title, other.product.title)
            )
    return found


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
    overwrite: bool = False,
) -> InstructionReport:
    """Build what `plan` asks for into the folder `out`, which is there whole or not at all.

    teacher: writes new instructions, and the answers that no data have; None for recombination,
    which needs no model.
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
        rows = _filtered(plan, examples, instructions, counts)
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
    counts: BuildCounts,
) -> list[InstructionRow]:
    """A row of each example that all filters let pass."""
    filters = filters_of(plan.filters, voice=plan.voice, bounds=plan.bounds)
    rows, shown = list[InstructionRow](), Counter[tuple[str, str]]()
    with progress(len(examples), "filters", "examples") as bar:
        for row in _rows(plan, examples, instructions, counts):
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
    counts: BuildCounts,
) -> Iterator[InstructionRow]:
    for example in examples:
        task = example.request.task.name
        asked = shown = with_keywords(example, seed=plan.seed)
        if plan.show_missing and task == "descriptions":
            shown = with_details(asked)
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
    told = {name: _plain(getattr(counts, name)) for name in vars(counts) if name != "shown"}
    left_out = counts.left_out
    return InstructionReport(
        **told,
        seed=plan.seed,
        teacher=RECOMBINED if teacher is None else teacher.info.name,
        ungrounded={task: n["grounded"] for task, n in left_out.items() if n["grounded"]},
        kept={side: dict(Counter(row.task for row in rows)) for side, rows in parts.items()},
        read_by=_plain(read_by),
        parties={party: dict(n) for party, n in parties.items()},
        interleaved=all(n for one in parties.values() for n in one.values()),
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
    ours = {one.id for task in instructions for one in load_seeds(task)}
    new = (one for own in instructions.values() for one in own if one.id not in ours)
    _write_lines(
        folder / "phrasings.jsonl",
        (json.dumps(to_jsonable(one), ensure_ascii=True) for one in new),
    )
    _write_lines(folder / "rejected.jsonl", counts.shown)
    _write_lines(folder / "report.json", [json.dumps(to_jsonable(report), indent=1)])


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{line}\n" for line in lines)


def _plain(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Counts, or counts by name, without those that are none."""
    every = ((name, dict(n) if isinstance(n, Counter) else n) for name, n in counts.items())
    return {name: n for name, n in every if n}


def _told(counts: BuildCounts) -> str:
    """What was left out on the way, the most frequent reasons first."""
    every = sum(counts.left_out.values(), Counter[str]())
    every += sum(counts.skipped.values(), Counter[str]())
    return ", ".join(f"{name} {n}" for name, n in every.most_common(8)) or "none were there"
