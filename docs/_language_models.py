"""The table of the engines of language models, written from benchmarks/results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from _results import ABSENT, number, result, source

ENGINES = {
    "torch_float32": "torch, float32",
    "torch_bfloat16": "torch, bfloat16",
    "openvino_f16": "OpenVINO, `f16`",
    "openvino_q8_0": "OpenVINO, `q8_0`",
    "openvino_stored": "OpenVINO, `stored`",
}
COLUMNS = {
    "same answers": ("same_texts", ".0%"),
    "same up to": ("same_until", ".0%"),
    "scores, correlation": ("score_correlation", ".4f"),
    "log-probability of a token, mean difference": ("token_difference", ".3f"),
    "prefill, tokens a CPU-second": ("prefill_tokens_per_cpu_second", ",.0f"),
    "decoding, tokens a CPU-second": ("decode_tokens_per_cpu_second", ",.0f"),
    "peak memory, GB": ("peak_gb", ".1f"),
}


def methods() -> Iterator[str]:
    """The taxonomy of tuning, from the code itself."""
    from adwright.lm.tuning.taxonomy import as_markdown

    yield as_markdown().strip()


def engines() -> Iterator[str]:
    """Agreement with torch in float32, speed and memory."""
    rows = {row["engine"]: row for row in result("lm_engines").get("rows", ())}
    yield f"| engine | {' | '.join(COLUMNS)} |"
    yield "|---|" + "---|" * len(COLUMNS)
    for key, name in ENGINES.items():
        row = rows.get(key, {})
        cells = [number(row.get(figure), form) for figure, form in COLUMNS.values()]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    yield result("lm_engines").get("protocol", f"The engines are {ABSENT}.")
    yield from source("lm_engines")


LANGUAGE_MODELS: Mapping[str, Callable[[], Iterator[str]]] = {
    "lm-engines": engines,
    "tuning-methods": methods,
}
