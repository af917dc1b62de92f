"""SEED on SmolLM2-135M: three rounds, judged twice, on slogans of brands held out (35 minutes).

    python -m benchmarks.memory.seed                   the rounds that are missing, and the result
    python -m benchmarks.memory.seed --plan            what it would do, and roughly what it costs
    python -m benchmarks.memory.seed --minutes 20      stop after so many; the same call goes on
    python -m benchmarks.memory.seed --trial           at a tiny size; keeps nothing

A test of the mechanism, not of copywriting: the writer has 135M parameters. The run lies in the
cache folder and goes on where it was killed.

The plan, in CPU-seconds of one thread of a quiet machine, at 130 tokens a second in training, 80 in
writing and 600 in reading (beside other work it takes up to twice as long):

    part                          ads or rows    tokens    CPU-seconds
    judges fitted, pool annotated         700    15,000       60
    seed model tuned, both tasks          680    50,000      390
    3 rounds: 200 briefs x 6 ads        3,600    45,000      560
    3 rounds: scored by the own judge   3,600    45,000      120
    3 rounds tuned, at most 420 rows    1,260    80,000      620
    watched: 4 x 47 briefs x 4            750     9,000      130
    held out: 2 x 120 briefs x 4          960    12,000      160
    loading models                                            80
    in all                                       256,000    2,120

The own judge is the writer's base, by the vectors that it makes of texts, fitted on slogans of one
half of the brands; the second judge is MiniLM, fitted on those of the other half; neither sees a
brand that is watched or held out. A third one, by hashed n-grams on all these brands, judges the
result alone and chooses nothing. There is no blind review of pairs: no person was asked, and the
one language model that is at hand offline is the writer's own base, which is no third party; so
review_win_rate_ci is left out.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from adwright.core.assets import cache_folder
from adwright.core.journal import read_rows
from adwright.creative.memory.outcomes import scores_of_d_prime
from adwright.creative.records.encoders import HashedText
from adwright.creative.seed.measures import (
    Measured,
    ModelEncoder,
    RidgeJudge,
    compared,
    measure,
    two_judges,
)
from adwright.creative.seed.rounds import SeedReport, run_seed
from adwright.creative.seed.texts import (
    AdFilters,
    CopyIndex,
    KnownAd,
    RunParts,
    SeedBudget,
    SeedConfig,
    SeedData,
    plan_seed,
    run_parts,
)
from adwright.creative.seed.writer import TunedWriter, WriterRow, WrittenAds
from adwright.lm.open_model import open_model
from adwright.lm.sentence_encoder import SentenceEncoder
from adwright.lm.torch_engine.config import TorchConfig
from adwright.metrics.bootstrap import Interval
from adwright.metrics.ranking import spearman
from benchmarks.common.result import Figure, write_result
from benchmarks.memory._recall_rows import recall_rows
from benchmarks.memory._seed_data import SeedSizes, seed_data

_SEED = 0
_PROTOCOL = (
    "Slogans with d'; a quarter of the brands held out, a tenth watched, by hash. A gain is the "
    "mean of the usable ads over the originals of the same brands less 1, intervals over "
    "brands; brands without a usable ad are left out (answered_share tells). Tuned and written "
    "with SmolLM2-135M, a small model: a test of the mechanism, not of copywriting. The own "
    "judge is the writer's base by its vectors of texts, fitted on one half of the brands to "
    "learn from; the second is MiniLM on the other half, and chooses the round on watched "
    "brands; the third is hashed n-grams on both halves and chooses nothing. All rounds are "
    "run; grounded_share is of the ads that pass the filters, grounded_share_unfiltered of all. "
    "No review of pairs: nobody was asked, and the only language model at hand is the writer's "
    "own base. Scores are estimates of judges."
)
#: What `adwright creative train seed` does by default.
CONFIG = SeedConfig(seed=_SEED)
_TRIAL = SeedConfig(
    rounds=1,
    samples=2,
    briefs=6,
    rows=24,
    watch=0.2,
    held=0.3,
    watch_most=3,
    held_most=4,
    measured=2,
    patience=3,
    tokens=24,
    batch=6,
)
_TRIAL_SIZES = SeedSizes(slogans=90, headlines=6, descriptions=6, products=6)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, and write benchmarks/results/seed.json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--plan", action="store_true", help="do nothing but count")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so many")
    parser.add_argument("--trial", action="store_true", help="a tiny size, keeping nothing")
    asked = parser.parse_args(argv)
    config, sizes = (_TRIAL, _TRIAL_SIZES) if asked.trial else (CONFIG, SeedSizes())
    data = seed_data(sizes, seed=_SEED)
    print(plan_seed(config, data).text(), flush=True)
    if asked.plan:
        return
    if asked.trial:
        with tempfile.TemporaryDirectory() as folder:
            _run(config, data, Path(folder), keep=False)
        return
    config = replace(config, budget=SeedBudget(minutes=asked.minutes))
    _run(config, data, cache_folder() / "bench" / "seed" / data.digest[:12], keep=True)


def _run(config: SeedConfig, data: SeedData, out: Path, *, keep: bool) -> None:
    writer = TunedWriter(threads=1, offline=True, rows=64)
    with closing(open_model(TorchConfig(threads=1, offline=True))) as base:
        judges = two_judges(
            data.labelled, config, ModelEncoder(base), SentenceEncoder(longest=64, offline=True)
        )
        parts = run_parts(data, config)
        for judge in judges:
            found = judge.judge([ad.judged for ad in parts.held]).value
            rho = spearman(found, [ad.score or 0.0 for ad in parts.held])
            print(f"{judge.name}: rho {rho:.3f} on the held-out originals", flush=True)
        report = run_seed(config, data, writer, *judges, out, also=_both_tasks)
        print(report.text(), flush=True)
        if report.after is None or report.before is None:
            return
        figures = _figures(report, parts)
        figures |= _third(config, parts, report, judges[0], out)
    print(figures, flush=True)
    if keep:
        _write(report, figures, data)
        shutil.copy(out / "report.html", out.parent / "report.html")


def _both_tasks(ads: Sequence[KnownAd]) -> Sequence[WriterRow]:
    """Recall from the ad, of d' as the share right where one of two must be chosen."""
    shares = scores_of_d_prime([ad.score or 0.0 for ad in ads]).tolist()
    return recall_rows([replace(ad, score=one) for ad, one in zip(ads, shares, strict=True)])


