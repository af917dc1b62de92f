"""Public layouts of StyleGAN2 and e4e with random weights, and what each makes of them, literally.

Each function works on the names and shapes of its layout, image by image, by the published
formulas: weights multiplied by the style of the image, demodulated, and convolved; a doubling
convolution is a transposed one with the weights as they are, filtered by [1, 3, 3, 1] after that.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]
#: Of each side of the generators that are drawn.
LAYOUT_CHANNELS = {4: 12, 8: 12, 16: 8, 32: 4}


def upfirdn(x: Tensor, up: int, pad: tuple[int, int], gain: float) -> Tensor:
    """[B, C, H, W] with zeros between, padded, and filtered by [1, 3, 3, 1] along both axes."""
    batch, channels, height, width = x.shape
    spread = torch.zeros(batch, channels, height * up, width * up)
    spread[:, :, ::up, ::up] = x
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    kernel = torch.outer(taps, taps) * gain
    padded = functional.pad(spread, (pad[0], pad[1], pad[0], pad[1]))
    weight = kernel.flip(0, 1)[None, None].expand(channels, 1, 4, 4)
    return functional.conv2d(padded, weight, groups=channels)


def literal_modulated(
    x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool, up: bool
) -> Tensor:
    """Images [B, I, H, W] by weights [O, I, k, k] of their own each, with styles [B, I]."""
    made = []
    for image, scales in zip(x, style, strict=True):
        own = weight * scales[None, :, None, None]
        if demodulate:
            own = own / (own.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            wide = functional.conv_transpose2d(image[None], own.transpose(0, 1), stride=2)
            made.append(upfirdn(wide, 1, (1, 1), 4.0)[0])
        else:
            made.append(functional.conv2d(image[None], own, padding=own.shape[-1] // 2)[0])
    return torch.stack(made)


def _active(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)


def _normal(z: Tensor) -> Tensor:
    return z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()


def random_rosinality(side: int, wide: int, layers: int, *, seed: int = 0) -> State:
    """A generator's tensors under rosinality's names."""
    random = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    state: State = {"input.input": drawn(1, LAYOUT_CHANNELS[4], 4, 4)}
    for at in range(1, layers + 1):
        state |= {f"style.{at}.weight": 100 * drawn(wide, wide), f"style.{at}.bias": drawn(wide)}

    def modulated(name: str, o: int, i: int, kernel: int) -> None:
        state[f"{name}.conv.weight"] = drawn(1, o, i, kernel, kernel)
        state[f"{name}.conv.modulation.weight"] = drawn(i, wide)
        state[f"{name}.conv.modulation.bias"] = 1 + 0.3 * drawn(i)

    def styled(name: str, o: int, i: int, at: int, size: int) -> None:
        modulated(name, o, i, 3)
        state[f"{name}.noise.weight"] = drawn(1)
        state[f"{name}.activate.bias"] = 0.3 * drawn(o)
        state[f"noises.noise_{at}"] = drawn(1, 1, size, size)

    def colours(name: str, i: int) -> None:
        modulated(name, 3, i, 1)
        state[f"{name}.bias"] = drawn(1, 3, 1, 1)

    i = LAYOUT_CHANNELS[4]
    styled("conv1", i, i, 0, 4)
    colours("to_rgb1", i)
    kernel = torch.outer(*(torch.tensor([1.0, 3.0, 3.0, 1.0]),) * 2) / 64
    size, at = 8, 0
    while size <= side:
        o = LAYOUT_CHANNELS[size]
        styled(f"convs.{at}", o, i, at + 1, size)
        styled(f"convs.{at + 1}", o, o, at + 2, size)
        colours(f"to_rgbs.{at // 2}", o)
        state[f"convs.{at}.conv.blur.kernel"] = 4 * kernel
        state[f"to_rgbs.{at // 2}.upsample.kernel"] = 4 * kernel
        i, size, at = o, 2 * size, at + 2
    return state


def rosinality_latents(state: State, z: Tensor) -> Tensor:
    """w [B, D] of z [B, D]."""
    w, at = _normal(z), 1
    while f"style.{at}.weight" in state:
        scale = 0.01 / math.sqrt(w.shape[1])
        w = _active(w @ (state[f"style.{at}.weight"] * scale).T + 0.01 * state[f"style.{at}.bias"])
        at += 1
    return w


def rosinality_pictures(state: State, plus: Tensor) -> Tensor:
    """[B, 3, S, S] of W+ [B, rows, D], with the fixed noise."""

    def conv(name: str, x: Tensor, w: Tensor, up: bool, demodulate: bool) -> Tensor:
        weight = state[f"{name}.conv.weight"][0]
        scale = state[f"{name}.conv.modulation.weight"] / math.sqrt(w.shape[1])
        style = w @ scale.T + state[f"{name}.conv.modulation.bias"]
        weight = weight / math.sqrt(weight[0].numel())
        return literal_modulated(x, weight, style, demodulate=demodulate, up=up)

    def styled(name: str, x: Tensor, w: Tensor, at: int, up: bool) -> Tensor:
        x = conv(name, x, w, up, True)
        x = x + state[f"{name}.noise.weight"] * state[f"noises.noise_{at}"]
        return _active(x + state[f"{name}.activate.bias"][None, :, None, None])

    def colours(name: str, x: Tensor, w: Tensor) -> Tensor:
        return conv(name, x, w, False, False) + state[f"{name}.bias"]

    x = styled("conv1", state["input.input"].repeat(len(plus), 1, 1, 1), plus[:, 0], 0, False)
    picture, at = colours("to_rgb1", x, plus[:, 1]), 0
    while f"convs.{at}.conv.weight" in state:
        x = styled(f"convs.{at}", x, plus[:, at + 1], at + 1, True)
        x = styled(f"convs.{at + 1}", x, plus[:, at + 2], at + 2, False)
        picture = upfirdn(picture, 2, (2, 1), 4.0)
        picture = picture + colours(f"to_rgbs.{at // 2}", x, plus[:, at + 3])
        at += 2
    return picture


def random_nvidia(side: int, wide: int, layers: int, *, seed: int = 0) -> State:
    """A generator's tensors under the names of stylegan2-ada-pytorch."""
    random = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    state: State = {
        "synthesis.b4.const": drawn(LAYOUT_CHANNELS[4], 4, 4),
        "mapping.w_avg": drawn(wide),
    }
    for at in range(layers):
        name = f"mapping.fc{at}"
        state |= {f"{name}.weight": 100 * drawn(wide, wide), f"{name}.bias": drawn(wide)}

    def modulated(name: str, o: int, i: int, kernel: int) -> None:
        state[f"{name}.weight"] = drawn(o, i, kernel, kernel)
        state[f"{name}.affine.weight"] = drawn(i, wide)
        state[f"{name}.affine.bias"] = 1 + 0.3 * drawn(i)
        state[f"{name}.bias"] = 0.3 * drawn(o)

    i, size = LAYOUT_CHANNELS[4], 4
    while size <= side:
        o, block = LAYOUT_CHANNELS[size], f"synthesis.b{size}"
        for name, before in (("conv0", i), ("conv1", o)):
            if size > 4 or name == "conv1":
                modulated(f"{block}.{name}", o, before, 3)
                state[f"{block}.{name}.noise_strength"] = drawn()
                state[f"{block}.{name}.noise_const"] = drawn(size, size)
        modulated(f"{block}.torgb", 3, o, 1)
        state[f"{block}.resample_filter"] = (
            torch.outer(*(torch.tensor([1.0, 3.0, 3.0, 1.0]),) * 2) / 64
        )
        i, size = o, 2 * size
    return state


