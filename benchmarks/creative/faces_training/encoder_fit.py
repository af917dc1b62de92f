"""The discriminator of latents, and the offsets, of e4e's training.

A pool of past latents, from which a discriminator of latents learns as well as from new ones.

    shown = pool.exchanged(w)       # [B, D]: of each either itself or an older one in its place

While the pool is not full a latent is kept and shown. After that it is shown with probability 1/2,
and else takes the place of one that was drawn, which is shown instead (Shrivastava et al., CVPR
2017; e4e has pools of 50 for real and for made latents).

Losses of the encoder's training (e4e; Tov et al., SIGGRAPH 2021), each of it for itself.

    L2                mean over pixels of (x - G(E(x)))^2, pictures of -1 to 1
    perceptual        mean over layers and pixels of |f / |f| - f' / |f'||^2, f a pixel's features
    identity          mean of 1 - cos(e(x), e(G(E(x)))), e an embedding of faces
    offsets           sum over rows of the mean length of their offset, `encoder.delta_size`
    adversarial       mean over unlocked rows of softplus(-D_w(row))
    D_w               mean softplus(D_w(made)) + mean softplus(-D_w(w)), and R1 on w
    pairs             mean of (W+ - w)^2 / variance of w, where the latent is known

The paper's perceptual term is LPIPS, whose weights may not be shipped. Ours takes features of
EfficientNet-Lite0 and of our own discriminator, and is called after them.

fit_encoder(): train e4e on a generator, first on its own pictures, then on others.

    encoder = fit_encoder(faces, pictures, held_out, EncoderConfig(steps=4000), out="runs/encoder")
    encoder.invert(faces, as_pictures(held_out))

For `pair_steps` the generator draws pictures of known latents and the encoder learns these latents
back, w alone: labels that cost nothing, and no pass back through the generator. After that it
learns on pictures by the losses of `encoder_losses`, and from `unlock_start` steps on each further
`unlock_every` steps let one more row have an offset of its own.

D_w tells latents of the mapping from rows of W+, each through a pool of past ones; it learns in the
same steps as the encoder (the authors let it go first). R1 follows every `r1_every` steps, times
as many.

Every `validate_every` steps held-out pictures are inverted; the lowest mean L2 is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, softplus

from adwright.core.config import Ge, settings, to_jsonable
from adwright.core.errors import ConfigError, DataError
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.creative.faces.stylegan import (
    EqualLinear,
    FaceEncoder,
    FittedEncoder,
    FittedFaces,
    as_pictures,
)
from adwright.training.loop.loop import train
from adwright.training.loop.run_folder import RunPosition
from adwright.training.loop.trainee import LoopConfig, StepLoss, Trainee
from adwright.training.search import check_ranges, seeded
from benchmarks.creative.faces_training.keeping import feature_distance, pixel_error
from benchmarks.creative.faces_training.measures import PictureFeatures


class LatentDiscriminator(nn.Module):
    """Is a latent one of the mapping's? Four dense layers; wide: D."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(EqualLinear(wide, wide, activate=True) for _ in range(3)), EqualLinear(wide, 1)
        )

    def forward(self, w: Tensor) -> Tensor:
        """[...] of latents [..., D]: the higher, the more real."""
        said: Tensor = self.layers(w)
        return said[..., 0]


def delta_size(plus: Tensor) -> Tensor:
    """[]: the sum over rows of the mean length of their offset from row 0, of W+ [B, rows, D]."""
    offsets = plus[:, 1:] - plus[:, :1]
    return (offsets.square().sum(-1) + 1e-12).sqrt().mean(0).sum()


