"""The closed union of all methods; `apply` attaches one, `load_tuned` loads a saved one.

The union is the survey's taxonomy (Han et al., arXiv 2403.14608) as far as it can be trained here;
`taxonomy` has the whole tree, with what is missing and why. To add a method: its file, its test,
its import and one line in `Method`; the taxonomy and the commands read the rest off the class, see
`TuningMethod`. A kind of peft is added in `peft_kinds` alone.

>>> from adwright.tuning.methods import METHODS
>>> METHODS["LoRA"](rank=4).scale
4.0
"""

from __future__ import annotations

import math
import tomllib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from adwright.core.config import Count, Positive, from_jsonable, settings
from adwright.core.errors import ArtifactError, ConfigError, MissingExtraError
from adwright.tuning.additive.adapters import (
    IA3,
    SSF,
    AdaMix,
    AdapterFusion,
    ParallelAdapter,
    SerialAdapter,
)
from adwright.tuning.additive.prompts import (
    MAM,
    DePT,
    PrefixTuning,
    PromptTuning,
    UniPELT,
    run_with_prompt,
)
from adwright.tuning.efficient import PEQA, AdapterDrop, BitDelta, LadderTuning, LoRAFA, MeZO
from adwright.tuning.modules import BRANCHES, LINEAR, Branch, Inputs, Sizes, Target, Variant
from adwright.tuning.reparameterised.factors import SAID, Compacter, KronA, LoRAHub, VeRA
from adwright.tuning.reparameterised.lora import ActivatedLoRA, DoRA, DyLoRA, LoRA, MoSLoRA, SoRA
from adwright.tuning.selective import (
    LTSFT,
    BitFit,
    DiffPruning,
    FishMask,
    FullTuning,
    HeadOnly,
    NormTuning,
    PaFi,
)
from adwright.tuning.tuned import Losses, Tuned, TuningMethod, fingerprint, read_tuned

# --------------------------------------------------------------------------------------------------
# The kinds of Hugging Face peft that train on a Llama-type model: place, config and count.
#
# i and o are the inputs and outputs of a map, r the rank, b the block, n the number:
#
#     lora r (i + o)               loha, glora 2 r (i + o)    hira, gralora, shira, deft r (i + o)
#     lokr see `_lokr`             adalora r' (i + o + 1)     delora r (i + o) + 1
#     hra r i                      miss r o                   peanut 2 r o
#     oft i (b - 1) / 2            boft b i + o               road o
#     vera r + o                   pvera 2 r + o              randlora k (r + min(i, o)), k = min /
# r
#     fourierft, waveft n          tinylora n                 unilora n for the model
#     c3a i o / b                  psoft r (r - 1) / 2 + 2 r  beft o
#     vblora n b + r n (i + o) / b poly 4 r (i + o) + 4
#     norms (2 N + 1) D            tokens D per token         p_tuning, mpt, cpt see `_prompt_count`
#
# r' = ceil(1.5 r): AdaLoRA starts with more than it ends with. Sources: Mangrulkar et al., PEFT,
# 2022, and there the paper of each kind. The formulas are read from peft's code and tested on it.
#
# Methods of Hugging Face peft that are not written again here, behind the same interface.
#
# `Wrapped` gives peft a config made of a few settings (`peft_kinds`), puts its modules into the
# model, and leaves forward pass, counting, saving and loading to `Tuned`.


class PeftKind(StrEnum):
    """Kinds of peft that train on a Llama-type model."""

    LORA = "lora"
    LOHA = "loha"
    LOKR = "lokr"
    ADALORA = "adalora"
    DELORA = "delora"
    GRALORA = "gralora"
    GLORA = "glora"
    HIRA = "hira"
    DEFT = "deft"
    VBLORA = "vblora"
    RANDLORA = "randlora"
    VERA = "vera"
    PVERA = "pvera"
    TINYLORA = "tinylora"
    UNILORA = "unilora"
    FOURIERFT = "fourierft"
    WAVEFT = "waveft"
    C3A = "c3a"
    OFT = "oft"
    BOFT = "boft"
    HRA = "hra"
    PSOFT = "psoft"
    ROAD = "road"
    MISS = "miss"
    PEANUT = "peanut"
    SHIRA = "shira"
    POLY = "poly"
    BEFT = "beft"
    NORMS = "norms"
    TOKENS = "tokens"
    P_TUNING = "p_tuning"
    MPT = "mpt"
    CPT = "cpt"


