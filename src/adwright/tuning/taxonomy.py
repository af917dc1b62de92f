"""The whole taxonomy of the survey: what is here, what is wrapped, what is missing and why.

Han, Gao, Liu, Zhang & Zhang, "Parameter-Efficient Fine-Tuning for Large Models: A Comprehensive
Survey", 2024, arXiv 2403.14608. Every method that the survey names has an entry; below them are
the ones that peft has beyond the survey. What is here is read off the classes of methods and the
kinds of peft; this file lists what is missing. The docs print `as_markdown`.

>>> from adwright.tuning.taxonomy import TREE
>>> next(entry.status for entry in TREE if entry.name == "LoRA")
'ours'
"""

from __future__ import annotations

from typing import Literal

from adwright.core.config import settings
from adwright.tuning.methods import METHODS, Method
from adwright.tuning.modules import BRANCHES, Branch
from adwright.tuning.peft_kinds import KINDS, PeftKind

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


_TASKS = "needs several tasks at once; adapters of one task each can be fused or mixed instead"
_OPEN = "could be written, and was not"
_MERGED = f"merges adapters that were trained apart; LoRAHub is here; {_OPEN}"
_PROMPT = f"a variant of the soft prompts that are here; {_OPEN}"
_EXPERTS = f"a mixture of LoRAs behind a router; of these only Poly is here; {_OPEN}"
_INITS = "a start of LoRA that changes the base's weights, so the base is no longer shared"


#: What is not done: by branch, the names, and the reason that holds for them.
_MISSING: dict[Branch, dict[str, str]] = {
    "additive: adapters": {
        "residual adapter, LayerNorm-placement variants": (
            f"other places for the serial adapter; {_OPEN}"
        ),
        "CoDA": "routes tokens around the frozen layers, which needs a backbone trained for it",
        "CIAT": "made for encoder-decoder translation",
        "AdapterSoup, MerA": _MERGED,
        "PHA, Hyperformer": _TASKS,
    },
    "additive: soft prompts": {
        (
            "APT, prefix propagation, Xprompt, IDPG, LPT, SPT (prompts), "
            "APrompt, TPTSR, InfoPrompt, PTP, SMoP, IPT"
        ): _PROMPT,
    },
    "additive: other": {
        "MoV, MoLoRA": _EXPERTS,
        "IPA": "a second model that steers a model which is only called, not tuned",
    },
    "selective: unstructured": {
        "U-BitFit": "diff pruning of biases; BitFit's are few enough to keep all",
        "Fish-Dip": f"chooses FishMask's weights anew while it trains; {_OPEN}",
        "Child-tuning F": "a new random mask in each step: in the end every weight has changed",
    },
    "selective: structured": {
        "S-BitFit": "chooses among biases; BitFit's are few enough to keep",
        "Xattn tuning": "tunes cross-attention, which a causal model lacks",
        "FAR": f"freezes nodes of the MLP; {_OPEN}",
        "SPT (selective)": f"a mask by sensitivity, and LoRA where much of a map is in it; {_OPEN}",
    },
    "reparameterised: low rank": {
        "KAdaptation": (
            f"sums of Kronecker products on weights, as Compacter has them in adapters; {_OPEN}"
        ),
        "HiWi": f"an adapter that reads the weights instead of the states; {_OPEN}",
    },
    "reparameterised: LoRA derivatives": {
        "AutoLoRA": f"a search for ranks; AdaLoRA, SoRA and DyLoRA are here; {_OPEN}",
        "CapaBoost": f"several masks over one pair of matrices; {_OPEN}",
        "PeriodicLoRA": "merges into the base every so often, so the base is no longer shared",
        "LoRA-drop": f"keeps a LoRA of its own only in layers where it matters; {_OPEN}",
        "Laplace-LoRA": (
            "a posterior over a trained LoRA: it changes what is said of it, not what is trained"
        ),
        "MOELoRA, MoLE, MixLoRA": _EXPERTS,
    },
    "hybrid": {
        "S4, NOAH, AUTOPEFT, S3Delta": (
            "a search over methods and places; `adwright tune compare` runs members side by side"
        ),
        "LLM-Adapters": "a collection of methods, each of which is here",
    },
    "efficient: pruning": {
        "SparseAdapter, ProPETL": (
            f"masks on adapters, or on one that all layers share, for fewer parameters; {_OPEN}"
        ),
        "SPLoRA, LoRAPruning": "prunes the base by structure, so the base is no longer shared",
    },
    "efficient: quantisation": {
        "QA-LoRA": (
            f"pools what A sees by groups, so that the update folds into zero points; {_OPEN}"
        ),
        "INT2.1": "its kernels are made for CUDA, and nothing here could be verified on one",
        "LoftQ, LQ-LoRA": _INITS,
        "BI-Adapter": "one-bit adapters; the base is what takes the memory",
    },
    "efficient: memory": {
        "side-tuning": (
            "a side network that reads the input alone; LST, which reads the layers too, is here"
        ),
        "Res-Tuning": "made for encoders or vision models, without a plain form in a causal model",
        "MEFT": "makes the backbone reversible, which changes what the base computes",
        "HyperTuning": "needs a second large model that writes the parameters",
        "KV-cache management for PEFT": (
            "an idea of serving: belongs to the engine's cache, not to training"
        ),
    },
    "beyond the survey": {
        "Lily": "its router averages over all tokens of a batch: a token would learn of later ones",
        "OSF, FRoD, AdaMSS": (
            "splits the base's weights before it trains, so it is no adapter of a shared base"
        ),
        "Shadow": "a second small model with losses and logits of its own",
        "Cartridge": (
            f"a prefix distilled from a long text, which needs a teacher in the loop; {_OPEN}"
        ),
        "X-LoRA, Arrow": _EXPERTS,
        "CorDA, PiSSA, OLoRA, LoRA-GA": _INITS,
        "EVA": f"starts LoRA's A at singular vectors of what its map sees; {_OPEN}",
        "BD-LoRA, KaSA, VeLoRA, MonteCLoRA": (
            "a variant that peft's LoRA config switches on; could be wrapped, and was not"
        ),
        "SuperTuning": (
            f"another choice of the weights that move; PaFi and FishMask are here; {_OPEN}"
        ),
        "LLaMA-Adapter": "replaces the attention of the model by one of its own",
    },
}

#: Every method: ours, wrapped, and not done.
TREE: tuple[Entry, ...] = (
    *(
        Entry(variant.name, variant.branch, method, variant.note)
        for method in METHODS.values()
        for variant in method.variants
    ),
    *(Entry(kind.name, kind.branch, by, kind.note) for by, kind in KINDS.items()),
    *(
        Entry(name, branch, None, why)
        for branch, reasons in _MISSING.items()
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
        for entry in TREE:
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
