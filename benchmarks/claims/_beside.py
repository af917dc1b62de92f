"""Comparisons of rows that were published apart, which the documentation speaks of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.common.result import Lead


@dataclass(frozen=True)
class End:
    """A measure of a row. label: for a reader. where: how values of the row begin, by column; of
    several such rows the first counts, with `best` the highest."""

    label: str
    file: str
    key: str
    where: Mapping[str, str]
    best: bool = False


@dataclass(frozen=True)
class Beside:
    """a less b. seeds: 0 where nothing is trained, 1 where a training is spoken of."""

    name: str
    a: End
    b: End
    measure: str
    data: str
    seeds: int = 1
    lower: bool = field(default=False)


def _rule(log: str, rule: str, *, best: bool = False) -> End:
    return End(rule, "item_item", "ndcg10", {"log": log, "rule": rule}, best)


def _towers(data: str, model: str, key: str) -> End:
    where = {"data": data, "share": "100", "model": model}
    return End(model, "two_tower", key, where)


def _hstu(data: str, model: str, key: str = "ndcg10") -> End:
    return End(model, "hstu_quality", key, {"data": data, "model": model})


def _tuned(method: str) -> End:
    return End(method, "peft", "loss", {"method": method})


LOGS = ("beauty", "lastfm", "ml-latest-small", "ml-1m", "complete-journey")
_NETWORKS = {
    "beauty": _towers("beauty", "correlated masking", "all/ndcg10"),
    "ml-latest-small": _hstu("small", "HSTU, no time"),
    "ml-1m": _hstu("ml1m", "HSTU, large"),
    "complete-journey": _hstu("journey", "HSTU, own part", "all_ndcg10"),
}
_TOWER, _OFTEN = "no second task", "personal frequency"
BESIDE: tuple[Beside, ...] = (
    Beside(
        "cascade-exhaustive",
        End("cascade", "cascade", "ndcg10", {"ranking": "cascade"}),
        End("the fine ranker on everything", "cascade", "ndcg10", {"ranking": "exhaustive"}),
        "NDCG@10",
        "next basket, the sample",
    ),
    *(
        Beside(
            f"{log}-item-item-implicit",
            _rule(log, "Item-item"),
            _rule(log, "implicit", best=True),
            "NDCG@10",
            log,
            seeds=0,
        )
        for log in LOGS
    ),
    *(
        Beside(f"{log}-network-item-item", network, _rule(log, "Item-item"), "NDCG@10", log)
        for log, network in _NETWORKS.items()
    ),
    *(
        Beside(
            f"journey-frequency-towers-{part}",
            _towers("journey", _OFTEN, f"{part}/recall50"),
            _towers("journey", _TOWER, f"{part}/recall50"),
            "recall@50",
            f"next basket, {part}",
        )
        for part in ("all", "tail")
    ),
    Beside(
        "beauty-towers-popularity",
        _towers("beauty", _TOWER, "all/recall50"),
        _towers("beauty", "popularity", "all/recall50"),
        "recall@50",
        "Beauty",
    ),
    Beside(
        "journey-hstu-plain-frequency",
        _hstu("journey", "HSTU, own part", "all_recall50"),
        _hstu("journey", _OFTEN, "all_recall50"),
        "recall@50",
        "next basket",
    ),
    *(
        Beside(
            f"peft-full-{Lead.word(other)}",
            _tuned("full"),
            _tuned(other),
            "loss",
            "PriceRunner titles",
            seeds=3,
            lower=True,
        )
        for other in ("lora", "ladder", "prompt", "parallel adapter")
    ),
    *(
        Beside(
            f"peft-{Lead.word(method)}-lora",
            _tuned(method),
            _tuned("lora"),
            "loss",
            "PriceRunner titles",
            seeds=3,
            lower=True,
        )
        for method in ("ladder", "prompt", "parallel adapter", "(ia)3", "bitfit", "mezo on lora")
    ),
)
