from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from adwright.core.config import to_jsonable
from adwright.core.errors import ArtifactError, ConfigError
from adwright.lm.serving.adapter_cache import Hot, Residency
from adwright.lm.serving.gathered_adapters import BaseMaps, GatheredMethod
from adwright.lm.serving.page_pool import PagePool, PageShape
from adwright.tuning.additive.ssf import SSF
from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.dora import DoRA
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.reparameterised.vera import VeRA
from adwright.tuning.selective.bitfit import BitFit
from adwright.tuning.sizes import Target
from adwright.tuning.storage import write_tuned
from tests.support.lm.adapter_engine import saved_parts
from tests.support.lm.tiny_llama import tiny_llama

BASE = BaseMaps.of(tiny_llama())
SHAPE = PageShape.of(BASE.sizes, 4)
METHODS = {f"part-{at}": LoRA(rank=2, targets=("q_proj", "v_proj")) for at in range(6)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return saved_parts(tmp_path_factory.mktemp("parts"), METHODS)


def filled(folders: dict[str, Path], parts: float, host: float) -> tuple[PagePool, Residency]:
    """A pool and a host memory with room for so many of these parts, of two pages each."""
    pool = PagePool(SHAPE, 1 + int(2 * parts))
    residency = Residency(BASE, pool, host_bytes=int(host * 2 * pool.page_bytes))
    for name, folder in folders.items():
        residency.add(name, folder)
    assert residency.pages_of("part-0") == 2
    return pool, residency


def used(residency: Residency, name: str) -> Hot | None:
    hot = residency.acquire(name)
    if hot is not None:
        residency.release(name)
    return hot


def test_registering_keeps_nothing_but_settings(folders: dict[str, Path]) -> None:
    pool, residency = filled(folders, 3, 2)
    assert residency.names == tuple(folders)
    assert "part-3" in residency
    assert pool.free == pool.capacity
    assert {state.tier for state in residency.states()} == {"disk"}


def test_the_numbers_in_the_pool(folders: dict[str, Path]) -> None:
    pool, residency = filled(folders, 3, 2)
    wanted = BASE.smalls(BASE.read(folders["part-1"]))
    for name in ("part-0", "part-1", "part-2", "part-3", "part-1"):
        hot = used(residency, name)
    assert hot is not None
    piece = hot.layout.pieces["v_proj", "b"]
    own = hot.grains[piece.first : piece.first + piece.rows * piece.grains]
    for layer in range(3):
        at = own + layer * (SHAPE.slice // residency.grain)
        rows = pool.grains(residency.grain)[at].view(piece.rows, -1)
        small = wanted[f"model.layers.{layer}.self_attn.v_proj"].low
        assert small is not None
        assert torch.equal(rows, small[1])


def test_least_recently_used_goes_first_to_host_then_to_disk(folders: dict[str, Path]) -> None:
    _, residency = filled(folders, 2, 1)
    tiers = lambda: [residency.state(name).tier for name in folders]  # noqa: E731
    for name in ("part-0", "part-1", "part-0", "part-2"):
        used(residency, name)
    # part-1 was used before part-0 was again.
    assert tiers() == ["pool", "host", "pool", "disk", "disk", "disk"]
    used(residency, "part-3")
    assert tiers() == ["host", "disk", "pool", "pool", "disk", "disk"]
    used(residency, "part-0")
    assert tiers() == ["pool", "disk", "host", "pool", "disk", "disk"]
    counts = residency.counts
    assert (counts.hits, counts.from_disk, counts.from_host) == (1, 4, 1)
    assert (counts.evictions, counts.dropped) == (3, 1)
    state = residency.state("part-0")
    assert (state.hits, state.pins, state.method, state.pages) == (1, 0, "LoRA", 2)


def test_is_what_a_literal_cache_does(folders: dict[str, Path]) -> None:
    pool, residency = filled(folders, 3, 2)
    hot: OrderedDict[str, None] = OrderedDict()
    warm: OrderedDict[str, None] = OrderedDict()
    generator = torch.Generator().manual_seed(3)
    hits = 0
    for at in torch.randint(6, (200,), generator=generator).tolist():
        name = f"part-{at}"
        used(residency, name)
        hits += name in hot
        warm.pop(name, None)
        if name not in hot and len(hot) == 3:
            warm[hot.popitem(last=False)[0]] = None
            if len(warm) > 2:
                warm.popitem(last=False)
        hot[name] = None
        hot.move_to_end(name)
        found = {state.name: state.tier for state in residency.states()}
        assert {name for name, tier in found.items() if tier == "pool"} == set(hot)
        assert {name for name, tier in found.items() if tier == "host"} == set(warm)
        assert pool.used("adapters") == 2 * len(hot)
        assert residency.host_bytes == len(warm) * 2 * pool.page_bytes
    assert residency.counts.hits == hits


def test_pins_stay_and_newcomers_wait(folders: dict[str, Path]) -> None:
    pool, residency = filled(folders, 2, 2)
    first, second = residency.acquire("part-0"), residency.acquire("part-1")
    assert residency.acquire("part-0") is first
    assert residency.acquire("part-2") is None
    assert not residency.room(1)
    residency.release("part-0")
    assert residency.acquire("part-2") is None
    residency.release("part-0")
    assert residency.acquire("part-2") is not None
    assert residency.state("part-0").tier == "host"
    assert second is not None
    with pytest.raises(ConfigError, match="not pinned"):
        residency.release("part-0")
    residency.release("part-1")
    assert residency.room(2)
    assert pool.free == 2


def test_pages_that_must_be_left_over(folders: dict[str, Path]) -> None:
    pool, residency = filled(folders, 2.5, 2)
    assert residency.acquire("part-0", keep=4) is None
    assert residency.acquire("part-0", keep=3) is not None
    pool.allocate(3, "keys")
    assert residency.acquire("part-0", keep=1) is None
    assert residency.state("part-0").pins == 1
    assert residency.counts.hits == 0


def test_removing(folders: dict[str, Path]) -> None:
    pool, residency = filled(folders, 1, 2)
    residency.acquire("part-0")
    with pytest.raises(ConfigError, match="in use"):
        residency.remove("part-0")
    residency.release("part-0")
    used(residency, "part-1")
    for name in ("part-0", "part-1", "part-2"):
        residency.remove(name)
    assert pool.free == pool.capacity
    assert residency.host_bytes == 0
    with pytest.raises(ConfigError, match="no part of that name"):
        residency.acquire("part-0")


def test_what_cannot_be_registered(folders: dict[str, Path], tmp_path: Path) -> None:
    _, residency = filled(folders, 3, 2)
    with pytest.raises(ConfigError, match="name is taken"):
        residency.add("part-0", folders["part-0"])
    apply(tiny_llama(), VeRA(rank=2), seed=0).save(tmp_path / "vera")
    with pytest.raises(ArtifactError, match="VeRA cannot be gathered"):
        residency.add("vera", tmp_path / "vera")
    large = saved_parts(tmp_path, {"large": LoRA(rank=9)})["large"]
    with pytest.raises(ArtifactError, match="the pool has 6"):
        residency.add("large", large)
    assert "large" not in residency


@pytest.mark.parametrize("method", [LoRA(targets=()), BitFit(targets=()), SSF(targets=())])
def test_a_part_with_nothing_in_it(
    method: GatheredMethod, folders: dict[str, Path], tmp_path: Path
) -> None:
    _, residency = filled(folders, 3, 2)
    write_tuned(
        tmp_path / "none",
        method=type(method).__name__,
        config=to_jsonable(method),
        seed=0,
        base=BASE.base,
        tensors={},
    )
    with pytest.raises(ArtifactError, match="changes no map"):
        residency.add("none", tmp_path / "none")
    assert "none" not in residency


def test_a_part_that_its_scale_makes_infinite(tmp_path: Path) -> None:
    few: tuple[Target, ...] = ("q_proj",)
    methods = {
        "huge": LoRA(rank=1, alpha=1e300, targets=few),
        "large": LoRA(rank=1, alpha=1e7, targets=few),
        "norms": DoRA(rank=1, alpha=1e300, targets=few),
    }
    own = saved_parts(tmp_path, methods)
    residency = Residency(BASE, PagePool(SHAPE, 20))
    with pytest.raises(ArtifactError, match=r"not finite in torch\.float32") as found:
        residency.add("huge", own["huge"])
    assert found.value.where == str(own["huge"])
    assert "huge" not in residency
    residency.add("large", own["large"])
    narrow = Residency(BASE, PagePool(SHAPE, 20, torch.float16))
    with pytest.raises(ArtifactError, match=r"not finite in torch\.float16"):
        narrow.add("large", own["large"])
    # Those norms are only looked at when they are needed.
    residency.add("norms", own["norms"])
    with pytest.raises(ArtifactError, match="the part is not finite"):
        residency.acquire("norms")
    assert residency.state("norms").pins == 0


def test_states_while_parts_go(folders: dict[str, Path]) -> None:
    _, residency = filled(folders, 3, 2)

    class Losing(OrderedDict[str, Hot]):
        """A part is removed by another thread at each look."""

        def __contains__(self, name: object) -> bool:
            residency._known.pop(next(reversed(residency._known)), None)
            return super().__contains__(name)

    residency._hot = Losing()
    assert [state.name for state in residency.states()] == list(folders)


def test_a_folder_that_was_changed(folders: dict[str, Path], tmp_path: Path) -> None:
    pool, residency = filled(folders, 3, 2)
    own = saved_parts(tmp_path, {"own": LoRA(rank=2, targets=("q_proj",))})["own"]
    residency.add("own", own)
    apply(tiny_llama(), LoRA(rank=1, targets=("q_proj",)), seed=0).save(own, overwrite=True)
    with pytest.raises(ArtifactError, match="another part"):
        residency.acquire("own")
    assert pool.free == pool.capacity
