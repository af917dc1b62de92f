"""The tables of parameter-efficient tuning, written from benchmarks/results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from _results import ABSENT, figures_of, number, result, source


def quality() -> Iterator[str]:
    """Every method on one task, the lowest loss first."""
    rows = result("peft").get("rows", [])
    yield (
        "| method | trainable | CPU-s per step | memory above the base, MB | loss, nats | accuracy "
        "| rate | on the front |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for row in sorted(rows, key=lambda row: float(row["loss"])):
        cells = [
            row["method"],
            f"{row['trainable']:,}",
            f"{row['cpu_seconds_a_step']:.2f}",
            f"{row['above_base_mb']:,.0f}",
            f"{row['loss']:.3f} +- {row['loss_spread']:.3f}",
            f"{row['accuracy']:.1%} +- {row['accuracy_spread']:.1%}",
            f"{row['rate']:.1e}",
            "yes" if row["front"] else "",
        ]
        yield f"| {' | '.join(cells)} |"
    if not rows:
        yield f"| {ABSENT} |" + " |" * 7
    figures = figures_of("peft")
    yield ""
    yield (
        f"The base as it is: accuracy {number(figures.get('untuned_accuracy'), '.1%')}, loss "
        f"{number(figures.get('untuned_loss'), '.2f')} nats."
    )
    yield ""
    yield result("peft").get("protocol", f"The methods are {ABSENT}.")
    yield from source("peft")


def twins() -> Iterator[str]:
    """Ours beside peft's module of the same method."""
    rows = result("peft").get("rows", [])
    by = {row["method"]: row for row in rows}
    yield (
        "| method | accuracy, ours less peft's (95%) | loss, ours less peft's (95%) "
        "| CPU-s per step, ours and peft | memory above the base, MB, ours and peft |"
    )
    yield "|---|---|---|---|---|"
    for row in (row for row in rows if row.get("twin")):
        mine = by[row["twin"]]
        ends = [(row[f"{what}_low"], row[f"{what}_high"]) for what in ("accuracy", "loss")]
        cells = [f"{low:+.3f} to {high:+.3f}" for low, high in ends]
        cells += [f"{mine['cpu_seconds_a_step']:.2f} and {row['cpu_seconds_a_step']:.2f}"]
        cells += [f"{mine['above_base_mb']:,.0f} and {row['above_base_mb']:,.0f}"]
        yield f"| {row['twin']} | {' | '.join(cells)} |"
    ratio = number(figures_of("peft").get("lora_speed_ratio_peft"), ".2f")
    ends_ = number(figures_of("peft").get("lora_speed_ratio_peft_range"), ".2f")
    yield ""
    yield (
        f"A step of LoRA on all maps is {ratio} times as fast as with peft and transformers "
        f"({ends_} in the rounds measured)."
    )


def commands() -> Iterator[str]:
    """How many methods the command line has trained."""
    figures = figures_of("tune_commands")
    yield (
        f"{number(figures.get('methods_from_command_line'), 'd')} methods were trained from the "
        f"command line on the default model, {number(figures.get('methods_ours'), 'd')} of them "
        f"ours and {number(figures.get('methods_wrapped'), 'd')} of peft's kinds; "
        f"{number(figures.get('failed'), 'd')} failed."
    )
    yield from source("tune_commands")


def to_http() -> Iterator[str]:
    """Every entry of the tree, from texts to an answer over HTTP."""
    yield (
        "| method | trainable | held loss of the base | after tuning | served | merged, greatest "
        "difference of a logit |"
    )
    yield "|---|---|---|---|---|---|"
    for row in result("methods_served").get("rows", ()):
        if not row["trained"]:
            yield f"| {row['entry']} | not here: {row['why']} | | | | |"
            continue
        gap = row["merge_gap"]
        cells = [
            row["entry"],
            f"{row['trainable']:,}",
            f"{row['base_nll']:.3f}",
            f"{row['valid_nll']:.3f}",
            "yes" if row["served"] else "no",
            "cannot be" if gap is None else f"{gap:.0e}",
        ]
        yield f"| {' | '.join(cells)} |"
    figures = figures_of("methods_served")
    counts = {key: number(figures.get(key), "d") for key in ("trained", "entries", "falls")}
    yield ""
    yield (
        f"{counts['trained']} of {counts['entries']} entries were trained; the held loss fell for "
        f"{counts['falls']}, {number(figures.get('served'), 'd')} answered over HTTP."
    )
    yield ""
    yield result("methods_served").get("protocol", f"These are {ABSENT}.")
    yield from source("methods_served")


