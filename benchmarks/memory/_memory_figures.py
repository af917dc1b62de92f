"""The result of the benchmark of memorability, from the cells that are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adwright.creative.judging import ConformalInterval, ResidualScale
from adwright.creative.memory.fitted import MemoryParts
from adwright.metrics.bootstrap import Interval, MethodInterval, draw_counts, with_seeds
from adwright.metrics.ranking import spearman
from benchmarks.common.result import Lead, write_result
from benchmarks.memory._memory_cells import SEEDS, MemoryCell, kept
from benchmarks.memory._memory_data import (
    FOLDS,
    PARTS,
    data_hash,
    folds_of,
    read_rows,
    table_of,
)

Floats = NDArray[np.float64]
_DRAWS = 2000
_COVER = 0.9
_KEYS = {"slogans": "slogan_dprime_rho", "ads": "ad_recall_rho_brands_out"}
_KEYS |= {"sentences": "sentence_rho"}
_TITLES = {
    "encoder": "encoder form",
    "minilm": "ridge on MiniLM",
    "tfidf": "ridge on TF-IDF",
    "zero": "SmolLM2-135M, untuned, zero-shot",
    "few": "SmolLM2-135M, untuned, four examples",
    "language": "language form, SmolLM2-135M tuned on both tasks",
}
_PROTOCOL = (
    "Spearman's rho of out-of-fold predictions, all together: five folds of whole brands (of "
    "sentences, each by itself), three seeds, their mean. Strengths and kinds of features are "
    "chosen by inner folds of the training brands. Which blocks the encoder form has was chosen on "
    "out-of-fold figures of these slogans and a first look at these ads, so that both are a little "
    "kind to it; sentences were not looked at. Slogans: d' of recognition from the text "
    "alone. Ads: recall after one to three days; content_lift is the rank correlation of the "
    "content's part with what the brand's part leaves, folds of single ads; brand_lift_share the "
    "brand's share of the variance that both explain. Sentences: accuracy. The language forms are "
    "asked about 300 of the sentences. Intervals of 95 % resample brands (sentences) and are "
    "widened by the seeds. References, TF-IDF of other settings: slogans .54, ads .13, sentences "
    ".49."
)


def summarise() -> None:
    """Write benchmarks/results/memorability.json."""
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    for part in PARTS:
        for system, title in _TITLES.items():
            found = _answers(part, system)
            if found is None:
                continue
            at, predicted, likeliest = found
            interval = _rho(part, at, predicted)
            rows.append(
                {
                    "part": part,
                    "system": title,
                    "rows": len(at),
                    "seeds": len(predicted),
                    "rho": round(interval.value, 4),
                    "low": round(interval.low, 4),
                    "high": round(interval.high, 4),
                    "by_seed": _rounded(_rhos(predicted, table_of(part).targets[at])),
                }
            )
            if likeliest is not None:
                rows[-1]["rho_likeliest"] = round(_rho(part, at, likeliest).value, 4)
            key = _KEYS[part] if system == "encoder" else f"{_KEYS[part]}_{system}"
            figures |= _told(key, interval)
    figures |= _brands() | _cover() | _speed() | _costs()
    write_result(
        "memorability",
        protocol=_PROTOCOL,
        data=data_hash(),
        seeds=SEEDS,
        rows=rows,
        figures=figures,
        leads=[*(lead for part in PARTS for lead in _leads(part)), *_digits()],
    )


def _answers(part: str, system: str) -> tuple[NDArray[np.int64], Floats, Floats | None] | None:
    """Rows [n], predictions [S, n] of the seeds that are whole, and the likeliest digits."""
    if system == "language":
        return _tuned(part)
    cells = [kept(MemoryCell(system, part, seed)) for seed in SEEDS]
    found = [cell for cell in cells if cell is not None]
    if not found:
        return None
    at = read_rows(part) if system in ("zero", "few") else np.arange(len(table_of(part)))
    predicted = np.array([cell["predicted"] for cell in found])
    likeliest = np.array([cell["likeliest"] for cell in found]) if "likeliest" in found[0] else None
    return at, predicted, likeliest


def _tuned(part: str) -> tuple[NDArray[np.int64], Floats, Floats | None] | None:
    at = read_rows(part)
    place = {int(row): number for number, row in enumerate(at)}
    every: list[tuple[Floats, Floats]] = []
    for seed in SEEDS:
        folds = [kept(MemoryCell("language", str(fold), seed)) for fold in range(FOLDS)]
        if any(cell is None for cell in folds):
            continue
        one, other = np.full(len(at), np.nan), np.full(len(at), np.nan)
        for cell in folds:
            own = (cell or {})[part]
            where = [place[row] for row in own["rows"]]
            one[where], other[where] = own["predicted"], own["likeliest"]
        every.append((one, other))
    if not every:
        return None
    return at, np.array([one for one, _ in every]), np.array([other for _, other in every])


def _rho(part: str, at: NDArray[np.int64], predicted: Floats) -> MethodInterval:
    table = table_of(part)
    rng = np.random.default_rng(0)
    return rho_interval(predicted, table.targets[at], table.groups[at], rng, draws=_DRAWS)


def _rounded(values: Floats) -> list[float]:
    return [round(float(value), 4) for value in values]


def _told(key: str, interval: MethodInterval) -> dict[str, Any]:
    return {key: interval.value, f"{key}_ci": [interval.low, interval.high]}


def _brands() -> dict[str, Any]:
    """Brand and content of the ads apart."""
    cells = [kept(MemoryCell("encoder", "ads", seed)) for seed in SEEDS]
    found = [cell for cell in cells if cell is not None]
    if not found:
        return {}
    table, rng = table_of("ads"), np.random.default_rng(0)
    target, groups = table.targets, table.groups
    brand = np.array([cell["seen_brand"] for cell in found])
    content = np.array([cell["seen_content"] for cell in found])
    out = np.array([cell["brand"] for cell in found])

    def rho(predicted: Floats, left: Floats) -> MethodInterval:
        return rho_interval(predicted, left, groups, rng, draws=_DRAWS)

    parts = [MemoryParts(*pair) for pair in zip(brand, content, strict=True)]
    return {
        **_told("ad_recall_rho_brands_seen", rho(brand + content, target)),
        **_told("content_lift_rho", rho(content, target - brand)),
        **_told("ad_brand_alone_rho_brands_out", rho(out, target)),
        "brand_lift_share": brand_share_of(parts, target),
    }


def _digits() -> Iterator[Lead]:
    """Gain of the expectation over the likeliest answer, on sentences: of the tuned model where it
    is whole, and of the untuned ones."""
    for system, end in (("few", "_few"), ("zero", "_zero"), ("language", "")):
        found = _answers("sentences", system)
        if found is None:
            continue
        at, predicted, likeliest = found
        if likeliest is None:
            continue
        gap = _difference("sentences", at, predicted, likeliest)
        key, title = f"digits_expectation_minus_argmax{end}", _TITLES[system]
        measure = "rank correlation, brands held out"
        a, b = f"{title}, expectation of digits", f"{title}, likeliest digit"
        yield Lead(key, a, b, measure, "sentences", gap)


def _cover() -> dict[str, Any]:
    """Share of ads inside an interval that was made from the other folds' residuals."""
    told = {}
    for part in PARTS:
        shares = []
        for seed in SEEDS:
            cell = kept(MemoryCell("encoder", part, seed))
            if cell is None:
                continue
            value, found, of = (
                np.array(cell["predicted"]),
                table_of(part).targets,
                folds_of(part, seed),
            )
            for fold in range(FOLDS):
                rest, own = of != fold, of == fold
                scale = ResidualScale.fit(value[rest], found[rest])
                fitted = ConformalInterval.fit(
                    value[rest], found[rest], scale(value[rest]), coverage=_COVER
                )
                low, high = fitted.bounds(value[own], scale(value[own]))
                shares.append(((low <= found[own]) & (found[own] <= high)).mean())
        if shares:
            told[f"interval_cover_90_{part}"] = float(np.mean(shares))
    return told


