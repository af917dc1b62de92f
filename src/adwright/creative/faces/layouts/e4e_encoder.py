"""The encoder of e4e in the layout of omertov/encoder4editing: IR-SE-50, a pyramid, a head a row.

    encoder = e4e_encoder(found.below("encoder."))
    offsets = encoder(pictures)        # [B, rows, D] from the mean latent; pictures of 256 pixels

    input_layer.0, .1, .2                convolution 3 x 3, batch norm, PReLU
    body.0 to body.23                    units of 3, 4, 14 and 3, the first of each halves
        shortcut_layer.0, .1             1 x 1 with stride, batch norm; where channels change
        res_layer.0 to .5                norm, 3 x 3, PReLU, 3 x 3 with stride, norm, squeeze:
            .5.fc1, .5.fc2               x sigmoid(fc2 relu(fc1 mean(x)))
    latlayer1, latlayer2                 1 x 1, of what units 20 and 6 make
    styles.N.convs.0, .2, ..             3 x 3 with stride 2, leaky ReLU of .01, down to a pixel
    styles.N.linear.weight, .bias        equalised rate

Rows 0 to 2 read what unit 23 makes, rows 3 to 6 the pyramid's middle, the others its finest level.
Row 0 is w, which the others add to their own. Widths are read from the shapes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.errors import DataError
from adwright.creative.faces.layouts.reading import Named

__all__ = ["E4E_MARKER", "E4E_SIDE", "E4eEncoder", "e4e_encoder"]

#: A name that every encoder of this layout has.
E4E_MARKER = "latlayer1.weight"
#: Pixels of the pictures that it was trained on.
E4E_SIDE = 256
_STAGES = (3, 4, 14, 3)
_MIDDLE, _FINE = 3, 7


class _Squeeze(nn.Module):
    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.fc2 = nn.Conv2d(inner, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W], each channel times a share."""
        share: Tensor = self.fc2(functional.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * share.sigmoid()


class _Unit(nn.Module):
    def __init__(self, i: int, o: int, stride: int, inner: int) -> None:
        super().__init__()
        self.stride = stride
        self.shortcut_layer = (
            None
            if i == o
            else nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))
        )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(i),
            nn.Conv2d(i, o, 3, 1, 1, bias=False),
            nn.PReLU(o),
            nn.Conv2d(o, o, 3, stride, 1, bias=False),
            nn.BatchNorm2d(o),
            _Squeeze(o, inner),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, i, H, W] to [B, o, H / stride, W / stride]."""
        kept = x[:, :, :: self.stride, :: self.stride]
        if self.shortcut_layer is not None:
            kept = self.shortcut_layer(x)
        made: Tensor = self.res_layer(x) + kept
        return made


class _Equal(nn.Module):
    def __init__(self, wide: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(wide, wide))
        self.bias = nn.Parameter(torch.zeros(wide))

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] to [B, D]."""
        return functional.linear(x, self.weight / math.sqrt(x.shape[1]), self.bias)


class _Style(nn.Module):
    def __init__(self, wide: int, convs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(convs):
            layers += [nn.Conv2d(wide, wide, 3, 2, 1), nn.LeakyReLU()]
        self.convs, self.linear = nn.Sequential(*layers), _Equal(wide)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, H, W] to [B, D]."""
        made: Tensor = self.linear(self.convs(x).flatten(1))
        return made


class E4eEncoder(nn.Module):
    """See the module. width: channels of the first layer. inner: of the squeezes, by unit. convs:
    of the head of each row."""

    def __init__(self, width: int, inner: list[int], convs: list[int]) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width)
        )
        units: list[nn.Module] = []
        i = width
        for stage, times in enumerate(_STAGES):
            o = width << stage
            for at in range(times):
                units.append(_Unit(i, o, 2 if at == 0 else 1, inner[len(units)]))
                i = o
        self.body, wide = nn.Sequential(*units), i
        self.styles = nn.ModuleList(_Style(wide, number) for number in convs)
        self.latlayer1 = nn.Conv2d(wide // 2, wide, 1)
        self.latlayer2 = nn.Conv2d(wide // 4, wide, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Offsets [B, rows, D] from the mean latent, of pictures [B, 3, 256, 256], -1 to 1."""
        ends = [sum(_STAGES[: at + 1]) - 1 for at in range(len(_STAGES))]
        x, found = self.input_layer(pictures), []
        for at, unit in enumerate(self.body):
            x = unit(x)
            if at in ends:
                found.append(x)
        middle = _added(found[3], self.latlayer1(found[2]))
        fine = _added(middle, self.latlayer2(found[1]))
        rows: list[Tensor] = []
        for at, style in enumerate(self.styles):
            made = style(found[3] if at < _MIDDLE else middle if at < _FINE else fine)
            rows.append(made if at == 0 else rows[0] + made)
        return torch.stack(rows, 1)


def e4e_encoder(found: Named) -> E4eEncoder:
    """The encoder of these tensors, in eval mode. Raises DataError where they are of another."""
    width = found.shape("input_layer.0.weight", 4)[0]
    units, rows = sum(_STAGES), found.count("styles.{}.linear.weight")
    inner = [found.shape(f"body.{at}.res_layer.5.fc1.weight", 4)[0] for at in range(units)]
    convs = []
    for row in range(rows):
        number = 0
        while f"styles.{row}.convs.{2 * number}.weight" in found:
            number += 1
        convs.append(number)
    with torch.random.fork_rng(devices=[]):
        encoder = E4eEncoder(width, inner, convs)
    try:
        encoder.load_state_dict(dict(found.tensors))
    except RuntimeError as error:
        raise DataError(
            f"the encoder is another than IR-SE-50's: {' '.join(str(error).split())[:300]}",
            file=found.file,
            hint="only encoders of the type Encoder4Editing can be read",
        ) from error
    return encoder.eval()


def _added(coarse: Tensor, fine: Tensor) -> Tensor:
    size = fine.shape[2:]
    return fine + functional.interpolate(coarse, size, mode="bilinear", align_corners=True)
