"""What is compared: the encoder form, ridges on one kind of features, and the language form.

Each answers a mapping of plain lists, a number a row of its part, NaN never. None looks at the fold
that it predicts; strengths and kinds of features are chosen by inner folds of whole brands.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.creative.memory.block_ridge import (
    AdBlocks,
    BlockConfig,
    Blocks,
    brand_key,
    fit_blocks,
    group_folds,
)
from adwright.creative.memory.fitted import MemoryParts, fit_head
from adwright.creative.memory.language import (
    Example,
    LanguageConfig,
    LanguageMemory,
    MemoryTask,
    tune_run_of,
    write_rows,
)
from adwright.creative.memory.outcomes import RecallTable
from adwright.creative.records.ad_record import verbalised
from adwright.lm.open_model import open_model
from adwright.lm.torch_engine.config import TorchConfig
from adwright.training.tuning.run import run_tuning
from benchmarks.memory._memory_data import (
    FOLDS,
    PARTS,
    blocks_of,
    folds_of,
    read_rows,
    table_of,
)

Floats = NDArray[np.float64]

WORDS, SHOTS = 60, 4
_ALPHAS = (0.3, 1.0, 3.0, 10.0, 30.0)
_KINDS: Mapping[str, Mapping[str, Any]] = {
    "letters 1-3": {"analyzer": "char_wb", "ngram_range": (1, 3)},
    "letters 2-5": {"analyzer": "char_wb", "ngram_range": (2, 5)},
    "words": {"ngram_range": (1, 2)},
}
_SPEED_ROWS = 200


def cross_fitted(
    table: RecallTable,
    blocks: Blocks,
    *,
    split: Literal["brands_seen", "brands_out"] = "brands_out",
    folds: int = FOLDS,
    seed: int = 0,
) -> MemoryParts:
    """Both parts of each of N ads, by a head that had not seen its fold.

    Raises DataError for fewer brands (ads, where `split` is brands_seen) than folds.
    """
    groups = table.groups
    apart = groups if split == "brands_out" else np.arange(len(table))
    of, keys = group_folds(apart, folds, seed=seed), [brand_key(one) for one in table.brands]
    brand, content = np.empty(len(table)), np.empty(len(table))
    weights = table.weights
    for fold in range(folds):
        kept, held = np.flatnonzero(of != fold), np.flatnonzero(of == fold)
        head = fit_head(
            {name: one[kept] for name, one in blocks.items()},
            [keys[row] for row in kept],
            table.targets[kept],
            groups[kept],
            weights=weights[kept],
            seed=seed,
        )
        parts = head.parts(
            {name: one[held] for name, one in blocks.items()}, [keys[row] for row in held]
        )
        brand[held], content[held] = parts.brand, parts.content
    return MemoryParts(brand, content)


def encoder(part: str, seed: int) -> dict[str, Any]:
    """The encoder form; of slogans the text alone, without the brand's name."""
    table, blocks = table_of(part), dict(blocks_of(part))
    if part == "slogans":
        blocks.pop("brand")
    out = cross_fitted(table, blocks, folds=FOLDS, seed=seed)
    found = {"predicted": _plain(out.value), "brand": _plain(out.brand)}
    if part == "ads":
        seen = cross_fitted(table, blocks, split="brands_seen", folds=FOLDS, seed=seed)
        found |= {"seen_brand": _plain(seen.brand), "seen_content": _plain(seen.content)}
    return found


def minilm(part: str, seed: int) -> dict[str, Any]:
    """A ridge on the vector of the text."""
    table, of = table_of(part), folds_of(part, seed)
    vectors, groups = blocks_of(part)["sentence"], table.groups
    found = np.empty(len(table))
    for fold in range(FOLDS):
        kept, held = np.flatnonzero(of != fold), np.flatnonzero(of == fold)
        own = fit_blocks({"sentence": vectors[kept]}, table.targets[kept], groups[kept], seed=seed)
        found[held] = own.predict({"sentence": vectors[held]})
    return {"predicted": _plain(found)}


def tfidf(part: str, seed: int) -> dict[str, Any]:
    """A ridge on TF-IDF of letters or words, of brand and title or of all that is said of the ad;
    kind and strength by the error in inner folds."""
    table, of = table_of(part), folds_of(part, seed)
    texts = _texts(part, table)
    found, chosen = np.empty(len(table)), []
    for fold in range(FOLDS):
        kept, held = np.flatnonzero(of != fold), np.flatnonzero(of == fold)
        inner = group_folds(table.groups[kept], FOLDS, seed=seed)
        tries = [(kind, name) for kind in _KINDS for name in texts]
        errors = {
            one: _errors(texts[one[1]][kept], table.targets[kept], inner, one[0]) for one in tries
        }
        best = min(tries, key=lambda one: errors[one].min())
        kind, name = best
        alpha = _ALPHAS[int(errors[best].argmin())]
        (found[held],) = _fitted(
            texts[name][kept], table.targets[kept], texts[name][held], kind, [alpha]
        )
        chosen.append(f"{kind} of {name}, {alpha}")
    return {"predicted": _plain(found), "chosen": chosen}


def zero(part: str, _: int) -> dict[str, Any]:
    """The untuned language model, asked as it is."""
    judge = LanguageMemory(open_model(TorchConfig()), words=WORDS)
    found = _asked(judge, table_of(part), read_rows(part))
    judge.close()
    return found


