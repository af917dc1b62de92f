"""What every method of parameter-efficient tuning has in common: attach, train, merge, save.

A method is a frozen dataclass. `attach` puts its modules into a model whose parameters have been
frozen; what is trainable afterwards is the method. The model is changed in place.

    tuned = apply(model, LoRA(rank=8), seed=0)
    optimizer = AdamW(tuned.groups(2e-4))
    for step in range(steps):
        tuned.before_step(step, steps)
        hidden = tuned(input_ids)                        # [B, T, D]
        loss = cross_entropy(tuned.logits(hidden[supervised]), answers) + tuned.loss_extra()
        loss.backward(); optimizer.step()
        tuned.after_step(step, steps); optimizer.zero_grad()
    tuned.save(folder)

Trainable numbers are float32 whatever the base is in, and are cast where they are used: a
bfloat16 sum of small steps would stand still.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

from adwright.core.config import check_literals, to_jsonable
from adwright.core.errors import ConfigError
from adwright.tuning.sizes import Place, Sizes, Target, decoder_layers, places
from adwright.tuning.storage import fill, fingerprint, write_tuned

__all__ = [
    "DeltaLinear",
    "Family",
    "Losses",
    "Penalised",
    "Remembering",
    "Resizable",
    "Scheduled",
    "Tuned",
    "TunedLinear",
    "TuningMethod",
    "at_least",
    "ones",
    "zeros",
]

Family = Literal[
    "adapter",
    "soft prompt",
    "other additive",
    "unstructured selective",
    "structured selective",
    "reparameterised",
    "hybrid",
    "efficient",
    "reference",
]
#: Where modules come from that only a tuned model has.
_OF_TUNING = ("adwright.tuning.", "peft.")
#: Scalar losses of a model on calibration data, one after another, each computed when asked for.
#: A method that wants more of them than there are calls it again.
Losses = Callable[["Tuned"], Iterator[Tensor]]


@runtime_checkable
class Penalised(Protocol):
    """A module that adds a scalar to the loss."""

    def penalty(self) -> Tensor:
        """The scalar, weighted already."""


@runtime_checkable
class Scheduled(Protocol):
    """A module that changes with the steps of the training."""

    def before_step(self, step: int, steps: int) -> None:
        """Before the forward pass of step `step` of `steps`, counted from 0."""

    def after_step(self, step: int, steps: int) -> None:
        """After the optimizer's step, gradients still being there."""


@runtime_checkable
class Remembering(Protocol):
    """A module whose schedule depends on what it saw in earlier steps. A run that is resumed needs
    it; a stored tuned part does not."""

    def memory(self) -> dict[str, Tensor]:
        """What was seen, by name."""

    def recall(self, tensors: dict[str, Tensor]) -> None:
        """Take it over again."""


@runtime_checkable
class Resizable(Protocol):
    """A module whose tensors have a length that a stored state decides."""

    def resize(self, tensors: dict[str, Tensor]) -> None:
        """Take over lengths from the module's own part of a state."""

    def check_loaded(self, where: str) -> None:
        """ArtifactError where what was loaded makes no sense."""


class TunedLinear(nn.Module):
    """Stands in the place of a linear map. base: the map itself, frozen.

    merged: the plain linear map that gives the same; only called where the method is mergeable.
    """

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base

    def merged(self) -> nn.Linear:
        """A plain map of the same function; ConfigError where there is none."""
        raise ConfigError(
            "this module cannot be folded into the base's weights",
            where=type(self).__name__,
            hint="keep it beside the base, or tune with a mergeable method",
        )