@cache
def taxonomy_file() -> Mapping[str, Any]:
    """The kinds of peft and their fields, and what of the taxonomy is not done."""
    return tomllib.loads(files(__package__).joinpath("taxonomy.toml").read_text("utf-8"))


def kinds() -> dict[PeftKind, Variant]:
    """The place of each kind in the taxonomy."""
    return {
        PeftKind(kind): Variant(
            one["title"], one.get("branch", "beyond the survey"), one.get("note", "")
        )
        for kind, one in taxonomy_file()["peft"].items()
    }


#: Kinds that put vectors before the text.
PROMPTS = (PeftKind.P_TUNING, PeftKind.MPT, PeftKind.CPT)
#: Skills of poly: what peft takes unless told otherwise.
_SKILLS = 4

_NORMS = ("input_layernorm", "post_attention_layernorm", "norm")


@settings
class PeftSettings:
    """Settings of all kinds; a kind ignores those that it does not use.

    rank: r. alpha: over r the scale, where there is one. block: b, of oft, boft, c3a, road and
    vblora; it divides the inputs and outputs of the targets. number: n, of coefficients or
    vectors. length: of a soft prompt. tokens: words whose embeddings are trained, or that stand
    before the text, which are to be those of examples (cpt). bound: lambda at the start of delora,
    which moves weights by no more than this, in parts of their columns' norms: at peft's 15 the
    base is lost in the first step. steps: of adalora's schedule as peft is given it; a training
    sets it to the steps that it has, see `adalora_schedule`.
    """

    kind: PeftKind = PeftKind.LORA
    rank: Count = 8
    alpha: float = 16.0
    targets: tuple[Target, ...] = LINEAR
    block: Count = 32
    number: Count = 256
    length: Count = 20
    tokens: tuple[int, ...] = (0,)
    bound: Positive = 1.0
    steps: Count = 100

    def __post_init__(self) -> None:
        if not self.tokens:
            raise ConfigError("no word is named", where="Wrapped.tokens", hint="name at least one")


def count_of(settings: PeftSettings, sizes: Sizes) -> int:
    """Count the trainable parameters on a model of these sizes."""
    kind, width = settings.kind, sizes.width
    match kind:
        case PeftKind.P_TUNING:
            # A table, and an MLP of three maps, all as wide as the model.
            return settings.length * width + 3 * (width + 1) * width
        case PeftKind.MPT:
            return settings.length * width + settings.length + width
        case PeftKind.CPT | PeftKind.TOKENS:
            return len(settings.tokens) * width
        case PeftKind.NORMS:
            return (2 * sizes.layers + 1) * width
    of_all = {
        PeftKind.UNILORA: settings.number,
        PeftKind.VBLORA: settings.number * settings.block,
    }
    shared = of_all.get(kind, 0)
    maps = sizes.of_linear(settings.targets)
    return shared + sum(_of_map(settings, rows, columns) for rows, columns in maps)


def peft_config(settings: PeftSettings, peft: ModuleType, *, width: int, seed: int) -> Any:
    """Make peft's own config of the kind. width: D of the model. seed: of what the config draws."""
    values: dict[str, Any] = {
        **{each.name: getattr(settings, each.name) for each in fields(settings)},
        **{"targets": list(settings.targets), "tokens": list(settings.tokens), "seed": seed},
        **{"norms": list(_NORMS), "embedding": ["embed_tokens"], "width": width},
        # Zero coefficients, so that the model is what it was: not what peft would choose.
        "yes": True,
        "more_ranks": math.ceil(1.5 * settings.rank),
        **adalora_schedule(settings.steps),
    }
    kind = taxonomy_file()["peft"][settings.kind]
    takes = kind.get("takes", {"target_modules": "targets", "r": "rank"})
    given = {name: values[of] for name, of in takes.items()}
    return getattr(peft, kind["config"])(task_type="CAUSAL_LM", **given)


