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
seconds of one thread on a quiet processor with SmolLM2-135M; pass your own for other models.

The settings of a run of SEED, beside its model, its judges and its data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from adwright.core.config import settings
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
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
        ads = [[_told(ad.brief), ad.answer, ad.score, ad.source] for ad in self.ads]
        return content_hash([ads, [_told(brief) for brief in self.briefs]])


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


def _told(brief: AdBrief) -> list[object]:
    return [brief.id, brief.kind, brief.held_by, list(brief.known), brief.seconds]


@settings
class SeedBudget:
    """After which a run stops, to be gone on with; 0 for none. minutes: of this call, by the clock.
    tokens: read, written and tuned on, of all calls."""

    minutes: float = 0.0
    tokens: int = 0

    def __post_init__(self) -> None:
        if self.minutes < 0 or self.tokens < 0:
            raise ConfigError("a budget is not below 0", where=f"{self.minutes}, {self.tokens}")


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

    rounds: int = 3
    samples: int = 6
    briefs: int = 0
    keep: float = 0.5
    pool: float = 0.25
    pool_most: int = 2000
    rows: int = 0
    watch: float = 0.1
    held: float = 0.25
    watch_most: int = 100
    held_most: int = 200
    measured: int = 4
    patience: int = 2
    gain: float = 0.0
    temperature: float = 0.9
    top_p: float = 0.95
    tokens: int = 48
    batch: int = 8
    draws: int = 1000
    seed: int = 0
    filters: AdFilterConfig = field(default_factory=AdFilterConfig)
    budget: SeedBudget = field(default_factory=SeedBudget)

    def __post_init__(self) -> None:
        for name in ("rounds", "samples", "measured", "patience", "batch", "draws", "tokens"):
            self._require(name, getattr(self, name) >= 1, "is at least 1")
        for name in ("briefs", "pool_most", "rows", "watch_most", "held_most", "seed"):
            self._require(name, getattr(self, name) >= 0, "is not below 0")
        for name in ("keep", "pool"):
            self._require(name, 0 <= getattr(self, name) <= 1, "is a share")
        self._require("temperature", self.temperature > 0, "is above 0, or all samples were one")
        part_of("", watch=self.watch, held=self.held)
        self.generation()

    def generation(self, seed: int = 0) -> GenerationConfig:
        """How one call writes."""
        return GenerationConfig(
            max_tokens=self.tokens, temperature=self.temperature, top_p=self.top_p, seed=seed
        )

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ConfigError(f"{name} {what}", where=f"{name} {getattr(self, name)}")


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

    judged = data.labelled or data.pool
    found = RunParts(
        labelled=tuple(ad for ad in data.labelled if part(ad.brief) == "train"),
        pool=tuple(ad for ad in data.pool if part(ad.brief) == "train"),
        briefs=tuple(one for one in data.every_brief if part(one) == "train"),
        watch=_some([ad for ad in judged if part(ad.brief) == "watch"], config.watch_most, config),
        held=_some([ad for ad in judged if part(ad.brief) == "held"], config.held_most, config),
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


def _some(ads: Sequence[KnownAd], most: int, config: SeedConfig) -> tuple[KnownAd, ...]:
    """At most so many, chosen by the hashes of their ids, in order."""
    if not most or len(ads) <= most:
        return tuple(ads)
    rows = sorted(range(len(ads)), key=lambda row: _place(ads[row].brief.id, config.seed))
    return tuple(ads[row] for row in sorted(rows[:most]))


def _place(id: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{id}".encode()).digest()


_CHARACTERS = 4
#: Tokens of the chat template around a prompt and its answer.
_TEMPLATE = 30
#: Of the tokens that an answer may have, what it has where no ad tells.
_USUAL_ANSWER = 0.5


@settings
class SeedPaces:
    """What one CPU-second does: tokens of training, of prompts that are read, of answers; ads that
    a judge looks at."""

    tuned: float = 130.0
    read: float = 600.0
    written: float = 80.0
    judged: float = 100.0

    def __post_init__(self) -> None:
        if min(self.tuned, self.read, self.written, self.judged) <= 0:
            raise ConfigError("a pace is above 0", where=str(self))


@dataclass(frozen=True)
class SeedPlan:
    """labelled, pool, watched, held: ads of each part. briefs: that a round writes for. ads: that
    it writes. rows: tuned on in each round, at most. tuned, read, written: tokens of the whole run,
    about. judged: ads. seconds: of CPU, about."""

    labelled: int
    pool: int
    watched: int
    held: int
    briefs: int
    ads: int
    rows: tuple[int, ...]
    tuned: int
    read: int
    written: int
    judged: int
    seconds: float

    def text(self) -> str:
        """A line each."""
        rounds = ", ".join(f"{rows:,}" for rows in self.rows)
        return "\n".join(
            (
                f"learn from {self.labelled:,} labelled ads and the best of {self.pool:,} others",
                f"each round: {self.ads:,} ads for {self.briefs:,} briefs",
                f"rows tuned on, by round from 0: {rounds}",
                f"watched {self.watched:,} briefs, held out {self.held:,}",
                f"tokens, about: {self.tuned:,} tuned on, {self.read:,} read, "
                f"{self.written:,} written; {self.judged:,} ads judged",
                f"about {duration(self.seconds)} of CPU; nothing was done yet",
            )
        )


def plan_seed(config: SeedConfig, data: SeedData, paces: SeedPaces | None = None) -> SeedPlan:
    """Count what all rounds do. Raises as `run_parts`."""
    paces = SeedPaces() if paces is None else paces
    parts = run_parts(data, config)
    pool = round(config.pool * len(parts.pool))
    pool = min(pool, config.pool_most or pool)
    briefs = min(config.briefs or len(parts.briefs), len(parts.briefs))
    kept = round(config.keep * briefs)
    first, later = len(parts.labelled) + pool, round(len(parts.labelled) / 2) + pool
    rows = [first] + [later + at * kept for at in range(1, config.rounds + 1)]
    rows = [min(one, config.rows or one) for one in rows]
    prompt = _mean([_prompt(brief) for brief in parts.briefs])
    answer = _answer(parts, config)
    sampled = config.rounds * briefs * config.samples
    measured = config.measured * ((config.rounds + 1) * len(parts.watch) + 2 * len(parts.held))
    calls = config.rounds * briefs + (config.rounds + 1) * len(parts.watch) + 2 * len(parts.held)
    tuned = round(sum(rows) * (prompt + answer))
    read, written = round(calls * prompt), round((sampled + measured) * answer)
    judged = len(parts.pool) + sampled + 2 * measured
    seconds = (
        tuned / paces.tuned + read / paces.read + written / paces.written + judged / paces.judged
    )
    return SeedPlan(
        len(parts.labelled),
        len(parts.pool),
        len(parts.watch),
        len(parts.held),
        briefs,
        briefs * config.samples,
        tuple(rows),
        tuned,
        read,
        written,
        judged,
        seconds,
    )


def _prompt(brief: AdBrief) -> float:
    return _TEMPLATE + sum(len(turn.content) for turn in brief.messages()) / _CHARACTERS


def _answer(parts: RunParts, config: SeedConfig) -> float:
    """Mean tokens of an answer, no more than may be written."""
    ads: Sequence[KnownAd] = parts.labelled or parts.pool
    mean = _mean([len(ad.answer) / _CHARACTERS for ad in ads])
    return min(mean, config.tokens) if ads else _USUAL_ANSWER * config.tokens


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
