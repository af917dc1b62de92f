"""The layout of the generators that follow rosinality/stylegan2-pytorch, and of e4e's decoders.

    theirs                                          ours
    style.N.weight, .bias          N from 1         mapping.(N - 1)
    input.input                    [1, C, 4, 4]     constant
    conv1, convs.N                                  convs.0, convs.(N + 1)
        conv.weight                [1, O, I, 3, 3]      conv.weight [O, I, 3, 3]
        conv.modulation.weight, .bias                   conv.affine
        noise.weight               [1]                  noise.strength
        activate.bias              [O]                  bias
    noises.noise_N                 [1, 1, S, S]     convs.N.noise.fixed
    to_rgb1, to_rgbs.N                              colours.0, colours.(N + 1)
        conv.weight                [1, 3, I, 1, 1]      conv.weight
        bias                       [1, 3, 1, 1]         bias

The convolutions that double (convs.N of even N) pass their weights to a transposed convolution as
they are; ours are those of the convolution that this is, so they are flipped along both axes. Gains
are the same. A file may hold the mean latent beside the generator, as `latent_avg`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from adwright.creative.faces.generator import Generator, GeneratorConfig
from adwright.creative.faces.layouts.reading import Named
from adwright.creative.faces.layouts.shapes import config_of, require_filter, require_square

__all__ = ["ROSINALITY_MARKER", "rosinality_generator"]

#: A name that every generator of this layout has.
ROSINALITY_MARKER = "conv1.conv.modulation.weight"
#: Latents of which the mean is taken, where a file has none.
_DRAWN = 4096


def rosinality_generator(found: Named, mean: Tensor | None = None) -> Generator:
    """The generator of these tensors. mean: of w, [D] or [rows, D]; None draws latents for it.

    Raises DataError where a tensor is missing or has another shape, ConfigError for a generator of
    another form.
    """
    config = _config(found)
    state = _mapping(found, config)
    state["constant"] = found.get("input.input", _channels(found, "conv1")[1], 4, 4)
    for at in range(2 * (config.rows // 2) - 1):
        state |= _conv(found, at, config)
    for at in range(config.rows // 2):
        state |= _colours(found, at, config)
    with torch.random.fork_rng(devices=[]):
        generator = Generator(config)
    state["mean"] = torch.zeros(config.wide) if mean is None else mean.float()
    if state["mean"].dim() == 2:
        state["mean"] = state["mean"].mean(0)
    generator.load_state_dict(state)
    if mean is None:
        random = torch.Generator().manual_seed(0)
        with torch.no_grad():
            w = generator.latents(torch.randn(_DRAWN, config.wide, generator=random))
            generator.mean.copy_(w.mean(0))
    return generator


def _channels(found: Named, conv: str) -> tuple[int, int]:
    """(out, in) of a convolution."""
    _, o, i, _, _ = found.shape(f"{conv}.conv.weight", 5)
    return o, i


def _config(found: Named) -> GeneratorConfig:
    layers = found.count("style.{}.weight", 1)
    wide = found.shape("conv1.conv.modulation.weight", 2)[1]
    for at in range(1, layers + 1):
        rows, columns = found.shape(f"style.{at}.weight", 2)
        require_square(rows, columns, f"style.{at}.weight")
    channels = {4: _channels(found, "conv1")[0]}
    for at in range(0, found.count("convs.{}.conv.weight"), 2):
        channels[8 << (at // 2)] = _channels(found, f"convs.{at}")[0]
        name = f"convs.{at}.conv.blur.kernel"
        if name in found:
            require_filter(found.tensors[name].tolist(), name)
    return config_of(channels, wide, layers)


def _mapping(found: Named, config: GeneratorConfig) -> dict[str, Tensor]:
    state = {}
    for at in range(config.layers):
        theirs = f"style.{at + 1}"
        state[f"mapping.{at}.weight"] = found.get(f"{theirs}.weight", config.wide, config.wide)
        state[f"mapping.{at}.bias"] = found.get(f"{theirs}.bias", config.wide)
    return state


def _conv(found: Named, at: int, config: GeneratorConfig) -> dict[str, Tensor]:
    theirs, ours = f"convs.{at - 1}" if at else "conv1", f"convs.{at}"
    o, i = _channels(found, theirs)
    weight, doubles = found.get(f"{theirs}.conv.weight", o, i, 3, 3), at % 2 == 1
    side = 4 << ((at + 1) // 2)
    noise = f"noises.noise_{at}"
    return {
        f"{ours}.conv.weight": weight.flip(2, 3) if doubles else weight,
        f"{ours}.conv.affine.weight": found.get(f"{theirs}.conv.modulation.weight", i, config.wide),
        f"{ours}.conv.affine.bias": found.get(f"{theirs}.conv.modulation.bias", i),
        f"{ours}.noise.strength": found.get(f"{theirs}.noise.weight"),
        # Where none is kept the fixed noise is none.
        f"{ours}.noise.fixed": (
            found.get(noise, side, side) if noise in found else torch.zeros(side, side)
        ),
        f"{ours}.bias": found.get(f"{theirs}.activate.bias", o),
    }


def _colours(found: Named, at: int, config: GeneratorConfig) -> dict[str, Tensor]:
    theirs, ours = f"to_rgbs.{at - 1}" if at else "to_rgb1", f"colours.{at}"
    i = _channels(found, f"convs.{2 * at - 1}" if at else "conv1")[0]
    return {
        f"{ours}.conv.weight": found.get(f"{theirs}.conv.weight", 3, i, 1, 1),
        f"{ours}.conv.affine.weight": found.get(f"{theirs}.conv.modulation.weight", i, config.wide),
        f"{ours}.conv.affine.bias": found.get(f"{theirs}.conv.modulation.bias", i),
        f"{ours}.bias": found.get(f"{theirs}.bias", 3),
    }
