"""Linear maps that replace the base's, and the protocols that modules are found by."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from adwright.core.artifacts import save_artifact
from adwright.core.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactUnsafeError,
    ConfigError,
)
from adwright.tuning.modules import (
    DeltaLinear,
    HeadLogits,
    TunedLinear,
    head_logits,
)
from adwright.tuning.tuned import (
    KIND,
    fill,
    fingerprint,
    read_sources,
    read_tuned,
    write_tuned,
)
from tests.support.lm.tuning_methods import tiny_llama


class Shifted(TunedLinear):
    """W + 1."""

    def weight_update(self) -> Tensor:
        return torch.ones_like(self.base.weight)


class Doubled(DeltaLinear):
    """2 W."""

    def weight_now(self) -> Tensor:
        return 2 * self.base.weight


def test_an_update_is_added_to_the_weight() -> None:
    base = nn.Linear(3, 2)
    wanted = base.weight.detach() + 1
    assert torch.equal(Shifted(base).merged().weight, wanted)


def test_a_weight_that_is_computed_replaces_the_base_where_merged() -> None:
    base = nn.Linear(3, 2)
    doubled, x = Doubled(base), torch.randn(4, 3)
    before = doubled(x)
    assert torch.allclose(before, 2 * (x @ base.weight.T) + base.bias)
    assert torch.allclose(doubled.merged()(x), before)


def test_what_is_no_update_is_not_merged() -> None:
    with pytest.raises(ConfigError, match="cannot be folded"):
        TunedLinear(nn.Linear(1, 1)).merged()


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({}, HeadLogits()),
        ({"logit_scale": None, "final_logit_softcapping": None}, HeadLogits()),
        ({"logit_scale": 0.25}, HeadLogits(factor=0.25)),
        ({"logits_scaling": 8}, HeadLogits(factor=0.125)),
        ({"final_logit_softcapping": 30.0}, HeadLogits(cap=30.0)),
    ],
)
def test_it_is_read_from_the_config(config: dict[str, float], wanted: HeadLogits) -> None:
    assert head_logits(SimpleNamespace(**config)) == wanted


@pytest.mark.parametrize("scaled", [HeadLogits(), HeadLogits(0.25), HeadLogits(2.0, 3.0)])
def test_the_slope_is_the_derivative(scaled: HeadLogits) -> None:
    products = torch.linspace(-4, 4, 9, dtype=torch.float64, requires_grad=True)
    logits = scaled(products)
    (wanted,) = torch.autograd.grad(logits.sum(), products)
    slope = scaled.slope(logits.detach())
    torch.testing.assert_close(torch.as_tensor(slope, dtype=torch.float64).expand(9), wanted)


def written(folder: Path) -> Path:
    write_tuned(
        folder,
        method="LoRA",
        config={"rank": 2},
        seed=4,
        base="b",
        tensors={"x.a": torch.ones(2, dtype=torch.bfloat16), "x.i": torch.tensor([3])},
    )
    return folder


def test_round_trip(tmp_path: Path) -> None:
    stored = read_tuned(written(tmp_path / "a"))
    assert (stored.method, stored.config, stored.seed, stored.base) == (
        "LoRA",
        {"rank": 2},
        4,
        "b",
    )
    assert stored.tensors["x.a"].dtype == torch.float32
    assert stored.tensors["x.i"].tolist() == [3]


def test_fingerprint_tells_bases_apart_and_precisions_not() -> None:
    model = tiny_llama()
    first = fingerprint(model)
    assert fingerprint(tiny_llama().to(torch.bfloat16)) == first
    model.model.layers[1].mlp.up_proj.weight.data[0, 0] += 1
    assert fingerprint(model) != first


def test_a_pickle_in_the_folder_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "a")
    torch.save({"a": torch.ones(1)}, folder / "adapter.bin.pt")
    with pytest.raises(ArtifactUnsafeError):
        read_tuned(folder)


def test_changed_bytes_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "a")
    with open(folder / "tensors.safetensors", "r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x01")
    with pytest.raises(ArtifactCorruptError):
        read_tuned(folder)


def test_another_kind_of_artifact_is_refused(tmp_path: Path) -> None:
    save_artifact(tmp_path / "a", kind="din", config={})
    with pytest.raises(ArtifactError, match="of kind 'din'"):
        read_tuned(tmp_path / "a")
    save_artifact(tmp_path / "b", kind=KIND, config={"method": 3})
    with pytest.raises(ArtifactError, match="does not say which method"):
        read_tuned(tmp_path / "b")


@pytest.mark.parametrize("name", ["../x", "a/b", "a..b", ".a", "a b", ""])
def test_names_that_are_no_dotted_names_are_refused(tmp_path: Path, name: str) -> None:
    arrays = {name: torch.ones(1).numpy()}
    config = {"method": "LoRA", "config": {}, "base": ""}
    save_artifact(tmp_path / "a", kind=KIND, config=config, tensors=arrays)
    with pytest.raises(ArtifactUnsafeError, match="dotted name"):
        read_tuned(tmp_path / "a")


def test_nothing_is_copied_where_something_does_not_fit() -> None:
    into = {"a": torch.zeros(2), "b": torch.zeros(2)}
    with pytest.raises(ArtifactError, match="1 tensors are missing and 1 are unknown"):
        fill(into, {"a": torch.ones(2), "c": torch.ones(2)}, "f")
    with pytest.raises(ArtifactError, match="the model wants"):
        fill(into, {"a": torch.ones(2), "b": torch.ones(3)}, "f")
    with pytest.raises(ArtifactError, match="the model wants"):
        fill(into, {"a": torch.ones(2), "b": torch.ones(2, dtype=torch.int64)}, "f")
    assert into["a"].tolist() == [0, 0]
    fill(into, {"a": torch.ones(2), "b": torch.ones(2)}, "f")
    assert into["b"].tolist() == [1, 1]


def test_sources_are_read_in_their_order(tmp_path: Path) -> None:
    folders = [written(tmp_path / "a"), written(tmp_path / "b")]
    states = read_sources(folders, count=2, method="LoRA", config={"rank": 2}, base="b")
    assert [sorted(state) for state in states] == [["x.a", "x.i"]] * 2


def test_other_sources_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "a")
    with pytest.raises(ConfigError, match="2 sources are needed, 1 were given"):
        read_sources([folder], count=2, method="LoRA", config={}, base="b")
    for method, rank, base in (("DoRA", 2, "b"), ("LoRA", 3, "b"), ("LoRA", 2, "c")):
        with pytest.raises(ConfigError, match=f"not a {method} of this base with these settings"):
            read_sources([folder], count=1, method=method, config={"rank": rank}, base=base)