class DeltaLinear(TunedLinear):
    """A linear map whose weight [out, in] is computed anew in each forward pass."""

    def weight_now(self) -> Tensor:
        """The weight [out, in] with the tuned part in it."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        return functional.linear(x, self.weight_now().to(x.dtype), self.base.bias)

    def merged(self) -> nn.Linear:
        """The base with the weight of this moment."""
        with torch.no_grad():
            self.base.weight.copy_(self.weight_now())
        return self.base


@dataclass(frozen=True)
class TuningMethod(ABC):
    """A method and its settings. family: where the survey (Han et al., arXiv 2403.14608) has it.

    mergeable: it can be folded into the base. exact_start: the model is at first what it was.
    gradient_free: the loop must not call backward; the method's module has its own step.
    """

    family: ClassVar[Family]
    mergeable: ClassVar[bool] = False
    exact_start: ClassVar[bool] = True
    gradient_free: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_literals(self)

    @abstractmethod
    def count(self, sizes: Sizes) -> int:
        """Trainable parameters on a model of these sizes."""

    @abstractmethod
    def attach(self, tuned: Tuned) -> None:
        """Put the modules of the method into `tuned.model`, which is frozen."""

    def fold(self, tuned: Tuned) -> nn.Module:
        """The plain model with the method in its weights; asked only where it is mergeable."""
        for parent in list(tuned.model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, TunedLinear):
                    setattr(parent, name, child.merged())
        return tuned.model

    def rate(self, name: str) -> float:
        """What the learning rate of the parameter `name` is multiplied with."""
        return 1.0

    def then(self, tuned: Tuned) -> bool:
        """What follows in `tuned` when its training is over; True where what is left is to be
        trained again. The same numbers in `tuned` must give the same ones afterwards."""
        return False


class Tuned(nn.Module):
    """A causal LM with a method attached; `parameters()` gives what is trainable and no more.

    model: changed in place. seed: of everything that the method draws. losses: calibration losses
    for methods that look at data first (FishMask, LT-SFT). sources: folders of tuned parts that
    the method builds on (AdapterFusion, LoRAHub, BitDelta). blank: a state will be loaded, so the
    method looks neither at losses nor at sources.
    outer: a module that runs the backbone itself (prompts, the ladder), or None. schedule: a
    module that changes others between steps, or None.
    """

    def __init__(
        self,
        model: nn.Module,
        method: TuningMethod,
        *,
        seed: int = 0,
        losses: Losses | None = None,
        sources: Sequence[Path] = (),
        blank: bool = False,
    ) -> None:
        super().__init__()
        if any(type(module).__module__.startswith(_OF_TUNING) for module in model.modules()):
            raise ConfigError(
                "the model is tuned already", where=type(method).__name__, hint="merge it first"
            )
        self.model, self.method, self.seed = model, method, seed
        self.losses, self.sources, self.blank = losses, tuple(sources), blank
        self.sizes = Sizes.of(model)
        self.base_fingerprint = fingerprint(model)
        self.generator = torch.Generator().manual_seed(seed)
        self.outer: nn.Module | None = None
        self.schedule: nn.Module | None = None
        self._causal = [model]
        # By weak references: what the base lets go of is not held, nor mistaken for what is made
        # in its place afterwards.
        self._base = WeakTensorKeyDictionary()
        self.note_base((*model.parameters(), *model.buffers()))
        model.requires_grad_(False)
        method.attach(self)

    @property
    def causal(self) -> Any:
        """The causal LM: backbone in `.model`, head in `.lm_head`."""
        return self._causal[0]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states [B, T, D] of tokens [B, T]; `logits` makes logits of them.

        attention_mask: [B, T], 0 at padding. position_ids: [B, T]; several texts packed into one
        row start at 0 each, and then there is no attention_mask.
        """
        if self.outer is not None:
            hidden = self.outer(self.causal.model, input_ids, attention_mask, position_ids)
        else:
            hidden = self.causal.model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                use_cache=False,
            ).last_hidden_state
        return cast(Tensor, hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] of hidden states [..., D]: give it supervised positions alone."""
        return cast(Tensor, self.causal.lm_head(hidden))

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """The trainable parameters by name, each once."""
        for name, parameter in super().named_parameters(prefix, recurse, remove_duplicate):
            if parameter.requires_grad:
                yield name, parameter

    def count(self) -> int:
        """How many numbers are trainable."""
        return sum(parameter.numel() for parameter in self.parameters())

    def groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Parameter groups for an optimizer, one for each learning rate that the method asks."""
        by_rate: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            by_rate.setdefault(self.method.rate(name), []).append(parameter)
        return [{"params": each, "lr": learning_rate * rate} for rate, each in by_rate.items()]

    def loss_extra(self) -> Tensor:
        """What regularisers add to the loss, a scalar; 0 without one."""
        found = [module.penalty() for module in self.modules() if isinstance(module, Penalised)]
        return torch.stack(found).sum() if found else torch.zeros(())

    def before_step(self, step: int, steps: int) -> None:
        """Call before the forward pass of step `step` of `steps`."""
        for module in self._scheduled():
            module.before_step(step, steps)

    def after_step(self, step: int, steps: int) -> None:
        """Call after the optimizer's step and before gradients are cleared."""
        for module in self._scheduled():
            module.after_step(step, steps)

    def seen_so_far(self) -> dict[str, Tensor]:
        """By name, what schedules have seen so far, for a run that is resumed."""
        return {
            f"{name}/{key}": tensor
            for name, module in self.named_modules()
            if isinstance(module, Remembering)
            for key, tensor in module.memory().items()
        }

    def recall_seen(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `seen_so_far` gave."""
        for name, module in self.named_modules():
            if isinstance(module, Remembering):
                start = f"{name}/"
                module.recall(
                    {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
                )

    def merge(self) -> nn.Module:
        """Fold the method, as it is in use, into the base and return the plain model; this object
        is spent then and in eval mode.

        Raises ConfigError where the method cannot be merged.
        """
        if not self.method.mergeable:
            raise ConfigError(
                "the method cannot be folded into the base's weights",
                where=type(self.method).__name__,
                hint="serve it beside the base, or tune with a mergeable method such as LoRA",
            )
        self.eval()
        return self.method.fold(self).requires_grad_(False)

    def state(self) -> dict[str, Tensor]:
        """By name, all that the base does not have: what is trainable, and what goes with it."""
        seen: set[int] = set()
        found: dict[str, Tensor] = {}
        for name, tensor in self.state_dict(keep_vars=True).items():
            if id(tensor) in seen or (tensor in self._base and not tensor.requires_grad):
                continue
            seen.add(id(tensor))
            found[name] = tensor
        return found

    def load_state(self, tensors: dict[str, Tensor], where: str = "") -> None:
        """Take over a state by name; ArtifactError where names, shapes or kinds differ."""
        for name, module in self.named_modules():
            if isinstance(module, Resizable):
                start = name + "."
                module.resize(
                    {
                        key.removeprefix(start): tensor
                        for key, tensor in tensors.items()
                        if key.startswith(start)
                    }
                )
        fill(self.state(), tensors, where)
        for module in self.modules():
            if isinstance(module, Resizable):
                module.check_loaded(where)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> str:
        """Write `state` as safetensors and the method as JSON; returns the artifact's id.

        overwrite: replace what is there.
        """
        return write_tuned(
            folder,
            overwrite=overwrite,
            method=type(self.method).__name__,
            config=to_jsonable(self.method),
            seed=self.seed,
            base=self.base_fingerprint,
            tensors=self.state(),
        )

    def note_base(self, tensors: Iterable[Tensor]) -> None:
        """These are the base's: while they stand still, they are no part of `state`."""
        for tensor in tensors:
            self._base[tensor] = True

    # What methods use to attach themselves.

    def places(self, targets: tuple[Target, ...]) -> list[Place]:
        """The linear maps named in `targets`, layer by layer."""
        return list(places(self.causal, targets))

    def layers(self) -> nn.ModuleList:
        """The decoder layers."""
        return decoder_layers(self.causal)

    def normal(self, *shape: int, std: float) -> nn.Parameter:
        """A new parameter drawn from a normal distribution."""
        return nn.Parameter(torch.randn(shape, generator=self.generator) * std)

    def uniform(self, *shape: int) -> nn.Parameter:
        """A new parameter, uniform in +-1/sqrt(last dimension): what torch gives a linear map."""
        bound = 1 / math.sqrt(shape[-1])
        return nn.Parameter((torch.rand(shape, generator=self.generator) * 2 - 1) * bound)

    def _scheduled(self) -> list[Scheduled]:
        parts = (module for module in self.modules() if module is not self)
        return [module for module in parts if isinstance(module, Scheduled)]


def zeros(*shape: int) -> nn.Parameter:
    """A new parameter of zeros."""
    return nn.Parameter(torch.zeros(shape))


def ones(*shape: int) -> nn.Parameter:
    """A new parameter of ones."""
    return nn.Parameter(torch.ones(shape))


def at_least(config: object, least: float, *names: str) -> None:
    """Raise ConfigError where a field of `config` is below `least`."""
    for name in names:
        value = getattr(config, name)
        if value < least:
            raise ConfigError(
                f"{name} is at least {least:g}",
                where=f"{type(config).__name__}.{name} = {value}",
                hint="raise it",
            )
