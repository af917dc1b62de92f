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

from dataclasses import dataclass
from typing import Literal

from adwright.core.config import check_literals
from adwright.tuning.branches import BRANCHES, Branch
from adwright.tuning.methods import METHODS, Method
from adwright.tuning.peft_kinds import KINDS, PeftKind

__all__ = ["TREE", "Entry", "Status", "as_markdown"]

Status = Literal["ours", "wrapped", "not done"]


@dataclass(frozen=True)
class Entry:
    """One name in the taxonomy. by: the class of ours, or the kind of peft, that implements it;
    None where it is not done. note: settings that give it, what differs, or why it is missing.
    """

    name: str
    branch: Branch
    by: type[Method] | PeftKind | None = None
    note: str = ""

    def __post_init__(self) -> None:
        check_literals(self)

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


def _missing(branch: Branch, *reasons: tuple[str, ...]) -> tuple[Entry, ...]:
    """Entries of what is not done. reasons: each a reason, and the names that it holds for."""
    return tuple(Entry(name, branch, None, why) for why, *names in reasons for name in names)


_MISSING: tuple[Entry, ...] = (
    *_missing(
        "additive: adapters",
        (
            f"other places for the serial adapter; {_OPEN}",
            *("residual adapter", "LayerNorm-placement variants"),
        ),
        ("routes tokens around the frozen layers, which needs a backbone trained for it", "CoDA"),
        ("made for encoder-decoder translation", "CIAT"),
        (_MERGED, "AdapterSoup", "MerA"),
        (_TASKS, "PHA", "Hyperformer"),
    ),
    *_missing(
        "additive: soft prompts",
        (
            _PROMPT,
            *("APT", "prefix propagation", "Xprompt", "IDPG", "LPT", "SPT (prompts)", "APrompt"),
            *("TPTSR", "InfoPrompt", "PTP", "SMoP", "IPT"),
        ),
    ),
    *_missing(
        "additive: other",
        (_EXPERTS, "MoV", "MoLoRA"),
        ("a second model that steers a model which is only called, not tuned", "IPA"),
    ),
    *_missing(
        "selective: unstructured",
        ("diff pruning of biases; BitFit's are few enough to keep all", "U-BitFit"),
        (f"chooses FishMask's weights anew while it trains; {_OPEN}", "Fish-Dip"),
        (
            "a new random mask in each step: in the end every weight has changed",
            "Child-tuning F",
        ),
    ),
    *_missing(
        "selective: structured",
        ("chooses among biases; BitFit's are few enough to keep", "S-BitFit"),
        ("tunes cross-attention, which a causal model lacks", "Xattn tuning"),
        (f"freezes nodes of the MLP; {_OPEN}", "FAR"),
        (
            f"a mask by sensitivity, and LoRA where much of a map is in it; {_OPEN}",
            "SPT (selective)",
        ),
    ),
    *_missing(
        "reparameterised: low rank",
        (
            f"sums of Kronecker products on weights, as Compacter has them in adapters; {_OPEN}",
            "KAdaptation",
        ),
        (f"an adapter that reads the weights instead of the states; {_OPEN}", "HiWi"),
    ),
    *_missing(
        "reparameterised: LoRA derivatives",
        (f"a search for ranks; AdaLoRA, SoRA and DyLoRA are here; {_OPEN}", "AutoLoRA"),
        (f"several masks over one pair of matrices; {_OPEN}", "CapaBoost"),
        (
            "merges into the base every so often, so the base is no longer shared",
            "PeriodicLoRA",
        ),
        (f"keeps a LoRA of its own only in layers where it matters; {_OPEN}", "LoRA-drop"),
        (
            "a posterior over a trained LoRA: it changes what is said of it, not what is trained",
            "Laplace-LoRA",
        ),
        (_EXPERTS, "MOELoRA", "MoLE", "MixLoRA"),
    ),
    *_missing(
        "hybrid",
        (
            "a search over methods and places; `adwright tune compare` runs members side by side",
            *("S4", "NOAH", "AUTOPEFT", "S3Delta"),
        ),
        ("a collection of methods, each of which is here", "LLM-Adapters"),
    ),
    *_missing(
        "efficient: pruning",
        (
            f"masks on adapters, or on one that all layers share, for fewer parameters; {_OPEN}",
            *("SparseAdapter", "ProPETL"),
        ),
        (
            "prunes the base by structure, so the base is no longer shared",
            *("SPLoRA", "LoRAPruning"),
        ),
    ),
    *_missing(
        "efficient: quantisation",
        (
            f"pools what A sees by groups, so that the update folds into zero points; {_OPEN}",
            "QA-LoRA",
        ),
        ("its kernels are made for CUDA, and nothing here could be verified on one", "INT2.1"),
        (_INITS, "LoftQ", "LQ-LoRA"),
        ("one-bit adapters; the base is what takes the memory", "BI-Adapter"),
    ),
    *_missing(
        "efficient: memory",
        (
            "a side network that reads the input alone; LST, which reads the layers too, is here",
            "side-tuning",
        ),
        (
            "made for encoders or vision models, without a plain form in a causal model",
            "Res-Tuning",
        ),
        ("makes the backbone reversible, which changes what the base computes", "MEFT"),
        ("needs a second large model that writes the parameters", "HyperTuning"),
        (
            "an idea of serving: belongs to the engine's cache, not to training",
            "KV-cache management for PEFT",
        ),
    ),
    *_missing(
        "beyond the survey",
        (
            "its router averages over all tokens of a batch: a token would learn of later ones",
            "Lily",
        ),
        (
            "splits the base's weights before it trains, so it is no adapter of a shared base",
            *("OSF", "FRoD", "AdaMSS"),
        ),
        ("a second small model with losses and logits of its own", "Shadow"),
        (
            f"a prefix distilled from a long text, which needs a teacher in the loop; {_OPEN}",
            "Cartridge",
        ),
        (_EXPERTS, "X-LoRA", "Arrow"),
        (_INITS, "CorDA", "PiSSA", "OLoRA", "LoRA-GA"),
        (f"starts LoRA's A at singular vectors of what its map sees; {_OPEN}", "EVA"),
        (
            "a variant that peft's LoRA config switches on; could be wrapped, and was not",
            *("aLoRA", "BD-LoRA", "KaSA", "VeLoRA", "MonteCLoRA"),
        ),
        (
            f"another choice of the weights that move; PaFi and FishMask are here; {_OPEN}",
            "SuperTuning",
        ),
        ("replaces the attention of the model by one of its own", "LLaMA-Adapter"),
    ),
)

#: Every method: ours, wrapped, and not done.
TREE: tuple[Entry, ...] = (
    *(
        Entry(variant.name, variant.branch, method, variant.note)
        for method in METHODS.values()
        for variant in method.variants
    ),
    *(Entry(kind.name, kind.branch, by, kind.note) for by, kind in KINDS.items()),
    *_MISSING,
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