def _speed() -> dict[str, Any]:
    cell = kept(MemoryCell("speed"))
    if cell is None:
        return {}
    return {f"{part}_per_cpu_second": round(cell[part], 1) for part in ("slogans", "ads")}


def _costs() -> dict[str, Any]:
    """CPU-seconds of the language form, by seed."""
    cells = [
        kept(MemoryCell("language", str(fold), seed)) for seed in SEEDS for fold in range(FOLDS)
    ]
    found = [cell for cell in cells if cell is not None]
    if not found:
        return {}
    spent = float(np.mean([cell["cpu_seconds"] for cell in found]))
    rate = sum(cell["tokens"] for cell in found) / sum(cell["tuning_cpu_seconds"] for cell in found)
    return {
        "language_cpu_seconds_a_seed": round(FOLDS * spent, 1),
        "language_tokens_per_cpu_second": round(rate, 1),
    }


def _leads(part: str) -> Sequence[Lead]:
    """The encoder form less each other system, on the same rows and draws."""
    ours = _answers(part, "encoder")
    if ours is None:
        return []
    found = []
    for system, title in _TITLES.items():
        theirs = None if system == "encoder" else _answers(part, system)
        if theirs is None:
            continue
        gap = _difference(part, theirs[0], ours[1][:, theirs[0]], theirs[1])
        key = f"{part}_rho_encoder_minus_{system}"
        measure, data = "rank correlation, brands held out", part
        found.append(Lead(key, _TITLES["encoder"], title, measure, data, gap))
    return found


