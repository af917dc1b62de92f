"""What instruction data are to be built, counts of each step, and the report of what was."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from adwright.authoring.checks.voice import BrandVoice
from adwright.authoring.instructions.filters import FilterConfig
from adwright.authoring.instructions.sources.given import DataSources
from adwright.authoring.instructions.teacher import TeacherConfig
from adwright.authoring.tasks.prompts import PromptBounds
from adwright.authoring.tasks.task import TASKS, task_named
from adwright.core.config import settings
from adwright.core.errors import ConfigError

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
    tasks: tuple[str, ...] = tuple(task.name for task in TASKS)
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
