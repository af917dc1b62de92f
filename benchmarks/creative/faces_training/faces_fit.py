"""Changes of the colours of pictures that a discriminator is shown, as matrices [B, 4, 4].

A colour (red, green, blue, 1), of -1 to 1, is multiplied by the matrix of its picture; several
changes are one product. The luma axis is (1, 1, 1) / sqrt 3.

    brightness    adds b to all channels
    contrast      multiplies all by c
    luma flip     mirrors at the plane through 0 that is orthogonal to the luma axis
    hue           turns around the luma axis by an angle
    saturation    multiplies what is orthogonal to the luma axis by s

Movements of pictures that a discriminator is shown, with their gradients.

`blitted` moves whole pixels: flips, quarter turns and shifts, and changes no colour. `warped`
scales and turns by any amount: at twice the resolution, between the four nearest pixels, filtered
by [1, 3, 3, 1] on the way up and down (the authors filter with a wavelet; this is our choice). What
lies beyond the edge is the picture in a mirror.

What adaptive discriminator augmentation does to pictures (ADA; Karras et al., NeurIPS 2020).

    shown = augmented(pictures, p)          # [B, 3, S, S], with their gradients

Each change is made with probability p, of each picture for itself:

    flip           from left to right, in half of the cases
    turn           by 0 to 3 quarters
    shift          by whole pixels, up to an eighth of the side each way
    scale          by 2^(.2 n), n ~ N(0, 1), both axes alike
    stretch        by 2^(.2 n), one axis, and the other by its inverse
    rotation       by any angle; before and after the stretch, so that either happens with p
    brightness     adds .2 n
    contrast       by 2^(.5 n)
    luma flip      in half of the cases
    hue            by any angle
    saturation     by 2^n

These are the paper's pixel blitting, geometric and colour changes; fractional shifts are left out,
which its scales and rotations make up for (our choice). Pictures of which nothing is scaled or
rotated keep their pixels to the bit. All numbers are drawn from torch's own generator.

How often a discriminator's pictures are augmented: the control of p (ADA, NeurIPS 2020).

A discriminator that knows its pictures by heart says of nearly all of them that they are real. So
the mean sign of D(x) over real pictures is held at `target`: every `every` batches p grows where it
is above, and falls where it is below, by as much as takes it from 0 to 1 in `kimg` thousand
pictures.

    control = AugmentControl(target=0.6)
    control.seen(of_real)         # after each batch
    control.p

Losses of StyleGAN2's training (Karras et al., CVPR 2020), and its augmentation's control.

    generator      mean softplus(-D(G(z)))
    discriminator  mean softplus(D(G(z))) + mean softplus(-D(x))
    R1             gamma / 2 times the mean over x of |grad_x D(x)|^2
    path length    y ~ N(0, 1) / sqrt(H W), J = grad_w sum(G(w) y), of W+ with rows r and numbers d:
                   length = sqrt(mean_r sum_d J_rd^2), penalty = weight mean (length - running)^2

A penalty that is added every k steps counts k times, and its optimiser's rate is multiplied by
k / (k + 1), its betas raised to that power (`lazy_adam`), so that time runs as it would with one
step for the loss and 1 / k for the penalty.

fit_faces(): train a generator of portraits against its discriminator, by the one loop.

    faces = fit_faces(pictures, held_out, FacesConfig(kimg=600), out="runs/faces")

Both networks learn in each step from the same made pictures: the discriminator reads them once, and
two passes backwards give each its gradient (the authors draw twice and let the two take turns).
R1 follows every 16 steps, path length every 4, see `losses`. The weights that are kept are running
means of the generator's, with a half-life of batch x 10 / 32 thousand pictures.

A discriminator that has won teaches nothing more. Where the generator's loss, as a running mean,
exceeds `runaway`, the run goes back to its last checkpoint and both rates are halved.

With `augment` the discriminator reads made and real pictures changed by `augmenting.augment`, as
often as `augmenting.control` finds right: for a few thousand pictures, which it would learn by
heart. R1 is then that of the pictures as it reads them (the authors' is of those before; our
choice).

Every `validate_kimg` thousand pictures the running means are judged by KID against held-out
pictures, and a sheet of samples is left in the run's folder; the best validation is kept.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import softplus

from adwright.core.config import settings, to_jsonable
from adwright.core.errors import ConfigError, DataError
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.creative.faces.stylegan import (
    Discriminator,
    FittedFaces,
    Generator,
    GeneratorConfig,
    as_pictures,
    blurred,
    doubled,
)
from adwright.training.loop.loop import train
from adwright.training.loop.run_folder import RunPosition
from adwright.training.loop.trainee import LoopConfig, StepLoss, Trainee
from adwright.training.search import check_ranges, seeded
from benchmarks.creative.faces_training.keeping import sample
from benchmarks.creative.faces_training.measures import PictureFeatures, kernel_distance, save_sheet

_AXIS = 1 / math.sqrt(3)


def coloured(pictures: Tensor, matrices: Tensor) -> Tensor:
    """Pictures [B, 3, H, W], the colours of each multiplied by its matrix [B, 4, 4]."""
    mixed = torch.einsum("bij,bjhw->bihw", matrices[:, :3, :3], pictures)
    return mixed + matrices[:, :3, 3, None, None]


def brightness(added: Tensor) -> Tensor:
    """[B, 4, 4] of numbers [B]."""
    made = torch.eye(4).repeat(len(added), 1, 1)
    made[:, :3, 3] = added[:, None]
    return made


def contrast(factors: Tensor) -> Tensor:
    """[B, 4, 4] of factors [B]."""
    made = torch.eye(4).repeat(len(factors), 1, 1)
    made[:, :3, :3] *= factors[:, None, None]
    return made


def luma_flip(flips: Tensor) -> Tensor:
    """[B, 4, 4]; flips: bool [B]."""
    return _three(torch.eye(3) - 2 * _luma() * flips.float()[:, None, None])


def hue(angles: Tensor) -> Tensor:
    """[B, 4, 4] of angles [B] in radians; Rodrigues' formula."""
    cross = _AXIS * torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    return _three(cos * torch.eye(3) + sin * cross + (1 - cos) * _luma())


