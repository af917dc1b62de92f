"""fit_faces(): train a generator of portraits against its discriminator, by the one loop.

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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adwright.core.config import checked, to_jsonable
from adwright.core.errors import DataError
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.creative.faces.augmenting.augment import augmented
from adwright.creative.faces.augmenting.control import AugmentControl
from adwright.creative.faces.discriminator import Discriminator
from adwright.creative.faces.fitted_faces import FittedFaces
from adwright.creative.faces.generator import Generator, GeneratorConfig
from adwright.creative.faces.losses import (
    discriminator_loss,
    generator_loss,
    lazy_adam,
    path_lengths,
    r1_penalty,
    usual_gamma,
)
from adwright.creative.faces.quality import PictureFeatures, kernel_distance
from adwright.creative.faces.sheets import save_sheet
from adwright.training.loop.loop import train
from adwright.training.loop.position import RunPosition
from adwright.training.loop.trainee import LoopConfig, StepLoss, Trainee
from adwright.training.run_settings import check_ranges, seeded

__all__ = ["FacesConfig", "as_pictures", "fit_faces"]

#: Of the running mean of the generator's loss, by which a discriminator that has won is seen.
_MEMORY = 0.98
#: Of the running mean of path lengths.
_PATH_DECAY = 0.01
_ROLLBACKS = 4
_KIMG = ("validate_kimg", "checkpoint_kimg", "augment_kimg")


@checked
@dataclass(frozen=True)
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


def as_pictures(pixels: NDArray[np.uint8]) -> Tensor:
    """float [N, 3, S, S], -1 to 1, of uint8 [N, S, S, 3]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


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
        generator.follow_mean(w)
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
        pictures = fitted.sample(self.config.samples, seed=self.config.seed)
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