def few(part: str, seed: int) -> dict[str, Any]:
    """The untuned language model, shown examples from the training folds."""
    table, of, rows = table_of(part), folds_of(part, seed), read_rows(part)
    model = open_model(TorchConfig())
    parts: list[tuple[NDArray[np.int64], dict[str, Any]]] = []
    for fold in range(FOLDS):
        examples = _few_examples(table.some(rows[of[rows] != fold]), SHOTS)
        judge = LanguageMemory(model, words=WORDS, examples=examples)
        held = rows[of[rows] == fold]
        parts.append((held, _asked(judge, table, held)))
    model.close()
    order = np.argsort(np.concatenate([held for held, _ in parts]))
    return {
        name: np.concatenate([found[name] for _, found in parts])[order].tolist()
        for name in ("predicted", "likeliest")
    }


def _few_examples(table: RecallTable, count: int) -> list[Example]:
    """At even steps of the order by score, from badly to well remembered, to span the scale."""
    order = sorted(range(len(table)), key=lambda row: (table.scores[row], table.ids[row]))
    chosen = [order[round((at + 0.5) * len(table) / count - 0.5)] for at in range(count)]
    return [(table.records[row], float(table.scores[row])) for row in chosen]


def language_fold(fold: int, seed: int, *, rows: int = 0) -> dict[str, Any]:
    """The language form, tuned on the other folds of all parts in one mixture; what it answers on
    this fold of each. rows: of each part, for a trial."""
    out = cache_folder() / "bench" / "memorability" / f"fold-{fold}-{seed}"
    # A row of an ad's answer is as long as the ad is told; slogans and sentences are short.
    config = LanguageConfig(words=WORDS, tokens=256, epochs=1, rate=1e-3, seed=seed, out=out)
    held, texts = {}, []
    for part in PARTS:
        of, read = folds_of(part, seed), read_rows(part)
        kept = read[of[read] != fold][: rows or None]
        held[part] = read[of[read] == fold][: rows or None]
        table = table_of(part).some(kept)
        # A slogan's brief is its brand alone, and a sentence has none.
        tasks: tuple[MemoryTask, ...] = ("recall", "content") if part == "ads" else ("recall",)
        write_rows(out / f"{part}.jsonl", _apart(part, table), tasks=tasks, words=WORDS)
        texts.append((out / f"{part}.jsonl").read_text("utf-8"))
    atomic_write_text(out / "rows.jsonl", "".join(texts))
    began = time.process_time()
    report = run_tuning(tune_run_of(config), overwrite=True)
    judge = LanguageMemory(open_model(TorchConfig(adapter=str(out))), words=WORDS)
    found: dict[str, Any] = {
        part: {"rows": held[part].tolist(), **_asked(judge, table_of(part), held[part])}
        for part in PARTS
    }
    judge.close()
    _remove(out)
    spent = round(time.process_time() - began, 1)
    return {
        **found,
        "tokens": report.tokens,
        "tuning_cpu_seconds": report.cpu_seconds,
        "all": spent,
    }


def speed() -> dict[str, Any]:
    """Ads a CPU-second of the encoder form's reading, encoders opened, nothing kept."""
    encoders = AdBlocks(BlockConfig())
    found = {}
    for part in ("slogans", "ads"):
        records = table_of(part).records[:_SPEED_ROWS]
        encoders.of(records[:2])
        began = time.process_time()
        encoders.of(records)
        found[part] = len(records) / (time.process_time() - began)
    encoders.close()
    return found


def _apart(part: str, table: RecallTable) -> RecallTable:
    """Groups of one part are none of another's."""
    ads = [replace(ad, brand=ad.brand.strip()) for ad in table.records]
    return replace(table, ids=tuple(f"{part} {one}" for one in table.ids), records=tuple(ads))


def _asked(judge: LanguageMemory, table: RecallTable, rows: NDArray[np.int64]) -> dict[str, Any]:
    found = judge.answers([table.records[row] for row in rows])
    return {
        "predicted": _plain(found.scores),
        "likeliest": found.likeliest.tolist(),
        "digits": round(float(found.digits.mean()), 4) if len(rows) else 0.0,
    }


def _texts(part: str, table: RecallTable) -> dict[str, NDArray[np.object_]]:
    """What TF-IDF may read of each ad; of slogans the text alone."""
    titles = [ad.title for ad in table.records]
    if part != "ads":
        return {"title": np.array(titles, object)}
    return {
        "brand and title": np.array([f"{ad.brand} {ad.title}" for ad in table.records], object),
        "all": np.array([verbalised(ad) for ad in table.records], object),
    }


def _errors(
    texts: NDArray[np.object_], targets: Floats, folds: NDArray[np.int64], kind: str
) -> Floats:
    """Squared error of each alpha, out of fold."""
    found = np.zeros(len(_ALPHAS))
    for fold in range(FOLDS):
        kept, held = folds != fold, folds == fold
        guesses = _fitted(texts[kept], targets[kept], texts[held], kind, _ALPHAS)
        found += ((guesses - targets[held]) ** 2).sum(1)
    return found


def _fitted(
    train: NDArray[np.object_],
    targets: Floats,
    test: NDArray[np.object_],
    kind: str,
    alphas: Sequence[float],
) -> Floats:
    """What ridges of A alphas say of T texts, float64 [A, T]."""
    reader = TfidfVectorizer(sublinear_tf=True, **_KINDS[kind])
    matrix, other = reader.fit_transform(train), reader.transform(test)
    models = (Ridge(alpha=alpha, solver="sparse_cg", tol=1e-3) for alpha in alphas)
    return np.stack([model.fit(matrix, targets).predict(other) for model in models])


def _remove(out: Path) -> None:
    """An adapter is trained again where it is wanted again."""
    shutil.rmtree(out, ignore_errors=True)


def _plain(values: Sequence[float] | Floats) -> list[float]:
    rounded: list[float] = json.loads(json.dumps([round(float(value), 5) for value in values]))
    return rounded
