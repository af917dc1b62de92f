"""The table of the engines of language models, written from benchmarks/results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from _results import ABSENT, figures_of, number, result, source

ENGINES = {
    "torch_float32": "torch, float32",
    "torch_bfloat16": "torch, bfloat16",
    "openvino_f16": "OpenVINO, `f16`",
    "openvino_q8_0": "OpenVINO, `q8_0`",
    "openvino_stored": "OpenVINO, `stored`",
    "xllamacpp_f16": "llama.cpp, `f16`",
    "xllamacpp_stored": "llama.cpp, `stored`",
    "http": "HTTP, torch float32 behind it",
}
COLUMNS = {
    "same answers": ("same_texts", ".0%"),
    "same up to": ("same_until", ".0%"),
    "scores, correlation": ("score_correlation", ".4f"),
    "log-probability of a token, mean difference": ("token_difference", ".3f"),
    "prefill, tokens per CPU-second": ("prefill_tokens_per_cpu_second", ",.0f"),
    "decoding, tokens per CPU-second": ("decode_tokens_per_cpu_second", ",.0f"),
    "peak memory, GB": ("peak_gb", ".1f"),
}


def methods() -> Iterator[str]:
    """The taxonomy of tuning, from the code itself."""
    from adwright.tuning.methods import as_markdown

    yield as_markdown().strip()


def capabilities() -> Iterator[str]:
    """What each engine can do, from the configs themselves."""
    from adwright.lm.open_model import ENGINES as CONFIGS

    told = [kind.capabilities for kind in CONFIGS.values()]
    rows = {
        "": [one.title for one in told],
        "config": [f"`{kind.__name__}`" for kind in CONFIGS.values()],
        "models": [one.models for one in told],
        "requests of several callers": [one.batching for one in told],
        "shared beginning of prompts": [one.prefix for one in told],
        "score": [one.score for one in told],
        "embed": [one.embed for one in told],
        "JSON schema, grammar": [one.constraint for one in told],
    }
    for at, (name, cells) in enumerate(rows.items()):
        yield f"| {name} | {' | '.join(cells)} |"
        if not at:
            yield "|---|" + "---|" * len(cells)


def engines() -> Iterator[str]:
    """Agreement with torch in float32, speed and memory."""
    rows = {row["engine"]: row for row in result("lm_engines").get("rows", ())}
    yield f"| engine | {' | '.join(COLUMNS)} |"
    yield "|---|" + "---|" * len(COLUMNS)
    for key, name in ENGINES.items():
        row = rows.get(key, {})
        cells = [
            # An endpoint's speed is that of the engine behind it.
            "" if row and figure not in row else number(row.get(figure), form)
            for figure, form in COLUMNS.values()
        ]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    yield result("lm_engines").get("protocol", f"The engines are {ABSENT}.")
    yield from source("lm_engines")


def adapters() -> Iterator[str]:
    """A LoRA of torch in llama.cpp, as it is exported and with the known mistake."""
    figures = figures_of("lm_engines")
    yield "| 13 sentences, llama.cpp against torch | weights `f16` | weights `stored` |"
    yield "|---|---|---|"
    rows = {
        "change of a token's log-probability by the adapter, correlation": "change_correlation",
        "its mean difference, nats": "change_difference",
        "the same with the rows of q and k not moved, correlation": "forgotten_change_correlation",
        "its mean difference, not moved, nats": "forgotten_change_difference",
    }
    for name, key in rows.items():
        form = ".4f" if key.endswith("correlation") else ".3f"
        cells = [number(figures.get(f"{key}_{weights}"), form) for weights in ("f16", "stored")]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    yield (
        "The adapter changes a token's log-probability by "
        f"{number(figures.get('adapter_change'), '.2f')} nats on average."
    )
    yield from source("lm_engines")


def kills() -> Iterator[str]:
    """What is left of an engine in the middle of an answer."""
    figures = figures_of("lm_engines")
    names = {"torch": "torch", "openvino": "OpenVINO", "xllamacpp": "llama.cpp"}
    yield f"| in the middle of an answer | {' | '.join(names.values())} |"
    yield "|---|" + "---|" * len(names)
    rows = {
        "processes of a service, MB": ("killed_processes", "killed_mb"),
        "after SIGKILL of the service": ("killed_processes_left", "killed_mb_left"),
        "a program before it opens the model again": ("closed_processes_after", "closed_mb_before"),
        "while that answers": ("closed_processes_busy", "closed_mb_busy"),
        "after closing it": ("closed_processes_after", "closed_mb_after"),
    }
    for name, keys in rows.items():
        cells = [
            ", ".join(number(figures.get(f"{key}_{engine}"), ",.0f") for key in keys)
            for engine in names
        ]
        yield f"| {name} | {' | '.join(cells)} |"
    cells = [number(figures.get(f"cancelled_seconds_{engine}"), ".2f") for engine in names]
    yield f"| seconds from cancelling to the end of the answer | {' | '.join(cells)} |"
    yield from source("lm_engines")


LANGUAGE_MODELS: Mapping[str, Callable[[], Iterator[str]]] = {
    "lm-adapters": adapters,
    "lm-capabilities": capabilities,
    "lm-engines": engines,
    "lm-kills": kills,
    "tuning-methods": methods,
}