def _figures(report: SeedReport, parts: RunParts) -> dict[str, Figure]:
    after, before = report.after, report.before
    if after is None or before is None or after.own is None or after.second is None:
        raise ValueError("the run has no result yet")
    originals = [ad.score or 0.0 for ad in parts.held]
    found: dict[str, Figure] = {
        "gain_own_judge": after.own.value,
        "gain_own_judge_ci": _ends(after.own),
        "gain_second_judge": after.second.value,
        "gain_second_judge_ci": _ends(after.second),
        "distinct2_ratio": report.distinct2_ratio or 0.0,
        "grounded_share": after.texts.delivered,
        "grounded_share_unfiltered": after.texts.grounded,
        "rounds": len(report.rounds) - 1,
        "chosen_round": report.chosen,
        "held_briefs": len(parts.held),
        "answered_share": after.answered,
        "usable_share": after.texts.usable,
        "copied_share": after.texts.copied,
        "cpu_seconds": sum(one.cpu_seconds for one in report.costs),
        "tokens_tuned": sum(one.tuned for one in report.costs),
        "tokens_written": sum(one.written for one in report.costs),
        "judge_rho_own": spearman(after.original_own, originals),
        "judge_rho_second": spearman(after.original_second, originals),
        "judges_agree_before": before.agreement or 0.0,
        "judges_agree_after": after.agreement or 0.0,
    }
    for name, one in (("own", before.own), ("second", before.second)):
        if one is not None:
            found |= {f"gain_{name}_judge_seed_model": one.value}
            found |= {f"gain_{name}_judge_seed_model_ci": _ends(one)}
    if report.rise is not None:
        found |= {
            "rise_second_judge": report.rise.value,
            "rise_second_judge_ci": _ends(report.rise),
        }
    return found


def _third(
    config: SeedConfig,
    parts: RunParts,
    report: SeedReport,
    own: RidgeJudge,
    out: Path,
) -> dict[str, Figure]:
    """The result by a judge that chose nothing at all, not even the round."""
    third = RidgeJudge(parts.labelled, HashedText(4096), name="third judge")
    known = [ad.answer for ad in (*parts.labelled, *parts.pool)]
    filters = AdFilters(config.filters, CopyIndex(known, n=config.filters.run))
    found = []
    for name, at in (("before", 0), ("after", report.chosen)):
        rows = read_rows(out / f"held-{name if report.chosen else 'before'}-{at}.jsonl", dict)
        written = [
            WrittenAds(ad.brief, tuple(row["texts"]), tuple(row["cut"]))
            for ad, row in zip(parts.held, rows, strict=True)
        ]
        found.append(measure(written, parts.held, own, third, filters, at=at))
    before, after = found
    rise = compared(after, before)
    return {
        "judge_rho_third": spearman(after.original_second, [ad.score or 0.0 for ad in parts.held]),
        **_gained("gain_third_judge", after.second),
        **_gained("rise_third_judge", rise),
    }


def _gained(name: str, found: Interval | None) -> dict[str, Figure]:
    return {} if found is None else {name: found.value, f"{name}_ci": _ends(found)}


def _ends(found: Interval) -> list[float]:
    return [found.low, found.high]


def _row(name: str, found: Measured, **more: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"writer": name, "round": found.at, "briefs": len(found.briefs)}
    for judge, gain in (("own", found.own), ("second", found.second)):
        if gain is not None:
            told |= {f"gain_{judge}": gain.value, f"gain_{judge}_ci": _ends(gain)}
    texts = found.texts
    told |= {
        "agreement": found.agreement,
        "answered": found.answered,
        "usable": texts.usable,
        "grounded": texts.grounded,
        "copied": texts.copied,
        "distinct1": texts.distinct1,
        "distinct2": texts.distinct2,
        "words": texts.words,
        "reasons": dict(texts.reasons),
    }
    return {**told, **more}


def _write(report: SeedReport, figures: dict[str, Figure], data: SeedData) -> None:
    rows = [
        _row(
            "watched briefs",
            one.measured,
            kept=one.kept,
            sampled=one.sampled,
            rows=one.rows,
            loss=one.tune.loss,
            tokens=one.tune.tokens,
        )
        for one in report.rounds
    ]
    for name, found in (("held out, seed model", report.before), ("held out", report.after)):
        if found is not None:
            rows.append(_row(name, found))
    write_result(
        "seed",
        protocol=_PROTOCOL,
        data=data.digest,
        seeds=[_SEED],
        rows=rows,
        figures=figures,
    )


if __name__ == "__main__":
    main()
