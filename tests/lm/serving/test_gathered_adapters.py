"""Rows with different parts, of different kinds, give what each part gives alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import ArtifactError, ConfigError
from adwright.lm.serving.gathered_adapters import GATHERED, Gathered, GatheredLinear, GatheredMethod
from adwright.tuning.additive.ia3 import IA3
from adwright.tuning.additive.serial import SerialAdapter
from adwright.tuning.additive.ssf import SSF
from adwright.tuning.efficient.lora_fa import LoRAFA
from adwright.tuning.methods import load_tuned
from adwright.tuning.reparameterised.dora import DoRA
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.reparameterised.vera import VeRA
from adwright.tuning.selective.bitfit import BitFit
from adwright.tuning.storage import KIND
from tests.support.lm.tuning_methods import base_logits, logits_of, saved, tiny_llama

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
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("parts")
    return {
        name: saved(method, top / name, seed)
        for seed, (name, method) in enumerate(PARTS.items(), start=1)
    }


@pytest.fixture
def many(folders: dict[str, Path]) -> Gathered:
    gathered = Gathered(tiny_llama())
    for name, folder in folders.items():
        gathered.add(name, folder)
    return gathered


def texts(rows: int, seed: int = 0) -> Tensor:
    return torch.randint(64, (rows, 9), generator=torch.Generator().manual_seed(seed))


def one_by_one(folders: dict[str, Path], rows: list[str | None], tokens: Tensor) -> Tensor:
    made = []
    for name, text in zip(rows, tokens, strict=True):
        if name is None:
            made.append(base_logits(text[None]))
        else:
            made.append(logits_of(load_tuned(tiny_llama(), folders[name]), text[None]))
    return torch.cat(made)


def together(many: Gathered, rows: list[str | None], tokens: Tensor) -> Tensor:
    many.use(rows)
    with torch.no_grad():
        logits: Tensor = many.model(tokens).logits
    return logits


BATCHES: list[list[str | None]] = [
    [*PARTS, None],
    ["lora", "lora-wide", "lora-few", "lora"],
    ["lora"] * 3,
    ["houlsby", "pfeiffer", None, "houlsby"],
    ["ia3", "bitfit", "ssf"],
    [None, None],
    ["dora", "ia3"],
]


@pytest.mark.parametrize("rows", BATCHES, ids=lambda rows: "-".join(map(str, rows))[:40])
def test_is_what_each_part_gives_alone(
    many: Gathered, folders: dict[str, Path], rows: list[str | None]
) -> None:
    tokens = texts(len(rows))
    wanted = one_by_one(folders, rows, tokens)
    assert torch.allclose(together(many, rows, tokens), wanted, atol=1e-4)


def test_rows_that_change_hands_one_after_another(many: Gathered, folders: dict[str, Path]) -> None:
    generator = torch.Generator().manual_seed(1)
    names: list[str | None] = [*PARTS, None]
    rows: list[str | None] = ["lora-wide"] * 5
    for step in range(25):
        row = int(torch.randint(5, (1,), generator=generator))
        rows[row] = names[int(torch.randint(len(names), (1,), generator=generator))]
        tokens = texts(5, step)
        wanted = one_by_one(folders, rows, tokens)
        assert torch.allclose(together(many, rows, tokens), wanted, atol=1e-4)


def test_slices_of_rows_that_stay_are_not_written(many: Gathered) -> None:
    many.use(["lora-wide", "lora"])
    linear = many.model.get_submodule("model.layers.0.mlp.up_proj")
    assert isinstance(linear, GatheredLinear)
    stack = linear._low
    parts = stack.parts
    parts[0][0].fill_(7.0)
    many.use(["lora-wide", "lora-fa"])
    assert stack.parts[0] is parts[0]
    assert (parts[0][0] == 7).all()
    # The rank of the new row is lower: what stood beyond it is gone.
    assert (parts[0][1][:, 2:] == 0).all()


def test_decoding_with_a_cache(many: Gathered, folders: dict[str, Path]) -> None:
    rows: list[str | None] = ["lora", "houlsby", "ia3", None]
    tokens = texts(4)
    many.use(rows)
    many.model.generation_config.eos_token_id = None
    mask = torch.ones_like(tokens)
    made = many.model.generate(
        tokens, attention_mask=mask, max_new_tokens=4, do_sample=False, pad_token_id=0
    )
    logits = one_by_one(folders, rows, made[:, :-1])
    assert torch.equal(made[:, 9:], logits[:, 8:].argmax(-1))


def test_a_bfloat16_base(folders: dict[str, Path]) -> None:
    gathered = Gathered(tiny_llama().to(torch.bfloat16))
    rows: list[str | None] = ["lora", "pfeiffer", "ssf"]
    for name in rows:
        gathered.add(str(name), folders[str(name)])
    tokens = texts(3)
    near = together(gathered, rows, tokens).float()
    assert near.dtype == torch.float32
    wanted = one_by_one(folders, rows, tokens)
    assert (near - wanted).abs().mean() < 0.05 * wanted.abs().mean()


def test_bytes_and_names(many: Gathered) -> None:
    assert many.names == tuple(PARTS)
    assert many.bytes_of("lora") == 4 * PARTS["lora"].count(many.sizes)
    assert set(GATHERED) == {type(method).__name__ for method in PARTS.values()}


def test_parts_in_use_stay_and_others_go(many: Gathered) -> None:
    many.use(["lora", None])
    with pytest.raises(ConfigError, match="in use"):
        many.remove("lora")
    many.remove("ia3")
    with pytest.raises(ConfigError, match="no part of that name"):
        many.use(["ia3"])
    with pytest.raises(ConfigError, match="no part of that name"):
        many.bytes_of("ia3")


def test_the_number_of_rows_has_to_fit(many: Gathered) -> None:
    many.use(["lora", None])
    with pytest.raises(ConfigError, match="3 rows, and 2 are in use"):
        many.model(texts(3))


def test_what_cannot_be_registered(
    many: Gathered, folders: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="name is taken"):
        many.add("lora", folders["lora"])
    with pytest.raises(ArtifactError, match="VeRA cannot be gathered"):
        many.add("vera", saved(VeRA(rank=2), tmp_path / "vera", 0))
    other = tiny_llama()
    other.model.norm.weight.data[0] = 3
    with pytest.raises(ArtifactError, match="another base"):
        Gathered(other).add("x", folders["lora"])
    good = load_artifact(folders["lora"])
    for change, words in (({"rank": 10**9}, "more numbers"), ({"rank": "x"}, "cannot be read")):
        config = good.config | {"config": good.config["config"] | change}
        folder = tmp_path / words
        save_artifact(folder, kind=KIND, config=config, tensors=good.tensors)
        with pytest.raises(ArtifactError, match=words):
            many.add("x", folder)
    config = good.config | {"config": good.config["config"] | {"rank": 2}}
    save_artifact(tmp_path / "rank", kind=KIND, config=config, tensors=good.tensors)
    with pytest.raises(ArtifactError, match="the model wants"):
        many.add("x", tmp_path / "rank")
    assert "x" not in many.names
