"""Weights of faces that e4e's authors published: a StyleGAN2 generator and its encoder, in a file.

    faces, encoder = load_e4e("e4e_ffhq_encode.pt", accept_noncommercial=True)
    plus = encoder.invert(faces, pictures)                   # W+ of aligned pictures

Nearly all such weights were trained on faces that may not be used to earn money (FFHQ: CC BY-NC-SA
4.0; NVIDIA's own: non-commercial). So none is read before `accept_noncommercial` says that their
terms were read and are met. Nothing is downloaded.

Checkpoints as files: safetensors, or torch's own format, of which tensors alone are read.

    tensors = read_checkpoint("550000.pt")      # {"g_ema.conv1.conv.weight": ..., ...}

Dictionaries within dictionaries become dotted names; what is no tensor is left out. A pickle that
holds anything but tensors and plain values is refused, for loading it could run code: NVIDIA's own
.pkl files hold whole networks, and have to be written as a state dict where they were made.

The configuration of a generator, from the shapes of its weights.

Our generator has min(base / side, most) channels at a side, as both public ones have; whatever
follows that rule can be read.

The layout of the generators that follow rosinality/stylegan2-pytorch, and of e4e's decoders.

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

The encoder of e4e in the layout of omertov/encoder4editing: IR-SE-50, a pyramid, a head a row.

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
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.errors import ArtifactUnsafeError, ConfigError, DataError, FileUnreadableError
from adwright.core.hashing import sha256_file
from adwright.creative.faces.stylegan import FittedFaces, Generator, GeneratorConfig, channels_at

#: A file of safetensors begins with the length of a JSON object, in 8 bytes.
_LENGTH = 8


@dataclass(frozen=True, eq=False)
class Named:
    """Tensors of a file by name. file: as it was named, for errors."""

    tensors: Mapping[str, Tensor]
    file: str = ""

    def __contains__(self, name: str) -> bool:
        """Whether there is a tensor of that name."""
        return name in self.tensors

    def shape(self, name: str, axes: int) -> tuple[int, ...]:
        """Of a tensor with so many axes. Raises DataError where it is not there, or has others."""
        if name not in self.tensors:
            raise DataError(
                "the checkpoint lacks a tensor",
                file=self.file,
                column=name,
                hint="name the layout that it has, or convert it again",
            )
        found = tuple(self.tensors[name].shape)
        if len(found) != axes:
            raise DataError(
                f"a tensor has shape {found}",
                file=self.file,
                column=name,
                hint=f"it should have {axes} axes",
            )
        return found

    def get(self, name: str, *shape: int) -> Tensor:
        """The tensor as float32, brought to that shape, which has as many numbers.

        Raises DataError where it is not there, or has another number of numbers.
        """
        if name not in self.tensors:
            self.shape(name, 0)
        found = self.tensors[name].detach().float()
        if found.numel() != torch.Size(shape).numel():
            raise DataError(
                f"a tensor has shape {tuple(found.shape)}",
                file=self.file,
                column=name,
                hint=f"it should have {' x '.join(map(str, shape)) or 'one number'}",
            )
        return found.reshape(shape).clone()

    def below(self, prefix: str) -> Named:
        """Those whose name begins with prefix, without it."""
        own = {n.removeprefix(prefix): t for n, t in self.tensors.items() if n.startswith(prefix)}
        return Named(own, self.file)

    def count(self, pattern: str, first: int = 0) -> int:
        """How many names there are of "PATTERN", with {} a number from `first` on."""
        at = first
        while pattern.format(at) in self.tensors:
            at += 1
        return at - first


def read_checkpoint(path: str | Path) -> Named:
    """See the module. Raises FileUnreadableError where there is no such file or it is damaged,
    ArtifactUnsafeError where it holds more than tensors and plain values, DataError where it holds
    no tensor.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            is_safetensors = file.read(_LENGTH + 1)[_LENGTH:] == b"{"
        if is_safetensors:
            tensors = load_file(path)
        else:
            tensors = dict(_flat(torch.load(path, map_location="cpu", weights_only=True), ""))
    except pickle.UnpicklingError as error:
        raise ArtifactUnsafeError(
            "the checkpoint holds more than tensors and plain values",
            where=str(path),
            hint="write its state dict, best as safetensors, where it was made",
        ) from error
    except (OSError, SafetensorError, EOFError, RuntimeError, ValueError) as error:
        raise FileUnreadableError(
            f"the checkpoint cannot be read: {error}", file=str(path), hint="check the path"
        ) from error
    if not tensors:
        raise DataError("the checkpoint holds no tensor", file=str(path), hint="check the path")
    return Named(tensors, str(path))


def prefix_before(names: Iterator[str] | Mapping[str, Tensor], marker: str) -> str | None:
    """What stands before `marker` in the one name that ends with it; None where none does.

    Of several a running mean ("ema") is preferred, then the shortest.
    """
    found = [name.removesuffix(marker) for name in names if name.endswith(marker)]
    found = [prefix for prefix in found if not prefix or prefix.endswith(".")]
    return min(found, key=lambda p: ("ema" not in p, len(p), p)) if found else None


