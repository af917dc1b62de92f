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

Trainable parameters are float32 whatever the base is in, and are cast where they are used: a
bfloat16 sum of small steps would stand still.
"""

from __future__ import annotations

import hashlib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.config import settings, to_jsonable
from adwright.core.errors import ArtifactError, ArtifactUnsafeError, ConfigError
from adwright.tuning.modules import (
    Inputs,
    LinearPlace,
    Penalised,
    Remembering,
    Resizable,
    Scheduled,
    Sizes,
    Target,
    TunedLinear,
    Variants,
    decoder_layers,
    head_logits,
    places,
)

# --------------------------------------------------------------------------------------------------
# A saved adapter: an artifact of safetensors and JSON, tied to its base.
#
# An adapter means nothing without the base that it was trained on, so the artifact holds the base's
# fingerprint. Names, shapes, types and values of the tensors are checked before they are used.
# `core.artifacts` refuses pickles, links, and files that leave the folder.

KIND = "lm-tuned"

#: Values per tensor that go into a fingerprint: enough to tell two bases apart, and few enough
#: that a base of 7 billion parameters is read in a second.
_SAMPLES = 4096
_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


@dataclass(frozen=True)
class Stored:
    """A saved adapter. method: the name of its class. config: its fields as plain values. base: the
    fingerprint of its base."""

    folder: Path
    method: str
    config: dict[str, Any]
    seed: int
    base: str
    tensors: dict[str, Tensor]


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over name, shape and up to 4,096 evenly spaced values of each parameter.

    The values are rounded to bfloat16 first, so a base has one fingerprint in both precisions.
    """
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().reshape(-1)
        step = max(1, len(flat) // _SAMPLES)
        values = flat[::step].to(torch.bfloat16).view(torch.int16).cpu().numpy()
        digest.update(f"{name} {tuple(parameter.shape)}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def write_tuned(
    folder: str | Path,
    *,
    method: str,
    config: Mapping[str, Any],
    seed: int,
    base: str,
    tensors: Mapping[str, Tensor],
    overwrite: bool = False,
) -> str:
    """Write the artifact and return its id; floats are kept as float32. Errors: `save_artifact`."""
    arrays = {
        name: (tensor.float() if tensor.is_floating_point() else tensor).detach().cpu().numpy()
        for name, tensor in tensors.items()
    }
    content = {"method": method, "config": dict(config), "base": base}
    return save_artifact(
        folder, kind=KIND, config=content, tensors=arrays, seed=seed, overwrite=overwrite
    )


def read_tuned(folder: str | Path) -> Stored:
    """Read and check the artifact.

    Raises ArtifactError where it is none, is of another kind, or holds a value that is not
    finite; ArtifactCorruptError where bytes differ from the manifest; ArtifactUnsafeError for a
    pickle, a link, or a tensor name that is not a dotted name.
    """
    artifact = load_artifact(folder, kind=KIND)
    where = str(folder)
    content = artifact.config
    if not (
        isinstance(content.get("method"), str)
        and isinstance(content.get("config"), dict)
        and isinstance(content.get("base"), str)
    ):
        raise ArtifactError(
            "the manifest does not say which method and base it is for",
            where=where,
            hint="the folder was not written by `Tuned.save`; save the adapter again",
        )
    for name, array in artifact.tensors.items():
        if not _NAME.fullmatch(name):
            raise ArtifactUnsafeError(
                f"the tensor name {name!r} is not a dotted name",
                where=where,
                hint="do not use this file: such a name can only have been made on purpose",
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ArtifactError(
                f"the tensor {name!r} holds NaN or infinity",
                where=where,
                hint="the training diverged or the file was tampered with; use another one",
            )
    tensors = {name: torch.from_numpy(array.copy()) for name, array in artifact.tensors.items()}
    return Stored(
        Path(folder), content["method"], content["config"], artifact.seed, content["base"], tensors
    )


def read_sources(
    folders: Sequence[Path], *, count: int, method: str, config: Mapping[str, Any], base: str
) -> list[dict[str, Tensor]]:
    """Read the tensors of the adapters that a method builds on.

    count: how many it needs. method: which they have to be of, with these settings among theirs;
    base: the fingerprint of theirs. Raises ConfigError where they are not, and as `read_tuned`.
    """
    if len(folders) != count:
        raise ConfigError(
            f"{count} sources are needed, {len(folders)} were given",
            where="sources",
            hint=f"name saved adapters of {method}, one by one: --source FOLDER, or `sources` of "
            "`apply` and of run files",
        )
    states = []
    for stored in map(read_tuned, folders):
        fits = all(stored.config.get(name) == value for name, value in config.items())
        if not fits or stored.method != method or stored.base != base:
            raise ConfigError(
                f"the source is not a {method} of this base with these settings",
                where=str(stored.folder),
                hint="tune this base with "
                + " ".join([f"--method {method}", *(f"--set {k}={v}" for k, v in config.items())]),
            )
        states.append(stored.tensors)
    return states


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select the tensors whose names begin with `prefix`, and name them by the rest."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def fill(into: Mapping[str, Tensor], stored: Mapping[str, Tensor], where: str) -> None:
    """Copy tensors by name into those of a model, in place.

    Raises ArtifactError where names, shapes or types differ; nothing is copied then.
    """
    missing, unknown = sorted(set(into) - set(stored)), sorted(set(stored) - set(into))
    if missing or unknown:
        raise ArtifactError(
            f"{len(missing)} tensors are missing and {len(unknown)} are unknown, "
            f"for example {(missing + unknown)[0]!r}",
            where=where,
            hint="load it with the method and base that it was saved with",
        )
    for name, tensor in into.items():
        found = stored[name]
        same_kind = found.is_floating_point() == tensor.is_floating_point()
        if found.shape != tensor.shape or not same_kind:
            raise ArtifactError(
                f"the tensor {name!r} is {found.dtype} {list(found.shape)}, "
                f"the model wants {tensor.dtype} {list(tensor.shape)}",
                where=where,
                hint="load it with the method and base that it was saved with",
            )
    with torch.no_grad():
        for name, tensor in into.items():
            tensor.copy_(stored[name])


#: Packages whose modules only a tuned model has.
_TUNING_PACKAGES = ("adwright.tuning.", "peft.")
#: Yields scalar losses of a model on calibration data, each computed when it is asked for. A
#: method that wants more losses than there are calls it again.
Losses = Callable[["Tuned"], Iterator[Tensor]]


@settings
class TuningMethod(ABC):
    """A method and its settings. What others have to know of a class of methods:

    variants: its names in the taxonomy.
    mergeable: it can be folded into the base. exact_start: the model is at first what it was.
    trains_base: parameters of the base itself are trained, so the base has to be in float32.
    packable: it asks a map for W x and never for W, so the base may be quantised.
    plain_lora: each module computes W x + s B A x, so several adapters can share a step, and one
    can be written for llama.cpp.
    gradient_free: there is no backward pass and no optimizer; `search` takes the steps.
    same_batch: all steps are compared with one another, so they read the same texts.
    mixed_precision: products may be in bfloat16.
    default_rate: the learning rate where none is asked for: the best of benchmarks/lm/peft.py where
    the method is measured there, that of its nearest kin or a cautious one elsewhere.
    """

    variants: ClassVar[Variants] = ()
    mergeable: ClassVar[bool] = False
    exact_start: ClassVar[bool] = True
    trains_base: ClassVar[bool] = False
    packable: ClassVar[bool] = False
    plain_lora: ClassVar[bool] = False
    gradient_free: ClassVar[bool] = False
    same_batch: ClassVar[bool] = False
    mixed_precision: ClassVar[bool] = True
    default_rate: ClassVar[float] = 5e-4

    @abstractmethod
    def count(self, sizes: Sizes) -> int:
        """Count the trainable parameters on a model of these sizes."""

    @abstractmethod
    def attach(self, tuned: Tuned) -> None:
        """Put the modules of the method into `tuned.model`, which is frozen."""

    def fold(self, tuned: Tuned) -> nn.Module:
        """Put the method into the weights of the plain model; called where it is mergeable."""
        for parent in list(tuned.model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, TunedLinear):
                    setattr(parent, name, child.merged())
        return tuned.model

    def in_tokens(self, encode: Callable[[str], Sequence[int]], opening: str = "") -> Self:
        """The same with its texts, where it has any, as tokens of the base.

        encode: the base's tokenizer, without special tokens. opening: what its chat template puts
        before an answer. Raises ConfigError where a text that it needs is missing.
        """
        return self

    def rate(self, name: str) -> float:
        """Return the factor of the learning rate for the parameter `name`."""
        return 1.0

    def search(self, tuned: Tuned, loss: Callable[[], Tensor], *, rate: float, seed: int) -> float:
        """Take one step without gradients, and return its loss; called where `gradient_free`.

        loss: computes the loss of `tuned` on the texts of this step, a scalar. rate: the learning
        rate. seed: of what the step draws. Raises ConfigError where the method needs gradients.
        """
        raise ConfigError(
            "the method has no step without gradients",
            where=type(self).__name__,
            hint="train it with an optimizer",
        )

    def reads_twice(self, tuned: Tuned) -> bool:
        """Prepare the next forward pass to read each text twice, the second copies behind the
        first, where the method compares both; else False.
        """
        return False

    def disagreement(self, first: Tensor, second: Tensor) -> Tensor:
        """What a method that reads twice adds to the loss, a scalar summed over positions.

        first, second: logits [A, V] of both readings at the A positions that predict an answer.
        """
        return first.new_zeros(())

    def then(self, tuned: Tuned) -> bool:
        """Finish `tuned` when its training is over; True where what is left is to be trained
        again. Equal parameters in `tuned` must give equal results."""
        return False


class Tuned(nn.Module):
    """A causal LM with a method attached; `parameters()` are the trainable ones alone.

    model: changed in place. seed: of everything that the method draws. losses: calibration losses
    for methods that look at data first (FishMask, LT-SFT). sources: folders of saved adapters that
    the method builds on (AdapterFusion, LoRAHub, BitDelta). blank: a state will be loaded, so the
    method looks neither at losses nor at sources.
    outer: a module that runs the backbone itself on `Inputs` (prompts, the ladder), or None. Where
    there is one, the causal LM's `outside` names the method: alone it computes what the base does.
    schedule: a module that changes others between steps, or None.
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
        if any(type(module).__module__.startswith(_TUNING_PACKAGES) for module in model.modules()):
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
        # Weak references: a tensor that the base drops is freed, and a new one at its address is
        # not taken for it.
        self._base = WeakTensorKeyDictionary()
        self.note_base((*model.parameters(), *model.buffers()))
        model.requires_grad_(False)
        method.attach(self)
        if self.outer is not None:
            # Whoever runs the model by itself would run the base: engines look at this.
            self.causal.outside = type(method).__name__

    @property
    def causal(self) -> Any:
        """The causal LM: its backbone is `.model`, its head `.lm_head`."""
        return self._causal[0]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """Compute the last hidden states [B, T, D] of tokens [B, T], which `logits` takes.

        attention_mask: [B, T], 0 at padding. position_ids: [B, T]; several texts packed into one
        row start at 0 each, and then there is no attention_mask.
        """
        if self.outer is not None:
            hidden = self.outer(self.causal.model, Inputs(input_ids, attention_mask, position_ids))
        else:
            hidden = self.causal.model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                use_cache=False,
            ).last_hidden_state
        return cast(Tensor, hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """Compute logits [..., V] of hidden states [..., D]: give it supervised positions alone."""
        return head_logits(self.causal.config)(cast(Tensor, self.causal.lm_head(hidden)))

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """The trainable parameters by name, each once."""
        for name, parameter in super().named_parameters(prefix, recurse, remove_duplicate):
            if parameter.requires_grad:
                yield name, parameter

    def count(self) -> int:
        """Count the trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Parameter groups for an optimizer, one per learning rate that the method asks for."""
        by_rate: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            by_rate.setdefault(self.method.rate(name), []).append(parameter)
        return [{"params": each, "lr": learning_rate * rate} for rate, each in by_rate.items()]

    def loss_extra(self) -> Tensor:
        """Sum what penalties add to the loss, a scalar; 0 without one."""
        found = [module.penalty() for module in self._penalised()]
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
        """What schedules have seen so far, by name: a resumed run needs it."""
        return {
            f"{name}/{key}": tensor
            for name, module in self.named_modules()
            if isinstance(module, Remembering)
            for key, tensor in module.memory().items()
        }

    def recall_seen(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `seen_so_far` returned."""
        for name, module in self.named_modules():
            if isinstance(module, Remembering):
                module.recall(under(f"{name}/", tensors))

    def merge(self) -> nn.Module:
        """Fold the method, as inference uses it, into the base and return the plain model; this
        object is in eval mode then and of no further use.

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
        """Tensors that the base does not have, by name: the trainable ones and their buffers."""
        seen: set[int] = set()
        found: dict[str, Tensor] = {}
        for name, tensor in self.state_dict(keep_vars=True).items():
            if id(tensor) in seen or (tensor in self._base and not tensor.requires_grad):
                continue
            seen.add(id(tensor))
            found[name] = tensor
        return found

    def load_state(self, tensors: dict[str, Tensor], where: str = "") -> None:
        """Load a state by name; ArtifactError where names, shapes or types differ."""
        for name, module in self.named_modules():
            if isinstance(module, Resizable):
                module.resize(under(f"{name}.", tensors))
        found = self.state()
        for tensor in found.values():
            if tensor in self._base:
                # Its memory may be that of a base which others use too.
                tensor.data = tensor.data.clone()
        fill(found, tensors, where)
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
        """Leave these tensors of the base out of `state` while they are frozen."""
        for tensor in tensors:
            self._base[tensor] = True

    # What methods attach themselves with.

    def places(self, targets: tuple[Target, ...]) -> list[LinearPlace]:
        """The linear maps named in `targets`, layer by layer."""
        return list(places(self.causal, targets))

    def layers(self) -> nn.ModuleList:
        """The decoder layers."""
        return decoder_layers(self.causal)

    def normal(self, *shape: int, std: float) -> nn.Parameter:
        """Draw a parameter from a normal distribution."""
        return nn.Parameter(torch.randn(shape, generator=self.generator) * std)

    def uniform(self, *shape: int) -> nn.Parameter:
        """Draw a parameter, uniform in +-1/sqrt(last dimension), as torch starts a linear map."""
        bound = 1 / math.sqrt(shape[-1])
        return nn.Parameter((torch.rand(shape, generator=self.generator) * 2 - 1) * bound)

    def source_states(
        self, method: type[TuningMethod], count: int, settings: Mapping[str, Any]
    ) -> list[dict[str, Tensor]]:
        """The tensors of the `count` sources, adapters of `method` with these settings; none where
        `blank`. Raises ConfigError where the sources are others."""
        if self.blank:
            return []
        name, base = method.__name__, self.base_fingerprint
        return read_sources(self.sources, count=count, method=name, config=settings, base=base)

    def _scheduled(self) -> list[Scheduled]:
        # Of the class: to ask each module in each step whether it follows a protocol is slow.
        inner = (module for module in self.modules() if module is not self)
        return [cast(Scheduled, each) for each in inner if hasattr(type(each), "before_step")]

    def _penalised(self) -> list[Penalised]:
        return [cast(Penalised, each) for each in self.modules() if hasattr(type(each), "penalty")]
