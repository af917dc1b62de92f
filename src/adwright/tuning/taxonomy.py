"""The whole tree of the survey as data: what is here, what is wrapped, what is missing and why.

Han, Gao, Liu, Zhang & Zhang, "Parameter-Efficient Fine-Tuning for Large Models: A Comprehensive
Survey", 2024, arXiv 2403.14608. Every method that the survey names has an entry; below them are
the ones that peft has beyond the survey. The docs print `as_markdown`.

>>> from adwright.tuning.taxonomy import TREE
>>> next(entry.status for entry in TREE if entry.name == "LoRA")
'ours'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adwright.core.config import check_literals
from adwright.tuning.additive.adamix import AdaMix
from adwright.tuning.additive.adapter_fusion import AdapterFusion
from adwright.tuning.additive.dept import DePT
from adwright.tuning.additive.ia3 import IA3
from adwright.tuning.additive.parallel import ParallelAdapter
from adwright.tuning.additive.prefix import PrefixTuning
from adwright.tuning.additive.prompt import PromptTuning
from adwright.tuning.additive.serial import SerialAdapter
from adwright.tuning.additive.ssf import SSF
from adwright.tuning.efficient.adapter_drop import AdapterDrop
from adwright.tuning.efficient.bit_delta import BitDelta
from adwright.tuning.efficient.ladder import LadderTuning
from adwright.tuning.efficient.lora_fa import LoRAFA
from adwright.tuning.efficient.mezo import MeZO
from adwright.tuning.efficient.peqa import PEQA
from adwright.tuning.hybrid import MAM, UniPELT
from adwright.tuning.methods import Method
from adwright.tuning.peft_kinds import PeftKind
from adwright.tuning.references import FullTuning, HeadOnly, NormTuning
from adwright.tuning.reparameterised.compacter import Compacter
from adwright.tuning.reparameterised.dora import DoRA
from adwright.tuning.reparameterised.dylora import DyLoRA
from adwright.tuning.reparameterised.krona import KronA
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.reparameterised.lora_hub import LoRAHub
from adwright.tuning.reparameterised.mos_lora import MoSLoRA
from adwright.tuning.reparameterised.said import SAID
from adwright.tuning.reparameterised.sora import SoRA
from adwright.tuning.reparameterised.vera import VeRA
from adwright.tuning.selective.bitfit import BitFit
from adwright.tuning.selective.diff_pruning import DiffPruning
from adwright.tuning.selective.fish_mask import FishMask
from adwright.tuning.selective.lt_sft import LTSFT
from adwright.tuning.selective.pafi import PaFi

__all__ = ["BRANCHES", "TREE", "Branch", "Entry", "Status", "as_markdown"]

Status = Literal["ours", "wrapped", "not done"]
Branch = Literal[
    "additive: adapters",
    "additive: soft prompts",
    "additive: other",
    "selective: unstructured",
    "selective: structured",
    "reparameterised: low rank",
    "reparameterised: LoRA derivatives",
    "hybrid",
    "efficient: pruning",
    "efficient: quantisation",
    "efficient: memory",
    "references",
    "beyond the survey",
]
BRANCHES: tuple[Branch, ...] = Branch.__args__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Entry:
    """One method of the tree. by: the class of ours, or the kind of peft, that is it; None where
    it is not done. note: settings that make it so, what differs, or why it is missing.
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


_ENCODER = "made for encoders or vision models, without a plain form in a causal model"
_SEARCH = "a search over methods and places; `adwright tune compare` runs members side by side"
_TASKS = "needs several tasks at once; adapters of one task each can be fused or mixed instead"
_OPEN = "could be written, and was not"
_MERGED = f"merges adapters that were trained apart; LoRAHub is here; {_OPEN}"
_PROMPT = f"a variant of the soft prompts that are here; {_OPEN}"
_EXPERTS = f"a mixture of LoRAs behind a router; of these only Poly is here; {_OPEN}"
_INITS = "a start of LoRA that changes the base's weights, so the base is no longer shared"
_CUDA = "its kernels are made for CUDA, and nothing here could be verified on one"
_UNVERIFIED = "--four-bits; never run on a CUDA device"


def _missing(branch: Branch, reason: str, *names: str) -> tuple[Entry, ...]:
    return tuple(Entry(name, branch, None, reason) for name in names)