def _flat(values: object, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(values, Tensor):
        yield prefix.removesuffix("."), values
    elif isinstance(values, Mapping):
        for name, value in values.items():
            yield from _flat(value, f"{prefix}{name}.")


_TAPS = (1.0, 3.0, 3.0, 1.0)


def config_of(channels: Mapping[int, int], wide: int, layers: int) -> GeneratorConfig:
    """channels: of each side from 4 on. wide: D, of z and w. layers: of the mapping.

    Raises ConfigError where the channels follow another rule.
    """
    side, most = max(channels), max(channels.values())
    fewer = [at for at, number in channels.items() if number < most]
    base = channels[max(fewer)] * max(fewer) if fewer else most * side
    if any(channels_at(at, base, most) != number for at, number in channels.items()):
        raise ConfigError(
            f"the channels {dict(channels)} are not min(base / side, most)",
            where="channels",
            hint="such a generator cannot be read",
        )
    return GeneratorConfig(side=side, wide=wide, layers=layers, base=max(base, side), most=most)


def require_square(rows: int, columns: int, name: str) -> None:
    """Raise ConfigError for a layer of the mapping that changes the width."""
    if rows != columns:
        raise ConfigError(
            f"a layer of the mapping makes {rows} numbers of {columns}",
            where=name,
            hint="generators with labels, or whose z and w differ in width, cannot be read",
        )


def require_filter(taps: list[list[float]], name: str) -> None:
    """Raise ConfigError for a filter of resolutions that is not [1, 3, 3, 1], up to its sum."""
    total = sum(map(sum, taps))
    literal = [[a * b / 64 for b in _TAPS] for a in _TAPS]
    same = len(taps) == len(_TAPS) and all(
        len(row) == len(_TAPS)
        and all(abs(x / total - y) < 1e-4 for x, y in zip(row, wanted, strict=True))
        for row, wanted in zip(taps, literal, strict=True)
    )
    if not same:
        raise ConfigError(
            "the resolutions are filtered by something else than [1, 3, 3, 1]",
            where=name,
            hint="such a generator cannot be read",
        )


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
    wide, state = config.wide, {}
    for at in range(config.layers):
        theirs = f"style.{at + 1}"
        state[f"mapping.{at}.weight"] = found.get(f"{theirs}.weight", wide, wide)
        state[f"mapping.{at}.bias"] = found.get(f"{theirs}.bias", wide)
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


_AT_A_TIME = 8


@dataclass(frozen=True, eq=False)
class PublicEncoder:
    """The encoder of e4e as its authors published it. mean: latents [rows, D] that its offsets are
    added to."""

    encoder: E4eEncoder
    mean: Tensor

    @torch.no_grad()
    def invert(self, faces: FittedFaces, pictures: Tensor) -> Tensor:
        """W+ [N, rows, D] of pictures [N, 3, H, W], -1 to 1, aligned as FFHQ's are, which are
        brought to E4E_SIDE first. faces: those of the same file."""
        found = []
        for some in torch.split(pictures, _AT_A_TIME):
            sized = functional.interpolate(some, (E4E_SIDE,) * 2, mode="bilinear", antialias=True)
            found.append(self.mean + self.encoder(sized))
        return torch.cat(found)


def load_e4e(
    path: str | Path, *, accept_noncommercial: bool = False
) -> tuple[FittedFaces, PublicEncoder]:
    """The generator and the encoder of a checkpoint of e4e. accept_noncommercial: see the module.

    Raises ConfigError without it, and for a generator that ours cannot be; DataError where the
    parts are not in the file, or do not belong together; and as `read_checkpoint`.
    """
    if not accept_noncommercial:
        raise ConfigError(
            "weights of faces that others published are nearly always for non-commercial use only",
            where=str(path),
            hint="read their terms; where yours is such a use, set accept_noncommercial "
            "(--accept-noncommercial)",
        )
    found = read_checkpoint(path)
    prefix = prefix_before(found.tensors, E4E_MARKER)
    decoder = prefix_before(found.below("state_dict.").tensors, f"decoder.{ROSINALITY_MARKER}")
    before = "state_dict.decoder." if decoder is not None else "decoder."
    if prefix is None or f"{before}{ROSINALITY_MARKER}" not in found:
        raise DataError(
            "the checkpoint holds no encoder of e4e with its decoder",
            file=str(path),
            hint=f"it has tensors whose names end with {E4E_MARKER} and {ROSINALITY_MARKER}",
        )
    encoder = e4e_encoder(found.below(prefix))
    average = found.tensors.get("latent_avg")
    generator = rosinality_generator(found.below(before), average)
    rows, wide = generator.config.rows, generator.config.wide
    if len(encoder.styles) != rows:
        raise DataError(
            f"the encoder finds {len(encoder.styles)} rows, the decoder reads {rows}",
            file=str(path),
            hint="take both from one training",
        )
    mean = generator.mean.expand(rows, wide).clone()
    if average is not None and average.dim() == 2:
        mean = found.get("latent_avg", rows, wide)
    faces = FittedFaces(
        generator.requires_grad_(False),
        config={"layout": "e4e", "file": Path(path).name},
        data_hash=sha256_file(path),
        about="weights of others in the layout of e4e: see their terms before any use",
    )
    return faces, PublicEncoder(encoder, mean)
