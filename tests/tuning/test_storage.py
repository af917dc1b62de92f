"""What is stored, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adwright.core.artifacts import save_artifact
from adwright.core.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactUnsafeError,
    ConfigError,
)
from adwright.tuning.storage import (
    KIND,
    fill,
    fingerprint,
    read_sources,
    read_tuned,
    under,
    write_tuned,
)
from tests.support.lm.tuning_methods import tiny_llama


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


def test_tensors_are_selected_by_the_beginning_of_their_names() -> None:
    one, other = torch.ones(1), torch.zeros(1)
    assert under("a.", {"a.b.c": one, "ab": other, "b.a.c": other}) == {"b.c": one}