_ADAPTERS: tuple[Entry, ...] = (
    Entry("serial adapter (Houlsby)", "additive: adapters", SerialAdapter, "placement houlsby"),
    Entry("serial adapter (Pfeiffer)", "additive: adapters", SerialAdapter, "placement pfeiffer"),
    *_missing(
        "additive: adapters",
        f"other places for the serial adapter; {_OPEN}",
        "residual adapter",
        "LayerNorm-placement variants",
    ),
    Entry("parallel adapter", "additive: adapters", ParallelAdapter),
    *_missing(
        "additive: adapters",
        "routes tokens around the frozen layers, which needs a backbone trained for it",
        "CoDA",
    ),
    *_missing("additive: adapters", "made for encoder-decoder translation", "CIAT"),
    Entry("AdapterFusion", "additive: adapters", AdapterFusion),
    Entry("AdaMix", "additive: adapters", AdaMix, "both draws in one pass"),
    *_missing("additive: adapters", _MERGED, "AdapterSoup", "MerA"),
    *_missing("additive: adapters", _TASKS, "PHA", "Hyperformer"),
)

_PROMPTS: tuple[Entry, ...] = (
    Entry("prefix tuning", "additive: soft prompts", PrefixTuning, "made_by mlp"),
    Entry("p-tuning v2", "additive: soft prompts", PrefixTuning, "made_by direct"),
    Entry("prompt tuning", "additive: soft prompts", PromptTuning),
    Entry("DePT", "additive: soft prompts", DePT),
    Entry("p-tuning", "additive: soft prompts", PeftKind.P_TUNING),
    Entry("MPT", "additive: soft prompts", PeftKind.MPT, "with one task"),
    Entry("CPT", "additive: soft prompts", PeftKind.CPT, "without its loss on the examples"),
    Entry(
        "SPoT",
        "additive: soft prompts",
        PromptTuning,
        "`load_tuned` the prompt of another task, and `tune` it on",
    ),
    *_missing(
        "additive: soft prompts",
        _PROMPT,
        *("APT", "prefix propagation", "Xprompt", "IDPG", "LPT", "SPT (prompts)", "APrompt"),
        *("TPTSR", "InfoPrompt", "PTP", "SMoP", "IPT"),
    ),
)

_OTHER: tuple[Entry, ...] = (
    Entry("(IA)3", "additive: other", IA3),
    Entry("SSF", "additive: other", SSF, "after linear maps only"),
    *_missing("additive: other", _EXPERTS, "MoV", "MoLoRA"),
    *_missing(
        "additive: other",
        "a second model that steers a model which is only called, not tuned",
        "IPA",
    ),
)

_SELECTIVE: tuple[Entry, ...] = (
    Entry("U-Diff pruning", "selective: unstructured", DiffPruning),
    Entry("PaFi", "selective: unstructured", PaFi),
    Entry("FishMask", "selective: unstructured", FishMask),
    Entry("LT-SFT", "selective: unstructured", LTSFT),
    *_missing(
        "selective: unstructured",
        "diff pruning of biases; BitFit's are few enough to keep all",
        "U-BitFit",
    ),
    *_missing(
        "selective: unstructured",
        f"chooses FishMask's weights anew while it trains; {_OPEN}",
        "Fish-Dip",
    ),
    Entry("SAM", "selective: unstructured", FishMask, "criterion gradient; curvatures taken as 1"),
    Entry(
        "Child-tuning D",
        "selective: unstructured",
        FishMask,
        "the same choice; here the other weights have no gradient to mask",
    ),
    *_missing(
        "selective: unstructured",
        "a new random mask in each step: in the end every weight has changed",
        "Child-tuning F",
    ),
    Entry("S-Diff pruning", "selective: structured", DiffPruning, "structured: gates of maps"),
    Entry("BitFit", "selective: structured", BitFit, "adds the biases that a Llama lacks"),
    Entry("LayerNorm tuning", "selective: structured", NormTuning),
    *_missing(
        "selective: structured", "chooses among biases; BitFit's are few enough to keep", "S-BitFit"
    ),
    *_missing(
        "selective: structured", "tunes cross-attention, which a causal model lacks", "Xattn tuning"
    ),
    *_missing("selective: structured", f"freezes nodes of the MLP; {_OPEN}", "FAR"),
    *_missing(
        "selective: structured",
        f"a mask by sensitivity, and LoRA where much of a map is in it; {_OPEN}",
        "SPT (selective)",
    ),
)

