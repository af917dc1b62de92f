from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from adwright.core.config import to_jsonable
from adwright.core.errors import ArtifactError, ConfigError
from adwright.lm.serving.adapter_cache import AdapterCache, BaseMaps, PooledAdapter
from adwright.lm.serving.kinds import GatheredMethod
from adwright.lm.serving.prefixes import PagePool, PageShape
from adwright.tuning.additive.adapters import SSF
from adwright.tuning.methods import apply
from adwright.tuning.modules import Target
from adwright.tuning.reparameterised.factors import KronA
from adwright.tuning.reparameterised.lora import DoRA, LoRA
from adwright.tuning.selective.masks import BitFit
from adwright.tuning.storage import write_tuned
from tests.support.lm.adapter_engine import saved_parts
from tests.support.lm.tiny_llama import tiny_llama

BASE = BaseMaps.of(tiny_llama())
SHAPE = PageShape.of(BASE.sizes, 4)
METHODS = {f"part-{at}": LoRA(rank=2, targets=("q_proj", "v_proj")) for at in range(6)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return saved_parts(tmp_path_factory.mktemp("parts"), METHODS)


def filled(folders: dict[str, Path], parts: float, host: float) -> tuple[PagePool, AdapterCache]:
    """A pool and a host memory with room for so many of these parts, of two pages each."""
    pool = PagePool(SHAPE, 1 + int(2 * parts))
    cache = AdapterCache(BASE, pool, host_bytes=int(host * 2 * pool.page_bytes))
    for name, folder in folders.items():
        cache.add(name, folder)
    assert cache.pages_of("part-0") == 2
    return pool, cache


def used(cache: AdapterCache, name: str) -> PooledAdapter | None:
    hot = cache.acquire(name)
    if hot is not None:
        cache.release(name)
    return hot


def test_registering_keeps_nothing_but_settings(folders: dict[str, Path]) -> None:
    pool, cache = filled(folders, 3, 2)
    assert cache.names == tuple(folders)
    assert "part-3" in cache
    assert pool.free == pool.capacity
    assert {state.tier for state in cache.states()} == {"disk"}


def test_the_numbers_in_the_pool(folders: dict[str, Path]) -> None:
    pool, cache = filled(folders, 3, 2)
    wanted = BASE.updates(BASE.read(folders["part-1"]))
    for name in ("part-0", "part-1", "part-2", "part-3", "part-1"):
        hot = used(cache, name)
    assert hot is not None
    piece = hot.layout.matrices["v_proj", "b"]
    own = hot.grains[piece.first : piece.first + piece.rows * piece.grains]
    for layer in range(3):
        at = own + layer * (SHAPE.slice // cache.grain)
        rows = pool.grains(cache.grain)[at].view(piece.rows, -1)
        small = wanted[f"model.layers.{layer}.self_attn.v_proj"].low
        assert small is not None
        assert torch.equal(rows, small[1])


def test_least_recently_used_goes_first_to_host_then_to_disk(folders: dict[str, Path]) -> None:
    _, cache = filled(folders, 2, 1)
    tiers = lambda: [cache.state(name).tier for name in folders]  # noqa: E731
    for name in ("part-0", "part-1", "part-0", "part-2"):
        used(cache, name)
    # part-1 was used before part-0 was again.
    assert tiers() == ["pool", "host", "pool", "disk", "disk", "disk"]
    used(cache, "part-3")
    assert tiers() == ["host", "disk", "pool", "pool", "disk", "disk"]
    used(cache, "part-0")
    assert tiers() == ["pool", "disk", "host", "pool", "disk", "disk"]
    counts = cache.counts
    assert (counts.hits, counts.from_disk, counts.from_host) == (1, 4, 1)
    assert (counts.evictions, counts.dropped) == (3, 1)
    state = cache.state("part-0")
    assert (state.hits, state.pins, state.method, state.pages) == (1, 0, "LoRA", 2)


def test_is_what_a_literal_cache_does(folders: dict[str, Path]) -> None:
    pool, cache = filled(folders, 3, 2)
    hot: OrderedDict[str, None] = OrderedDict()
    warm: OrderedDict[str, None] = OrderedDict()
    generator = torch.Generator().manual_seed(3)
    hits = 0
    for at in torch.randint(6, (200,), generator=generator).tolist():
        name = f"part-{at}"
        used(cache, name)
        hits += name in hot
        warm.pop(name, None)
        if name not in hot and len(hot) == 3:
            warm[hot.popitem(last=False)[0]] = None
            if len(warm) > 2:
                warm.popitem(last=False)
        hot[name] = None
        hot.move_to_end(name)
        found = {state.name: state.tier for state in cache.states()}
        assert {name for name, tier in found.items() if tier == "pool"} == set(hot)
        assert {name for name, tier in found.items() if tier == "host"} == set(warm)
        assert pool.used("adapters") == 2 * len(hot)
        assert cache.host_bytes == len(warm) * 2 * pool.page_bytes
    assert cache.counts.hits == hits


def test_pins_stay_and_newcomers_wait(folders: dict[str, Path]) -> None:
    pool, cache = filled(folders, 2, 2)
    first, second = cache.acquire("part-0"), cache.acquire("part-1")
    assert cache.acquire("part-0") is first
    assert cache.acquire("part-2") is None
    assert not cache.room(1)
    cache.release("part-0")
    assert cache.acquire("part-2") is None
    cache.release("part-0")
    assert cache.acquire("part-2") is not None
    assert cache.state("part-0").tier == "host"
    assert second is not None
    with pytest.raises(ConfigError, match="not pinned"):
        cache.release("part-0")
    cache.release("part-1")
    assert cache.room(2)
    assert pool.free == 2


def test_pages_that_must_be_left_over(folders: dict[str, Path]) -> None:
    pool, cache = filled(folders, 2.5, 2)
    assert cache.acquire("part-0", keep=4) is None
    assert cache.acquire("part-0", keep=3) is not None
    pool.allocate(3, "keys")
    assert cache.acquire("part-0", keep=1) is None
    assert cache.state("part-0").pins == 1
    assert cache.counts.hits == 0


def test_removing(folders: dict[str, Path]) -> None:
    pool, cache = filled(folders, 1, 2)
    cache.acquire("part-0")
    with pytest.raises(ConfigError, match="in use"):
        cache.remove("part-0")
    cache.release("part-0")
    used(cache, "part-1")
    for name in ("part-0", "part-1", "part-2"):
        cache.remove(name)
    assert pool.free == pool.capacity
    assert cache.host_bytes == 0
    with pytest.raises(ConfigError, match="no adapter of that name"):
        cache.acquire("part-0")


def test_what_cannot_be_registered(folders: dict[str, Path], tmp_path: Path) -> None:
    _, cache = filled(folders, 3, 2)
    with pytest.raises(ConfigError, match="name is taken"):
        cache.add("part-0", folders["part-0"])
    apply(tiny_llama(), KronA(factor=4), seed=0).save(tmp_path / "krona")
    with pytest.raises(ArtifactError, match="KronA cannot be gathered"):
        cache.add("krona", tmp_path / "krona")
    large = saved_parts(tmp_path, {"large": LoRA(rank=9)})["large"]
    with pytest.raises(ArtifactError, match="the pool has 6"):
        cache.add("large", large)
    assert "large" not in cache


@pytest.mark.parametrize("method", [LoRA(targets=()), BitFit(targets=()), SSF(targets=())])
def test_a_part_with_nothing_in_it(
    method: GatheredMethod, folders: dict[str, Path], tmp_path: Path
) -> None:
    _, cache = filled(folders, 3, 2)
    write_tuned(
        tmp_path / "none",
        method=type(method).__name__,
        config=to_jsonable(method),
        seed=0,
        base=BASE.base,
        tensors={},
    )
    with pytest.raises(ArtifactError, match="changes no map"):
        cache.add("none", tmp_path / "none")
    assert "none" not in cache


def test_a_part_that_its_scale_makes_infinite(tmp_path: Path) -> None:
    few: tuple[Target, ...] = ("q_proj",)
    methods = {
        "huge": LoRA(rank=1, alpha=1e300, targets=few),
        "large": LoRA(rank=1, alpha=1e7, targets=few),
        "norms": DoRA(rank=1, alpha=1e300, targets=few),
    }
    own = saved_parts(tmp_path, methods)
    cache = AdapterCache(BASE, PagePool(SHAPE, 20))
    with pytest.raises(ArtifactError, match=r"not finite in torch\.float32") as found:
        cache.add("huge", own["huge"])
    assert found.value.where == str(own["huge"])
    assert "huge" not in cache
    cache.add("large", own["large"])
    narrow = AdapterCache(BASE, PagePool(SHAPE, 20, torch.float16))
    with pytest.raises(ArtifactError, match=r"not finite in torch\.float16"):
        narrow.add("large", own["large"])
    # Those norms are only looked at when they are needed.
    cache.add("norms", own["norms"])
    with pytest.raises(ArtifactError, match="the adapter is not finite"):
        cache.acquire("norms")
    assert cache.state("norms").pins == 0


def test_states_while_parts_go(folders: dict[str, Path]) -> None:
    _, cache = filled(folders, 3, 2)

    class Losing(OrderedDict[str, PooledAdapter]):
        """A part is removed by another thread at each look."""

        def __contains__(self, name: object) -> bool:
            cache._known.pop(next(reversed(cache._known)), None)
            return super().__contains__(name)

    cache._hot = Losing()
    assert [state.name for state in cache.states()] == list(folders)


def test_a_folder_that_was_changed(folders: dict[str, Path], tmp_path: Path) -> None:
    pool, cache = filled(folders, 3, 2)
    own = saved_parts(tmp_path, {"own": LoRA(rank=2, targets=("q_proj",))})["own"]
    cache.add("own", own)
    apply(tiny_llama(), LoRA(rank=1, targets=("q_proj",)), seed=0).save(own, overwrite=True)
    with pytest.raises(ArtifactError, match="another adapter"):
        cache.acquire("own")
    assert pool.free == pool.capacity


def test_the_stamp_is_that_of_the_weights(folders: dict[str, Path]) -> None:
    names = list(folders)[:2]
    stamps = []
    for _ in range(2):
        cache = filled(folders, 3, 2)[1]
        stamps.append([cache.stamp(name) for name in names])
        assert all(cache.state(name).pins == 0 for name in names)
    assert stamps[0] == stamps[1]
    assert len({*stamps[0]} - {""}) == 2