def _rows(name: str, of: str = "adapters") -> list[dict[str, Any]]:
    return [row for row in result(of).get("rows", ()) if row["part"] == name]


def _table(head: Mapping[str, tuple[str, str]], rows: list[dict[str, Any]]) -> Iterator[str]:
    """head: title to key of a row and format."""
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        cells = [number(row.get(key), form) for key, form in head.values()]
        yield f"| {' | '.join(cells)} |"
    if not rows:
        yield f"| {ABSENT} " + "| " * (len(head) - 1) + "|"


def served() -> Iterator[str]:
    """Many adapters in one batch, their memory, and folding."""
    yield from _table(
        {
            "different LoRAs in 32 rows": ("adapters", "d"),
            "tokens per CPU-second": ("tokens_per_cpu_second", ".0f"),
            "peft": ("peft_tokens_per_cpu_second", ".0f"),
            "times peft": ("times_peft", ".2f"),
            "share of the base alone": ("share_of_base", ".2f"),
        },
        _rows("mixed_batch"),
    )
    figures = figures_of("adapters")
    yield ""
    yield (
        "Greatest difference from peft's logits, float32: "
        f"{number(figures.get('logits_max_diff'), '.0e')}. Four kinds in one batch keep "
        f"{number(figures.get('mixed_kind_share'), '.0%')} of the rate of 32 LoRAs."
    )
    yield ""
    yield from _table(
        {
            "adapters registered": ("registered", ",d"),
            "requests": ("requests", ",d"),
            "hits": ("hits", "d"),
            "loaded from memory": ("loads_from_host", "d"),
            "loaded from disk": ("loads_from_disk", "d"),
            "evicted": ("evictions", "d"),
            "pool, MB": ("pool_mb", ".0f"),
            "host memory, MB": ("most_host_mb", ".0f"),
            "all adapters, MB": ("all_parts_mb", ".0f"),
        },
        _rows("many_registered"),
    )
    yield ""
    yield from _table(
        {
            "rows of one LoRA": ("rows", "d"),
            "beside the weights": ("apart_tokens_per_cpu_second", ".0f"),
            "folded": ("folded_tokens_per_cpu_second", ".0f"),
        },
        _rows("merged_weights"),
    )
    yield ""
    yield result("adapters").get("protocol", f"These are {ABSENT}.")
    yield from source("adapters")


def prefixes() -> Iterator[str]:
    """What requests begin with, read once; and one request alone."""
    figures = figures_of("adapters")
    yield "| what is shared | times |"
    yield "|---|---|"
    for name, key, form in (
        ("16 requests, 249 tokens in common: fewer CPU-seconds", "prefix_ratio_cold", ".1f"),
        ("the same where the beginning was read before", "prefix_ratio_warm", ".1f"),
        ("ten labels of one prompt: fewer CPU-seconds", "labels_ratio", ".1f"),
        ("the same where the prompt was read before", "labels_ratio_warm", ".1f"),
        ("16 requests on 1,500 tokens: share of the pages", "prefix_pages_share", ".3f"),
        (
            "three activated LoRAs after the base, against LoRAs: fewer CPU-seconds",
            "alora_ratio",
            ".1f",
        ),
        ("the same, to the first token", "alora_first_token_ratio", ".1f"),
        ("one request: as fast as with transformers' layers", "decode_one_row_ratio", ".2f"),
    ):
        yield f"| {name} | {number(figures.get(key), form)} |"