def saturation(factors: Tensor) -> Tensor:
    """[B, 4, 4] of factors [B]; 0 leaves grey."""
    return _three(_luma() + factors[:, None, None] * (torch.eye(3) - _luma()))


def _luma() -> Tensor:
    return torch.full((3, 3), _AXIS * _AXIS)


def _three(matrices: Tensor) -> Tensor:
    made = torch.eye(4).repeat(len(matrices), 1, 1)
    made[:, :3, :3] = matrices
    return made


_MARGIN = 2


def mirrored(at: Tensor, side: int) -> Tensor:
    """Whole places, brought to 0 to side - 1 as if the picture went on in mirrors, whose edge pixel
    is not repeated."""
    if side == 1:
        return torch.zeros_like(at)
    period = 2 * (side - 1)
    folded = at.remainder(period)
    return torch.minimum(folded, period - folded)


def blitted(pictures: Tensor, flips: Tensor, turns: Tensor, shifts: Tensor) -> Tensor:
    """Pictures [B, C, S, S], each flipped from left to right where flips [B] says so, then turned
    counter-clockwise by turns [B] quarters, then moved by shifts [B, 2] pixels (right, down)."""
    batch, channels, side = pictures.shape[:3]
    line = 2 * torch.arange(side) - (side - 1)  # twice the distance from the middle
    y = (line[:, None] - 2 * shifts[:, 1, None, None]).expand(batch, side, side)
    x = (line[None, :] - 2 * shifts[:, 0, None, None]).expand(batch, side, side)
    for quarter in range(3):
        # Where a pixel comes from is found by turning it back, clockwise.
        more = (turns > quarter)[:, None, None]
        y, x = torch.where(more, x, y), torch.where(more, -y, x)
    x = torch.where(flips[:, None, None], -x, x)
    row, column = (mirrored((some + side - 1) // 2, side) for some in (y, x))
    index = (row * side + column).flatten(1)[:, None].expand(-1, channels, -1)
    return pictures.flatten(2).gather(2, index).view_as(pictures)


def warped(pictures: Tensor, sources: Tensor) -> Tensor:
    """Pictures [B, C, S, S] whose pixel at (x, y) from the middle shows what was at sources [B, 2,
    2] times (x, y).

    Its gradient cannot be differentiated again, which torch's sampling does not offer.
    """
    side = pictures.shape[-1]
    wide = functional.pad(pictures, (_MARGIN,) * 4, mode="reflect")
    fine = doubled(wide)[..., 2 * _MARGIN : -2 * _MARGIN, 2 * _MARGIN : -2 * _MARGIN]
    theta = torch.cat([sources, sources.new_zeros(len(sources), 2, 1)], 2)
    grid = functional.affine_grid(
        theta, [len(pictures), pictures.shape[1], 2 * side, 2 * side], align_corners=False
    )
    moved = functional.grid_sample(fine, grid, padding_mode="reflection", align_corners=False)
    return blurred(functional.pad(moved, (1, 1, 1, 1), mode="reflect"), (0, 0))[..., ::2, ::2]


def rotations(angles: Tensor) -> Tensor:
    """[B, 2, 2] of angles [B] in radians: times (x, y) turns it from the x axis to the y axis."""
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)


def scalings(x: Tensor, y: Tensor) -> Tensor:
    """[B, 2, 2] of factors [B] of both axes."""
    return torch.diag_embed(torch.stack([x, y], -1))


_SHIFT = 1 / 8
_SCALE, _STRETCH = 0.2, 0.2
_BRIGHTNESS, _CONTRAST, _SATURATION = 0.2, 0.5, 1.0


def augmented(pictures: Tensor, p: float) -> Tensor:
    """Pictures [B, 3, S, S], -1 to 1, changed as the module says; as they are where p is 0.

    Raises ConfigError for p outside of 0 to 1.
    """
    if not 0 <= p <= 1:
        raise ConfigError(f"p is {p}", where="p", hint="pass a probability")
    if p == 0:
        return pictures
    return _recoloured(_moved(_blitted(pictures, p), p), p)


def _hit(batch: int, p: float) -> Tensor:
    return torch.rand(batch) < p


def _normal(batch: int, p: float, spread: float) -> Tensor:
    """N(0, spread^2) with probability p, else 0."""
    return torch.where(_hit(batch, p), spread * torch.randn(batch), torch.zeros(batch))


def _angle(batch: int, p: float) -> Tensor:
    drawn = (2 * torch.rand(batch) - 1) * math.pi
    return torch.where(_hit(batch, p), drawn, torch.zeros(batch))


def _blitted(pictures: Tensor, p: float) -> Tensor:
    batch, side = len(pictures), pictures.shape[-1]
    flips = _hit(batch, p) & (torch.rand(batch) < 0.5)
    turns = torch.where(_hit(batch, p), torch.randint(4, (batch,)), torch.tensor(0))
    far = ((2 * torch.rand(batch, 2) - 1) * _SHIFT * side).round().long()
    shifts = torch.where(_hit(batch, p)[:, None], far, torch.tensor(0))
    return blitted(pictures, flips, turns, shifts)


def _moved(pictures: Tensor, p: float) -> Tensor:
    batch = len(pictures)
    scale = _normal(batch, p, _SCALE).exp2()
    stretch = _normal(batch, p, _STRETCH).exp2()
    # Either of two rotations happens with probability p.
    each = 1 - math.sqrt(1 - p)
    before, after = _angle(batch, each), _angle(batch, each)
    # Where a pixel comes from: the inverse of what is done.
    sources = scalings(1 / scale, 1 / scale) @ rotations(before)
    sources = sources @ scalings(1 / stretch, stretch) @ rotations(after)
    still = (scale == 1) & (stretch == 1) & (before == 0) & (after == 0)
    if bool(still.all()):
        return pictures
    (chosen,) = torch.where(~still)
    return pictures.index_copy(0, chosen, warped(pictures[chosen], sources[chosen]))


def _recoloured(pictures: Tensor, p: float) -> Tensor:
    batch = len(pictures)
    changes = (
        brightness(_normal(batch, p, _BRIGHTNESS)),
        contrast(_normal(batch, p, _CONTRAST).exp2()),
        luma_flip(_hit(batch, p) & (torch.rand(batch) < 0.5)),
        hue(_angle(batch, p)),
        saturation(_normal(batch, p, _SATURATION).exp2()),
    )
    every = torch.eye(4).repeat(batch, 1, 1)
    for change in changes:
        every = change @ every
    same = torch.isclose(every, torch.eye(4), atol=1e-6).flatten(1).all(1)
    return torch.where(same[:, None, None, None], pictures, coloured(pictures, every))


class AugmentControl:
    """See the module. p: at the start.

    Raises ConfigError for a target outside of -1 to 1, a p outside of 0 to 1, and for an `every` or
    `kimg` that is not above 0.
    """

    def __init__(
        self, *, target: float = 0.6, every: int = 4, kimg: float = 500.0, p: float = 0.0
    ) -> None:
        if not -1 <= target <= 1:
            raise ConfigError(f"target is {target}", where="target", hint="take .6")
        if not 0 <= p <= 1:
            raise ConfigError(f"p is {p}", where="p", hint="take 0")
        if every < 1 or not kimg > 0:
            raise ConfigError(
                f"every is {every}, kimg {kimg}", where="every", hint="take 4 and 500"
            )
        self.target, self.every, self.kimg, self.p = target, every, kimg, p
        self._signs, self._pictures, self._batches = 0.0, 0, 0

    def seen(self, of_real: Tensor) -> None:
        """Take note of what the discriminator says [B] of real pictures, and move p where due."""
        self._signs += float(of_real.detach().sign().sum())
        self._pictures += len(of_real)
        self._batches += 1
        if self._batches < self.every:
            return
        difference = self._signs / self._pictures - self.target
        step = self._pictures / (1000 * self.kimg)
        self.p = min(1.0, max(0.0, self.p + step * ((difference > 0) - (difference < 0))))
        self._signs, self._pictures, self._batches = 0.0, 0, 0

    def state(self) -> dict[str, float]:
        """Plain values that a checkpoint keeps."""
        counted = {"signs": self._signs, "pictures": self._pictures, "batches": self._batches}
        return {"p": self.p, **counted}

    def load_state(self, state: Mapping[str, float]) -> None:
        """Take over what `state` returned; KeyError, TypeError or ValueError where it cannot."""
        self.p, self._signs = float(state["p"]), float(state["signs"])
        self._pictures, self._batches = int(state["pictures"]), int(state["batches"])


_EPS = 1e-8


def generator_loss(of_made: Tensor) -> Tensor:
    """[] of what the discriminator says [B] of made pictures."""
    return softplus(-of_made).mean()


def discriminator_loss(of_made: Tensor, of_real: Tensor) -> Tensor:
    """[] of what it says [B] of made and [B] of real pictures."""
    return softplus(of_made).mean() + softplus(-of_real).mean()


def r1_penalty(of_real: Tensor, real: Tensor, gamma: float) -> Tensor:
    """[]; of_real [B] was computed from real [B, 3, H, W], which requires its gradient."""
    (found,) = torch.autograd.grad(of_real.sum(), real, create_graph=True)
    return gamma / 2 * found.square().sum((1, 2, 3)).mean()


def path_lengths(pictures: Tensor, plus: Tensor, direction: Tensor) -> Tensor:
    """[B]; pictures [B, 3, H, W] were made of W+ plus [B, rows, D]; direction like the pictures,
    from N(0, 1)."""
    height, width = pictures.shape[2:]
    summed = (pictures * (direction / math.sqrt(height * width))).sum()
    (found,) = torch.autograd.grad(summed, plus, create_graph=True)
    return (found.square().sum(2).mean(1) + _EPS).sqrt()


def usual_gamma(side: int, batch: int) -> float:
    """gamma of R1 for pictures of side x side and so large a batch: .0002 side^2 / batch, from the
    authors' set-ups."""
    return 0.0002 * side * side / batch


def lazy_adam(
    parameters: Iterable[nn.Parameter], rate: float, every: int, *, fused: bool = True
) -> torch.optim.Adam:
    """Adam with betas (0, .99) and epsilon 1e-8 for a loss with a penalty every so many steps; 0
    for none."""
    share = every / (every + 1) if every else 1.0
    # Floats both: torch refuses an integer beside a float.
    betas = (0.0, 0.99**share)
    return torch.optim.Adam(parameters, lr=rate * share, betas=betas, eps=1e-8, fused=fused)


#: Of the running mean of the generator's loss, by which a discriminator that has won is seen.
_MEMORY = 0.98
#: Of the running mean of path lengths.
_PATH_DECAY = 0.01
_ROLLBACKS = 4
_KIMG = ("validate_kimg", "checkpoint_kimg", "augment_kimg")


@settings
class FacesConfig:
    """A generator and its training.

    kimg: thousand pictures that the discriminator sees. batch: pictures a step. rate: of Adam, of
    both networks. gamma: of R1; None takes `usual_gamma`. r1_every, path_every: steps between the
    penalties; path_every 0 leaves path length out. path_weight: of it. mixing: share of pictures
    whose W+ comes of two latents from a random row on. validate_kimg: between validations, on so
    many samples. runaway: of the generator's loss, see the module. checkpoint_kimg: between
    checkpoints beside those. augment: what the discriminator reads, see the module. augment_target,
    augment_kimg: target and kimg of `AugmentControl`.
    """

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    kimg: float = 600.0
    batch: int = 32
    rate: float = 0.0025
    gamma: float | None = None
    r1_every: int = 16
    path_every: int = 4
    path_weight: float = 2.0
    mixing: float = 0.9
    validate_kimg: float = 50.0
    checkpoint_kimg: float = 10.0
    samples: int = 300
    runaway: float = 12.0
    augment: bool = False
    augment_target: float = 0.6
    augment_kimg: float = 500.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(
            self,
            counts=("batch", "r1_every", "samples"),
            positive=("kimg", "rate", "runaway", *_KIMG),
            not_negative=("path_every", "path_weight", "mixing", "seed"),
        )
        self.control()

    def control(self) -> AugmentControl:
        """Of the augmentation. Raises ConfigError for a target that no mean sign can have."""
        return AugmentControl(target=self.augment_target, kimg=self.augment_kimg)


def fit_faces(
    pictures: NDArray[np.uint8],
    held_out: NDArray[np.uint8],
    config: FacesConfig | None = None,
    *,
    about: str = "",
    out: str | Path | None = None,
    resume: bool = False,
    stop_now: bool = False,
    offline: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> FittedFaces:
    """Train on pictures, uint8 [N, S, S, 3] with S the generator's side; judge by held_out.

    about: what they are, kept with the model. out: folder of the run, with config.json,
    metrics.jsonl, sheets of samples and the checkpoint; None keeps nothing. resume, stop_now,
    on_step: as of the loop's `train`.

    Raises DataError for pictures of another size; else as the loop's `train`, and as
    `core.assets.asset` for the features of KID.
    """
    config = config or FacesConfig()
    side = config.generator.side
    for name, some in (("pictures", pictures), ("held_out", held_out)):
        if some.ndim != 4 or some.shape[1:] != (side, side, 3) or some.dtype != np.uint8:
            raise DataError(
                f"{name} have shape {some.shape} of {some.dtype}",
                hint=f"pass uint8 [N, {side}, {side}, 3]",
            )
        if len(some) < 2:
            raise DataError(f"{name} are fewer than two", hint="pass more")
    networks = seeded(config.seed, lambda: _Networks(config.generator))
    data_hash = content_hash([sha256_bytes(some.tobytes()) for some in (pictures, held_out)])
    folder = None if out is None else Path(out)
    features = PictureFeatures(offline=offline)
    trainee = _Faces(networks, pictures, held_out, config, data_hash, features, folder)
    at = train(trainee, trainee.folder(out), resume=resume, stop_now=stop_now, on_step=on_step)
    return FittedFaces(
        networks.mean,
        networks.discriminator,
        config=to_jsonable(config),
        records=at.records,
        data_hash=data_hash,
        about=about,
        seed=config.seed,
    )


class _Networks(nn.Module):
    """What is trained, the running mean of the generator, and that of path lengths."""

    path_mean: Tensor
    loss_mean: Tensor

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.generator, self.discriminator = Generator(config), Discriminator(config)
        self.mean = copy.deepcopy(self.generator).requires_grad_(False)
        self.register_buffer("path_mean", torch.zeros(()))
        self.register_buffer("loss_mean", torch.zeros(()))


class _Faces(Trainee[Tensor]):
    """Generator and discriminator in training; `fit_faces` is its only user."""

    kind = "faces-checkpoint"
    goal = "kid_lite0"
    higher_is_better: ClassVar[bool] = False
    grows = ("fit.kimg",)
    hint = "lower the rate, or raise gamma"

    def __init__(
        self,
        networks: _Networks,
        pictures: NDArray[np.uint8],
        held_out: NDArray[np.uint8],
        config: FacesConfig,
        data_hash: str,
        features: PictureFeatures,
        folder: Path | None,
    ) -> None:
        self.networks, self.pictures, self.config = networks, pictures, config
        self.features, self.home = features, folder
        self.judged_by = features.of(as_pictures(held_out[: config.samples]))
        self.control, batch = config.control(), config.batch
        usual = usual_gamma(config.generator.side, batch)
        self.gamma = usual if config.gamma is None else config.gamma
        self.per_period = max(1, round(1000 * config.validate_kimg / batch))
        steps = max(1, round(1000 * config.kimg / batch))
        optimisers = {
            "generator": lazy_adam(networks.generator.parameters(), config.rate, config.path_every),
            "discriminator": lazy_adam(
                networks.discriminator.parameters(), config.rate, config.r1_every
            ),
        }
        self.shares, self.slowed = {"r1": 0.0, "path": 0.0, "discriminator": 0.0}, 1.0
        loop = LoopConfig(
            epochs=math.ceil(steps / self.per_period),
            patience=math.ceil(steps / self.per_period),
            seed=config.seed,
            checkpoint_every=max(1, round(1000 * config.checkpoint_kimg / batch)),
            rollbacks=_ROLLBACKS,
        )
        asked = {"fit": to_jsonable(config), "data_hash": data_hash}
        super().__init__(networks, optimisers, loop, asked)

    def epoch(self, at: RunPosition) -> Iterator[Tensor]:
        """Real pictures of each step that is left of this period, drawn by the step's number."""
        for step in range(at.step, self.per_period):
            number = at.epoch * self.per_period + step
            rng = np.random.default_rng([self.config.seed, number])
            chosen = rng.integers(len(self.pictures), size=self.config.batch)
            yield as_pictures(self.pictures[chosen])

    def left(self, at: RunPosition) -> int:
        """Steps that are left of the period."""
        return self.per_period - at.step

    def label(self, at: RunPosition) -> str:
        """Thousand pictures that were seen."""
        seen = at.steps * self.config.batch / 1000
        return f"{seen:,.0f} of {self.config.kimg:,.0f} kimg"

    def gradients(self, batch: Tensor, at: RunPosition) -> StepLoss:
        """Of both networks, from the same made pictures."""
        networks, config = self.networks, self.config
        plus = self._plus(len(batch))
        made = networks.generator.pictures(plus, torch.default_generator)
        of_made = networks.discriminator(self._shown(made))
        loss = generator_loss(of_made)
        weights = list(networks.generator.parameters())
        found = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
        _put(weights, found)
        with_r1 = at.steps % config.r1_every == 0
        real = self._shown(batch).requires_grad_(with_r1)
        of_real = networks.discriminator(real)
        if config.augment:
            self.control.seen(of_real)
        against = discriminator_loss(of_made, of_real)
        total = against
        if with_r1:
            penalty = r1_penalty(of_real, real, self.gamma)
            total = total + config.r1_every * penalty
            self.shares["r1"] = float(penalty.detach())
        weights = list(networks.discriminator.parameters())
        _put(weights, torch.autograd.grad(total, weights))
        if config.path_every and at.steps % config.path_every == 0:
            self._add_path_penalty(len(batch))
        self.shares["discriminator"] = float(against.detach())
        value = float(loss.detach())
        networks.loss_mean.lerp_(torch.tensor(value), 1 - _MEMORY)
        if float(networks.loss_mean) > config.runaway:
            value = math.nan  # back to the last checkpoint
        return StepLoss(value * len(batch), len(batch))

    def _shown(self, pictures: Tensor) -> Tensor:
        """What the discriminator reads of pictures, real and made alike."""
        return augmented(pictures, self.control.p) if self.config.augment else pictures

    def _plus(self, batch: int) -> Tensor:
        """W+ [B, rows, D] of fresh latents; a share of them mixed."""
        generator, config = self.networks.generator, self.config
        w = generator.latents(torch.randn(batch, config.generator.wide))
        with torch.no_grad():
            mean = w.detach().float().mean(0)
            generator.mean.lerp_(mean, 1 - config.generator.mean_decay)
        other = generator.latents(torch.randn(batch, config.generator.wide))
        rows = config.generator.rows
        cut = torch.randint(1, rows, (batch,))
        cut = torch.where(torch.rand(batch) < config.mixing, cut, torch.tensor(rows))
        first = torch.arange(rows)[None] < cut[:, None]
        return torch.where(first[:, :, None], w[:, None], other[:, None])

    def _add_path_penalty(self, batch: int) -> None:
        networks, config = self.networks, self.config
        plus = self._plus(max(1, batch // 2))
        made = networks.generator.pictures(plus, torch.default_generator)
        lengths = path_lengths(made, plus, torch.randn_like(made))
        mean = networks.path_mean.lerp(lengths.detach().mean(), _PATH_DECAY)
        penalty = config.path_weight * (lengths - mean).square().mean()
        weights = list(networks.generator.parameters())
        found = torch.autograd.grad(config.path_every * penalty, weights, allow_unused=True)
        networks.path_mean.copy_(mean)
        self.shares["path"] = float(lengths.detach().mean())
        _put(weights, found, add=True)

    def share_of_rate(self, at: RunPosition) -> float:
        """Half of it after each time that the run went back."""
        return self.slowed

    def rolled_back(self, times: int) -> None:
        """Halve the rates."""
        self.slowed = 0.5**times

    def counted(self, found: StepLoss) -> None:
        """Move the running means of the generator's weights."""
        keep = 0.5 ** (self.config.batch / (1000 * self.config.batch * 10 / 32))
        with torch.no_grad():
            own = self.networks.generator.state_dict()
            for name, value in self.networks.mean.state_dict().items():
                value.lerp_(own[name], 1 - keep)

    def state(self) -> dict[str, Any]:
        """What the next line of metrics says of the penalties, and the augmentation's."""
        return {**self.shares, **({"augment": self.control.state()} if self.config.augment else {})}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """See `state`."""
        self.shares = {name: float(state[name]) for name in self.shares}
        if self.config.augment:
            self.control.load_state(state["augment"])

    @torch.no_grad()
    def validate(self, at: RunPosition) -> tuple[float | None, dict[str, Any]]:
        """KID of samples of the running mean, and the losses."""
        fitted = FittedFaces(self.networks.mean)
        pictures = sample(fitted, self.config.samples, seed=self.config.seed)
        distance = kernel_distance(self.features.of(pictures), self.judged_by)
        kimg = at.steps * self.config.batch / 1000
        if self.home is not None:
            seen = at.steps * self.config.batch
            save_sheet(self.home / "samples" / f"{seen:09d}.png", pictures[:64])
        measures = {"kid_lite0": distance, "kimg": kimg, **self.shares}
        if self.config.augment:
            measures["augment_p"] = self.control.p
        return distance, measures


def _put(
    weights: list[nn.Parameter], found: tuple[Tensor | None, ...], *, add: bool = False
) -> None:
    """Leave gradients at weights. add: to those that are there."""
    for weight, gradient in zip(weights, found, strict=True):
        if gradient is None:
            continue
        weight.grad = gradient if weight.grad is None or not add else weight.grad + gradient
