"""Methods of Hugging Face peft that are not written again here, behind the same interface.

`Wrapped` gives peft a config made of a few settings (`peft_kinds`), puts its modules into the
model, and leaves forward pass, counting, saving and loading to `Tuned`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.tuning.additive.prompt import PromptTuning, run_with_prompt
from adwright.tuning.modules import Inputs
from adwright.tuning.peft_kinds import (
    PROMPTS,
    PeftKind,
    PeftSettings,
    adalora_schedule,
    count_of,
    peft_config,
)
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.reparameterised.vera import VeRA
from adwright.tuning.selective.bitfit import BitFit
from adwright.tuning.sizes import Sizes
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["IN_BASE", "Wrapped"]

_UNMERGEABLE = (*PROMPTS, PeftKind.POLY, PeftKind.BEFT)
_INEXACT_START = (*PROMPTS, PeftKind.UNILORA, PeftKind.VBLORA)
#: Kinds that train parameters of the base itself.
IN_BASE = (PeftKind.NORMS, PeftKind.GLORA)


@dataclass(frozen=True)
class Wrapped(PeftSettings, TuningMethod):
    """One of peft's kinds; the settings are those of `PeftSettings`.

    Memory: that of peft's module. Mergeable: all but prompts, poly, and beft, as a Llama has no
    biases. The model is at first what it was, except with prompts, unilora and vblora. Left out:
    the loss of cpt on the examples in its prompt, and all tasks of poly and mpt but one.
    """

    @property
    def mergeable(self) -> bool:  # type: ignore[override]
        """Whether peft can fold the kind into the base."""
        return self.kind not in _UNMERGEABLE

    @property
    def exact_start(self) -> bool:  # type: ignore[override]
        """Whether the model is at first what it was."""
        return self.kind not in _INEXACT_START

    @property
    def trains_base(self) -> bool:  # type: ignore[override]
        """Whether the kind trains parameters of the base; peft makes only what it adds float32."""
        return self.kind in IN_BASE

    @property
    def default_rate(self) -> float:  # type: ignore[override]
        """That of ours of the same kind, and of LoRA for the rest."""
        match self.kind:
            case PeftKind.P_TUNING | PeftKind.MPT | PeftKind.CPT | PeftKind.TOKENS:
                return PromptTuning.default_rate
            case PeftKind.BEFT:
                return BitFit.default_rate
            case PeftKind.VERA | PeftKind.PVERA:
                return VeRA.default_rate
            case _:
                return LoRA.default_rate

    def count(self, sizes: Sizes) -> int:
        """Count by the formulas of `peft_kinds`."""
        return count_of(self, sizes)

    def attach(self, tuned: Tuned) -> None:
        """Let peft attach its modules.

        Raises MissingExtraError where it is not installed, ConfigError where it refuses.
        """
        peft = _peft()
        # peft draws from the generator of the process, which is put back as it was.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # It warns of settings that are intended here, such as a tied embedding left alone.
            warnings.simplefilter("ignore")
            torch.manual_seed(tuned.seed)
            try:
                config = peft_config(self, peft, width=tuned.sizes.width, seed=tuned.seed)
                model = peft.get_peft_model(tuned.model, config)
            except ValueError as error:
                raise ConfigError(
                    f"peft refuses these settings: {error}",
                    where=f"Wrapped, kind {self.kind}",
                    hint="change the setting that it names",
                ) from error
        if self.kind in PROMPTS:
            tuned.outer = _PeftPrompt(model)
            return
        tuned.model = model
        match self.kind:
            case PeftKind.POLY:
                for module in model.modules():
                    if hasattr(module, "poly_lora_A") and isinstance(module, nn.Module):
                        module.register_forward_pre_hook(_one_task, with_kwargs=True)
            case PeftKind.ADALORA:
                # A count, which peft makes trainable where it moves it to a half-precision base.
                for name, parameter in model.named_parameters():
                    if ".ranknum." in name:
                        parameter.requires_grad_(False)
                tuned.schedule = _Budget(model.base_model)
            case _:
                pass

    def fold(self, tuned: Tuned) -> nn.Module:
        """Let peft merge the model."""
        return cast(nn.Module, cast(Any, tuned.model).merge_and_unload())


class _PeftPrompt(nn.Module):
    """peft's encoder of a soft prompt, run by `run_with_prompt`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.prompt_encoder
        self._model = [model]

    @property
    def peft_model(self) -> Any:
        """peft's own model, which can save itself."""
        return self._model[0]

    def ahead(self) -> Tensor:
        """The vectors [L, D]."""
        return self._vectors(1)[0]

    def shift(self, places: Tensor) -> Tensor | None:
        """Nothing."""
        return None

    def forward(self, backbone: Callable[..., Any], inputs: Inputs) -> Tensor:
        """Hidden states [B, T, D] of the text alone."""
        return run_with_prompt(backbone, self._vectors(len(inputs.ids)), inputs)

    def _vectors(self, rows: int) -> Tensor:
        device = self._model[0].device
        task = torch.zeros(rows, dtype=torch.long, device=device)
        return cast(Tensor, self._model[0].get_prompt(batch_size=rows, task_ids=task))


