"""Clicks on sets of strangers: `creative train clicks` and `score` by their defaults.

Where a set has dates, the last fifth of them is held; where it has pairs or tests, a fifth of them,
drawn by the seed. Rules learn from the same rows and columns: a ridge on TF-IDF of all text (words,
pairs of words, IDF), boosting on columns and components of TF-IDF, the length, and the mean of the
advertiser (page, publication, cell). Each takes the best of a few penalties on the last fifth of
what it learns from.

One thing was mended after a look at a set that is reported, crealytics-adwords: keywords there are
whole numbers, which were read as numbers alone (.32 where the mean of the keyword has .67). Whole
numbers that repeat are read as names too, now. That figure is to be read with this in mind.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.assets import cache_folder
from adwright.core.errors import ConfigError
from adwright.core.progress import say
from adwright.creative.response.fit import ClickRateConfig, fit_click_rate
from adwright.creative.response.inputs import encoded_texts
from adwright.creative.response.models import APART
from adwright.creative.response.outcomes import CreativeOutcomes, OutcomeColumns, read_outcomes
from benchmarks.strangers.kit import Held, Measure, of_role, run_command

Floats = NDArray[np.float64]
_HELD, _PENALTIES = 0.2, (0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True, eq=False)
class ClickSet:
    """A set as a table of ads. options: of the command. texts, fields: columns that rules read.
    truth: column of the outcome, or clicks and impressions. held: bool [N]. units: column of who is
    resampled. groups: column within which ads are compared; "" for none. order: [N], of the rows
    in time, or drawn."""

    table: pl.DataFrame
    options: tuple[str, ...]
    texts: tuple[str, ...]
    fields: tuple[str, ...]
    held: NDArray[np.bool_]
    units: str
    order: Floats
    owner: str = ""
    groups: str = ""
    score: str = ""

    @property
    def truth(self) -> Floats:
        """What came [N]."""
        if self.score:
            return np.asarray(self.table[self.score].cast(pl.Float64).to_numpy())
        rate = self.table["clicks"].cast(pl.Float64) / self.table["impressions"]
        return np.asarray(rate.to_numpy(), np.float64)


def held(name: str, seed: int, folder: Path) -> Held:
    """What the command does on a set of the kit."""
    if name not in _SETS:
        raise ConfigError("clicks have no such set", where=name, hint=", ".join(_SETS))
    return measured(name, _SETS[name](seed), seed, folder)


def measured(name: str, one: ClickSet, seed: int, folder: Path) -> Held:
    """Train on what is not held, by the command; score what is."""
    folder.mkdir(parents=True, exist_ok=True)
    past, new = folder / "past.csv", folder / "new.csv"
    outcome = [one.score] if one.score else ["impressions", "clicks"]
    one.table.filter(~one.held).write_csv(past)
    one.table.filter(one.held).drop(outcome).write_csv(new)
    out = folder / "run"
    words: list[str | Path] = [
        "creative",
        "train",
        "clicks",
        past,
        *one.options,
        "--seed",
        str(seed),
        "--out",
        out,
    ]
    run_command(*words, "--force")
    columns = _columns(one.options)
    asked: list[str | Path] = [
        "creative",
        "score",
        new,
        "--model",
        out,
        *columns,
        "--out",
        folder / "scores.csv",
    ]
    run_command(*asked, "--force")
    told = json.loads((out / "report.json").read_text("utf-8"))
    answers = pl.read_csv(folder / "scores.csv")
    value, low, high = (
        answers[column].cast(pl.Float64).to_numpy()
        for column in ("click_rate", "click_rate_low", "click_rate_high")
    )
    table, truth = one.table.filter(one.held), one.truth[one.held]
    measure: Measure = "pairs" if told["measure"] == "pairs" else "spearman"
    shown = [word.name if isinstance(word, Path) else word for word in words]
    expected = float(value.mean() / max(truth.mean(), 1e-12))
    return Held(
        room="clicks",
        set=name,
        seed=seed,
        command="adwright " + " ".join(shown),
        kept=told["kept"] or "nothing",
        told=told["told"][0],
        told_low=told["told"][1],
        told_high=told["told"][2],
        measure=measure,
        truth=truth,
        ours=value,
        rules=_rules(one, seed),
        units=table[one.units].cast(pl.String).fill_null("").to_numpy(),
        groups=_told_apart(table, one) if one.groups and measure == "pairs" else None,
        apart=0.0 if one.score else APART,
        more={
            "covered": float(((low <= truth) & (truth <= high)).mean()),
            "width": float(np.median(high / np.maximum(low, 1e-9))),
            "level": expected,
        },
    )


def _told_apart(table: pl.DataFrame, one: ClickSet) -> NDArray[np.int64]:
    """[N], the groups that training measures too: those of clicks have two titles or more, since
    elsewhere only the picture differs; a row of another one is alone."""
    code = np.unique(table[one.groups].to_numpy(), return_inverse=True)[1].astype(np.int64)
    if one.score:
        return code
    titles = table.select(pl.col(one.texts[0]).n_unique().over(one.groups)).to_series().to_numpy()
    return np.where(titles > 1, code, len(code) + np.arange(len(code)))


def _columns(options: Sequence[str]) -> list[str]:
    """The --columns of a training are those of the scoring."""
    place = [at for at, word in enumerate(options) if word == "--columns"]
    return [word for at in place for word in options[at : at + 2]]


# --------------------------------------------------------------------------------------------------
# Rules that somebody would fit in ten lines.


def _rules(one: ClickSet, seed: int) -> Mapping[str, Floats]:
    from scipy.sparse import csr_matrix, hstack
    from sklearn.decomposition import TruncatedSVD
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import OneHotEncoder

    past, y = ~one.held, _learned(one)
    order = one.order[past]
    late = order >= np.quantile(order, 1 - _HELD)
    train, valid = np.flatnonzero(past)[~late], np.flatnonzero(past)[late]
    made: dict[str, Floats] = {}
    columns = []
    if one.texts:
        texts = [" ".join(filter(None, row)) for row in one.table.select(one.texts).iter_rows()]
        made["length"] = _length(np.array([len(text) for text in texts]), y, past)[one.held]
        grams = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        grams.fit([texts[row] for row in np.flatnonzero(past)])
        words = grams.transform(texts)
        made["TF-IDF ridge"] = _ridge(words, y, train, valid, past)[one.held]
        svd = TruncatedSVD(min(32, words.shape[1] - 1), random_state=seed).fit(words[past])
        columns.append(svd.transform(words))
        columns.append(np.array([[len(text)] for text in texts]))
    if one.fields:
        cells = one.table.select(pl.col(one.fields).cast(pl.String).fill_null("")).to_numpy()
        hot = OneHotEncoder(handle_unknown="ignore", min_frequency=2).fit(cells[past])
        codes = csr_matrix(hot.transform(cells))
        made["one-hot ridge"] = _ridge(codes, y, train, valid, past)[one.held]
        if one.texts:
            both = hstack([words, codes]).tocsr()
            made["TF-IDF and one-hot ridge"] = _ridge(both, y, train, valid, past)[one.held]
        columns.append(np.stack([_means(column, y, past) for column in cells.T], 1))
    if one.owner:
        owner = one.table[one.owner].cast(pl.String).fill_null("").to_numpy()
        made["mean of the advertiser"] = _means(owner, y, past)[one.held]
    model = HistGradientBoostingRegressor(random_state=seed)
    x = np.hstack(columns)
    made["boosting"] = model.fit(x[past], y[past]).predict(x[one.held])
    return made


def _learned(one: ClickSet) -> Floats:
    """Log of the rate, smoothed by one click of the mean; of scores the log of one more."""
    if one.score:
        return np.asarray(np.log1p(one.truth) if one.truth.min() >= 0 else one.truth)
    clicks = one.table["clicks"].cast(pl.Float64).to_numpy()
    shown = one.table["impressions"].cast(pl.Float64).to_numpy()
    mean = clicks.sum() / shown.sum()
    return np.asarray(np.log((clicks + 1) / (shown + 1 / mean)))


def _ridge(
    x: Any, y: Floats, train: NDArray[np.int64], valid: NDArray[np.int64], past: NDArray[np.bool_]
) -> Floats:
    from scipy.stats import spearmanr
    from sklearn.linear_model import Ridge

    def score(penalty: float) -> float:
        found = Ridge(penalty, solver="sparse_cg").fit(x[train], y[train]).predict(x[valid])
        return float(np.nan_to_num(spearmanr(found, y[valid])[0]))

    best = max(_PENALTIES, key=score)
    return np.asarray(Ridge(best, solver="sparse_cg").fit(x[past], y[past]).predict(x))


def _length(size: NDArray[Any], y: Floats, past: NDArray[np.bool_]) -> Floats:
    slope, level = np.polyfit(np.log1p(size[past]), y[past], 1)
    return np.asarray(level + slope * np.log1p(size))


def _means(names: NDArray[Any], y: Floats, past: NDArray[np.bool_]) -> Floats:
    """The mean of the same name, shrunk by five of the mean of all; of a row that is learned from,
    by its other rows."""
    _, code = np.unique(names, return_inverse=True)
    mean = y[past].mean()
    total = np.bincount(code[past], y[past] - mean, minlength=code.max() + 1)
    count = np.bincount(code[past], minlength=code.max() + 1)
    own = np.where(past, y - mean, 0.0)
    return np.asarray(mean + (total[code] - own) / (count[code] - past + 5))


# --------------------------------------------------------------------------------------------------
# The sets.


def _data(name: str) -> Path:
    return Path(os.environ["ADWRIGHT_DATA"]) / name


def _latest(order: Floats) -> NDArray[np.bool_]:
    return np.asarray(order >= np.quantile(order, 1 - _HELD))


def _hacker_news(seed: int) -> ClickSet:
    del seed
    table = pl.read_csv(_data("hacker-news") / "stories.csv", infer_schema_length=None)
    table = table.select("title", "domain", "num_points", "created_at").drop_nulls("title")
    table = table.filter(pl.col("title").str.strip_chars() != "")
    times = table["created_at"].str.to_datetime("%m/%d/%Y %H:%M").dt.epoch("s").to_numpy()
    order = times.astype(np.float64)
    return ClickSet(
        table, ("--score", "num_points"), ("title",), ("domain",), _latest(order), "domain", order,
        owner="domain", score="num_points",
    )  # fmt: skip


def _ted_talks(seed: int) -> ClickSet:
    del seed
    rows = json.loads((_data("ted-talks") / "talks.json").read_text("utf-8"))
    table = pl.DataFrame(
        {
            "title": [one["name"] for one in rows],
            "description": [one["description"] or "" for one in rows],
            "event": [one.get("event_name") or "" for one in rows],
            "date": [one["date"] for one in rows],
            "views": [one["viewed_count"] for one in rows],
        }
    ).drop_nulls()
    table = table.unique("title", maintain_order=True)
    order = table["date"].to_numpy().astype(np.float64)
    options = ("--score", "views", "--field", "event")
    return ClickSet(
        table, options, ("title", "description"), ("event",), _latest(order), "event", order,
        owner="event", score="views",
    )  # fmt: skip


def _upworthy(seed: int) -> ClickSet:
    table = pl.read_parquet(_data("upworthy") / "creatives.parquet")
    table = table.rename({"clickability_test_id": "test", "eyecatcher_id": "image_id"})
    table = table.select(
        "headline", "lede", "excerpt", "impressions", "clicks", "test", "image_id", "test_week"
    ).drop_nulls(["headline", "test"])
    del seed
    order = table["test_week"].to_numpy().astype(np.float64)
    # A week's tests are held whole.
    options = ("--test", "test", "--image-id", "image_id", "--date", "test_week")
    return ClickSet(
        table, options, ("headline", "lede", "excerpt"), (), _latest(order), "test", order,
        groups="test",
    )  # fmt: skip


def _medium(seed: int) -> ClickSet:
    del seed
    table = pl.read_csv(_data("medium") / "articles.csv", infer_schema_length=None)
    table = table.select("title", "subtitle", "claps", "publication", "date").with_columns(
        pl.col("claps").cast(pl.Float64, strict=False),
        pl.col("date").str.to_date("%d-%m-%Y", strict=False).alias("day"),
    )
    table = table.drop_nulls(["title", "claps", "day"])
    order = table["day"].to_physical().to_numpy().astype(np.float64)
    table = table.drop("day")
    return ClickSet(
        table, ("--score", "claps", "--columns", "title=title,words=subtitle,brand=publication"),
        ("title", "subtitle"), ("publication",), _latest(order), "title", order,
        owner="publication", score="claps",
    )  # fmt: skip


def _reddit_top(seed: int) -> ClickSet:
    """300 of each community, drawn by the seed."""
    parts = [
        pl.read_csv(path, infer_schema_length=None)
        .select("created_utc", "score", "domain", "title")
        .with_columns(pl.lit(path.stem).alias("community"))
        for path in sorted(_data("reddit-top").glob("*.csv"))
    ]
    table = pl.concat([one.sample(min(300, one.height), seed=seed) for one in parts])
    table = table.with_columns(pl.col("created_utc").cast(pl.Int64))
    order = table["created_utc"].to_numpy().astype(np.float64)
    options = ("--score", "score", "--test", "community", "--date", "created_utc")
    return ClickSet(
        table, options, ("title",), ("community", "domain"), _latest(order), "title", order,
        owner="community", groups="community", score="score",
    )  # fmt: skip


def _adparaphrase(seed: int) -> ClickSet:
    """Pairs of two texts with the votes of ten people; 2,500 pairs, drawn by the seed."""
    wide = pl.read_csv(_data("adparaphrase-ja") / "adparaphrase_v2_main.csv")
    votes = ("count.preference_ad1", "count.preference_ad2")
    wide = wide.drop_nulls(votes).filter(pl.sum_horizontal(votes) > 0).sample(2500, seed=seed)
    both = [
        wide.select(
            pl.col("id").alias("pair"),
            pl.col(f"ad{at}").alias("title"),
            pl.sum_horizontal(votes).cast(pl.Int64).alias("impressions"),
            pl.col(votes[at - 1]).cast(pl.Int64).alias("clicks"),
        )
        for at in (1, 2)
    ]
    table = pl.concat(both).sort("pair", maintain_order=True)
    _, pair = np.unique(table["pair"].to_numpy(), return_inverse=True)
    order = np.random.default_rng(seed).permutation(pair.max() + 1)[pair].astype(np.float64)
    return ClickSet(
        table, ("--test", "pair"), ("title",), (), _latest(order), "pair", order, groups="pair"
    )


def _crealytics(seed: int) -> ClickSet:
    """A keyword and month a row."""
    del seed
    table = pl.read_csv(_data("crealytics-adwords") / "adwords.csv.gz", infer_schema_length=None)
    table = table.with_columns(
        pl.col("date").cast(pl.String).str.slice(0, 7).alias("month"),
        pl.col("id").cast(pl.String).alias("keyword"),
        pl.col("keyword_string").fill_null("").alias("title"),
    )
    table = table.group_by("keyword", "title", "month").agg(
        pl.col("impressions", "clicks").sum().cast(pl.Int64)
    )
    table = table.filter(pl.col("impressions") >= 50).sort("month", "keyword")
    table = table.with_columns((pl.col("month") + "-01").alias("date")).drop("month")
    order = table["date"].str.to_date().to_physical().to_numpy().astype(np.float64)
    return ClickSet(
        table, (), ("title",), ("keyword",), _latest(order), "keyword", order, owner="keyword"
    )


def _online_advertising(seed: int) -> ClickSet:
    del seed
    path = _data("online-advertising") / "online_advertising_performance_data.csv"
    table = pl.read_csv(path, infer_schema_length=None)
    table = table.select(
        "month", "day", "campaign_number", "banner", "placement",
        pl.col("displays").cast(pl.Int64).alias("impressions"), pl.col("clicks").cast(pl.Int64),
    )  # fmt: skip
    table = table.filter(
        (pl.col("impressions") >= 50) & (pl.col("clicks") <= pl.col("impressions"))
    )
    months = {"April": 3, "May": 4, "June": 5}
    order = (table["month"].replace_strict(months) * 31 + table["day"]).to_numpy()
    table = table.with_columns(
        pl.concat_str("campaign_number", "banner", "placement", separator=" ", ignore_nulls=True)
        .alias("cell")
    )  # fmt: skip
    order = order.astype(np.float64)
    fields = ("campaign_number", "banner", "placement")
    return ClickSet(table, (), (), fields, _latest(order), "cell", order, owner="cell")


# --------------------------------------------------------------------------------------------------
# Sets that hold nothing, and with a signal.

#: Of each kind and seed; rows of each; words of a signal, and how strong it is.
_NULLS, _ROWS, _WORDS, _STRENGTH = 34, 400, 3, 1.5


def nulls(seed: int, folder: Path) -> dict[str, int]:
    """Of sets of real ads whose outcomes were exchanged at random how many were told that nothing
    predicts them, and of those with a signal beside, how many found it.

    Ads are those of the sets of development, in turn: scores with a date, and clicks of tests,
    exchanged within each test. The signal: an outcome is 1.5 standard deviations of its logarithm
    higher where the title has one of three words that a tenth to a third of the titles have. The
    command's own function is called in this process, with its defaults.
    """
    del folder
    texts = encoded_texts(folder=cache_folder() / "vectors")
    counts = {"told_nothing": 0, "without": 0, "found": 0, "with": 0}
    names = of_role("clicks", "developed") + of_role("clicks", "own")
    sets = {name: _SETS[name](seed) for name in names}
    for number in range(_NULLS):
        one = sets[names[number % len(names)]]
        rng = np.random.default_rng([seed, number])
        some = _some_rows(one, rng)
        for planted, key, total in ((False, "told_nothing", "without"), (True, "found", "with")):
            table = _exchanged(some, one, rng, planted=planted)
            found = fit_click_rate(_outcomes(table, one), ClickRateConfig(seed=seed), texts=texts)
            counts[total] += 1
            counts[key] += (found.told["kept"] is None) != planted
        say(f"{number + 1} of {_NULLS}: {counts}")
    return counts


def _some_rows(one: ClickSet, rng: np.random.Generator) -> pl.DataFrame:
    if not one.groups:
        return one.table.sample(_ROWS, seed=int(rng.integers(1 << 30)))
    groups = one.table[one.groups].unique().sort().to_numpy()
    return one.table.filter(pl.col(one.groups).is_in(rng.choice(groups, _ROWS // 4, replace=False)))


def _exchanged(
    table: pl.DataFrame, one: ClickSet, rng: np.random.Generator, *, planted: bool
) -> pl.DataFrame:
    """Outcomes in another order, within groups where there are any; with a signal or without."""
    group = table[one.groups].to_numpy() if one.groups else np.zeros(table.height)
    rows = np.arange(table.height)
    for name in np.unique(group):
        rows[group == name] = rng.permutation(rows[group == name])
    outcome = [one.score] if one.score else ["impressions", "clicks"]
    table = table.with_columns(table[name].gather(rows) for name in outcome)
    if not planted:
        return table
    words = [set(re.findall(r"\w+", text.lower())) for text in table[one.texts[0]].to_list()]
    often = Counter(word for each in words for word in each)
    usual = sorted(w for w, n in often.items() if 0.1 <= n / len(words) <= 0.34 and len(w) > 2)
    chosen = set(rng.choice(usual, min(_WORDS, len(usual)), replace=False).tolist())
    has = np.array([bool(each & chosen) for each in words])
    if one.score:
        points = table[one.score].cast(pl.Float64).to_numpy()
        raised = np.log1p(points) + _STRENGTH * np.log1p(points).std() * has
        return table.with_columns(pl.Series(one.score, np.rint(np.expm1(raised))))
    shown, clicks = table["impressions"].to_numpy(), table["clicks"].to_numpy()
    rate = (clicks + 1) / (shown + 1 / 0.01)
    raised = np.minimum(rate * np.exp(_STRENGTH * np.log(rate).std() * has), 0.9)
    return table.with_columns(pl.Series("clicks", rng.binomial(shown, raised)))


def _outcomes(table: pl.DataFrame, one: ClickSet) -> CreativeOutcomes:
    """The table as the command reads it by the set's options."""
    given = dict(zip(one.options[::2], one.options[1::2], strict=True))
    return read_outcomes(
        table,
        OutcomeColumns(
            test=given.get("--test", ""),
            image_id=given.get("--image-id", ""),
            score=given.get("--score", ""),
            fields=(given["--field"],) if "--field" in given else None,
            date=given.get("--date"),
        ),
    )


_SETS: Mapping[str, Callable[[int], ClickSet]] = {
    "upworthy": _upworthy,
    "hacker-news": _hacker_news,
    "ted-talks": _ted_talks,
    "medium": _medium,
    "reddit-top": _reddit_top,
    "adparaphrase-ja": _adparaphrase,
    "crealytics-adwords": _crealytics,
    "online-advertising": _online_advertising,
}