def _difference(part: str, at: NDArray[np.int64], ours: Floats, theirs: Floats) -> MethodInterval:
    """Paired over brands: the same draws of both."""
    target, groups = table_of(part).targets[at], table_of(part).groups[at]
    gaps = [
        _rhos(ours[:, rows], target[rows]).mean() - _rhos(theirs[:, rows], target[rows]).mean()
        for rows in _draws(groups)
    ]
    low, high = np.quantile(gaps, [0.025, 0.975])
    values = [_rhos(each, target) for each in (ours, theirs)]
    people = Interval(float(values[0].mean() - values[1].mean()), float(low), float(high))
    return with_seeds(people, *[each for each in values if len(each) > 1])


def _rhos(predicted: Floats, target: Floats) -> Floats:
    """Of each seed [S]; 0 where a prediction never varies."""
    found: Floats = np.array([spearman(one, target) for one in predicted])
    return np.where(np.isnan(found), 0.0, found)


def _draws(groups: NDArray[np.int64], draws: int = 500) -> Iterator[NDArray[np.int64]]:
    """Rows of each draw of whole groups."""
    rng = np.random.default_rng(1)
    _, codes = np.unique(groups, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    for _ in range(draws):
        yield np.concatenate([members[one] for one in rng.integers(0, len(members), len(members))])


def rho_interval(
    predicted: Floats,
    found: Floats,
    groups: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    draws: int = 1000,
) -> MethodInterval:
    """Mean over S seeds of Spearman's rho of `predicted` [S, N] with `found` [S, N] or [N].

    groups: int64 [N], whose members are drawn together. A prediction that never varies has rho 0.
    """
    target = np.broadcast_to(found, predicted.shape)
    values = np.array([_ranked(*pair) for pair in zip(predicted, target, strict=True)])
    _, codes = np.unique(groups, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes))
    members = np.split(order, ends[:-1])
    counts = np.concatenate(list(draw_counts(len(members), draws, rng)))
    drawn = np.empty(len(counts))
    for at, count in enumerate(counts):
        rows = np.concatenate(
            [np.tile(members[one], int(count[one])) for one in np.flatnonzero(count)]
        )
        drawn[at] = np.mean(
            [_ranked(one[rows], two[rows]) for one, two in zip(predicted, target, strict=True)]
        )
    low, high = np.quantile(drawn, [0.025, 0.975])
    people = Interval(float(values.mean()), float(low), float(high))
    return with_seeds(people, values)


def _ranked(predicted: Floats, found: Floats) -> float:
    rho = spearman(predicted, found)
    return 0.0 if np.isnan(rho) else rho


def brand_share_of(parts: Sequence[MemoryParts], found: Floats) -> float:
    """r2 of the brand's part over that of both, from 0 to 1, both means over seeds; NaN where both
    explain nothing.

    r2 is the squared correlation, 0 where it is negative: what a line of best fit would explain, so
    that too wide or too narrow a prediction does not count against its order.
    """
    brand = float(np.mean([_explained(one.brand, found) for one in parts]))
    explained = max(brand, float(np.mean([_explained(one.value, found) for one in parts])))
    return brand / explained if explained > 0 else float("nan")


def _explained(predicted: Floats, found: Floats) -> float:
    if np.ptp(predicted) == 0 or np.ptp(found) == 0:
        return 0.0
    return max(float(np.corrcoef(predicted, found)[0, 1]), 0.0) ** 2
