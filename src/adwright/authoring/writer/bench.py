"""Which way of writing is better on these products: by plan, by template or free?

    report = bench_ways(table, config, opened)
    report.better          # "plan" unless the model's own words are usable more often

Each way writes the same sample, and is judged by the same checks; a text counts where it is usable
as it came. Nothing of it is mended: what mending makes of free text is the plan's. Free text has to
be ahead by the interval of the pairs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from adwright.authoring.checks.limits import Finding, brands_of
from adwright.authoring.checks.verdict import usable
from adwright.authoring.plan.names import Naming, fronts_of
from adwright.authoring.plan.planning import PlannedRow, Planner
from adwright.authoring.tasks import AuthoringRequest
from adwright.authoring.writer.asking import AskedRow, Asker, OpenedWriter, RowAnswer
from adwright.authoring.writer.config import WriteConfig, WritingWay
from adwright.authoring.writer.drafts import WriteRow, make_plan
from adwright.authoring.writer.products import ProductTable
from adwright.authoring.writer.recipe import recipe_of, room_of
from adwright.core.clock import SystemClock
from adwright.core.config import check_literals
from adwright.core.errors import ConfigError, DataError, FileUnreadableError

REPORT = "bench.json"
#: Draws of the interval of the share of texts by which free text is ahead.
_DRAWS = 2000


@dataclass(frozen=True)
class BenchRow:
    """One way. texts: that were asked for. usable: of these. wrong: rule -> texts that break it."""

    way: str
    texts: int
    usable: int
    wrong: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BenchReport:
    """rows: a way each. lead: share of texts that are usable free, less that by plan, with its 95%
    interval. better: what a job should write by."""

    model: str
    rows: tuple[BenchRow, ...]
    lead: tuple[float, float, float]
    better: WritingWay

    def __post_init__(self) -> None:
        check_literals(self)


def bench_ways(table: ProductTable, config: WriteConfig, opened: OpenedWriter) -> BenchReport:
    """Write the sample of the job in each way, and compare. Raises as `run_job`, ConfigError
    without a model, DataError where there is nothing to write."""
    if opened.model is None:
        raise ConfigError("a bench needs a model", where="model", hint="name one, or --server URL")
    recipe = recipe_of(config, opened, brands=brands_of(table.products))
    rows = [row for row in make_plan(table, config, recipe.digests).rows if _is_text(row)]
    if not rows:
        raise DataError("there is no text to write", hint="name slots of texts")
    asked, naming = [], Naming(dict(config.codes), fronts_of(table.products))
    for row in rows:
        request = row.request(())
        request = replace(request, product=naming.read(request.product))
        asked.append(AskedRow(row, request, recipe.prompts[row.slot.name].messages(request)))

    def wrong(request: AuthoringRequest, row: WriteRow, text: str) -> tuple[Finding, ...]:
        checks = recipe.checks[row.slot.name]
        return usable(text, request, checks, sentences=row.slot.sentences)

    def planned(planner: Planner) -> list[str]:
        wanted = [
            PlannedRow(
                one.request,
                one.row.slot.kind,
                room_of(config, one.row.slot),
                lambda text, one=one: not wrong(one.request, one.row, text),  # type: ignore[misc]
            )
            for one in asked
        ]
        return [one.text for one in planner.write(wanted)]

    free = _free(asked, opened, config)
    ways = {
        "by plan": [(text, False) for text in planned(Planner(opened.model, naming=naming))],
        "by the rule": [(text, False) for text in planned(Planner(None, naming=naming))],
        "template": [(_template(one), False) for one in asked],
        "free": [(one.text or "", one.cut) for one in free],
    }
    made, good = [], {}
    for way, texts in ways.items():
        counts: Counter[str] = Counter()
        fine = []
        for one, (text, cut) in zip(asked, texts, strict=True):
            rules = (
                {found.rule for found in wrong(one.request, one.row, text)} if text else {"none"}
            )
            rules |= {"form/cut"} if cut else set()
            counts.update(rules)
            fine.append(not rules)
        good[way] = np.array(fine, np.float64)
        made.append(BenchRow(way, len(texts), int(sum(fine)), dict(counts.most_common())))
    lead = good["free"] - good["by plan"]
    rng = np.random.default_rng(config.seed)
    drawn = lead[rng.integers(0, len(lead), (_DRAWS, len(lead)))].mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    better: WritingWay = "free" if low > 0 else "plan"
    return BenchReport(
        opened.name, tuple(made), (float(lead.mean()), float(low), float(high)), better
    )


def better_way(folder: Path) -> WritingWay:
    """What a bench in this folder found better. Raises FileUnreadableError where there is none."""
    path = folder / REPORT
    try:
        found = json.loads(path.read_text("utf-8"))["better"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise FileUnreadableError(
            f"there is no bench: {error}",
            file=str(path),
            hint="say plan or free, or name a folder of `adwright author bench`",
        ) from error
    return "free" if found == "free" else "plan"


def bench_json(report: BenchReport) -> str:
    """As a file."""
    return json.dumps(asdict(report), indent=1) + "\n"


def _is_text(row: WriteRow) -> bool:
    return row.slot.task.form == "text" and row.variant == 0


def _free(asked: Sequence[AskedRow], opened: OpenedWriter, config: WriteConfig) -> list[RowAnswer]:
    if opened.model is None:
        return []
    asker = Asker(opened.model, clock=SystemClock(), attempts=config.attempts, pause=config.pause)
    found: dict[tuple[str, str, int], RowAnswer] = {}
    for slot in dict.fromkeys(one.row.slot.name for one in asked):
        some = [one for one in asked if one.row.slot.name == slot]
        for at in range(0, len(some), config.batch):
            batch = some[at : at + config.batch]
            seeds = [config.seed] * len(batch)
            for answer in asker.ask(batch, temperature=config.temperature, seeds=seeds):
                text = " ".join((answer.text or "").split())
                found[answer.asked.row.key] = replace(answer, text=text)
    return [found[one.row.key] for one in asked]


def _template(asked: AskedRow) -> str:
    """What ten lines would write: the title, then `name: value` of each attribute."""
    product = asked.request.product
    if not asked.row.slot.sentences:
        return product.title
    pairs = [f"{name}: {value}." for name, value in product.attributes if value.strip()]
    return " ".join((f"{product.title}.", *pairs[:3]))