def adalora_schedule(steps: int) -> dict[str, int]:
    """Say when AdaLoRA cuts ranks in a training of this many steps: fields of peft's config.

    tinit: the first tenth has all ranks. tfinal: the last third has the target's, so the target is
    reached from two steps on. deltaT: in between, every hundredth of the steps cuts.
    """
    return {
        "tinit": steps // 10,
        "tfinal": min(max(1, steps // 3), steps - 1),
        "deltaT": max(1, steps // 100),
        "total_step": steps,
    }


def _of_map(settings: PeftSettings, o: int, i: int) -> int:
    """Count the trainable parameters of one map [o, i]."""
    r, b, n = settings.rank, settings.block, settings.number
    return {
        PeftKind.LOHA: 2 * r * (i + o),
        PeftKind.GLORA: 2 * r * (i + o),
        PeftKind.LOKR: _lokr(o, i, r),
        PeftKind.ADALORA: math.ceil(1.5 * r) * (i + o + 1),
        PeftKind.DELORA: r * (i + o) + 1,
        PeftKind.POLY: _SKILLS * r * (i + o) + _SKILLS,
        PeftKind.VBLORA: r * n * (i + o) // b,
        PeftKind.RANDLORA: math.ceil(min(i, o) / r) * (r + min(i, o)),
        PeftKind.VERA: r + o,
        PeftKind.PVERA: 2 * r + o,
        PeftKind.TINYLORA: n,
        PeftKind.UNILORA: 0,
        PeftKind.FOURIERFT: n,
        PeftKind.WAVEFT: n,
        PeftKind.C3A: i * o // b,
        PeftKind.OFT: i * (b - 1) // 2,
        PeftKind.BOFT: b * i + o,
        PeftKind.HRA: r * i,
        PeftKind.PSOFT: r * (r - 1) // 2 + 2 * r,
        PeftKind.ROAD: o,
        PeftKind.MISS: r * o,
        PeftKind.PEANUT: 2 * r * o,
        PeftKind.BEFT: o,
    }.get(settings.kind, r * (i + o))


def _lokr(o: int, i: int, r: int) -> int:
    """Split sizes into their two nearest factors; the larger pair has rank r where that is less."""
    (small_o, large_o), (small_i, large_i) = _nearest_factors(o), _nearest_factors(i)
    whole = large_o * large_i
    large = r * (large_o + large_i) if r < max(large_o, large_i) / 2 else whole
    return small_o * small_i + large


def _nearest_factors(size: int) -> tuple[int, int]:
    small = max(each for each in range(1, math.isqrt(size) + 1) if size % each == 0)
    return small, size // small


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
        """Count by the formulas of the module."""
        return count_of(self, sizes)

    def attach(self, tuned: Tuned) -> None:
        """Let peft attach its modules.

        Raises MissingExtraError where it is not installed, ConfigError where it refuses.
        """
        try:
            import peft
        except ImportError as error:
            raise MissingExtraError("a tuning method of peft", "lm") from error
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
        if self.kind is PeftKind.POLY:
            # Poly is told the task of each row: there is only one.
            def one_task(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
                task = torch.zeros(len(args[0]), dtype=torch.long, device=args[0].device)
                return args, kwargs | {"task_ids": task}

            for module in model.modules():
                if hasattr(module, "poly_lora_A") and isinstance(module, nn.Module):
                    module.register_forward_pre_hook(one_task, with_kwargs=True)
        elif self.kind is PeftKind.ADALORA:
            # A count, which peft makes trainable where it moves it to a half-precision base.
            for name, parameter in model.named_parameters():
                if ".ranknum." in name:
                    parameter.requires_grad_(False)
            tuned.schedule = _Budget(model.base_model)

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
                eye = torch.eye(len(product), device=product.device)
                norms.append(torch.linalg.matrix_norm(product - eye))
        return cast(Tensor, weight * torch.stack(norms).mean())


Method = (
    SerialAdapter  # additive: adapters
    | ParallelAdapter
    | AdapterFusion
    | AdaMix
    | PromptTuning  # additive: soft prompts
    | PrefixTuning
    | DePT
    | IA3  # additive: other
    | SSF
    | DiffPruning  # selective: unstructured
    | FishMask
    | PaFi
    | LTSFT
    | BitFit  # selective: structured
    | NormTuning
    | LoRA  # reparameterised
    | DoRA
    | VeRA
    | KronA
    | SAID
    | Compacter
    | MoSLoRA
    | DyLoRA
    | SoRA
    | LoRAHub
    | ActivatedLoRA
    | MAM  # hybrid
    | UniPELT
    | AdapterDrop  # efficient
    | LadderTuning
    | MeZO
    | LoRAFA
    | PEQA
    | BitDelta
    | FullTuning  # references
    | HeadOnly
    | Wrapped  # what Hugging Face peft has
)

#: The classes of the union by name: what the file of a saved adapter may ask for.
METHODS: dict[str, type[Method]] = {each.__name__: each for each in get_args(Method)}
_PEFT = "peft:"
#: What `--method` and run files call a method: a class of ours, or "peft:" and a kind of peft.
NAMES: tuple[str, ...] = (
    *(name for name, method in METHODS.items() if method is not Wrapped),
    *(f"{_PEFT}{kind}" for kind in PeftKind),
)


def method_of(values: Mapping[str, Any]) -> Method:
    """Make the method of a table: `kind` names it, LoRA by default; the rest are settings.

    kind: one of `NAMES`, or a name that the taxonomy prints, which may stand for settings: rsLoRA
    is a LoRA with `rank_stabilised`. Large and small letters are the same.
    Raises ConfigError for an unknown kind or setting, and for a name that needs more than settings.
    """
    rest = {name: value for name, value in values.items() if name != "kind"}
    name, variant = _named(str(values.get("kind", "LoRA")))
    if variant is not None:
        if variant.instead:
            raise ConfigError(
                f"{variant.name} is more than a method with settings",
                where="method.kind",
                hint=variant.instead,
            )
        rest = dict(variant.settings) | rest
    if name.startswith(_PEFT):
        return from_jsonable(Wrapped, {**rest, "kind": name.removeprefix(_PEFT)})
    return from_jsonable(METHODS[name], rest)


def name_of(method: str, settings: Mapping[str, Any]) -> str:
    """Say which of `NAMES` a stored method has. method: its class. settings: its fields."""
    return f"{_PEFT}{settings.get('kind')}" if method == Wrapped.__name__ else method


def _named(asked: str) -> tuple[str, Variant | None]:
    """Find the one of `NAMES` that is asked for, and its variant where it was named by that."""
    by_name = {name.casefold(): name for name in NAMES}
    of_tree = {
        variant.name.casefold(): (f"{_PEFT}{kind}", variant) for kind, variant in kinds().items()
    } | {
        variant.name.casefold(): (name, variant)
        for name, method in METHODS.items()
        for variant in method.variants
    }
    wanted = asked.strip().casefold()
    if wanted in by_name:
        return by_name[wanted], None
    if wanted in of_tree:
        return of_tree[wanted]
    near = get_close_matches(wanted, [*by_name, *of_tree], n=3)
    told = [by_name[one] if one in by_name else of_tree[one][1].name for one in near]
    ours = sorted(name for name in NAMES if not name.startswith(_PEFT))
    raise ConfigError(
        f"no method is called {asked!r}",
        where="method.kind",
        hint=(f"perhaps {' or '.join(told)}; " if told else "")
        + f"one of {', '.join(ours)}, or peft:KIND; `adwright tune methods` lists them",
    )


def apply(
    model: nn.Module,
    method: Method,
    *,
    seed: int = 0,
    losses: Losses | None = None,
    sources: Sequence[Path] = (),
) -> Tuned:
    """Freeze `model`, a causal LM of transformers, and attach `method` to it, in place.

    seed: of all that is drawn. losses: for FishMask and LT-SFT, a function that yields losses of
    the model on calibration data. sources: for AdapterFusion, LoRAHub and BitDelta, folders of
    adapters of the same base.

    Raises ConfigError where the model is of another type, is tuned already, or lacks what the
    method needs; MissingExtraError where a wrapped method finds no peft.
    """
    return Tuned(model, method, seed=seed, losses=losses, sources=sources)


def load_tuned(model: nn.Module, folder: str | Path) -> Tuned:
    """Attach to `model` the adapter that `Tuned.save` wrote. `model`: the base, unchanged.

    Raises ArtifactError where the base is another one, the method is unknown, or tensors do not
    fit; ArtifactCorruptError and ArtifactUnsafeError as `read_tuned` does.
    """
    stored = read_tuned(folder)
    where = str(folder)
    kind = METHODS.get(stored.method)
    if kind is None:
        raise ArtifactError(
            f"no method is called {stored.method!r}", where=where, hint=f"one of {sorted(METHODS)}"
        )
    # Checked before the model changes, and before memory is taken for what a file claims to hold.
    if fingerprint(model) != stored.base:
        raise ArtifactError(
            "the adapter belongs to another base model",
            where=where,
            hint="load the base that it was tuned on, with its weights unchanged",
        )
    stored_size = sum(tensor.numel() for tensor in stored.tensors.values())
    try:
        method = from_jsonable(kind, stored.config)
        if method.count(Sizes.of(model)) > stored_size:
            raise ConfigError(f"its settings ask for more than the {stored_size} values stored")
        tuned = Tuned(model, method, seed=stored.seed, blank=True)
    except ConfigError as error:
        raise ArtifactError(
            f"the stored method cannot be attached: {error.what}", where=where, hint=error.hint
        ) from error
    tuned.load_state(stored.tensors, where)
    if tuned.count() != method.count(tuned.sizes):
        raise ArtifactError(
            f"{tuned.count()} parameters are stored as trained, the method has "
            f"{method.count(tuned.sizes)}",
            where=where,
            hint="the file was made by other settings or tampered with",
        )
    return tuned


# --------------------------------------------------------------------------------------------------
# The whole taxonomy of the survey: what is here, what is wrapped, what is missing and why.
#
# Han, Gao, Liu, Zhang & Zhang, "Parameter-Efficient Fine-Tuning for Large Models: A Comprehensive
# Survey", 2024, arXiv 2403.14608. Every method that the survey names has an entry; below them are
# the ones that peft has beyond the survey. What is here is read off the classes of methods and the
# kinds of peft; taxonomy.toml lists what is missing. The docs print `as_markdown`.
#
# >>> from adwright.tuning.methods import tree
# >>> next(entry.status for entry in tree() if entry.name == "LoRA")
# 'ours'

Status = Literal["ours", "wrapped", "not done"]


@settings
class Entry:
    """One name in the taxonomy. by: the class of ours, or the kind of peft, that implements it;
    None where it is not done. note: settings that give it, what differs, or why it is missing.
    """

    name: str
    branch: Branch
    by: type[Method] | PeftKind | None = None
    note: str = ""

    @property
    def status(self) -> Status:
        """Whether it is ours, wrapped or not done."""
        if self.by is None:
            return "not done"
        return "wrapped" if isinstance(self.by, PeftKind) else "ours"


@cache
def tree() -> tuple[Entry, ...]:
    """Every method: ours, wrapped, and not done."""
    return (
        *(
            Entry(variant.name, variant.branch, method, variant.note)
            for method in METHODS.values()
            for variant in method.variants
        ),
        *(Entry(kind.name, kind.branch, by, kind.note) for by, kind in kinds().items()),
        *(
            Entry(name, branch, None, why)
            for branch, reasons in taxonomy_file()["missing"].items()
            for names, why in reasons.items()
            for name in names.split(", ")
        ),
    )


def as_markdown() -> str:
    """Render the tree, a table per branch: method, status, what to write, note."""
    lines: list[str] = []
    for branch in BRANCHES:
        lines += [f"### {branch[0].upper()}{branch[1:]}", ""]
        lines += ["| method | status | write | note |", "|---|---|---|---|"]
        for entry in tree():
            if entry.branch != branch:
                continue
            match entry.by:
                case None:
                    write = ""
                case PeftKind():
                    write = f"`Wrapped(PeftKind.{entry.by.name})`"
                case method:
                    write = f"`{method.__name__}`"
            lines.append(f"| {entry.name} | {entry.status} | {write} | {entry.note} |")
        lines.append("")
    return "\n".join(lines)