def nvidia_latents(state: State, z: Tensor) -> Tensor:
    """w [B, D] of z [B, D]."""
    w, at = _normal(z), 0
    while f"mapping.fc{at}.weight" in state:
        weight = state[f"mapping.fc{at}.weight"] * (0.01 / math.sqrt(w.shape[1]))
        w = _active(w @ weight.T + 0.01 * state[f"mapping.fc{at}.bias"])
        at += 1
    return w


def nvidia_pictures(state: State, plus: Tensor) -> Tensor:
    """[B, 3, S, S] of W+ [B, rows, D], with the constant noise."""

    def style(name: str, w: Tensor) -> Tensor:
        scale = state[f"{name}.affine.weight"] / math.sqrt(w.shape[1])
        return w @ scale.T + state[f"{name}.affine.bias"]

    def layer(name: str, x: Tensor, w: Tensor, up: bool) -> Tensor:
        x = literal_modulated(x, state[f"{name}.weight"], style(name, w), demodulate=True, up=up)
        x = x + state[f"{name}.noise_const"] * state[f"{name}.noise_strength"]
        return _active(x + state[f"{name}.bias"][None, :, None, None])

    def colours(name: str, x: Tensor, w: Tensor) -> Tensor:
        weight = state[f"{name}.weight"]
        scaled = style(name, w) / math.sqrt(weight.shape[1])
        x = literal_modulated(x, weight, scaled, demodulate=False, up=False)
        return x + state[f"{name}.bias"][None, :, None, None]

    x, size, row = state["synthesis.b4.const"].repeat(len(plus), 1, 1, 1), 4, 0
    picture = torch.zeros(())
    while f"synthesis.b{size}.conv1.weight" in state:
        block = f"synthesis.b{size}"
        if size > 4:
            x, row = layer(f"{block}.conv0", x, plus[:, row], True), row + 1
            picture = upfirdn(picture, 2, (2, 1), 4.0)
        x, row = layer(f"{block}.conv1", x, plus[:, row], False), row + 1
        picture = picture + colours(f"{block}.torgb", x, plus[:, row])
        size *= 2
    return picture


