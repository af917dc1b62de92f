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

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from torch import nn

from adwright.core.config import from_jsonable
from adwright.core.errors import ArtifactError, ConfigError
from adwright.tuning.additive.adapters import (
    IA3,
    SSF,
    AdaMix,
    AdapterFusion,
    ParallelAdapter,
    SerialAdapter,
)
from adwright.tuning.additive.prompts import DePT, PrefixTuning, PromptTuning
from adwright.tuning.efficient.memory import AdapterDrop, LadderTuning, LoRAFA, MeZO
from adwright.tuning.efficient.quantised import PEQA, BitDelta
from adwright.tuning.hybrid import MAM, UniPELT
from adwright.tuning.modules import Sizes, Variant
from adwright.tuning.peft_kinds import PeftKind, Wrapped, kinds
from adwright.tuning.references import FullTuning, HeadOnly, NormTuning
from adwright.tuning.reparameterised.activated import ActivatedLoRA
from adwright.tuning.reparameterised.factors import SAID, Compacter, KronA, VeRA
from adwright.tuning.reparameterised.lora import DoRA, DyLoRA, LoRA, MoSLoRA, SoRA
from adwright.tuning.reparameterised.lora_hub import LoRAHub
from adwright.tuning.selective.masks import LTSFT, BitFit, DiffPruning, FishMask, PaFi
from adwright.tuning.storage import fingerprint, read_tuned
from adwright.tuning.tuned import Losses, Tuned

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