_REPARAMETERISED: tuple[Entry, ...] = (
    Entry("intrinsic SAID", "reparameterised: low rank", SAID),
    Entry("LoRA", "reparameterised: low rank", LoRA),
    Entry("KronA", "reparameterised: low rank", KronA),
    *_missing(
        "reparameterised: low rank",
        f"sums of Kronecker products on the weights, as Compacter has them in adapters; {_OPEN}",
        "KAdaptation",
    ),
    Entry("Compacter", "reparameterised: low rank", Compacter),
    *_missing(
        "reparameterised: low rank",
        f"an adapter that reads the weights instead of the states; {_OPEN}",
        "HiWi",
    ),
    Entry("VeRA", "reparameterised: low rank", VeRA),
    Entry("DoRA", "reparameterised: low rank", DoRA),
    Entry("AdaLoRA", "reparameterised: LoRA derivatives", PeftKind.ADALORA),
    Entry("rsLoRA", "reparameterised: LoRA derivatives", LoRA, "rank_stabilised"),
    Entry("LoRA+", "reparameterised: LoRA derivatives", LoRA, "rate_ratio"),
    Entry("DyLoRA", "reparameterised: LoRA derivatives", DyLoRA),
    Entry("SoRA", "reparameterised: LoRA derivatives", SoRA),
    Entry("MoSLoRA", "reparameterised: LoRA derivatives", MoSLoRA),
    Entry("LoRAHub", "reparameterised: LoRA derivatives", LoRAHub),
    *_missing(
        "reparameterised: LoRA derivatives",
        f"a search for ranks; AdaLoRA, SoRA and DyLoRA are here; {_OPEN}",
        "AutoLoRA",
    ),
    *_missing(
        "reparameterised: LoRA derivatives",
        f"several masks over one pair of matrices; {_OPEN}",
        "CapaBoost",
    ),
    *_missing(
        "reparameterised: LoRA derivatives",
        "merges into the base every so often, so the base is no longer shared",
        "PeriodicLoRA",
    ),
    *_missing(
        "reparameterised: LoRA derivatives",
        f"keeps a LoRA of its own only in layers where it matters; {_OPEN}",
        "LoRA-drop",
    ),
    *_missing(
        "reparameterised: LoRA derivatives",
        "a posterior over a trained LoRA: it changes what is said of it, not what is trained",
        "Laplace-LoRA",
    ),
    *_missing("reparameterised: LoRA derivatives", _EXPERTS, "MOELoRA", "MoLE", "MixLoRA"),
)

_HYBRID: tuple[Entry, ...] = (
    Entry("UniPELT", "hybrid", UniPELT, "gates of tokens, not of texts"),
    Entry("MAM", "hybrid", MAM),
    *_missing("hybrid", _SEARCH, "S4", "NOAH", "AUTOPEFT", "S3Delta"),
    *_missing("hybrid", "a collection of methods, each of which is here", "LLM-Adapters"),
)

_EFFICIENT: tuple[Entry, ...] = (
    Entry("AdapterDrop", "efficient: pruning", AdapterDrop),
    *_missing(
        "efficient: pruning",
        f"masks on adapters, or on one that all layers share, for fewer numbers; {_OPEN}",
        *("SparseAdapter", "ProPETL"),
    ),
    *_missing(
        "efficient: pruning",
        "prunes the base by structure, so the base is no longer shared",
        *("SPLoRA", "LoRAPruning"),
    ),
    Entry("PEQA", "efficient: quantisation", PEQA),
    Entry(
        "BitDelta",
        "efficient: quantisation",
        BitDelta,
        "the targets' weights only; its factors learn from answers, without a teacher",
    ),
    Entry("QLoRA", "efficient: quantisation", LoRA, _UNVERIFIED),
    Entry("QDyLoRA", "efficient: quantisation", DyLoRA, _UNVERIFIED),
    *_missing(
        "efficient: quantisation",
        f"pools what A sees by groups, so that the update folds into zero points; {_OPEN}",
        "QA-LoRA",
    ),
    *_missing("efficient: quantisation", _CUDA, "INT2.1"),
    *_missing("efficient: quantisation", _INITS, "LoftQ", "LQ-LoRA"),
    *_missing(
        "efficient: quantisation",
        "one-bit adapters; the base is what takes the memory",
        "BI-Adapter",
    ),
    Entry("LST", "efficient: memory", LadderTuning),
    *_missing(
        "efficient: memory",
        "a side network that reads the input alone; LST, which reads the layers too, is here",
        "side-tuning",
    ),
    Entry("MeZO", "efficient: memory", MeZO),
    Entry("LoRA-FA", "efficient: memory", LoRAFA),
    *_missing("efficient: memory", _ENCODER, "Res-Tuning"),
    *_missing(
        "efficient: memory",
        "makes the backbone reversible, which changes what the base computes",
        "MEFT",
    ),
    *_missing(
        "efficient: memory", "needs a second large model that writes the parameters", "HyperTuning"
    ),
    *_missing(
        "efficient: memory",
        "an idea of serving: belongs to the engine's cache, not to training",
        "KV-cache management for PEFT",
    ),
    Entry("full tuning", "references", FullTuning),
    Entry("head only", "references", HeadOnly),
)


