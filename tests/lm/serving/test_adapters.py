"""?"""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adwright.core.config import to_jsonable
from adwright.core.errors import ArtifactError, AssetError, ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.serving.adapter_cache import (
    AdapterCache,
    BaseMaps,
    Layout,
    PooledAdapter,
    grain_of,
    image,
    layout_of,
)
from adwright.lm.serving.adapter_folder import AdapterFolder, open_base
from adwright.lm.serving.adapter_ops import RowOps, Stretch
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.kinds import GatheredMethod, MapUpdate
from adwright.lm.serving.prefixes import PagePool, PageShape
from adwright.lm.torch_engine.config import TorchConfig
from adwright.lm.torch_engine.model import TorchModel
from adwright.tuning.additive.adapters import IA3, SSF, SerialAdapter, activated
from adwright.tuning.methods import apply
from adwright.tuning.modules import LINEAR, Target
from adwright.tuning.reparameterised.factors import KronA
from adwright.tuning.reparameterised.lora import DoRA, LoRA
from adwright.tuning.selective import BitFit
from adwright.tuning.tuned import write_tuned
from tests.support.lm.adapter_engine import PARTS, models_of, saved_parts
from tests.support.lm.tiny_llama import save_tiny, tiny_llama
from tests.support.lm.tuning_methods import shake

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


def test_in_step_with_a_folder(tmp_path: Path) -> None:
    models = models_of({})
    top = tmp_path / "parts"
    saved_parts(top, {"one": IA3(), "two": LoRA(rank=1)})
    (top / "not a name").mkdir()
    (top / "empty").mkdir()
    (top / ".hidden").mkdir()
    (top / "note.txt").write_text("x", "utf-8")
    folder = AdapterFolder(models, top)
    first = folder.rescan()
    assert first.added == ("one", "two")
    assert set(first.refused) == {"not a name", "empty"}
    assert list(models) == ["base", "one", "two"]
    again = folder.rescan()
    assert (again.added, again.removed) == ((), ())
    shutil.rmtree(top / "one")
    saved_parts(top, {"three": IA3()})
    changed = folder.rescan()
    assert (changed.added, changed.removed) == (("three",), ("one",))


def test_a_part_that_was_tuned_on(tmp_path: Path) -> None:
    models = models_of({})
    config = GenerationConfig(max_tokens=6)
    saved_parts(tmp_path, {"one": LoRA(rank=1)})
    folder = AdapterFolder(models, tmp_path)
    folder.rescan()
    before = models["one"].generate(["the best"], config).texts
    tuned = apply(tiny_llama(), LoRA(rank=2), seed=5)
    shake(tuned, 5, 0.3)
    tuned.save(tmp_path / "one", overwrite=True)
    found = folder.rescan()
    assert (found.added, found.removed) == (("one",), ())
    assert models["one"].generate(["the best"], config).texts != before


def test_what_tune_writes(tmp_path: Path) -> None:
    """`adwright tune` puts the adapter into `tuned`, beside its run and its report."""
    models = models_of({})
    saved_parts(tmp_path / "one", {"tuned": LoRA(rank=1)})
    (tmp_path / "one" / "report.json").write_text("{}", "utf-8")
    folder = AdapterFolder(models, tmp_path)
    assert folder.rescan().added == ("one",)
    assert models["one"].generate(["the best"], GenerationConfig(max_tokens=4)).texts
    tuned = apply(tiny_llama(), LoRA(rank=2), seed=5)
    tuned.save(tmp_path / "one" / "tuned", overwrite=True)
    assert folder.rescan().added == ("one",)
    (tmp_path / "none").mkdir()
    assert "->" not in folder.rescan().refused["none"]
    assert "; " in folder.rescan().refused["none"]


def test_a_part_in_use_goes_later(tmp_path: Path) -> None:
    models = models_of({})
    saved_parts(tmp_path, {"one": IA3()})
    folder = AdapterFolder(models, tmp_path)
    folder.rescan()
    stream = models["one"].stream("tea", GenerationConfig(max_tokens=50))
    next(stream)
    shutil.rmtree(tmp_path / "one")
    assert folder.rescan().refused == {"one": "the adapter is in use"}
    stream.close()
    assert folder.rescan().removed == ("one",)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), FileNotFoundError()])
