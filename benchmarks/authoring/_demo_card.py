"""The model card of the demonstration's adapter, out of what its training measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_HEAD = """# The demonstration's adapter

Writes the headline, the text and the description of an ad for a grocer's product, as the fourth
part of `adwright demo ranker` asks for them. `python -m benchmarks.authoring.demo_adapter` made it.
"""
_MEASURES = (
    ("grounded", "no number, brand, material, colour, claim or name beyond the facts"),
    ("policy", "nothing that the policy of ad platforms forbids"),
    ("faultless", "no error at all, limits of length included"),
)
_END = """
## What it is for, and what not

It shows that a model of 135 million parameters can be taught a form, and to keep to given facts, in
minutes on one processor. It is no copywriter: its texts follow a few dozen patterns, in English,
for the names of goods that this data set has. What it says beyond the facts is where such goods are
kept or when they are wanted, and that can be odd. Whatever it writes is to be checked, as the
demonstration does. For a shop of your own, tune on your own texts: `adwright author tune`.
"""


def card(training: Mapping[str, Any], untuned: Mapping[str, Any], tuned: Mapping[str, Any]) -> str:
    """The card as Markdown, of what `demo_adapter` noted of the training and of both models."""
    lines = [_HEAD, "| what | value |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in _facts(training)]
    lines += [
        f"\nShares of {tuned['texts']} texts for products of other types than those of the rows, "
        "before any repair:\n",
        "| texts with | without the adapter | with it |",
        "|---|---:|---:|",
        *(f"| {said} | {untuned[one]:.0%} | {tuned[one]:.0%} |" for one, said in _MEASURES),
    ]
    return "\n".join(lines) + "\n" + _END


def _facts(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    settings = told["settings"]
    yield "base", f"{told['base']}; SmolLM2-135M-Instruct is under Apache-2.0"
    yield "licence of the adapter", "Apache-2.0, as adwright"
    yield (
        "method",
        f"LoRA on all linear maps, rank {settings['rank']}, alpha {settings['alpha']:g}: "
        f"{told['trainable']:,} parameters",
    )
    yield (
        "files",
        f"`tuned/`: {told['bytes'] / 1e6:.1f} MB, safetensors in float32, with hashes in "
        "`tuned/manifest.json`",
    )
    yield (
        "data",
        "products of Complete Journey (CC0); texts about them, put together from their facts and "
        "from phrases of ours (Apache-2.0)",
    )
    yield "rows", f"{told['rows']:,}, {told['held_rows']} of them held out by type of product"
    yield (
        "training",
        f"{told['steps']} steps of {told['batch']} rows, {told['tokens']:,} tokens, rate "
        f"{told['rate']:g} with a cosine, seed {told['seed']}; {told['cpu_seconds']:.0f} CPU-"
        "seconds of one thread, beside other work",
    )
    yield (
        "loss of held-out answers",
        f"{told['base_nll']:.2f} nats per token without it, {told['valid_nll']:.2f} with it",
    )