def _wrapped(*kinds: tuple[str, PeftKind]) -> tuple[Entry, ...]:
    return tuple(Entry(name, "beyond the survey", kind) for name, kind in kinds)


_BEYOND: tuple[Entry, ...] = (
    *_wrapped(
        ("peft's LoRA", PeftKind.LORA),
        ("peft's VeRA", PeftKind.VERA),
        ("peft's LayerNorm tuning", PeftKind.NORMS),
        ("OFT", PeftKind.OFT),
        ("BOFT", PeftKind.BOFT),
        ("HRA", PeftKind.HRA),
        ("LoHa", PeftKind.LOHA),
        ("LoKr", PeftKind.LOKR),
        ("FourierFT", PeftKind.FOURIERFT),
        ("VB-LoRA", PeftKind.VBLORA),
        ("RandLoRA", PeftKind.RANDLORA),
        ("MiSS (once BONE)", PeftKind.MISS),
        ("C3A", PeftKind.C3A),
        ("RoAd", PeftKind.ROAD),
        ("WaveFT", PeftKind.WAVEFT),
        ("DeLoRA", PeftKind.DELORA),
        ("GraLoRA", PeftKind.GRALORA),
        ("PSOFT", PeftKind.PSOFT),
        ("HiRA", PeftKind.HIRA),
        ("GLoRA", PeftKind.GLORA),
        ("TinyLoRA", PeftKind.TINYLORA),
        ("UniLoRA", PeftKind.UNILORA),
        ("PVeRA", PeftKind.PVERA),
        ("PEANuT", PeftKind.PEANUT),
        ("DEFT", PeftKind.DEFT),
        ("Poly", PeftKind.POLY),
        ("SHiRA", PeftKind.SHIRA),
        ("BEFT", PeftKind.BEFT),
        ("trainable tokens", PeftKind.TOKENS),
    ),
    *_missing(
        "beyond the survey",
        "its router averages over all tokens of a batch: a token would learn of later ones",
        "Lily",
    ),
    *_missing(
        "beyond the survey",
        "splits the base's weights before it trains, so it is no part beside a shared base",
        *("OSF", "FRoD", "AdaMSS"),
    ),
    *_missing(
        "beyond the survey",
        "a second small model with losses and logits of its own",
        "Shadow",
    ),
    *_missing(
        "beyond the survey",
        f"a prefix that is distilled from a long text, which needs a teacher in the loop; {_OPEN}",
        "Cartridge",
    ),
    *_missing("beyond the survey", _EXPERTS, "X-LoRA", "Arrow"),
    *_missing("beyond the survey", _INITS, "CorDA", "PiSSA", "OLoRA", "LoRA-GA"),
    *_missing(
        "beyond the survey",
        f"starts LoRA's A at singular vectors of what its map sees; {_OPEN}",
        "EVA",
    ),
    *_missing(
        "beyond the survey",
        "a variant that peft's LoRA config switches on; could be wrapped, and was not",
        *("aLoRA", "BD-LoRA", "KaSA", "VeLoRA", "MonteCLoRA"),
    ),
    *_missing(
        "beyond the survey",
        f"another choice of the weights that move; PaFi and FishMask are here; {_OPEN}",
        "SuperTuning",
    ),
    *_missing(
        "beyond the survey",
        "replaces the attention of the model by one of its own",
        "LLaMA-Adapter",
    ),
)

#: Every method, branch by branch.
TREE: tuple[Entry, ...] = (
    *_ADAPTERS,
    *_PROMPTS,
    *_OTHER,
    *_SELECTIVE,
    *_REPARAMETERISED,
    *_HYBRID,
    *_EFFICIENT,
    *_BEYOND,
)


def as_markdown() -> str:
    """The tree as a table for each branch: method, status, what to write, note."""
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
                case kind:
                    write = f"`{kind.__name__}`"
            lines.append(f"| {entry.name} | {entry.status} | {write} | {entry.note} |")
        lines.append("")
    return "\n".join(lines)
