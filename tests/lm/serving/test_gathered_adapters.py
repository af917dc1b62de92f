"""What an adapter does at each map is what the tuned model computes there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import ArtifactError, ConfigError
from adwright.lm.serving.adapter_cache import BaseMaps, NotGathered
from adwright.lm.serving.kinds import GatheredMethod, MapUpdate
from adwright.tuning.additive.adapters import IA3, SSF, AdaMix, SerialAdapter, activated
from adwright.tuning.efficient.memory import AdapterDrop, LoRAFA
from adwright.tuning.methods import load_tuned
from adwright.tuning.reparameterised.factors import KronA, VeRA
from adwright.tuning.reparameterised.lora import DoRA, DyLoRA, LoRA, MoSLoRA, SoRA, cut
from adwright.tuning.reparameterised.lora_hub import LoRAHub
from adwright.tuning.selective.masks import BitFit
from adwright.tuning.storage import KIND
from tests.support.lm.tuning_methods import attached, saved, shake, tiny_llama

PARTS: dict[str, GatheredMethod] = {
    "lora": LoRA(rank=3),
    "lora-wide": LoRA(rank=6, rank_stabilised=True),
    "lora-few": LoRA(rank=2, targets=("q_proj", "v_proj")),
    "lora-fa": LoRAFA(rank=2),
    "dora": DoRA(rank=3),
    "houlsby": SerialAdapter(size=4),
    "pfeiffer": SerialAdapter(size=6, placement="pfeiffer", activation="gelu"),
    "ia3": IA3(),
    "bitfit": BitFit(),
    "ssf": SSF(),
    "dylora": DyLoRA(rank=4, serve=2),
    "sora": SoRA(rank=4),
    "mos-lora": MoSLoRA(rank=3),
    "vera": VeRA(rank=5),
    "vera-few": VeRA(rank=5, targets=("k_proj", "up_proj")),
    "lorahub": LoRAHub(rank=2),
    "adamix": AdaMix(size=4, experts=3),
    "adapter-drop": AdapterDrop(drop=1, serve=1, size=4),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("parts")
    return {
        name: folder_of(method, top / name, seed)
        for seed, (name, method) in enumerate(PARTS.items(), start=1)
    }


def folder_of(method: GatheredMethod, folder: Path, seed: int) -> Path:
    """The folder of a part that was shaken, with its sources where it needs any."""
    tuned = attached(method, folder / "sources", seed)
    shake(tuned, seed, 2.0 if isinstance(method, LoRAHub) else 0.05)
    if isinstance(method, SoRA):
        gates = [each for name, each in tuned.named_parameters() if name.endswith(".gate")]
        with torch.no_grad():  # other ranks at other maps
            for at, gate in enumerate(gates):
                gate[: at % 4] = 0
        cut(tuned)
    tuned.save(folder / "part")
    return folder / "part"


def by_formula(update: MapUpdate | None, base: nn.Linear, x: Tensor) -> Tensor:
    """The formula of the module, term by term."""
    update = MapUpdate() if update is None else update
    bias = torch.zeros(base.out_features) if base.bias is None else base.bias
    y = x if update.before is None else x * update.before
    y = y @ base.weight.T + bias
    if update.factor is not None:
        y = y * update.factor
    if update.low is not None:
        y = y + x @ update.low[0] @ update.low[1]
    if update.shift is not None:
        y = y + update.shift
    if update.after is not None:
        down, inner, up, outer = update.after
        y = y + activated(y @ down + inner, update.activation) @ up + outer
    return y


@pytest.mark.parametrize("name", PARTS)
def test_updates_are_what_the_tuned_model_computes(folders: dict[str, Path], name: str) -> None:
    base = BaseMaps.of(tiny_llama())
    updates = base.updates(base.read(folders[name]))
    tuned = load_tuned(tiny_llama(), folders[name]).model
    changed = 0
    for at, (_, linear) in base.linears.items():
        x = torch.randn(5, linear.in_features, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            wanted = tuned.get_submodule(at)(x[None])[0]
            assert torch.allclose(by_formula(updates.get(at), linear, x), wanted, atol=1e-4), at
            changed += not torch.allclose(wanted, linear(x), atol=1e-3)
    # Nothing is claimed for maps that stay as they are, and nothing is missing.
    assert changed == len(updates) > 0


def test_a_base_that_is_tuned_already(folders: dict[str, Path]) -> None:
    tuned = load_tuned(tiny_llama(), folders["lora"]).model
    with pytest.raises(ConfigError, match="not plain"):
        BaseMaps.of(tuned)


def test_what_cannot_be_read(folders: dict[str, Path], tmp_path: Path) -> None:
    base = BaseMaps.of(tiny_llama())
    with pytest.raises(NotGathered, match="KronA cannot be gathered"):
        base.read(saved(KronA(factor=5), tmp_path / "krona", 0))
    other = tiny_llama()
    other.model.norm.weight.data[0] = 3
    with pytest.raises(ArtifactError, match="another base"):
        BaseMaps.of(other).read(folders["lora"])
    good = load_artifact(folders["lora"])
    changes = (({"rank": 10**9}, "more numbers"), ({"rank": "x"}, "cannot be read"))
    for change, words in (*changes, ({"rank": 2}, "the model wants")):
        config = good.config | {"config": good.config["config"] | change}
        save_artifact(tmp_path / words, kind=KIND, config=config, tensors=good.tensors)
        with pytest.raises(ArtifactError, match=words):
            base.read(tmp_path / words)