def random_e4e(width: int, rows: int, heads: tuple[int, int, int], *, seed: int = 0) -> State:
    """An encoder's tensors under the names of encoder4editing. heads: convolutions of the heads of
    the coarse, the middle and the fine rows."""
    random = torch.Generator().manual_seed(seed)
    state: State = {}

    def conv(name: str, o: int, i: int, kernel: int, *, bias: bool = False) -> None:
        spread = 1 / math.sqrt(i * kernel * kernel)
        state[f"{name}.weight"] = spread * torch.randn(o, i, kernel, kernel, generator=random)
        if bias:
            state[f"{name}.bias"] = 0.1 * torch.randn(o, generator=random)

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "running_var"):
            state[f"{name}.{part}"] = 0.5 + torch.rand(channels, generator=random)
        for part in ("bias", "running_mean"):
            state[f"{name}.{part}"] = 0.1 * torch.randn(channels, generator=random)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def slope(name: str, channels: int) -> None:
        state[f"{name}.weight"] = 0.3 * torch.rand(channels, generator=random)

    conv("input_layer.0", width, 3, 3)
    norm("input_layer.1", width)
    slope("input_layer.2", width)
    i, at = width, 0
    for stage, times in enumerate((3, 4, 14, 3)):
        o = width << stage
        for _ in range(times):
            name = f"body.{at}"
            if i != o:
                conv(f"{name}.shortcut_layer.0", o, i, 1)
                norm(f"{name}.shortcut_layer.1", o)
            norm(f"{name}.res_layer.0", i)
            conv(f"{name}.res_layer.1", o, i, 3)
            slope(f"{name}.res_layer.2", o)
            conv(f"{name}.res_layer.3", o, o, 3)
            norm(f"{name}.res_layer.4", o)
            conv(f"{name}.res_layer.5.fc1", max(1, o // 16), o, 1)
            conv(f"{name}.res_layer.5.fc2", o, max(1, o // 16), 1)
            i, at = o, at + 1
    conv("latlayer1", i, i // 2, 1, bias=True)
    conv("latlayer2", i, i // 4, 1, bias=True)
    for row in range(rows):
        for step in range(heads[0 if row < 3 else 1 if row < 7 else 2]):
            conv(f"styles.{row}.convs.{2 * step}", i, i, 3, bias=True)
        state[f"styles.{row}.linear.weight"] = torch.randn(i, i, generator=random)
        state[f"styles.{row}.linear.bias"] = torch.randn(i, generator=random)
    return state


def e4e_offsets(state: State, pictures: Tensor) -> Tensor:
    """[B, rows, D] of pictures [B, 3, H, W]."""

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        bias = state.get(f"{name}.bias")
        return functional.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)

    def norm(name: str, x: Tensor) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"][None, :, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def sloped(name: str, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, x * state[f"{name}.weight"][None, :, None, None])

    x = sloped("input_layer.2", norm("input_layer.1", conv("input_layer.0", pictures)))
    kept = {}
    for at in range(24):
        name, stride = f"body.{at}", 2 if at in (0, 3, 7, 21) else 1
        short = functional.max_pool2d(x, 1, stride)
        if f"{name}.shortcut_layer.0.weight" in state:
            short = norm(f"{name}.shortcut_layer.1", conv(f"{name}.shortcut_layer.0", x, stride))
        y = conv(f"{name}.res_layer.1", norm(f"{name}.res_layer.0", x))
        y = conv(f"{name}.res_layer.3", sloped(f"{name}.res_layer.2", y), stride)
        y = norm(f"{name}.res_layer.4", y)
        share = functional.adaptive_avg_pool2d(y, 1)
        share = conv(f"{name}.res_layer.5.fc2", conv(f"{name}.res_layer.5.fc1", share).relu())
        x = y * torch.sigmoid(share) + short
        kept[at] = x

    def larger(coarse: Tensor, fine: Tensor) -> Tensor:
        size = [fine.shape[2], fine.shape[3]]
        return functional.interpolate(coarse, size, mode="bilinear", align_corners=True) + fine

    middle = larger(kept[23], conv("latlayer1", kept[20]))
    fine = larger(middle, conv("latlayer2", kept[6]))
    rows: list[Tensor] = []
    while f"styles.{len(rows)}.linear.weight" in state:
        name = f"styles.{len(rows)}"
        y = kept[23] if len(rows) < 3 else middle if len(rows) < 7 else fine
        step = 0
        while f"{name}.convs.{2 * step}.weight" in state:
            y = functional.leaky_relu(conv(f"{name}.convs.{2 * step}", y, 2), 0.01)
            step += 1
        flat = y.reshape(len(pictures), -1)
        weight = state[f"{name}.linear.weight"] / math.sqrt(flat.shape[1])
        made = flat @ weight.T + state[f"{name}.linear.bias"]
        rows.append(made if not rows else rows[0] + made)
    return torch.stack(rows, 1)
