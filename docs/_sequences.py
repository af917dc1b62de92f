"""The tables of the sequential models, written from benchmarks/results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from _results import ABSENT, figures_of, number, result, source

MOVIES = {"NDCG@10": "ndcg10", "HR@10": "hr10", "HR@50": "hr50"}
BASKETS = {"recall@50": "all_recall50", "NDCG@10": "all_ndcg10", "repeat": "repeat_recall50"}
BASKETS |= {"new": "new_recall50"}


def quality(data: str, columns: Mapping[str, str]) -> Iterator[str]:
    """One set of hstu_quality: ml1m, small or journey."""
    yield f"| model | {' | '.join(columns)} | CPU-s an epoch | epochs | seeds |"
    yield "|---|" + "---|" * (len(columns) + 3)
    rows = [row for row in result("hstu_quality").get("rows", ()) if row["data"] == data]
    for row in rows:
        cells = [_measured(row, key) for key in columns.values()]
        cells.append(number(row["seconds_epoch"], ".0f") if "seconds_epoch" in row else "")
        cells.append(number(row["epochs"], ".0f") if "epochs" in row else "")
        cells.append(number(row.get("seeds", 1) or "", ""))
        yield f"| {row['model']} | {' | '.join(cells)} |"
    if not rows:
        yield f"| {ABSENT} |" + " |" * (len(columns) + 3)
    yield from source("hstu_quality")


def settings() -> Iterator[str]:
    """What each candidate of ML-1M was worth on the validation events."""
    yield "| model | dropout | epochs | CPU-hours | NDCG@10 of validation |"
    yield "|---|---|---|---|---|"
    rows = [row for row in result("hstu_quality").get("rows", ()) if row["data"] == "ml1m-valid"]
    for row in rows:
        epochs, hours, goal = row["curve"][-1]
        yield (
            f"| {row['model']} | {row['dropout']:g} | {epochs} | {number(hours, '.2f')} | "
            f"{number(goal)} |"
        )
    if not rows:
        yield f"| {ABSENT} | | | | |"
    yield from source("hstu_quality")


def protocol() -> Iterator[str]:
    """How hstu_quality measures."""
    yield result("hstu_quality").get("protocol", f"These models are {ABSENT}.")


def ranking() -> Iterator[str]:
    """HSTU beside DIN on the response task."""
    figures = figures_of("hstu_quality")
    yield "| ranker | group AUC | log loss | normalised entropy |"
    yield "|---|---|---|---|"
    names = {"din": "DIN", "hstu": "HSTU", "hstu_sl16": "HSTU, stochastic length 1.6"}
    for key, name in names.items():
        cells = [
            _with_interval(figures, f"cj_rank_{what}_{key}", form)
            for what, form in (("gauc", ".4f"), ("log_loss", ".5f"), ("ne", ".4f"))
        ]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    lead = number(figures.get("cj_rank_gauc_hstu_minus_din_ci"), "+.4f")
    cost = number(figures.get("cj_ne_loss_sl16_percent"), "+.2f")
    ends = number(figures.get("cj_ne_loss_sl16_percent_ci"), "+.2f")
    yield (
        f"HSTU less DIN, group AUC: {lead} over people, of these trainings. What stochastic length "
        f"adds to the normalised entropy: {cost}% ({ends})."
    )
    yield from source("hstu_quality")


def speed() -> Iterator[str]:
    """HSTU beside a Transformer at one length."""
    rows = [row for row in result("hstu_speed").get("rows", ()) if row["part"] == "stack"]
    yield "| width, heads | numbers | model | CPU-seconds | times as fast as the Transformer |"
    yield "|---|---|---|---|---|"
    for row in rows:
        size, ratio = f"{row['width']}, {row['heads']}", row.get("ratio")
        cells = (size, row["precision"], row["model"], number(row["cpu_seconds"], ".3f"))
        yield f"| {' | '.join(cells)} | {'' if ratio is None else number(ratio, '.1f')} |"
    if not rows:
        yield f"| {ABSENT} | | | | |"
    figures = figures_of("hstu_speed")
    yield ""
    yield (
        "Memory kept for the backward pass, a token and layer, against the Transformer's: "
        f"{number(figures.get('activation_ratio'), '.3f')}."
    )
    yield from source("hstu_speed")


def falcon() -> Iterator[str]:
    """M-FALCON beside DIN and one by one."""
    rows = [row for row in result("hstu_speed").get("rows", ()) if row["part"] == "falcon"]
    figures = figures_of("hstu_speed")
    yield "| candidates | scored by | CPU-ms | GFLOP a CPU-second | greatest difference |"
    yield "|---|---|---|---|---|"
    for row in rows:
        if not row["model"]:
            continue
        name = row["model"] if row["model"] == "DIN" else f"M-FALCON, {row['model']}"
        rate = number(row["gflop_a_second"], ".0f") if "gflop_a_second" in row else ""
        error = number(row["max_diff"], ".0e") if "max_diff" in row else ""
        cells = (f"{row['candidates']:,}", name, number(row["cpu_ms"], ".1f"), rate, error)
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield (
        f"With a history of 256 events, 512 tokens, 1,024 candidates take "
        f"{number(figures.get('falcon_1024_cpu_ms_warm'), '.1f')} CPU-ms in float32. One by one "
        f"they take {number(figures.get('falcon_ratio_one_by_one'), ',.0f')} times as long. "
        f"Reading 512 events takes {number(figures.get('falcon_cpu_ms_read'), '.1f')} CPU-ms, "
        f"reading one more onto a kept history "
        f"{number(figures.get('falcon_cpu_ms_new_event'), '.1f')}."
    )
    yield ""
    yield result("hstu_speed").get("protocol", f"These are {ABSENT}.")
    yield from source("hstu_speed")


def scaling() -> Iterator[str]:
    """The power laws of hstu_scaling."""
    figures = figures_of("hstu_scaling")
    yield "| data | model | exponent | r2 | orders of magnitude of compute | best |"
    yield "|---|---|---|---|---|---|"
    for data, name in (("ml1m", "ML-1M, NDCG@10"), ("journey", "Complete Journey, recall@50")):
        for model, title in (("hstu", "HSTU"), ("sasrec", "SASRec")):
            key = f"{data}_{model}"
            if f"{key}_exponent" not in figures:
                continue
            cells = (
                _with_interval(figures, f"{key}_exponent", ".3f"),
                number(figures[f"{key}_r2"], ".2f"),
                number(figures[f"{key}_orders_of_magnitude"], ".1f"),
                number(figures[f"{key}_best"]),
            )
            yield f"| {name} | {title} | {' | '.join(cells)} |"
    yield ""
    yield result("hstu_scaling").get("protocol", f"These are {ABSENT}.")
    yield from source("hstu_scaling")


def hstu_optimiser() -> Iterator[str]:
    """Row-wise AdamW beside AdamW."""
    figures = figures_of("hstu_optimiser")
    columns = {"ndcg10": ".4f", "cpu_seconds_epoch": ".1f", "state_bytes": ".2f", "step_ms": ".0f"}
    yield "| tables with | NDCG@10 | CPU-seconds an epoch | bytes of state a float | a step, ms |"
    yield "|---|---|---|---|---|"
    for kind, name in (("adamw", "AdamW"), ("rowwise", "row-wise AdamW")):
        cells = (number(figures.get(f"{key}_{kind}"), form) for key, form in columns.items())
        yield f"| {name} | {' | '.join(cells)} |"
    yield f"| AdamW, fused | | | | {number(figures.get('step_ms_adamw_fused'), '.0f')} |"
    yield ""
    lead = number(figures.get("ndcg10_rowwise_minus_adamw_ci"), "+.4f")
    ways = {
        way: tuple(
            number(figures.get(f"{what}_error_{way}"), ".2%") for what in ("moment", "moved")
        )
        for way in ("nearest", "stochastic")
    }
    yield (
        f"Row-wise less AdamW, NDCG@10: {lead}. Error of the first moment, and of all steps "
        f"together: {' and '.join(ways['nearest'])} rounded to the nearest bfloat16, as it is, and "
        f"{' and '.join(ways['stochastic'])} rounded at random."
    )
    yield ""
    yield result("hstu_optimiser").get("protocol", f"The optimisers are {ABSENT}.")
    yield from source("hstu_optimiser")


def _measured(row: Mapping[str, Any], key: str) -> str:
    if key not in row:
        return ""
    value, low, high = row[key]
    return f"{value:.4f} ({low:.4f} to {high:.4f})"


def _with_interval(figures: Mapping[str, Any], key: str, form: str) -> str:
    ends = figures.get(f"{key}_ci")
    beside = f" ({number(ends, form)})" if ends else ""
    return f"{number(figures.get(key), form)}{beside}"


#: Name of a generated part to its text.
SEQUENCES: Mapping[str, Callable[[], Iterator[str]]] = {
    "hstu-optimiser": hstu_optimiser,
    "hstu-ml1m": partial(quality, "ml1m", MOVIES),
    "hstu-ml1m-settings": settings,
    "hstu-small": partial(quality, "small", MOVIES),
    "hstu-journey": partial(quality, "journey", BASKETS),
    "hstu-ranking": ranking,
    "hstu-protocol": protocol,
    "hstu-speed": speed,
    "hstu-falcon": falcon,
    "hstu-scaling": scaling,
}
