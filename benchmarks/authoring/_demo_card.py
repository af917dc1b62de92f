"""The model card of the demonstration's adapter, out of what its training measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["card"]


def card(result: Mapping[str, Any]) -> str:
    """The card as Markdown. result: what `demo_adapter` measured."""
    told, tuned, untuned = result["training"], result["tuned"], result["untuned"]
    settings = told["settings"]
    return f"""# The demonstration's adapter

Writes the headline, the text and the description of an ad for a grocer's product, as the fourth
part of `adwright demo` asks for them. Written by `python -m benchmarks.authoring.demo_adapter`.

| what | value |
|---|---|
| base | {told["base"]}; SmolLM2-135M-Instruct is Apache-2.0 |
| licence of the adapter | Apache-2.0, as adwright |
| method | LoRA on all linear maps, rank {settings["rank"]}, alpha {settings["alpha"]:g}; {told["trainable"]:,} parameters |
| file | `tuned/tensors.safetensors`, float32, {told["bytes"] / 1e6:.1f} MB, listed with its hash in `tuned/manifest.json` |
| data | products of Complete Journey (CC0); their texts are put together by our own phrases (Apache-2.0) |
| rows | {told["rows"]:,} to train and choose by, {told["held_rows"]} of them held out by product type |
| training | {told["steps"]} steps of {told["batch"]} rows, {told["tokens"]:,} tokens, rate {told["rate"]:g} with a cosine, seed {told["seed"]}, {told["cpu_seconds"]:.0f} CPU-seconds of one thread |
| loss of held-out answers | {told["base_nll"]:.2f} nats per token without it, {told["valid_nll"]:.2f} with it |

Of {tuned["texts"]} texts for products of types that were not trained on, before any repair:

| texts | without the adapter | with it |
|---|---:|---:|
| grounded: no unsupported number, brand, material, colour, claim or name | {untuned["grounded"]:.0%} | {tuned["grounded"]:.0%} |
| without a finding of the policy | {untuned["policy"]:.0%} | {tuned["policy"]:.0%} |
| without any error, limits of length included | {untuned["faultless"]:.0%} | {tuned["faultless"]:.0%} |

## What it is for, and what not

It shows that a model of 135 million parameters can be taught a form and to keep to given facts in
minutes on one processor. It is no copywriter: its texts follow a few dozen patterns, in English,
for the names of goods that this data set has. What it says beyond the facts is where such goods are
kept or when they are wanted, and that can be odd. Whatever it writes is to be checked, as the
demonstration does. For a shop of your own, tune on your own texts: `adwright author tune`.
"""
