"""The layout of NVlabs/stylegan2-ada-pytorch, of generators without labels.

    theirs                                          ours
    mapping.fcN.weight, .bias                       mapping.N
    mapping.w_avg                                   mean
    synthesis.b4.const             [C, 4, 4]        constant
    synthesis.bS.conv0, .conv1                      convs
        weight                     [O, I, 3, 3]         conv.weight
        affine.weight, .bias                            conv.affine
        noise_strength, noise_const                     noise.strength, .fixed
        bias                                            bias
    synthesis.bS.torgb                              colours
        weight, affine, bias                            conv.weight, conv.affine, bias

conv0 of each block doubles, and passes its weights to a transposed convolution as they are; ours
are flipped. Their convolutions with demodulation do not divide by sqrt(fan-in), ours do, so our
weights are as many times larger; layers of colours divide alike. Their clamping at 256 in half
precision is left out.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.creative.faces.e4e_file import Named, config_of, require_filter, require_square
from adwright.creative.faces.stylegan import Generator, GeneratorConfig

#: A name that every generator of this layout has.
NVIDIA_MARKER = "synthesis.b4.const"


def nvidia_generator(found: Named) -> Generator:
    """The generator of these tensors.

    Raises DataError where a tensor is missing or has another shape, ConfigError for a generator of
    another form.
    """
    config = _config(found)
    state = {"mean": found.get("mapping.w_avg", config.wide)}
    for at in range(config.layers):
        theirs = f"mapping.fc{at}"
        state[f"mapping.{at}.weight"] = found.get(f"{theirs}.weight", config.wide, config.wide)
        state[f"mapping.{at}.bias"] = found.get(f"{theirs}.bias", config.wide)
    first = found.shape("synthesis.b4.const", 3)[0]
    state["constant"] = found.get("synthesis.b4.const", first, 4, 4)
    for at in range(2 * (config.rows // 2) - 1):
        state |= _conv(found, at, config)
    for at in range(config.rows // 2):
        state |= _colours(found, at, config)
    with torch.random.fork_rng(devices=[]):
        generator = Generator(config)
    generator.load_state_dict(state)
    return generator


def _config(found: Named) -> GeneratorConfig:
    if "mapping.embed.weight" in found:
        raise ConfigError(
            "the generator wants labels",
            where="mapping.embed.weight",
            hint="only generators without labels can be read",
        )
    layers = found.count("mapping.fc{}.weight")
    for at in range(layers):
        rows, columns = found.shape(f"mapping.fc{at}.weight", 2)
        require_square(rows, columns, f"mapping.fc{at}.weight")
    side, channels = 4, {}
    while (name := f"synthesis.b{side}.conv1.weight") in found:
        channels[side] = found.shape(name, 4)[0]
        if f"synthesis.b{side}.skip.weight" in found:
            raise ConfigError(
                "the generator's blocks are residual",
                where=f"synthesis.b{side}.skip.weight",
                hint="only those whose colours are added up can be read",
            )
        kernel = f"synthesis.b{side}.resample_filter"
        if kernel in found:
            require_filter(found.tensors[kernel].tolist(), kernel)
        side *= 2
    if 8 not in channels:
        found.shape("synthesis.b8.conv1.weight", 4)
    return config_of(channels, found.shape("mapping.w_avg", 1)[0], layers)


def _conv(found: Named, at: int, config: GeneratorConfig) -> dict[str, Tensor]:
    side, doubles = 4 << ((at + 1) // 2), at % 2 == 1
    theirs = f"synthesis.b{side}.conv{0 if doubles else 1}"
    o, i = found.shape(f"{theirs}.weight", 4)[:2]
    weight = found.get(f"{theirs}.weight", o, i, 3, 3) * math.sqrt(9 * i)
    ours = f"convs.{at}"
    return {
        f"{ours}.conv.weight": weight.flip(2, 3) if doubles else weight,
        f"{ours}.conv.affine.weight": found.get(f"{theirs}.affine.weight", i, config.wide),
        f"{ours}.conv.affine.bias": found.get(f"{theirs}.affine.bias", i),
        f"{ours}.noise.strength": found.get(f"{theirs}.noise_strength"),
        f"{ours}.noise.fixed": found.get(f"{theirs}.noise_const", side, side),
        f"{ours}.bias": found.get(f"{theirs}.bias", o),
    }


def _colours(found: Named, at: int, config: GeneratorConfig) -> dict[str, Tensor]:
    theirs, ours = f"synthesis.b{4 << at}.torgb", f"colours.{at}"
    i = found.shape(f"synthesis.b{4 << at}.conv1.weight", 4)[0]
    return {
        f"{ours}.conv.weight": found.get(f"{theirs}.weight", 3, i, 1, 1),
        f"{ours}.conv.affine.weight": found.get(f"{theirs}.affine.weight", i, config.wide),
        f"{ours}.conv.affine.bias": found.get(f"{theirs}.affine.bias", i),
        f"{ours}.bias": found.get(f"{theirs}.bias", 3),
    }