def test_one_that_cannot_be_read_stops_no_other(
    error: OSError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = models_of({})
    saved_parts(tmp_path, {"one": IA3(), "two": IA3(), "zero": IA3()})
    folder = AdapterFolder(models, tmp_path)
    shutil.move(tmp_path / "zero", tmp_path / ".zero")
    stat, is_file = Path.stat, Path.is_file

    def broken(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path == tmp_path / "one" / "manifest.json":
            raise error
        return stat(path, follow_symlinks=follow_symlinks)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_file", lambda path: path.name == "manifest.json" or is_file(path))
        patch.setattr(Path, "stat", broken)
        found = folder.rescan()
    assert found.added == ("two",)
    assert found.refused["one"].startswith("the folder cannot be read: ")
    shutil.move(tmp_path / ".zero", tmp_path / "zero")
    assert folder.rescan().added == ("one", "zero")
    # One that is served, and cannot be looked at now, is not gone.
    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_file", lambda path: path.name == "manifest.json" or is_file(path))
        patch.setattr(Path, "stat", broken)
        found = folder.rescan()
    assert (found.added, found.removed, set(found.refused)) == ((), (), {"one"})
    assert "one" in models


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        AdapterFolder(models_of({}), tmp_path / "none")


def test_opening_a_base(tmp_path: Path) -> None:
    where = str(save_tiny(tmp_path / "tiny"))
    config = TorchConfig(where, threads=1, dtype="float32")
    models = open_base(config, ServingConfig(pool_bytes=1 << 20), name="shop")
    plain = TorchModel.open(config)
    short = GenerationConfig(max_tokens=8)
    assert models["shop"].generate(["the best"], short) == plain.generate(["the best"], short)
    assert models["shop"].info.context == plain.info.context
    with pytest.raises(AssetError):
        open_base(TorchConfig(str(tmp_path / "none")), ServingConfig())


def test_a_manifest_that_is_no_file_is_refused_and_the_rest_served(tmp_path: Path) -> None:
    models = models_of({})
    saved_parts(tmp_path, {"one": IA3(), "two": IA3()})
    (tmp_path / "two" / "manifest.json").unlink()
    os.mkfifo(tmp_path / "two" / "manifest.json")
    found = AdapterFolder(models, tmp_path).rescan()
    assert found.added == ("one",)
    assert "regular file" in found.refused["two"]


GRAIN = grain_of(BASE.sizes)


def rows_of(
    layout: Layout, pages: torch.Tensor, layer: int, target: str, name: str
) -> torch.Tensor:
    """Literally: the record of a layer goes through all pages; a piece lies in it."""
    record = torch.cat([page[layer] for page in pages])
    piece = layout.matrices[target, name]  # type: ignore[index]
    start = piece.first * GRAIN
    rows = [
        record[start + row * piece.grains * GRAIN :][: piece.grains * GRAIN]
        for row in range(piece.rows)
    ]
    return torch.stack(rows)


def test_the_grain_divides_every_width() -> None:
    assert GRAIN == 24
    assert SHAPE.slice % GRAIN == 0


@pytest.mark.parametrize("kind", PARTS)
def test_every_number_lies_where_the_layout_says(
    kind: str, tmp_path: pytest.TempPathFactory
) -> None:
    method = PARTS[kind]
    folder = saved_parts(tmp_path, {kind: method})[kind]  # type: ignore[arg-type]
    part = BASE.read(folder)
    updates = BASE.updates(part)
    layout = layout_of(method, BASE.sizes, GRAIN)
    pages = image(layout, updates, SHAPE, GRAIN, torch.float32)
    assert pages.shape == (layout.pages(SHAPE, GRAIN), 3, SHAPE.slice)
    seen = 0
    for name, small in updates.items():
        layer, target = int(name.split(".")[2]), name.split(".")[-1]
        wanted: dict[str, torch.Tensor] = {}
        if small.low is not None:
            wanted |= {"a": small.low[0].T, "b": small.low[1]}
        if small.factor is not None:
            wanted["factor"] = small.factor[None] - 1
        if small.before is not None:
            wanted["before"] = small.before[None] - 1
        if small.shift is not None:
            wanted["shift"] = small.shift[None]
        if small.after is not None:
            wanted |= dict(zip(("down", "inner", "up", "outer"), small.after, strict=True))
            wanted["down"] = wanted["down"].T
        for piece, tensor in wanted.items():
            rows = rows_of(layout, pages, layer, target, piece)
            assert torch.equal(rows[:, : tensor.shape[1]], tensor)
            assert not rows[:, tensor.shape[1] :].any()
            seen += rows.numel()
    assert seen == 3 * layout.grains * GRAIN


def test_like_kinds_stand_together() -> None:
    def order(method: GatheredMethod) -> tuple[int, int, str]:
        return layout_of(method, BASE.sizes, GRAIN).order

    assert order(LoRA(rank=5)) == order(LoRA(rank=8, targets=("q_proj",)))
    assert order(LoRA(rank=8)) < order(LoRA(rank=9))
    assert order(SerialAdapter(activation="gelu")) != order(SerialAdapter(activation="silu"))
    kinds = {type(method) for method in PARTS.values()}
    assert len({order(method)[0] for method in PARTS.values()}) == len(kinds)


@pytest.fixture(scope="module")
def adapter_ops_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return saved_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def held(adapter_ops_folders: dict[str, Path]) -> tuple[PagePool, AdapterCache]:
    pool = PagePool(PageShape.of(BASE.sizes, 4), 200)
    cache = AdapterCache(BASE, pool)
    for name, folder in adapter_ops_folders.items():
        cache.add(name, folder)
        cache.acquire(name)
    return pool, cache


def ops_of(held: tuple[PagePool, AdapterCache], rows: list[tuple[str | None, int, bool]]) -> RowOps:
    pool, cache = held
    stretches = [
        Stretch(None if name is None else cache.acquire(name), tokens, is_alone)
        for name, tokens, is_alone in rows
    ]
    stride = pool.shape.slice // GRAIN
    return RowOps(stretches, pool.grains(GRAIN), stride, BASE.sizes.shapes)


def literally(small: MapUpdate, x: Tensor, weight: Tensor) -> Tensor:
    """One token [in] to [out]: the equation of `gathered`."""
    if small.before is not None:
        x = small.before * x
    y = weight @ x
    if small.factor is not None:
        y = small.factor * y
    if small.low is not None:
        y = y + (x @ small.low[0]) @ small.low[1]
    if small.shift is not None:
        y = y + small.shift
    if small.after is not None:
        down, inner, up, outer = small.after
        y = y + activated(y @ down + inner[0], small.activation) @ up + outer[0]
    return y


BATCHES: dict[str, list[tuple[str | None, int, bool]]] = {
    "every kind": [(name, 1, False) for name in PARTS] + [(None, 1, False)],
    "one part": [("lora", 1, False)] * 4,
    "uneven": [("lora", 1, False)] * 3 + [("lora-few", 1, False)] * 1,
    "even": [("lora", 1, False)] * 2 + [("lora-few", 1, False)] * 4,
    "with prompts": [
        ("lora", 1, False),
        ("ssf", 1, False),
        ("lora", 5, True),
        (None, 3, True),
        ("houlsby", 4, True),
        ("houlsby", 2, True),
    ],
    "nothing between": [("lora", 1, False), (None, 1, False), ("lora-wide", 1, False)],
    "none": [(None, 1, False)],
}


@pytest.mark.parametrize("kind", BATCHES)
def test_is_the_equation_token_by_token(
    kind: str, held: tuple[PagePool, AdapterCache], adapter_ops_folders: dict[str, Path]
) -> None:
    rows = BATCHES[kind]
    ops = ops_of(held, rows)
    owners = [name for name, tokens, _ in rows for _ in range(tokens)]
    updates = {
        name: BASE.updates(BASE.read(folder)) for name, folder in adapter_ops_folders.items()
    }
    generator = torch.Generator().manual_seed(2)
    for layer in (0, 2):
        seen: dict[int, Tensor] = {}
        for target in LINEAR:
            name = next(at for at in BASE.linears if f".{layer}." in at and at.endswith(target))
            weight = BASE.linears[name][1].weight
            # Maps that see the same x are given the same tensor, as in the network.
            width = weight.shape[1] + (1 << 20) * (target in ("o_proj", "gate_proj", "up_proj"))
            if width not in seen or target == "gate_proj":
                seen[width] = torch.randn(1, len(owners), weight.shape[1], generator=generator)
            x = seen[width]
            before = x.clone()
            shown = ops.before(layer, target, x)
            y = torch.nn.functional.linear(shown, weight)
            ops.after(layer, target, shown, y)
            assert torch.equal(x, before)
            for at, owner in enumerate(owners):
                small = MapUpdate() if owner is None else updates[owner].get(name, MapUpdate())
                wanted = literally(small, x[0, at], weight)
                assert torch.allclose(y[0, at], wanted, atol=1e-5), (target, owner)


def test_maps_where_nothing_happens(held: tuple[PagePool, AdapterCache]) -> None:
    ops = ops_of(held, [("ia3", 1, False)])
    assert [target for target in LINEAR if not ops.idle(target)] == [
        "k_proj",
        "v_proj",
        "down_proj",
    ]


def test_a_second_pass_picks_anew(held: tuple[PagePool, AdapterCache]) -> None:
    pool, cache = held
    ops = ops_of(held, [("bitfit", 1, False)])
    x, y = torch.zeros(1, 1, 48), torch.zeros(1, 1, 48)
    ops.after(0, "q_proj", x, y)
    ops.done()
    hot = cache.acquire("bitfit")
    assert hot is not None
    own = pool.tensor[hot.pages[0], 0]
    own += 1
    again = torch.zeros(1, 1, 48)
    ops.after(0, "q_proj", x, again)
    own -= 1
    assert torch.allclose(again, y + 1)