def trained_together(of: str = "adapters") -> Iterator[str]:
    """Several jobs in one step, and tuning beside inference."""
    yield from _table(
        {
            "texts per job and step": ("texts_a_job", "d"),
            "tokens per job and step": ("tokens_a_job", ".0f"),
            "one after another, tokens per CPU-second": ("tune_tokens_a_second", ".0f"),
            "together": ("together_tokens_a_second", ".0f"),
            "ratio": ("ratio_to_tune", ".2f"),
            "greatest difference of a loss, nats": ("loss_difference", ".4f"),
        },
        _rows("together_rows", of),
    )
    yield ""
    yield from _table(
        {
            "requests per second": ("requests_a_second", "g"),
            "tuning keeps": ("share_kept", ".0%"),
            "per token, p50 ms": ("beside_gap_p50_ms", ".0f"),
            "p99": ("beside_gap_p99_ms", ".0f"),
            "bound": ("token_bound_ms", ".0f"),
            "first token, p99 ms": ("beside_first_p99_ms", ".0f"),
            "bound of that": ("first_bound_ms", ".0f"),
            "per token without tuning, p99": ("alone_gap_p99_ms", ".0f"),
        },
        _rows("coserving_rows", of),
    )
    yield from source(of)


def float32() -> Iterator[str]:
    """The same ratios where there is no bfloat16."""
    yield from _table(
        {
            "step of tuning": ("method", ""),
            "ours, CPU-s": ("ours_cpu_seconds_a_step", ".2f"),
            "peft": ("peft_cpu_seconds_a_step", ".2f"),
            "times as fast": ("ratio", ".2f"),
            "least and most": ("ratio_low", ".2f"),
            "of the rounds": ("ratio_high", ".2f"),
            "memory above the base, MB, ours": ("ours_above_base_mb", ",.0f"),
            "and peft's": ("peft_above_base_mb", ",.0f"),
        },
        _rows("lora_step", "lm_float32"),
    )
    yield ""
    yield from _table(
        {
            "different LoRAs in 32 rows": ("adapters", "d"),
            "tokens per CPU-second": ("tokens_per_cpu_second", ".0f"),
            "peft": ("peft_tokens_per_cpu_second", ".0f"),
            "times peft": ("times_peft", ".2f"),
        },
        _rows("mixed_batch", "lm_float32"),
    )
    yield ""
    yield from trained_together("lm_float32")
    yield ""
    yield result("lm_float32").get("protocol", f"These are {ABSENT}.")


def offsite() -> Iterator[str]:
    """Tuning between two owners."""
    figures = figures_of("offsite")
    names = {
        "the base": "base",
        "the emulator before anything is trained": "emulator_as_kept",
        "the emulator, tuned": "emulator_tuned",
        "the whole model with the tuned ends": "plugged",
    }
    yield "| nats per token of held-out answers | middle as it is | middle distilled |"
    yield "|---|---|---|"
    for name, key in names.items():
        cells = (number(figures.get(f"{p}_{key}"), ".2f") for p in ("offsite", "offsite_distilled"))
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    yield "| cloud and device | all modules alive | a quarter |"
    yield "|---|---|---|"
    for name, key, unit in (
        ("MB that the device sends", "sent", 1e6),
        ("MB that it receives", "received", 1e6),
        ("its CPU-seconds", "cpu_seconds", 1.0),
        ("held-out nats after as many steps", "valid", 1.0),
    ):
        values = [figures.get(f"{run}_{key}") for run in ("all_alive", "quarter_alive")]
        cells = (number(None if v is None else v / unit, ",.2f") for v in values)
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    yield result("offsite").get("protocol", f"These are {ABSENT}.")
    yield from source("offsite")


TUNING: Mapping[str, Callable[[], Iterator[str]]] = {
    "peft": quality,
    "peft-twins": twins,
    "tune-commands": commands,
    "methods-served": to_http,
    "adapters-served": served,
    "adapters-prefixes": prefixes,
    "adapters-tuned": trained_together,
    "lm-float32": float32,
    "offsite": offsite,
}
