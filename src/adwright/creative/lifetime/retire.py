"""A run that trains retirement, and the models that it leaves.

    lives = DeliveryLives(import_delivery("ads.csv"))
    trained = train_retirement(lives, Path("runs/retire"))
    print(retirement_list(trained.model, lives, values=trained.values).text())

RUN/run holds curves and the checkpoint, RUN/model says how long a unit goes on (with RUN/network,
where that takes part), RUN/values what it will bring.

Units to train retirement on: all that ran at many periods, one below another.

A list of what to stop asks about units of any age. So a unit is learned from at every age that it
had when a period closed, with what was known then (stacked landmarks: van Houwelingen, Dynamic
prediction by landmarking in event history analysis, Scand. J. Statist. 34, 2007). It enters late,
at its age then, and is followed until it ends or until the last period of which it is known of all
whether it was their last,

    known = before - 2 - gap

which takes the gap that a life bridges and one more period to see that nothing came. Who ran on, or
was cut off by a budget or the end of a flight, is censored as `spell_table` says.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adwright.core.artifacts import load_artifact
from adwright.core.errors import ArtifactError, ConfigError, DataError
from adwright.core.progress import say
from adwright.creative.lifetime.kept_life import KIND, KeptLife, StackedLives, chosen_life
from adwright.creative.lifetime.lives import LifeLog, LifeRecord
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.stop_list import vectors_of
from adwright.creative.lifetime.stop_rule import ValueConfig, ValueModel, fit_values
from adwright.creative.lifetime.survival_curves import FittedLifetime
from adwright.creative.lifetime.survival_fit import LifetimeConfig, clocks_of, fit_lifetime
from adwright.creative.lifetime.survival_network import LifeTerms, Vectors
from adwright.metrics.choosing import HonestChoice
from adwright.training.search import require_free

Ints = npt.NDArray[np.int64]

#: Rows that training is kept below.
MOST_ROWS = 2_000_000
#: Validation is the last fifth of the periods, or more where it sees fewer ends.
_VALID, _ENDS = 0.2, 100
#: A bin of the long head holds about so great a share of the endings that come in it or later, so
#: that all are of one width where lives end at one rate. Beyond the last edge are so many endings
#: or such a share of them, what is more.
_OF_A_BIN, _BEYOND, _LEFT = 1 / 3, 50, 0.002
_TWO_YEARS = {"day": 730, "week": 104}
_SEASON = "season_"


@dataclass(frozen=True, eq=False)
class RetirementData:
    """train: units at periods of which was known before `valid_from`. valid: units at periods from
    then on, of which was known before `before`. train_life, valid_life: int64 [N], the life of each
    in the log. terms: edges of the bins: the short head's from the lives of training, each taken
    once (`LifeTerms.of`), the long head's beyond it quantiles of the units that ended, so that they
    reach the ages of what runs: a life of 20 weeks is 20 units. They are finer than those for lives
    from their beginning, since a unit learns nothing of a bin that it enters in its midst."""

    train: SpellTable
    valid: SpellTable
    train_life: Ints
    valid_life: Ints
    terms: LifeTerms
    valid_from: int
    before: int


def retirement_data(lives: LifeRecord, before: int | None = None) -> RetirementData:
    """Units split by time, as known before the period `before`; None takes the whole record.

    Validation is the last fifth of the periods, or up to a half where it sees fewer than 100 ends.
    A life may be in both parts, at different ages: the model is asked about lives that it knows.
    Raises DataError where validation sees no end, or nothing is left for training.
    """
    closes = lives.log.closed + 1 if before is None else before
    at = _periods(lives.log, closes)
    for share in (_VALID, 0.35, 0.5):
        held = max(1, round(share * len(at)))
        chosen = _thinned(lives.log, at[-held:], MOST_ROWS // 4)
        valid = training_units(lives, chosen, closes) if len(at) > held else None
        if valid is not None and valid[0].ended.sum() >= _ENDS:
            break
    if valid is None or not valid[0].ended.any():
        raise DataError(
            "no end of a life was seen in the last half of the record, so nothing validates",
            column="period",
            value=f"{len(at)} periods",
            hint="take a longer record, or a smaller gap",
        )
    begin = int(at[-held])
    train, life = training_units(lives, None, begin)
    return RetirementData(train, valid[0], life, valid[1], _terms(train, life), begin, closes)


def fit_retirement(
    lives: LifeRecord,
    before: int | None = None,
    config: LifetimeConfig | None = None,
    *,
    vectors: Vectors | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    stop_now: bool = False,
) -> FittedLifetime:
    """A survival network of all ages, trained on what was known before the period `before`.

    vectors: name -> float32 [R, D] of texts or images, of all lives of the log in its order, NaN
    where missing. out, resume, stop_now: as of `fit_lifetime`.

    The model's `config` names `before` and `valid_from`. Columns of the season are left out where
    the record spans less than two years, since there they name the periods; which is said.
    Raises as `retirement_data` and `fit_lifetime`.
    """
    data = retirement_data(lives, before)
    config = _settled(lives.log, data, config or LifetimeConfig())
    return _fitted(lives.log, data, config, vectors, out, resume=resume, stop_now=stop_now)


def _settled(log: LifeLog, data: RetirementData, config: LifetimeConfig) -> LifetimeConfig:
    """With edges, and without the season where it names the period."""
    season: tuple[str, ...] = ()
    if data.before - int(log.period.min()) < _TWO_YEARS[log.unit]:
        read = () if "numbers" in config.leave_out else data.train.number_names
        season = tuple(n for n in read if n.startswith(_SEASON) and n not in config.leave_out)
    if season:
        say(f"less than two years, so a season names its {log.unit}: without {', '.join(season)}")
    terms = config.terms
    if terms is None:
        terms = data.terms
        say(f"edges of the bins, in {log.unit}s: {terms}")
    return replace(config, terms=terms, leave_out=(*config.leave_out, *season))


def _fitted(
    log: LifeLog,
    data: RetirementData,
    config: LifetimeConfig,
    vectors: Vectors | None,
    out: str | Path | None,
    *,
    resume: bool,
    stop_now: bool,
) -> FittedLifetime:
    name = log.period_name
    say(
        f"training on {len(data.train):,} units before {name(data.valid_from)}, "
        f"validation on {len(data.valid):,} before {name(data.before)}"
    )
    model = fit_lifetime(
        data.train,
        data.valid,
        config,
        vectors=vectors_of(vectors, data.train_life),
        valid_vectors=vectors_of(vectors, data.valid_life),
        out=out,
        resume=resume,
        stop_now=stop_now,
    )
    when = {"before": data.before, "valid_from": data.valid_from}
    return replace(model, config=model.config | when)


def training_units(
    lives: LifeRecord, periods: Sequence[int] | None, before: int
) -> tuple[SpellTable, Ints]:
    """The units that ran in `periods`, below one another, as known before the period `before`, and
    int64 [N], the life of each.

    periods: of those that are known by then; None takes every k-th in which something ran, from the
    second of the record on, for some two million units at most, which is said.
    Raises ConfigError for a period after the record, DataError where nothing ran.
    """
    log = lives.log
    if before > log.closed + 1:
        raise ConfigError(
            "the record closes before this period", where=f"before {before}, closed {log.closed}"
        )
    if periods is None:
        periods = _thinned(log, _periods(log, before), MOST_ROWS)
    parts = [lives.running(int(period)) for period in periods]
    table = SpellTable.concat([part.table for part in parts]).seen_before(before - log.gap)
    return table.check(), np.concatenate([part.life for part in parts])


def _thinned(log: LifeLog, periods: Ints, rows: int) -> list[int]:
    """Every k-th of the periods, for at most so many rows, or nearly."""
    counts = np.bincount(log.period - log.period.min())
    units = int(counts[periods - log.period.min()].sum())
    k = max(1, -(-units // rows))
    if k > 1:
        say(f"{units:,} units in {len(periods)} {log.unit}s: one {log.unit} in {k} is taken")
    chosen: list[int] = periods[::k].tolist()
    return chosen


def _periods(log: LifeLog, before: int) -> Ints:
    """Periods that are known before `before`, ascending, in which a life ran that began after the
    record did: at its begin there is no history."""
    rows = np.repeat(log.first > log.period.min(), np.diff(log.offsets))
    found = np.unique(log.period[rows & (log.period <= before - 2 - log.gap)])
    if not len(found):
        raise DataError(
            "nothing ran early enough to be learned from",
            column="period",
            value=f"before {before}, gap {log.gap}",
            hint="take a longer record",
        )
    return found


def _terms(table: SpellTable, life: Ints) -> LifeTerms:
    once = table.take(np.unique(life, return_index=True)[1])
    short = LifeTerms.of(once.entry, once.time, once.cause).short
    ends = table.time[table.ended & (table.time > short[-1])]
    if not len(ends):
        return LifeTerms(short=short, long=())
    left = max(_LEFT, min(_BEYOND / len(ends), 0.5))
    bins = max(1, round(np.log(left) / np.log(1 - _OF_A_BIN)))
    shares = 1 - left ** (np.arange(1, bins + 1) / bins)
    beyond = np.unique(np.quantile(ends, shares, method="inverted_cdf")).tolist()
    return LifeTerms(short=short, long=(short[0], short[-1], *beyond))


_MODEL, _NETWORK, _RUN, _VALUES = "model", "network", "run", "values"


@dataclass(frozen=True, eq=False)
class TrainedRetirement:
    """model: what was kept. id: of its artifact. folder: the artifact's. values: what units will
    bring; None where the record was too short to learn it."""

    model: KeptLife
    id: str
    folder: Path
    values: ValueModel | None = None

    def text(self) -> str:
        """In a line each: what was kept, what it expects, and where it is."""
        return "\n".join([*self.model.sentences(), f"saved in {self.folder}"])


def train_retirement(
    lives: LifeRecord,
    out: str | Path,
    config: LifetimeConfig | None = None,
    *,
    before: int | None = None,
    vectors: Vectors | None = None,
    resume: bool = False,
    stop_now: bool = False,
    overwrite: bool = False,
) -> TrainedRetirement:
    """Choose on a record what predicts its lives, see `kept_life`, and save that. The network alone
    is in the folder `network` where it takes part. before, vectors: as of `fit_retirement`.

    resume, stop_now: continue or close a run that was interrupted. overwrite: replace a model and
    its run. Raises ResourceError where there is a model (without `overwrite`), and as
    `fit_retirement`.
    """
    folder = Path(out)
    if not overwrite:
        require_free(folder / _MODEL, "a model")
    if overwrite and not resume:
        shutil.rmtree(folder / _RUN, ignore_errors=True)
    data = retirement_data(lives, before)
    config = _settled(lives.log, data, config or LifetimeConfig())
    kept = chosen_life(
        _stacked(lives, data, config, vectors),
        lambda: _fitted(
            lives.log, data, config, vectors, folder / _RUN, resume=resume, stop_now=stop_now
        ),
        config.seed,
    )
    when = {"before": data.before, "valid_from": data.valid_from, "seed": config.seed}
    kept = replace(kept, config=when)
    values = None
    for part in (_VALUES, _NETWORK):
        shutil.rmtree(folder / part, ignore_errors=True)
    try:
        values = fit_values(lives, data.before, ValueConfig(seed=config.seed))
        values.save(folder / _VALUES)
    except DataError as error:
        say(f"value per cost is taken as it was, not as the features tell: {error.what}")
    identity = kept.save(folder / _MODEL, folder / _NETWORK, overwrite=overwrite)
    return TrainedRetirement(kept, identity, folder / _MODEL, values)


def choice_of(lives: LifeRecord, before: int | None = None, *, seed: int = 0) -> HonestChoice:
    """What `train_retirement` chooses by its defaults, and nothing trained on all."""
    data = retirement_data(lives, before)
    config = _settled(lives.log, data, LifetimeConfig(seed=seed))
    return _stacked(lives, data, config, None).choice(seed)[0]


def _stacked(
    lives: LifeRecord, data: RetirementData, config: LifetimeConfig, vectors: Vectors | None
) -> StackedLives:
    table, life = training_units(lives, None, data.before)
    clocks = clocks_of(table) if config.clocks == "leave_out" else ()
    config = replace(config, leave_out=(*config.leave_out, *clocks), clocks="keep")
    return StackedLives(
        table,
        (table.start + table.entry).astype(np.int64),
        life,
        lives.log.gap,
        config.terms or data.terms,
        config,
        lambda of: vectors_of(vectors, of),
    )


def open_retirement(path: str | Path) -> TrainedRetirement:
    """The model of a run, or of its own folder. Raises as `load_artifact`, and ArtifactError for a
    model that was not trained by `train_retirement`: it does not say what it may have seen."""
    inside = Path(path) / _MODEL
    folder = inside if inside.is_dir() else Path(path)
    artifact = load_artifact(folder)
    if artifact.kind == KIND:
        model = KeptLife.load(artifact, folder.parent / _NETWORK)
    else:  # of an earlier version: the network alone
        model = KeptLife.of(FittedLifetime.load(artifact))
    if "before" not in model.config:
        raise ArtifactError(
            "this model does not say up to when it was trained",
            where=str(folder),
            hint="train it with train_retirement, or `adwright retire train`",
        )
    beside = folder.parent / _VALUES
    values = ValueModel.load(beside) if beside.is_dir() else None
    return TrainedRetirement(model, artifact.id, folder, values)
