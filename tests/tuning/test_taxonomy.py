"""The tree is whole, and says of nothing that it is here which is not."""

from __future__ import annotations

from adwright.tuning.methods import METHODS
from adwright.tuning.modules import BRANCHES
from adwright.tuning.peft_kinds import PeftKind, Wrapped
from adwright.tuning.taxonomy import TREE, as_markdown

#: Every name in the survey's figures of the taxonomy and in its section on efficient designs.
SURVEY = """
CIAT, CoDA, AdapterFusion, AdaMix, AdapterSoup, MerA, PHA, Hyperformer, parallel adapter,
residual adapter, prefix tuning, p-tuning v2, prompt tuning, p-tuning, APT, prefix propagation,
Xprompt, IDPG, LPT, APrompt, SPoT, TPTSR, InfoPrompt, PTP, DePT, SMoP, IPT, (IA)3, SSF, MoV,
MoLoRA, IPA, U-Diff pruning, U-BitFit, PaFi, FishMask, Fish-Dip, LT-SFT, SAM, Child-tuning F,
Child-tuning D, S-Diff pruning, S-BitFit, FAR, Xattn tuning, BitFit, LayerNorm tuning, LoRA,
rsLoRA, DoRA, AdaLoRA, VeRA, LoRA+, intrinsic SAID, KronA, KAdaptation, Compacter, HiWi, DyLoRA,
SoRA, CapaBoost, AutoLoRA, Laplace-LoRA, PeriodicLoRA, MoSLoRA, LoRA-drop, LoRAHub, MOELoRA, MoLE,
MixLoRA, UniPELT, MAM, S4, NOAH, AUTOPEFT, S3Delta, LLM-Adapters, AdapterDrop, SparseAdapter,
SPLoRA, LoRAPruning, ProPETL, QLoRA, LoftQ, QA-LoRA, PEQA, LQ-LoRA, BI-Adapter, INT2.1, QDyLoRA,
BitDelta, LST, side-tuning, Res-Tuning, MEFT, HyperTuning, MeZO, LoRA-FA
"""


def test_every_method_of_the_survey_is_named() -> None:
    names = {entry.name for entry in TREE}
    wanted = {name.strip() for name in SURVEY.replace("\n", " ").split(",")}
    assert wanted <= names
    assert len(names) == len(TREE)


def test_what_is_here_has_a_method_and_what_is_not_a_reason() -> None:
    for entry in TREE:
        match entry.by:
            case None:
                assert entry.status == "not done"
                assert len(entry.note) > 20
            case PeftKind():
                assert entry.status == "wrapped"
            case kind:
                assert entry.status == "ours"
                assert METHODS[kind.__name__] is kind


def test_every_method_is_in_the_tree() -> None:
    found = {entry.by for entry in TREE}
    assert set(METHODS.values()) - {Wrapped} <= found
    assert set(PeftKind) <= found


def test_the_table_has_every_entry() -> None:
    table = as_markdown()
    assert table.count("\n| ") == len(TREE) + len(BRANCHES)
    assert "| LoRA+ | ours | `LoRA` | rate_ratio |" in table
    assert "| BOFT | wrapped | `Wrapped(PeftKind.BOFT)` |  |" in table
