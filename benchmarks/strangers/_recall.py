"""Recall by `adwright creative train memorability` and `creative score`, on brands held out.

Three of ten brands (of sentences, each by itself) are kept from the training. Beside the command
stand the length of the text, TF-IDF with a ridge, boosting on what is alike among texts, and the
five nearest texts.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeCV

from adwright.core.assets import cache_folder
from adwright.creative.memory.block_ridge import AdBlocks, BlockConfig
from adwright.creative.memory.fitted import Recalled, text_of
from adwright.creative.memory.outcomes import RecallTable, read_recall
from adwright.creative.records.encoders import VectorStore
from benchmarks.strangers._writing import data_home
from benchmarks.strangers.kit import Held, run_command

_FILES = {"lambda": "ads.jsonl"}
_SHARE = 0.3
#: Tables of each kind, of one seed.
_NULLS = 34
Floats = NDArray[np.float64]


def held(name: str, seed: int, folder: Path) -> Held:
    """What the command said of ads whose brands were kept from it."""
    path = data_home() / name / _FILES.get(name, f"{name}.csv")
    # After the header, a row a line.
    head, lines = _lines(path)
    brands = np.array([brand or f"row {at}" for at, (brand, _) in enumerate(lines)])
    unit = np.unique(brands, return_inverse=True)[1]
    dealt = np.random.default_rng(seed).permutation(unit.max() + 1)
    kept = np.isin(unit, dealt[: int(_SHARE * len(dealt))])
    train, test = folder / f"train{path.suffix}", folder / f"test{path.suffix}"
    for to, rows in ((train, ~kept), (test, kept)):
        some = [lines[at][1] for at in np.flatnonzero(rows)]
        to.write_text("".join(f"{line}\n" for line in (*head, *some)), "utf-8")
    words = ["creative", "train", "memorability", str(train), "--out", str(folder / "run")]
    run_command(*words, "--seed", str(seed))
    out = folder / "scores.csv"
    score = ["creative", "score", str(test), "--model", str(folder / "run"), "--out", str(out)]
    run_command(*score)
    told = json.loads((folder / "run" / "report.json").read_text("utf-8"))
    asked, learned = read_recall(test), read_recall(train)
    scores = pl.read_csv(out, schema_overrides={"creative_id": pl.String})
    given = dict(zip(scores["creative_id"].to_list(), scores["memorability"], strict=True))
    if len(asked) != kept.sum():
        raise RuntimeError(f"{name}: {kept.sum() - len(asked)} rows have no score")
    command = f"adwright {' '.join(words)} --seed {seed}; adwright {' '.join(score)}"
    return Held(
        room="recall",
        set=name,
        seed=seed,
        command=command.replace(str(folder), "").replace("/", ""),
        kept=told["kept"] or "nothing",
        told=told["told"][0],
        told_low=told["told"][1],
        told_high=told["told"][2],
        measure="spearman",
        truth=asked.targets,
        ours=np.array([given[one] for one in asked.ids], np.float64),
        rules=_rules(learned, asked),
        units=unit[kept],
        more={"ads": float(len(learned))},
    )


def _lines(path: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """The lines that begin a file, and of each further one its brand and itself."""
    if path.suffix == ".jsonl":
        lines = path.read_text("utf-8").splitlines()
        return [], [(json.loads(line).get("brand", ""), line) for line in lines]
    frame = pl.read_csv(path, infer_schema=False)
    head, *rows = frame.write_csv().splitlines()
    brands = frame["brand"].to_list() if "brand" in frame.columns else [""] * len(frame)
    if len(rows) != len(brands):
        raise RuntimeError(f"{path.name} has a cell of several lines")
    return [head], list(zip([one or "" for one in brands], rows, strict=True))


def _rules(learned: RecallTable, asked: RecallTable) -> dict[str, Floats]:
    texts, new = ([text_of(one) for one in table.records] for table in (learned, asked))
    y = learned.targets
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    first, second = vectors.fit_transform(texts), vectors.transform(new)
    ridge = RidgeCV((0.1, 0.3, 1.0, 3.0, 10.0)).fit(first, y)
    alike = TruncatedSVD(24, random_state=0).fit(first)
    sizes = [[[len(one), len(one.split())] for one in some] for some in (texts, new)]
    dense = [
        np.hstack([alike.transform(x), size])
        for x, size in zip((first, second), sizes, strict=True)
    ]
    trees = HistGradientBoostingRegressor(max_iter=100, random_state=0).fit(dense[0], y)
    near = np.argsort(-(second @ first.T).toarray(), 1)[:, :5]
    return {
        "tf-idf, ridge": ridge.predict(second),
        "boosting": trees.predict(dense[1]),
        "nearest": y[near].mean(1),
        "longer": np.array([float(len(one)) for one in new]),
        "shorter": np.array([-float(len(one)) for one in new]),
    }


def nulls(seed: int, folder: Path) -> dict[str, int]:
    """What is said of slogans whose recall was dealt anew, and of as many in which it also follows
    from their length or a word. By what the command calls, on vectors that are read once. Of all
    slogans: among 160 of them a rare word was mostly missed."""
    table = read_recall(data_home() / "slogans" / "slogans.csv")
    store = VectorStore(cache_folder() / "vectors")  # as the command's
    blocks = AdBlocks(BlockConfig(), store).of(table.records)
    counts = {"told_nothing": 0, "without": 0, "found": 0, "with": 0}
    for turn in range(_NULLS):
        rng = np.random.default_rng([seed, turn])
        rows = rng.permutation(len(table))
        some = table.some(rows)
        own = {name: block[rows] for name, block in blocks.items()}
        noise = rng.permutation(some.targets)
        noise = (noise - noise.mean()) / noise.std()
        texts = [text_of(one) for one in some.records]
        signal = np.array([len(one) if turn % 2 else " the " in one.lower() for one in texts])
        signal = (signal - signal.mean()) / signal.std()
        for targets, key, total in (
            (noise, "told_nothing", "without"),
            (noise + 0.8 * signal, "found", "with"),
        ):
            found = Recalled(replace(some, targets=targets), own, seed).choice().kept
            counts[total] += 1
            counts[key] += (found is None) == (key == "told_nothing")
    return counts
