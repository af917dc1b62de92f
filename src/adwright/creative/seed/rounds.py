"""SEED: a model writes ads, judges them, and learns from the best, round after round.

    report = run_seed(SeedConfig(), data, TunedWriter(), own, second, "runs/seed")

After Harini S I et al., WACV 2025 (arXiv 2309.00378), whose text beyond the abstract we did not
have: what follows is our reconstruction.

1. Both tasks of the labelled ads go into the writer's first tuning: ads from briefs, and through
`also` scores from ads. 2. The own judge scores the ads that nobody measured, of those that pass
the filters. 3. The best of them join the first tuning. 4. In each round the writer writes several
ads for each brief; filters and the own judge choose; the base is tuned anew on what was kept in
all rounds, the best of the pool and the better half of the labelled ads. 5. The new writer writes
for briefs that are only watched. The second judge, which chooses nothing that is tuned on, says
when no round brought anything; the round that it likes most is measured on briefs that were held
out till then, beside the writer of before the rounds.

The own judge stays as it is over all rounds (our choice), so that scores of rounds can be compared;
a judge that is tuned with its writer would move the goal. A judge that has seen the held-out ads is
too sure of the originals: fit both without them, see `two_judges`.

A run goes on where it was killed, by the same call: see `writer`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adwright.core.atomic import atomic_write_text, locked
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import from_jsonable, settings, to_jsonable
from adwright.core.errors import ConfigError, DataError, ResumeError
from adwright.core.journal import append_rows, read_rows, write_rows
from adwright.core.progress import duration, progress, say
from adwright.creative.judging import AdJudge
from adwright.creative.seed.measures import (
    CostLedger,
    Measured,
    StepCost,
    best_of,
    best_round,
    compared,
    judged,
    kept_of,
    measure,
    scored,
    should_stop,
)
from adwright.creative.seed.texts import (
    AdBrief,
    AdFilters,
    CopyIndex,
    KnownAd,
    SeedConfig,
    SeedData,
    record_of,
    run_parts,
    said_in,
)
from adwright.creative.seed.writer import (
    DAMAGED,
    TuneCost,
    TunedWriter,
    WriterRow,
    WrittenAds,
    read_json,
    write_ads,
    write_json,
)
from adwright.lm.engine.generation import Usage
from adwright.metrics.bootstrap import Interval
from adwright.metrics.reports.charts import interval_chart, learning_curves, to_svg
from adwright.metrics.reports.report import inline_svg, page_environment

# --------------------------------------------------------------------------------------------------
# What a run of SEED found, as a table, a JSON file and a page.
#
#     report.text()                 # a line a round, then the gain on held-out briefs
#     write_report(report, out)     # out/report.json and out/report.html
#
# Gains are by both judges, side by side: the own judge is what the rounds chase.

#: Why a run ended: all rounds are done, the second judge saw no gain, or the budget is spent and
#: the same call goes on.
SeedEnd = Literal["rounds", "stopped", "budget"]

_ENDS: Mapping[SeedEnd, str] = {
    "rounds": "All rounds are done.",
    "stopped": "Stopped: by the second judge's view the last rounds brought nothing.",
    "budget": "The budget is spent; the same command goes on from here.",
}
_HEADER = (
    *("round", "own judge", "second judge", "agree", "kept", "answered", "usable", "grounded"),
    *("copied", "distinct-1", "distinct-2", "words", "loss"),
)


@dataclass(frozen=True)
class RoundResult:
    """One round. measured: on the watched briefs. sampled: briefs that it wrote for, of which the
    ads of `kept` are tuned on. rows: that it was tuned on. tune: what that took."""

    at: int
    measured: Measured
    sampled: int
    kept: int
    rows: int
    tune: TuneCost

    def line(self) -> str:
        """One line of progress."""
        found = self.measured
        loss = "" if self.tune.loss is None else f", loss {self.tune.loss:.3f}"
        return (
            f"round {self.at}: own judge {_gain(found.own)}, second judge {_gain(found.second)}, "
            f"kept {self.kept:,} of {self.sampled:,}{loss}"
        )

    def cells(self) -> tuple[str, ...]:
        """A row of the table."""
        found = self.measured
        return (
            str(self.at),
            _gain(found.own),
            _gain(found.second),
            "" if found.agreement is None else f"{found.agreement:.2f}",
            f"{self.kept:,} of {self.sampled:,}" if self.sampled else "",
            f"{found.answered:.0%}",
            f"{found.texts.usable:.0%}",
            f"{found.texts.grounded:.0%}",
            f"{found.texts.copied:.0%}",
            f"{found.texts.distinct1:.3f}",
            f"{found.texts.distinct2:.3f}",
            f"{found.texts.words:.1f}",
            "" if self.tune.loss is None else f"{self.tune.loss:.3f}",
        )


@settings
class SeedReport:
    """A run. chosen: the round that the second judge likes most on the watched briefs. before,
    after: the writers of round 0 and of the chosen one on the held-out briefs; None where the
    budget was spent before. about: names, settings and sizes."""

    end: SeedEnd
    chosen: int
    rounds: tuple[RoundResult, ...]
    before: Measured | None
    after: Measured | None
    costs: tuple[StepCost, ...]
    about: Mapping[str, Any]
    draws: int = 1000

    @property
    def rise(self) -> Interval | None:
        """Gain of the chosen writer less that of round 0, by the second judge, on the held-out
        briefs; None without both."""
        if self.before is None or self.after is None:
            return None
        return compared(self.after, self.before, draws=self.draws)

    @property
    def distinct2_ratio(self) -> float | None:
        """Diversity of what the chosen writer wrote over that of round 0; None without both."""
        if self.before is None or self.after is None or not self.before.texts.distinct2:
            return None
        return self.after.texts.distinct2 / self.before.texts.distinct2

    def findings(self) -> tuple[str, ...]:
        """What it comes to, a sentence each."""
        told = [_ENDS[self.end]]
        if self.after is not None:
            told.append(
                f"Round {self.chosen} on {len(self.after.briefs):,} held-out briefs, of which "
                f"{self.after.answered:.0%} got a usable ad, against their original ads: "
                f"{_gain(self.after.own)} by the own judge, "
                f"{_gain(self.after.second)} by the second judge."
            )
        if self.rise is not None and self.chosen:
            told.append(f"Beyond the writer of before the rounds: {_gain(self.rise)}.")
        if self.after is not None and self.hacked:
            told.append(
                "Only the judge that the rounds chased is sure of a gain: the writer may have "
                "found what that judge is wrong about. Do not use these ads on its word."
            )
        if self.distinct2_ratio is not None and self.chosen:
            told.append(f"Diversity (distinct-2) is {self.distinct2_ratio:.2f} of what it was.")
        return (*told, "Scores are estimates of judges; nobody was asked what he remembers.")

    @property
    def hacked(self) -> bool:
        """Whether the own judge sees a gain for sure, and the second one none."""
        if self.after is None or self.after.own is None or self.after.second is None:
            return False
        return self.after.own.low > 0 >= self.after.second.low

    def text(self) -> str:
        """The table in plain text, what it comes to, and what it cost."""
        cells = [_HEADER, *(one.cells() for one in self.rounds)]
        widths = [max(len(row[at]) for row in cells) for at in range(len(_HEADER))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        ]
        return "\n".join([*lines, "", *self.findings(), self.cost()])

    def cost(self) -> str:
        """What all calls took together."""
        cpu = sum(one.cpu_seconds for one in self.costs)
        read, written, tuned = (
            sum(getattr(one, name) for one in self.costs) for name in ("read", "written", "tuned")
        )
        return (
            f"Cost: {duration(cpu)} of CPU; tokens: {read:,} read, {written:,} written, "
            f"{tuned:,} tuned on."
        )

    def to_json(self) -> str:
        """All of it as JSON."""
        told = {
            **asdict(self),
            "rise": None if self.rise is None else asdict(self.rise),
            "distinct2_ratio": self.distinct2_ratio,
            "hacked": self.hacked,
        }
        return json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_report(
    report: SeedReport, out: Path, *, samples: Sequence[tuple[str, str, str]] = ()
) -> None:
    """Write report.json and report.html. samples: brief, original and written ad, for the page.
    Raises ResourceError where the disk is full."""
    atomic_write_text(out / "report.json", report.to_json())
    values = {
        "sentences": [*report.findings(), report.cost()],
        "facts": {
            **{name: report.about[name] for name in ("writer", "own", "second")},
            **report.about.get("ads", {}),
        },
        "curves": _curves(report.rounds),
        "held": _held(report),
        "header": _HEADER,
        "rows": [one.cells() for one in report.rounds],
        "reasons": [
            (f"round {one.at}", *_reasons(one.measured)) for one in report.rounds if one.rows
        ],
        "samples": list(samples),
    }
    page = page_environment(__package__ or "").get_template("seed.html").render(values)
    atomic_write_text(out / "report.html", page)


def _curves(rounds: Sequence[RoundResult]) -> str:
    rows = [
        {"round": one.at, "series": name, "value": 100 * gain.value}
        for one in rounds
        for name, gain in (("own judge", one.measured.own), ("second judge", one.measured.second))
        if gain is not None
    ]
    if not rows:
        return ""
    chart = learning_curves(
        rows,
        x="round",
        title="Watched briefs, by round",
        x_title="Round",
        y_title="Gain over the original ads, %",
    )
    return inline_svg(to_svg(chart), "rounds")


def _held(report: SeedReport) -> str:
    """Intervals on the held-out briefs, before and after the rounds."""
    values: dict[str, Interval] = {}
    for name, found in (("before", report.before), ("after", report.after)):
        for judge in ("own", "second"):
            gain = None if found is None else getattr(found, judge)
            if gain is not None:
                values[f"{judge} judge, {name}"] = Interval(
                    100 * gain.value, 100 * gain.low, 100 * gain.high
                )
    if not values:
        return ""
    chart = interval_chart(
        values, title="Held-out briefs", x_title="Gain over the original ads, %", reference=0.0
    )
    return inline_svg(to_svg(chart), "held")


def _reasons(found: Measured) -> tuple[str, str]:
    told = sorted(found.texts.reasons.items(), key=lambda one: -one[1])
    return f"{found.texts.usable:.0%}", ", ".join(f"{name} {count:,}" for name, count in told)


def _gain(found: Interval | None) -> str:
    if found is None:
        return "none to tell"
    return f"{found.value:+.1%} ({found.low:+.1%} to {found.high:+.1%})"


#: Further rows of the first tuning, made of the ads that may be learned from: see `recall_rows`.
AlsoRows = Callable[[Sequence[KnownAd]], Sequence[WriterRow]]
#: Settings that may change when a run is gone on with.
_LATER = ("rounds", "patience", "gain", "budget", "draws")
#: Share of the labelled ads that rounds learn from, the best of each collection.
_BETTER = 0.5
#: Ads that are scored between two writes.
_CHUNK = 256
#: Held-out briefs that the page shows.
_SHOWN = 30
#: Between the seeds of two things that are written.
_APART = 1_000_003


def run_seed(
    config: SeedConfig,
    data: SeedData,
    writer: TunedWriter,
    own: AdJudge,
    second: AdJudge,
    out: str | Path,
    *,
    also: AlsoRows | None = None,
    clock: Clock | None = None,
) -> SeedReport:
    """Run, or go on with, the rounds in the folder `out`; report.json and report.html are then
    there.

    own: the judge that chooses. second: the one that stops and measures, of another kind. also: see
    `AlsoRows`. clock: measures the minutes of the budget.
    Raises ConfigError where both judges are one; ResumeError where the folder holds a run of other
    settings, data or judges; DataError where a part of the data is empty; and as writer and judges.
    What was done by then is kept.
    """
    if own is second:
        raise ConfigError(
            "the second judge is the first one",
            where=own.name,
            hint="pass one of another kind that was fitted on other ads",
        )
    place = Path(out)
    with locked(place / ".lock"):
        return _SeedRun(config, data, writer, own, second, place, also, clock or SystemClock()).go()


@dataclass
class _SeedRun:
    """One call of `run_seed`."""

    config: SeedConfig
    data: SeedData
    writer: TunedWriter
    own: AdJudge
    second: AdJudge
    out: Path
    also: AlsoRows | None
    clock: Clock

    def __post_init__(self) -> None:
        self._parts = run_parts(self.data, self.config)
        ads = (*self._parts.labelled, *self._parts.pool)
        read = [said_in(ad.record, ad.brief.kind) for ad in ads]
        brands = sorted({ad.brief.brand for ad in self.data.ads if ad.brief.brand})
        index = CopyIndex(read, n=self.config.filters.run)
        self._filters = AdFilters(self.config.filters, index, brands=brands)
        self._require_same()
        if not (self.out / "read.json").exists():
            write_json(self.out / "read.json", {"texts": read, "brands": brands})
        self._ledger = CostLedger(self.out / "costs.jsonl", self.config.budget, self.clock)
        self._pool: tuple[KnownAd, ...] = ()

    def go(self) -> SeedReport:
        """All rounds that are due, and the report."""
        found: list[RoundResult] = []
        end: SeedEnd = "budget"
        if self._annotate():
            end = "rounds"
            for at in range(self.config.rounds + 1):
                result = self._round(at)
                if result is None:
                    end = "budget"
                    break
                found.append(result)
                say(result.line())
                goals = [one.measured.goal for one in found]
                if should_stop(goals, patience=self.config.patience, gain=self.config.gain):
                    end = "stopped"
                    break
        chosen = best_round([one.measured.goal for one in found]) if found else 0
        before = after = None
        if found and end != "budget":
            before = self._held(0, "before")
            after = before if chosen == 0 else self._held(chosen, "after")
        report = SeedReport(
            end="budget" if end != "budget" and after is None else end,
            chosen=chosen,
            rounds=tuple(found),
            before=before,
            after=after,
            costs=self._ledger.steps,
            about=self._about(),
            draws=self.config.draws,
        )
        write_report(report, self.out, samples=self._samples(report))
        return report

    def _samples(self, report: SeedReport) -> list[tuple[str, str, str]]:
        """Brief, original and a usable new ad of the first held-out briefs, for readers."""
        if report.after is None:
            return []
        name = f"held-{'after' if report.chosen else 'before'}-{report.chosen}.jsonl"
        shown = []
        for ad, row in zip(self._parts.held, read_rows(self.out / name, dict), strict=False):
            why = self._filters.reasons(row["texts"], ad.brief, cut=row["cut"])
            good = [text for text, reason in zip(row["texts"], why, strict=True) if not reason]
            written = record_of(good[0], ad.brief) if good else None
            text = "" if written is None else said_in(written, ad.brief.kind)
            shown.append(("; ".join(ad.brief.known), said_in(ad.record, ad.brief.kind), text))
        return shown[:_SHOWN]

    def _annotate(self) -> bool:
        """Score the ads that nobody measured, and choose the best; whether the budget sufficed.

        Only those that a written ad may be like: from others a writer learns to claim what no brief
        tells.
        """
        plain = AdFilters(self.config.filters, CopyIndex([]), brands=self._filters.brands)
        ads = [ad for ad in self._parts.pool if not plain.reason(ad.answer, ad.brief)]
        path = self.out / "pool.jsonl"
        found = read_rows(path, dict, hint=DAMAGED)
        done = len(found) // _CHUNK * _CHUNK
        if len(found) < len(ads):
            if done < len(found):
                write_rows(path, found[:done])
            with progress(len(ads) - done, "annotate", "ads") as bar:
                for start in range(done, len(ads), _CHUNK):
                    if self._ledger.spent():
                        return False
                    some = ads[start : start + _CHUNK]
                    with self._ledger.step(0, "annotate") as cost:
                        values, _ = judged(self.own, [ad.judged for ad in some])
                        cost.add(judged=len(some))
                    rows = zip(some, values.tolist(), strict=True)
                    append_rows(path, [{"ad": ad.brief.id, "score": value} for ad, value in rows])
                    bar.advance(len(some))
        scores = read_rows(path, itemgetter("score"))
        self._pool = best_of(ads, scores, share=self.config.pool, most=self.config.pool_most)
        return True

    def _round(self, at: int) -> RoundResult | None:
        """One round, or what is left of it; None where the budget is spent."""
        folder = self.out / f"round-{at}"
        told = read_json(folder / "round.json")
        if told is not None:
            return from_jsonable(RoundResult, told)
        if at and not self._choose(at, folder):
            return None
        if self._ledger.spent():
            return None
        rows = self._rows(at)
        say(f"round {at}: tune on {len(rows):,} rows")
        with self._ledger.step(at, "tune") as cost:
            tuned = self.writer.tune(rows, folder / "writer", seed=self.config.seed + at)
            cost.add(tuned=tuned.tokens)
        measured = self._measured(at, self._parts.watch, folder / "watch.jsonl")
        if measured is None:
            return None
        sampled = len(self._parts.briefs_of(at, self.config)) if at else 0
        kept = len(read_json(folder / "kept.json")["ads"]) if at else 0
        result = RoundResult(at, measured, sampled, kept, len(rows), tuned)
        write_json(folder / "round.json", asdict(result))
        return result

    def _choose(self, at: int, folder: Path) -> bool:
        """Write for the briefs of a round, and keep the best; whether the budget sufficed."""
        if (folder / "kept.json").is_file():
            return True
        briefs = self._parts.briefs_of(at, self.config)
        written = self._write(at, at - 1, briefs, folder / "samples.jsonl", self.config.samples)
        if written is None:
            return False
        told = read_json(folder / "scores.json")
        if told is None:
            with self._ledger.step(at, "score") as cost:
                found = scored(written, self.own, self._filters)
                cost.add(judged=sum(one is not None for row in found.scores for one in row))
            told = asdict(found)
            write_json(folder / "scores.json", told)
        kept = kept_of(written, told["reasons"], told["scores"], share=self.config.keep)
        values = [
            {"brief": one.brief.id, "answer": one.answer, "score": one.score, "lift": one.lift}
            for one in kept
        ]
        write_json(folder / "kept.json", {"briefs": len(briefs), "ads": values})
        return True

    def _rows(self, at: int) -> list[WriterRow]:
        """What round `at` is tuned on: kept ads, the latest first, then those that there are."""
        labelled = self._parts.labelled
        if at:
            scores = [ad.score or 0.0 for ad in labelled]
            labelled = best_of(labelled, scores, share=_BETTER)
        known = [
            WriterRow(ad.brief.messages(), ad.answer, ad.brief.held_by, ad.source)
            for ad in (*labelled, *self._pool)
        ]
        kept = [row for one in range(at, 0, -1) for row in self._kept_rows(one)]
        most = self.config.rows
        if most and len(kept) + len(known) > most:
            order = np.random.default_rng([self.config.seed, at]).permutation(len(known))
            known = [known[place] for place in order]
        different = {(row.messages, row.answer): row for row in (*kept, *known)}
        rows = list(different.values())[: most or None]
        if self.also is not None and not at:
            rows += self.also(self._parts.labelled)
        if not rows:
            raise DataError("a round kept nothing to tune on", hint="loosen the filters")
        return rows

    def _kept_rows(self, at: int) -> list[WriterRow]:
        briefs = {brief.id: brief for brief in self._parts.briefs}
        kept = read_json(self.out / f"round-{at}" / "kept.json")["ads"]
        return [
            WriterRow(
                briefs[one["brief"]].messages(),
                one["answer"],
                briefs[one["brief"]].held_by,
                f"round {at}",
            )
            for one in kept
        ]

    def _held(self, at: int, name: str) -> Measured | None:
        """Both judges on the held-out briefs, for which nobody wrote before."""
        measured = read_json(self.out / f"held-{name}.json")
        if measured is not None and measured["at"] == at:
            return from_jsonable(Measured, measured)
        path = self.out / f"held-{name}-{at}.jsonl"
        found = self._measured(at, self._parts.held, path)
        if found is not None:
            write_json(self.out / f"held-{name}.json", asdict(found))
        return found

    def _measured(self, at: int, originals: Sequence[KnownAd], path: Path) -> Measured | None:
        briefs = [ad.brief for ad in originals]
        written = self._write(at, at, briefs, path, self.config.measured)
        if written is None:
            return None
        with self._ledger.step(at, "measure") as cost:
            cost.add(judged=2 * (len(originals) + sum(len(ads.texts) for ads in written)))
            return measure(
                written,
                originals,
                self.own,
                self.second,
                self._filters,
                at=at,
                draws=self.config.draws,
                seed=self.config.seed,
            )

    def _write(
        self, at: int, writer: int, briefs: Sequence[AdBrief], path: Path, samples: int
    ) -> tuple[WrittenAds, ...] | None:
        folder = self.out / f"round-{writer}" / "writer"
        with self._ledger.step(at, f"write {path.stem}") as cost:

            def told(usage: Usage) -> None:
                read = usage.prompt_tokens - usage.cached_tokens
                cost.add(read=read, written=usage.completion_tokens)

            return write_ads(
                briefs,
                lambda: self.writer.opened(folder),
                self.config,
                path,
                samples=samples,
                seed=self.config.seed + _APART * (at + 1),
                label=f"round {at}: {path.stem}",
                told=told,
                spent=self._ledger.spent,
            )

    def _about(self) -> dict[str, Any]:
        parts = self._parts
        sizes = {
            "labelled": len(parts.labelled),
            "pool": len(parts.pool),
            "briefs": len(parts.briefs),
            "watched": len(parts.watch),
            "held out": len(parts.held),
        }
        names = {"writer": self.writer.name, "own": self.own.name, "second": self.second.name}
        return {**names, "ads": sizes, "config": to_jsonable(self.config)}

    def _require_same(self) -> None:
        """Write down what is asked for, or refuse to go on with something else."""
        settings = {k: v for k, v in to_jsonable(self.config).items() if k not in _LATER}
        asked = {
            **settings,
            "writer": self.writer.name,
            "own": self.own.name,
            "second": self.second.name,
            "data_hash": self.data.digest,
        }
        path = self.out / "seed.json"
        before = read_json(path)
        if before is None:
            write_json(path, asked)
            return
        differ = [name for name in asked if before.get(name) != asked[name]]
        if differ:
            raise ResumeError(
                f"this folder holds a run with another {', '.join(differ)}",
                where=str(path),
                hint="give the same settings and data, or name another folder",
            )