class _Budget(nn.Module):
    """AdaLoRA's schedule of ranks, and its penalty c (|P^T P - 1| + |Q Q^T - 1|), a mean.

    The schedule follows the number of steps of the training, see `adalora_schedule`.
    """

    def __init__(self, tuner: Any) -> None:
        super().__init__()
        self._tuner = [tuner]

    def before_step(self, step: int, steps: int) -> None:
        """Do nothing."""

    def after_step(self, step: int, steps: int) -> None:
        """Move the budget on, by the gradients."""
        # Set anew in each step, so that a resumed training has it as well.
        config = self._tuner[0].peft_config["default"]
        for name, value in adalora_schedule(steps).items():
            setattr(config, name, value)
        self._tuner[0].update_and_allocate(step)

    def memory(self) -> dict[str, Tensor]:
        """The smoothed importance of each parameter, and the ranks that are left."""
        allocator = self._tuner[0].rankallocator
        found = {
            f"{kind}/{name}": value
            for kind in ("exp_avg_ipt", "exp_avg_unc")
            for name, value in getattr(allocator, kind).items()
        }
        alive = self._tuner[0].peft_config["default"].rank_pattern or {}
        return found | {f"alive/{name}": torch.tensor(own) for name, own in alive.items()}

    def recall(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `memory` returned."""
        allocator = self._tuner[0].rankallocator
        allocator.reset_ipt()
        alive: dict[str, list[bool]] = {}
        for label, value in tensors.items():
            kind, name = label.split("/", 1)
            if kind == "alive":
                alive[name] = value.tolist()
            else:
                getattr(allocator, kind)[name] = value.clone()
                allocator.ipt.setdefault(name, torch.zeros_like(value))
        self._tuner[0].peft_config["default"].rank_pattern = alive

    def penalty(self) -> Tensor:
        """Compute the penalty that keeps P and Q orthogonal."""
        tuner = self._tuner[0]
        weight = tuner.peft_config["default"].orth_reg_weight
        norms = []
        for name, parameter in tuner.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                product = parameter @ parameter.T if ".lora_A." in name else parameter.T @ parameter
                norms.append(
                    torch.linalg.matrix_norm(
                        product - torch.eye(len(product), device=product.device)
                    )
                )
        return cast(Tensor, weight * torch.stack(norms).mean())


def _one_task(
    _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Tell Poly the task of each row: there is only one."""
    x: Tensor = args[0]
    return args, kwargs | {"task_ids": torch.zeros(len(x), dtype=torch.long, device=x.device)}


def _peft() -> ModuleType:
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError("a tuning method of peft", "lm") from error
    return peft