def unlocked_rows(step: int, start: int, every: int, rows: int) -> int:
    """Rows that may have an offset at a step: none before `start`, then one more every so many."""
    if step < start:
        return 0
    return min(rows - 1, 1 + (step - start) // every)


class LatentPool(nn.Module):
    """See the module; its content is saved with the weights. size: latents; wide: D.

    Raises ConfigError for a size below 1.
    """

    kept: Tensor
    count: Tensor

    def __init__(self, size: int, wide: int) -> None:
        super().__init__()
        if size < 1:
            raise ConfigError(f"the size is {size}", where="size", hint="take 50")
        self.register_buffer("kept", torch.zeros(size, wide))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def exchanged(self, latents: Tensor) -> Tensor:
        """[B, D] of latents [B, D], or of W+ [B, rows, D], of each of which one row is drawn.

        Draws from torch's own generator; the result has no gradient.
        """
        size = len(self.kept)
        if latents.dim() == 3:
            rows = torch.randint(latents.shape[1], (len(latents),))
            latents = latents[torch.arange(len(latents)), rows]
        shown = latents.detach().clone()
        for at, latent in enumerate(latents.detach()):
            full = int(self.count)
            if full < size:
                self.kept[full] = latent
                self.count += 1
            elif bool(torch.rand(()) < 0.5):
                which = int(torch.randint(size, ()))
                shown[at] = self.kept[which]
                self.kept[which] = latent
        return shown


def identity_loss(made: Tensor, real: Tensor) -> Tensor:
    """[] of embeddings [B, E]."""
    return (1 - cosine_similarity(made, real, dim=1)).mean()


def adversarial_loss(said: Tensor) -> Tensor:
    """[] of what D_w says [B, rows] of the rows that are unlocked."""
    return softplus(-said).mean()


def latent_loss(of_made: Tensor, of_real: Tensor) -> Tensor:
    """[] of what D_w says [B] of made latents and [B] of real ones."""
    return softplus(of_made).mean() + softplus(-of_real).mean()


def latent_r1(of_real: Tensor, real: Tensor, gamma: float) -> Tensor:
    """[]: gamma / 2 mean |grad_w D_w(w)|^2; of_real [B] was computed from real [B, D]."""
    (found,) = torch.autograd.grad(of_real.sum(), real, create_graph=True)
    return gamma / 2 * found.square().sum(1).mean()


def pair_loss(plus: Tensor, w: Tensor, variance: Tensor) -> Tensor:
    """[] of W+ [B, rows, D] found and w [B, D] true; variance: of w, [D] or []."""
    return ((plus - w[:, None]).square() / variance).mean()


#: An embedding [B, E] of the faces of pictures [B, 3, side, side], with its gradient.
Identity = Callable[[Tensor], Tensor]
_AT_A_TIME = 64
#: Latents of which the variance of w is taken.
_DRAWN = 4096


@settings
class EncoderConfig:
    """An encoder and its training.

    width: see `FaceEncoder`. pair_steps, steps: on pairs, and on pictures after that. batch:
    pictures a step. rate, latent_rate: of Adam, of the encoder and of D_w. l2, lite0, own,
    identity, offsets, adversarial: weights of the losses: lite0 of features of EfficientNet-Lite0,
    own of the discriminator's; 0 leaves one out. lite0_side: pixels that a picture is enlarged to
    for it. r1, r1_every: gamma of D_w's R1, and steps between. pool: latents. unlock_start,
    unlock_every: see the module, counted from the first step on pictures. validate_every,
    checkpoint_every: steps. samples: held-out pictures that are inverted.
    """

    width: int = 64
    pair_steps: int = 2000
    steps: int = 4000
    batch: int = 16
    rate: float = 1e-3
    latent_rate: float = 2e-5
    l2: float = 1.0
    lite0: float = 0.4
    lite0_side: Annotated[int, Ge(32)] = 64
    own: float = 0.4
    identity: float = 0.1
    offsets: float = 2e-4
    adversarial: float = 0.1
    r1: float = 10.0
    r1_every: int = 16
    pool: int = 50
    unlock_start: int = 500
    unlock_every: int = 200
    validate_every: int = 500
    checkpoint_every: int = 100
    samples: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(
            self,
            counts=(
                *("width", "steps", "batch", "r1_every", "pool", "unlock_every", "validate_every"),
                *("checkpoint_every", "samples"),
            ),
            positive=("rate", "latent_rate"),
            not_negative=(
                *("pair_steps", "l2", "lite0", "own", "identity", "offsets", "adversarial"),
                *("r1", "unlock_start", "seed"),
            ),
        )

    def unlocked(self, steps: int, rows: int) -> int:
        """Rows that may have an offset after so many steps, pairs included."""
        return unlocked_rows(steps - self.pair_steps, self.unlock_start, self.unlock_every, rows)


def fit_encoder(
    faces: FittedFaces,
    pictures: NDArray[np.uint8],
    held_out: NDArray[np.uint8],
    config: EncoderConfig | None = None,
    *,
    identity: Identity | None = None,
    about: str = "",
    out: str | Path | None = None,
    resume: bool = False,
    offline: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> FittedEncoder:
    """Train on pictures, uint8 [N, S, S, 3] with S the generator's side; judge by held_out.

    identity: an embedding of faces; without one that loss is left out. about: what the pictures
    are. out: folder of the run; None keeps nothing. resume, on_step: as of the loop's `train`.

    Raises DataError for pictures of another size, ConfigError where `own` asks for a discriminator
    that the faces were saved without; else as the loop's `train`, and as `core.assets.asset` where
    `lite0` is not 0.
    """
    config = config or EncoderConfig()
    shape = faces.generator.config
    for name, some in (("pictures", pictures), ("held_out", held_out)):
        if some.ndim != 4 or some.shape[1:] != (shape.side, shape.side, 3) or not len(some):
            raise DataError(
                f"{name} have shape {some.shape}",
                hint=f"pass uint8 [N, {shape.side}, {shape.side}, 3]",
            )
    if config.own and faces.discriminator is None:
        raise ConfigError(
            "the faces have no discriminator", where="own", hint="set own to 0, or save one"
        )
    networks = seeded(
        config.seed, lambda: _EncoderNetworks(FaceEncoder(shape, width=config.width), config.pool)
    )
    data_hash = content_hash([sha256_bytes(some.tobytes()) for some in (pictures, held_out)])
    trainee = _Encoder(networks, faces, pictures, held_out, config, data_hash, identity, offline)
    at = train(trainee, trainee.folder(out), resume=resume, on_step=on_step)
    return FittedEncoder(
        networks.encoder,
        faces.weights_hash,
        config.width,
        # Of the weights that are kept, which need not be the last.
        unlocked=config.unlocked(at.best_step, shape.rows),
        config=to_jsonable(config),
        records=at.records,
        data_hash=data_hash,
        about=about,
        seed=config.seed,
    )


class _EncoderNetworks(nn.Module):
    """What is trained, and the pools of latents."""

    def __init__(self, encoder: FaceEncoder, pool: int) -> None:
        super().__init__()
        wide = encoder.config.wide
        self.encoder, self.latents = encoder, LatentDiscriminator(wide)
        self.real, self.made = LatentPool(pool, wide), LatentPool(pool, wide)


class _Encoder(Trainee[Tensor]):
    """The encoder in training; `fit_encoder` is its only user."""

    kind = "faces-encoder-checkpoint"
    goal = "l2"
    higher_is_better: ClassVar[bool] = False
    grows = ("fit.steps",)
    hint = "lower the rate"

    def __init__(
        self,
        networks: _EncoderNetworks,
        faces: FittedFaces,
        pictures: NDArray[np.uint8],
        held_out: NDArray[np.uint8],
        config: EncoderConfig,
        data_hash: str,
        identity: Identity | None,
        offline: bool,
    ) -> None:
        self.networks, self.faces, self.config = networks, faces, config
        self.pictures, self.identity = pictures, identity
        self.held = as_pictures(held_out[: config.samples])
        self.lite0 = PictureFeatures(offline=offline) if config.lite0 else None
        for frozen in (faces.generator, faces.discriminator):
            if frozen is not None:
                frozen.requires_grad_(False)
        random = torch.Generator().manual_seed(config.seed)
        z = torch.randn(_DRAWN, faces.generator.config.wide, generator=random)
        self.variance = faces.generator.latents(z).var(0).mean()
        steps = config.pair_steps + config.steps
        periods = math.ceil(steps / config.validate_every)
        loop = LoopConfig(
            epochs=periods,
            patience=periods,
            seed=config.seed,
            checkpoint_every=config.checkpoint_every,
        )
        optimisers = {
            "encoder": torch.optim.Adam(networks.encoder.parameters(), lr=config.rate),
            "latents": torch.optim.Adam(networks.latents.parameters(), lr=config.latent_rate),
        }
        asked = {
            "fit": to_jsonable(config),
            "data_hash": data_hash,
            "generator_hash": faces.weights_hash,
            "identity": identity is not None,
        }
        super().__init__(networks, optimisers, loop, asked)
        self.shares: dict[str, float] = {}

    def epoch(self, at: RunPosition) -> Iterator[Tensor]:
        """Pictures of each step that is left of this period; none while it learns on pairs."""
        for step in range(at.step, self.config.validate_every):
            number = at.epoch * self.config.validate_every + step
            rng = np.random.default_rng([self.config.seed, number])
            chosen = rng.integers(len(self.pictures), size=self.config.batch)
            pairs = number < self.config.pair_steps
            yield torch.empty(0) if pairs else as_pictures(self.pictures[chosen])

    def left(self, at: RunPosition) -> int:
        """Steps that are left of the period."""
        return self.config.validate_every - at.step

    def gradients(self, batch: Tensor, at: RunPosition) -> StepLoss:
        """Of the encoder, and of D_w while it is asked for."""
        pairs = not len(batch)
        loss, plus, free = self._on_pairs() if pairs else self._on_pictures(batch, at)
        weights = list(self.networks.encoder.parameters())
        _leave(weights, torch.autograd.grad(loss, weights, allow_unused=True))
        if self.config.adversarial and not pairs:
            self._against_latents(plus[:, : free + 1], at)
        return StepLoss(float(loss.detach()) * self.config.batch, self.config.batch)

    def _on_pairs(self) -> tuple[Tensor, Tensor, int]:
        generator, config = self.faces.generator, self.config
        with torch.no_grad():
            w = generator.latents(torch.randn(config.batch, generator.config.wide))
            drawn = generator.pictures(w, torch.default_generator)
        plus = self.networks.encoder(drawn, mean=generator.mean, unlocked=0)
        loss = pair_loss(plus[:, :1], w, self.variance)
        self.shares = {"pairs": float(loss.detach())}
        return loss, plus, 0

    def _on_pictures(self, pictures: Tensor, at: RunPosition) -> tuple[Tensor, Tensor, int]:
        generator, config = self.faces.generator, self.config
        free = config.unlocked(at.steps, generator.config.rows)
        plus = self.networks.encoder(pictures, mean=generator.mean, unlocked=free)
        made = generator.pictures(plus)
        parts = {"l2": config.l2 * pixel_error(made, pictures).mean()}
        parts |= self._perceptual(made, pictures)
        if self.identity is not None and config.identity:
            with torch.no_grad():
                wanted = self.identity(pictures)
            parts["identity"] = config.identity * identity_loss(self.identity(made), wanted)
        if free and config.offsets:
            parts["offsets"] = config.offsets * delta_size(plus)
        if config.adversarial:
            said = self.networks.latents(plus[:, : free + 1])
            parts["adversarial"] = config.adversarial * adversarial_loss(said)
        self.shares = {name: float(part.detach()) for name, part in parts.items()}
        self.shares["unlocked"] = float(free)
        return torch.stack(list(parts.values())).sum(), plus, free

    def _perceptual(self, made: Tensor, real: Tensor) -> dict[str, Tensor]:
        config, parts = self.config, {}
        if self.lite0 is not None:
            with torch.no_grad():
                wanted = self.lite0.maps(real, side=config.lite0_side)
            found = self.lite0.maps(made, side=config.lite0_side)
            parts["lite0"] = config.lite0 * feature_distance(found, wanted).mean()
        if config.own and self.faces.discriminator is not None:
            with torch.no_grad():
                wanted = self.faces.discriminator.features(real)
            found = self.faces.discriminator.features(made)
            parts["own"] = config.own * feature_distance(found, wanted).mean()
        return parts

    def _against_latents(self, plus: Tensor, at: RunPosition) -> None:
        networks, config = self.networks, self.config
        generator = self.faces.generator
        with torch.no_grad():
            w = generator.latents(torch.randn(len(plus), generator.config.wide))
        real, made = networks.real.exchanged(w), networks.made.exchanged(plus)
        with_r1 = bool(config.r1) and at.steps % config.r1_every == 0
        of_real = networks.latents(real.requires_grad_(with_r1))
        loss = latent_loss(networks.latents(made), of_real)
        self.shares["latents"] = float(loss.detach())
        if with_r1:
            loss = loss + config.r1_every * latent_r1(of_real, real, config.r1)
        weights = list(networks.latents.parameters())
        _leave(weights, torch.autograd.grad(loss, weights, allow_unused=True))

    @torch.no_grad()
    def validate(self, at: RunPosition) -> tuple[float | None, dict[str, Any]]:
        """Mean L2 of held-out pictures with the rows that are unlocked, and the losses."""
        config, generator = self.config, self.faces.generator
        self.networks.eval()
        free = config.unlocked(at.steps, generator.config.rows)
        found, offsets = [], []
        for some in torch.split(self.held, _AT_A_TIME):
            plus = self.networks.encoder(some, mean=generator.mean, unlocked=free)
            found.append(pixel_error(generator.pictures(plus), some))
            offsets.append(float(delta_size(plus)) * len(some))
        error = float(torch.cat(found).mean())
        size = sum(offsets) / len(self.held)
        shares = {name: value for name, value in self.shares.items() if name != "l2"}
        return error, {"l2": error, "offset_size": size, **shares}

    def state(self) -> dict[str, Any]:
        """What the next line of metrics says of the losses."""
        return {"shares": self.shares}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """See `state`."""
        self.shares = {name: float(value) for name, value in state["shares"].items()}


def _leave(weights: list[nn.Parameter], found: tuple[Tensor | None, ...]) -> None:
    for weight, gradient in zip(weights, found, strict=True):
        weight.grad = gradient
