"""What SEED learns from: ads that there are, with or without a measured score, and mere briefs.

    table = read_ads(Path("headlines.parquet"))
    pool = known_ads(table.records, table.ids, "headline", source="headlines")
    data = SeedData(labelled + pool, briefs)

An ad with a score was measured on people; one without is annotated by the model's own judge. The
default pool is the catalogue: products of Complete Journey, which have no ads, as briefs.

Which ads and briefs of the data a run learns from, watches, and holds out.

    parts = run_parts(data, config)
    parts.briefs_of(2, config)          # what the second round writes for

What is watched and held out are briefs whose original ad is known: of the labelled ads where there
are such, since the judges learned from people about ads like these, else of the pool. Ads and
briefs of their groups are in no other part, whether they are measured with or left over.

What a run would do and roughly what it would cost, without a model.

    print(plan_seed(config, data).text())

Tokens are taken as four characters each, which holds for English within a fifth. Paces are CPU-
seconds of one thread on a quiet processor with SmolLM2-135M.

The settings of a run of SEED, beside its model, its judges and its data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias

import numpy as np

from adwright.core.config import Count, Ge, Le, Natural, NotNegative, Positive, settings
from adwright.core.errors import DataError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.core.progress import duration
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.seed.texts import (
    AdBrief,
    AdFilterConfig,
    BriefKind,
    answer_of,
    brief_of,
    is_complete,
    part_of,
    record_of,
)
from adwright.lm.engine.generation import GenerationConfig


@dataclass(frozen=True)
class KnownAd:
    """An ad that there is. score: how well people remembered it, in the unit of the judges; None
    where nobody asked. source: of which collection.

    Raises ValueInvalidError for a score that is not finite.
    """

    brief: AdBrief
    record: AdRecord
    score: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.score is not None and not abs(self.score) < float("inf"):
            raise ValueInvalidError(
                "the score of an ad is no number", column="score", value=self.score
            )

    @property
    def answer(self) -> str:
        """What the writer learns to answer."""
        return answer_of(self.record, self.brief.kind)

    @property
    def judged(self) -> AdRecord:
        """The ad as judges are shown it: with what a writer could have answered, and no more, so
        that originals and what is written in their place are judged alike."""
        return record_of(self.answer, self.brief)


@dataclass(frozen=True)
class SeedData:
    """ads: those that there are. briefs: what may be written for beside the briefs of the ads.

    Raises DataError where an id comes twice, or there is no ad.
    """

    ads: tuple[KnownAd, ...]
    briefs: tuple[AdBrief, ...] = ()

    def __post_init__(self) -> None:
        if not self.ads:
            raise DataError("there is no ad to learn from", hint="pass labelled ads or a pool")
        seen: set[str] = set()
        for row, brief in enumerate(self.every_brief):
            if brief.id in seen:
                raise DataError(
                    "two briefs have one id",
                    row=row,
                    column="id",
                    value=brief.id,
                    hint="put the name of the collection before the id",
                )
            seen.add(brief.id)

    @property
    def labelled(self) -> tuple[KnownAd, ...]:
        """Ads that were measured."""
        return tuple(ad for ad in self.ads if ad.score is not None)

    @property
    def pool(self) -> tuple[KnownAd, ...]:
        """Ads that were not."""
        return tuple(ad for ad in self.ads if ad.score is None)

    @property
    def every_brief(self) -> tuple[AdBrief, ...]:
        """Of the ads, and the others."""
        return (*(ad.brief for ad in self.ads), *self.briefs)

    @property
    def digest(self) -> str:
        """Hash of all that a run depends on."""

        def told(brief: AdBrief) -> list[object]:
            return [brief.id, brief.kind, brief.held_by, list(brief.known), brief.seconds]

        ads = [[told(ad.brief), ad.answer, ad.score, ad.source] for ad in self.ads]
        return content_hash([ads, [told(brief) for brief in self.briefs]])


def known_ads(
    records: Sequence[AdRecord],
    ids: Sequence[str],
    kind: BriefKind,
    *,
    source: str,
    scores: Sequence[float | None] | None = None,
    groups: Sequence[str] | None = None,
) -> tuple[KnownAd, ...]:
    """Ads of a table, each once; rows without all that the kind needs are left out.

    source: put before the ids. scores: of people, one a record. groups: what is held out together,
    where it is no brand. Raises DataError where the numbers of rows differ.
    """
    told = list(scores) if scores is not None else [None] * len(records)
    held = list(groups) if groups is not None else [""] * len(records)
    if not len(records) == len(ids) == len(told) == len(held):
        raise DataError(
            f"there are {len(records)} ads, {len(ids)} ids, {len(told)} scores, {len(held)} groups"
        )
    found: dict[tuple[str, ...], KnownAd] = {}
    for record, id, score, group in zip(records, ids, told, held, strict=True):
        if not is_complete(record, kind):
            continue
        brief = brief_of(record, kind, id=f"{source}-{id}", group=group)
        ad = KnownAd(brief, record, score, source)
        found.setdefault((*brief.known, ad.answer), ad)
    return tuple(found.values())


Share: TypeAlias = Annotated[float, Ge(0), Le(1)]


@settings
class SeedBudget:
    """After which a run stops, to be gone on with; 0 for none. minutes: of this call, by the clock.
    tokens: read, written and tuned on, of all calls."""

    minutes: NotNegative = 0.0
    tokens: Natural = 0


@settings
class SeedConfig:
    """How a run goes.

    rounds: at most. samples: ads that a round writes for a brief. briefs: of a round, drawn anew
    for each; 0 for all. keep: share of these briefs whose best ad is tuned on. pool: share of the
    ads without a measured score that is tuned on, the best of each collection; pool_most: at most
    so many, 0 for all. rows: at most so many are tuned on in a round, what was kept before what
    was there before; 0 for all.
    watch, held: shares of the groups of briefs, see `brief`; watch_most, held_most: briefs of
    them that are written for, 0 for all; measured: ads for each of them. patience: rounds that may
    bring nothing by the second judge's view. gain: what counts as something, relative.
    temperature, top_p, tokens: of what is written; a video takes some 600 tokens. batch: briefs of
    one call. draws: of intervals.

    Raises ConfigError for numbers out of range.
    """

    rounds: Count = 3
    samples: Count = 6
    briefs: Natural = 0
    keep: Share = 0.5
    pool: Share = 0.25
    pool_most: Natural = 2000
    rows: Natural = 0
    watch: float = 0.1
    held: float = 0.25
    watch_most: Natural = 100
    held_most: Natural = 200
    measured: Count = 4
    patience: Count = 2
    gain: float = 0.0
    temperature: Positive = 0.9
    top_p: float = 0.95
    tokens: Count = 48
    batch: Count = 8
    draws: Count = 1000
    seed: Natural = 0
    filters: AdFilterConfig = field(default_factory=AdFilterConfig)
    budget: SeedBudget = field(default_factory=SeedBudget)

    def __post_init__(self) -> None:
        part_of("", watch=self.watch, held=self.held)
        self.generation()

    def generation(self, seed: int = 0) -> GenerationConfig:
        """How one call writes."""
        return GenerationConfig(
            max_tokens=self.tokens, temperature=self.temperature, top_p=self.top_p, seed=seed
        )


@dataclass(frozen=True)
class RunParts:
    """labelled, pool: ads to learn from. briefs: to write for. watch, held: originals."""

    labelled: tuple[KnownAd, ...]
    pool: tuple[KnownAd, ...]
    briefs: tuple[AdBrief, ...]
    watch: tuple[KnownAd, ...]
    held: tuple[KnownAd, ...]

    def briefs_of(self, at: int, config: SeedConfig) -> tuple[AdBrief, ...]:
        """The briefs of round `at`, in order: drawn anew for each round."""
        count = config.briefs or len(self.briefs)
        if count >= len(self.briefs):
            return self.briefs
        drawn = np.random.default_rng([config.seed, at]).choice(
            len(self.briefs), count, replace=False
        )
        return tuple(self.briefs[row] for row in sorted(drawn.tolist()))


def run_parts(data: SeedData, config: SeedConfig) -> RunParts:
    """Divide the data. Raises DataError where a part that is needed is empty."""

    def part(brief: AdBrief) -> str:
        return part_of(brief.held_by, watch=config.watch, held=config.held, seed=config.seed)

    def some(name: str, most: int) -> tuple[KnownAd, ...]:
        """Measured ads of a part, if any: at most so many, by the hashes of their ids, in order."""
        ads = [ad for ad in data.labelled or data.pool if part(ad.brief) == name]
        place = [hashlib.sha256(f"{config.seed}:{ad.brief.id}".encode()).digest() for ad in ads]
        rows = sorted(range(len(ads)), key=place.__getitem__)
        return tuple(ads[row] for row in sorted(rows[: most or None]))

    found = RunParts(
        labelled=tuple(ad for ad in data.labelled if part(ad.brief) == "train"),
        pool=tuple(ad for ad in data.pool if part(ad.brief) == "train"),
        briefs=tuple(one for one in data.every_brief if part(one) == "train"),
        watch=some("watch", config.watch_most),
        held=some("held", config.held_most),
    )
    for name, those in (
        ("to learn from", (*found.labelled, *found.pool)),
        ("to watch", found.watch),
        ("held out", found.held),
    ):
        if not those:
            raise DataError(
                f"of {len(data.ads)} ads none is {name}",
                hint="pass more brands, or other shares of watch and held",
            )
    return found


#: What one CPU-second does: tokens of training, of prompts that are read, of answers; ads judged.
_PACES = {"tuned": 130.0, "read": 600.0, "written": 80.0, "judged": 100.0}
#: Characters of a token; tokens of the chat template around a prompt and its answer; of the tokens
#: that an answer may have, what it has where no ad tells.
_CHARACTERS, _TEMPLATE, _USUAL_ANSWER = 4, 30, 0.5


@dataclass(frozen=True)
class SeedPlan:
    """What a run would do. briefs: that a round writes for, `ads` in all. rows: tuned on in each
    round, at most. work: of the whole run, about: tokens "tuned" on, "read" and "written", and ads
    "judged"."""

    parts: RunParts
    briefs: int
    ads: int
    rows: tuple[int, ...]
    work: dict[str, int]

    @property
    def seconds(self) -> float:
        """Of CPU, about."""
        return sum(count / _PACES[name] for name, count in self.work.items())

    def text(self) -> str:
        """A line each."""
        parts, work = self.parts, self.work
        learned = f"{len(parts.labelled):,} labelled ads and the best of {len(parts.pool):,} others"
        return "\n".join(
            (
                f"learn from {learned}",
                f"each round: {self.ads:,} ads for {self.briefs:,} briefs",
                f"rows tuned on, by round from 0: {', '.join(f'{rows:,}' for rows in self.rows)}",
                f"watched {len(parts.watch):,} briefs, held out {len(parts.held):,}",
                f"tokens, about: {work['tuned']:,} tuned on, {work['read']:,} read, "
                f"{work['written']:,} written; {work['judged']:,} ads judged",
                f"about {duration(self.seconds)} of CPU; nothing was done yet",
            )
        )


def plan_seed(config: SeedConfig, data: SeedData) -> SeedPlan:
    """Count what all rounds do. Raises as `run_parts`."""
    parts = run_parts(data, config)
    pool = round(config.pool * len(parts.pool))
    pool = min(pool, config.pool_most or pool)
    briefs = min(config.briefs or len(parts.briefs), len(parts.briefs))
    kept = round(config.keep * briefs)
    first, later = len(parts.labelled) + pool, round(len(parts.labelled) / 2) + pool
    rows = [first] + [later + at * kept for at in range(1, config.rounds + 1)]
    rows = [min(one, config.rows or one) for one in rows]
    letters = [sum(len(turn.content) for turn in brief.messages()) for brief in parts.briefs]
    prompt = _TEMPLATE + float(np.mean(letters or [0])) / _CHARACTERS
    answers = [len(ad.answer) / _CHARACTERS for ad in parts.labelled or parts.pool]
    answer = min(float(np.mean(answers or [_USUAL_ANSWER * config.tokens])), config.tokens)
    sampled = config.rounds * briefs * config.samples
    calls = (config.rounds + 1) * len(parts.watch) + 2 * len(parts.held)
    measured = config.measured * calls
    work = {
        "tuned": round(sum(rows) * (prompt + answer)),
        "read": round((config.rounds * briefs + calls) * prompt),
        "written": round((sampled + measured) * answer),
        "judged": len(parts.pool) + sampled + 2 * measured,
    }
    return SeedPlan(parts, briefs, briefs * config.samples, tuple(rows), work)
