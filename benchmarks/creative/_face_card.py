"""The model card of the portraits that ship with the package, out of what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_HEAD = """# Portraits that a network draws

A generator of portraits of 32 pixels (StyleGAN2), and where it is here the encoder that finds the
latents of such a portrait (e4e). `python -m benchmarks.creative.faces` made both. They are read by
`FittedFaces.load` and `FittedEncoder.load`. directions.toml names what faces may be moved along,
and what never: `adwright creative edit` takes all of it where no other model is named.
"""
_END = """
KID is measured on features of EfficientNet-Lite0: it stands beside no published KID, whose features
are others. Identity is the distance of what a reader of attributes knows of both portraits.

## What it is for, and what not

It serves tests, examples and a demonstration of editing: that each part of a drawn portrait is
known to the pixel lets it be measured whether a direction moves what it is named after. It draws no
person, and was trained on none. It is no model of photographs: a photograph that is passed to the
encoder comes back as a drawing of somebody else.
"""


def face_card(told: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """The card as Markdown. told: of the training; figures: as the benchmark publishes them."""
    lines = [_HEAD, "| what | value |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in _facts(told)]
    lines += ["\n| measured on held-out portraits | value |", "|---|---:|"]
    lines += [f"| {name} | {value} |" for name, value in _measures(figures)]
    return "\n".join(lines) + "\n" + _END


def _facts(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "licence", "Apache-2.0, as adwright"
    yield (
        "data",
        f"{told['pictures']:,} portraits of the style pixel-art of DiceBear (CC0 1.0), which "
        "`benchmarks.creative.faces_training.portraits` draws with labels; no person is in them",
    )
    yield "generator", f"{told['parameters']:,} parameters, {told['rows']} rows of W+"
    yield (
        "training",
        f"{told['kimg']:,.0f} thousand pictures, batch {told['batch']}, rate {told['rate']:g}, "
        f"seed {told['seed']}; {told['cpu_seconds'] / 3600:.1f} CPU-hours of one thread",
    )
    if told["encoder_parameters"]:
        yield (
            "encoder",
            f"{told['encoder_parameters']:,} parameters; {told['pair_steps']:,} steps on pairs, "
            f"{told['encoder_steps']:,} on portraits",
        )
    yield (
        "files",
        f"{told['bytes'] / 1e6:.1f} MB, safetensors in float16, with hashes in each manifest.json",
    )


def _measures(figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "KID, lite0", f"{figures['kid_lite0']:.4f}"
    yield "the same of real portraits against others", f"{figures['kid_lite0_real']:.4f}"
    if "inversion_l2" in figures:
        yield "L2 through the encoder, of -1 to 1", f"{figures['inversion_l2']:.4f}"
        yield "L2 of the mean portrait", f"{figures['inversion_l2_mean_picture']:.4f}"
        yield "identity distance through the encoder", f"{figures['identity_distance']:.3f}"
        yield "identity distance of two portraits", f"{figures['identity_distance_others']:.3f}"
    yield (
        "directions of SeFa that move one attribute, of the first 10",
        f"{figures['attribute_hit_rate']:.0%}",
    )
    yield "the same of random directions", f"{figures['attribute_hit_rate_random']:.0%}"
