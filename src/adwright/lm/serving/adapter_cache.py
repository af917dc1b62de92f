"""Where the adapters are: in the pool (hot), in host memory (warm), or on disk alone (cold).

A request loads its adapter into the pool and pins it until the request ends. Room is made by
evicting what was used least recently of the adapters without a pin and the blocks of keys that no
row reads (`prefix_pages`). The pages of an adapter are copied to host memory, which
is bounded by bytes; what has to leave that is dropped, since its folder is still there. An adapter
is in one of the two at most.

    pool <-> host    copies of pages          host -> nothing    beyond `host_bytes`, oldest first
    disk -> pool     the folder is read and checked again

A registered adapter keeps only its settings and layout, so there may be thousands. Not safe for
several threads, but for `states` and `check`: the engine computes on one at a time.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import from_jsonable, settings
from adwright.core.errors import ArtifactError, ConfigError
from adwright.lm.serving.kinds import (
    GATHERED,
    NOTHING_AHEAD,
    AheadTokens,
    GatheredMethod,
    MapUpdate,
    acts_everywhere,
    ahead_of,
    first_acted,
    is_gathered,
    keys_ahead,
    shared_of,
    stored_as,
    update_of,
    zeros_of,
)
from adwright.lm.serving.prefixes import HostPages, PagePool, PageShape, PrefixPages
from adwright.tuning.modules import LINEAR, Sizes, Target, places
from adwright.tuning.reparameterised.lora import DoRA
from adwright.tuning.tuned import fill, fingerprint, read_tuned

# --------------------------------------------------------------------------------------------------
# What adapters of different kinds do at the maps of one base, in one form, read and checked.
#
# The form of PetS (Zhou et al., USENIX ATC 2022): every method here is the base's map, run once for
# all rows of a batch, and small operations that differ by row. For row i of x [B, T, in] at one
# map,
#
#     y_i = f_i * (W (g_i * x_i) + bias) + (x_i A_i) B_i + v_i;    y_i <- y_i + c_i(y_i) + d_i(z_i)
#
# g, f, v vectors, A [in, r] and B [r, out] small matrices, c and d bottlenecks, z what the sublayer
# reads that the map ends. LoRA and its kin are A, B; DoRA is A, B and f; (IA)3 is g or f; BitFit is
# v; SSF is f and v; a serial adapter is c, a parallel one d. Prefixes and prompts are keys and
# values that stand before the text (`kinds.ahead`). An aLoRA is A, B from one token of its row on.
# What a row does not have costs it nothing. `adapter_layout` puts all of it into pages,
# `adapter_ops` runs the operations.


class NotGathered(ArtifactError):
    """An adapter of a kind that no batch holds: it is served alone."""


@dataclass(frozen=True)
class StoredAdapter:
    """An adapter as it was saved, checked.

    tensors: by name of the map and name in the method; what maps share stands at each of them.
    ahead: keys and values [N, 2, G, L, D] that stand before the text, or None.
    """

    method: GatheredMethod
    tensors: dict[str, dict[str, Tensor]]
    ahead: Tensor | None = None


@dataclass(frozen=True)
class BaseMaps:
    """The linear maps of a plain base, by dotted name, and what an adapter is checked against.

    model: the plain base. base: its fingerprint. linears: the target that a map is, and the map.
    """

    model: nn.Module

    base: str
    sizes: Sizes
    linears: dict[str, tuple[Target, nn.Linear]]

    @staticmethod
    def of(model: nn.Module) -> BaseMaps:
        """Read them off a causal LM; ConfigError where it is tuned already, or of another type."""
        found = {place.name: (place.target, place.linear) for place in places(model, LINEAR)}
        for name, (_, linear) in found.items():
            if not isinstance(linear, nn.Linear):
                raise ConfigError(
                    "the base is not plain: another module stands in the place of a map",
                    where=name,
                    hint="open the base anew, or merge what it was tuned with",
                )
        return BaseMaps(model, fingerprint(model), Sizes.of(model), found)

    def read(self, folder: str | Path) -> StoredAdapter:
        """What `Tuned.save` wrote.

        Raises NotGathered where the method is not one of `GATHERED`, ArtifactError where the base
        is another, or tensors do not fit; and as `read_tuned` does.
        """
        stored = read_tuned(folder)
        where = str(folder)
        kind = GATHERED.get(stored.method)
        if stored.base != self.base:
            raise ArtifactError(
                "the adapter belongs to another base model",
                where=where,
                hint="register it with the base that it was tuned on",
            )
        if kind is None:
            raise _not_gathered(stored.method, where)
        try:
            method = from_jsonable(kind, stored.config)
        except ConfigError as error:
            raise ArtifactError(
                f"the stored method cannot be read: {error.what}", where=where, hint=error.hint
            ) from error
        if not is_gathered(method):
            raise _not_gathered(stored.method, where)
        if method.count(self.sizes) > sum(tensor.numel() for tensor in stored.tensors.values()):
            raise ArtifactError("its settings ask for more numbers than are stored", where=where)
        tensors, found = self.expected(method), stored.tensors
        keys = None
        if ahead_of(method).tokens:
            keys = keys_ahead(self.model, folder)  # it checks what is left out here
            found = {name: found[name] for name in found if ".beside." in name}
        flat = {stored_as(at, key): t for at, own in tensors.items() for key, t in own.items()}
        shared = shared_of(method, self.sizes)
        flat |= {self._holder(name, found, tensors): tensor for name, tensor in shared.items()}
        fill(flat, found, where)
        return StoredAdapter(method, {at: own | shared for at, own in tensors.items()}, keys)

    def expected(self, method: GatheredMethod) -> dict[str, dict[str, Tensor]]:
        """Zeros of the shapes that an adapter with these settings has, by map and name."""
        found = {name: zeros_of(method, *at, layer_of(name)) for name, at in self.linears.items()}
        return {name: own for name, own in found.items() if own}

    def updates(self, adapter: StoredAdapter) -> dict[str, MapUpdate]:
        """The operations of an adapter at each map where it has any, scales folded in."""
        found = {
            name: update_of(adapter.method, *self.linears[name], own, layer_of(name))
            for name, own in adapter.tensors.items()
        }
        return {name: update for name, update in found.items() if not update.empty}

    def _holder(self, name: str, stored: Iterable[str], maps: Iterable[str]) -> str:
        """Under which name a tensor is stored that all of `maps` share: that of the first one in
        the order of the model's modules."""
        names = [stored_as(at, name) for at in maps]
        return next((one for one in names if one in stored), names[0] if names else name)


def layer_of(name: str) -> int:
    """The layer of the map with this dotted name."""
    return int(name.split(".")[-3])


def _not_gathered(method: str, where: str) -> NotGathered:
    return NotGathered(
        f"{method} cannot be gathered",
        where=where,
        hint=f"serve it alone, or tune with one of {sorted(GATHERED)}",
    )


# --------------------------------------------------------------------------------------------------
# How an adapter lies in pages: rows of its small matrices, cut into grains.
#
# Of `gathered.MapUpdate` the rows are stored, for each layer in the same order,
#
#     low:    A^T [r, in], B [r, out]               before, factor: g - 1, f - 1, one row each
#     after, beside:  down^T [m, out], its bias, up [m, out], its bias      shift: v, one row
#
# and every width is a multiple of the grain u, the greatest common divisor of the widths of the
# base's maps. So any rows of any adapters can be picked, in any order, as one `index_select` over
# the pool in rows of u numbers; a lower rank is filled up with the grain of zeros. Vectors that
# multiply are stored less one, so that zeros mean "none" there too.
#
# Keys and values that stand before the text lie in pages of their own behind these, as those of a
# row do: [2, G, T, D] in each layer.

MatrixName = Literal[
    "a",
    "b",
    "before",
    "factor",
    "shift",
    "down",
    "inner",
    "up",
    "outer",
    "side_down",
    "side_inner",
    "side_up",
    "side_outer",
]


@dataclass(frozen=True)
class MatrixSlot:
    """Where a matrix lies in the record of a layer. first: its first grain. grains: per row."""

    first: int
    rows: int
    grains: int


@dataclass(frozen=True)
class Layout:
    """The record of one layer. matrices: by target and name. grains: their number in all.

    order: rows of a batch are sorted by it, so that like kinds stand together: place of the kind,
    bucket of the rank (ranks of one bucket are filled up to the largest), activation.
    ahead: what stands before the text.
    """

    method: GatheredMethod
    matrices: dict[tuple[Target, MatrixName], MatrixSlot]
    grains: int
    order: tuple[int, int, str]
    ahead: AheadTokens = NOTHING_AHEAD

    @property
    def foldable(self) -> bool:
        """Whether folded weights can have its place: it is of low rank at each map, and acts on
        every token."""
        return acts_everywhere(self.method) and any(name == "a" for _, name in self.matrices)

    def pages(self, shape: PageShape, grain: int) -> int:
        """Pages that an adapter of this layout takes."""
        return self.matrix_pages(shape, grain) + shape.blocks(self.ahead.tokens)

    def matrix_pages(self, shape: PageShape, grain: int) -> int:
        """Those of its matrices."""
        return -(-self.grains * grain // shape.slice)


def grain_of(sizes: Sizes) -> int:
    """u: the greatest common divisor of all widths of the maps, which those of keys are among."""
    return math.gcd(*(width for shape in sizes.shapes.values() for width in shape))


def layout_of(method: GatheredMethod, sizes: Sizes, grain: int) -> Layout:
    """Where the matrices of an adapter with these settings lie."""
    matrices: dict[tuple[Target, MatrixName], MatrixSlot] = {}
    total = 0
    for target in LINEAR:
        out, inputs = sizes.shapes[target]
        bias = target in sizes.linear_bias
        linear = nn.Linear(inputs, out, bias=bias, device="meta")
        own = zeros_of(method, target, linear)
        shared = {name: tensor.to("meta") for name, tensor in shared_of(method, sizes).items()}
        update = update_of(method, target, linear, own | shared if own else own)
        for name, tensor in _matrices(update).items():
            rows, width = tensor.shape
            matrices[target, name] = MatrixSlot(total, rows, -(-width // grain))
            total += rows * matrices[target, name].grains
    bucket = (getattr(method, "rank", getattr(method, "size", 1)) - 1).bit_length()
    place = list(GATHERED).index(type(method).__name__)
    order = (place, bucket, getattr(method, "activation", ""))
    return Layout(method, matrices, total, order, ahead_of(method))


def image(
    layout: Layout,
    updates: Mapping[str, MapUpdate],
    shape: PageShape,
    grain: int,
    dtype: torch.dtype,
    ahead: Tensor | None = None,
) -> Tensor:
    """The pages of an adapter [pages, L, e], in host memory.

    updates: by the dotted name of the map, as `BaseMaps.updates` gives them. ahead: its keys and
    values [N, 2, G, L, D] before the text.
    """
    pages = layout.matrix_pages(shape, grain)
    record = torch.zeros(shape.layers, pages * shape.slice, dtype=dtype)
    for name, update in updates.items():
        layer, target = layer_of(name), name.rpartition(".")[-1]
        for key, tensor in _matrices(update).items():
            place = layout.matrices[target, key]  # type: ignore[index]
            wide = record[layer, place.first * grain :][: place.rows * place.grains * grain]
            # An adapter that was cut has fewer rows in some layers.
            wide.view(place.rows, -1)[: len(tensor), : tensor.shape[-1]] = tensor
    own = record.view(shape.layers, pages, shape.slice).transpose(0, 1).contiguous()
    return own if ahead is None else torch.cat([own, _key_pages(ahead.to(dtype), shape)])


def _key_pages(keys: Tensor, shape: PageShape) -> Tensor:
    """Keys and values [N, 2, G, L, D] as pages [n, N, e]."""
    n, T = shape.blocks(keys.shape[3]), shape.block
    padded = functional.pad(keys, (0, 0, 0, n * T - keys.shape[3]))
    cut = padded.view(*keys.shape[:3], n, T, shape.width).permute(3, 0, 1, 2, 4, 5)
    return cut.reshape(n, shape.layers, shape.slice)


def _matrices(update: MapUpdate) -> dict[MatrixName, Tensor]:
    """The rows of one map, each [rows, width]."""
    found: dict[MatrixName, Tensor] = {}
    if update.low is not None:
        found |= {"a": update.low[0].T, "b": update.low[1]}
    if update.before is not None:
        found["before"] = update.before[None] - 1
    if update.factor is not None:
        found["factor"] = update.factor[None] - 1
    if update.shift is not None:
        found["shift"] = update.shift[None]
    if update.after is not None:
        down, inner, up, outer = update.after
        found |= {"down": down.T, "inner": inner, "up": up, "outer": outer}
    if update.beside is not None:
        down, inner, up, outer = update.beside
        found |= {"side_down": down.T, "side_inner": inner, "side_up": up, "side_outer": outer}
    return found


Tier = Literal["pool", "host", "disk", "alone"]


class AdapterInUseError(ConfigError):
    """A request needs the adapter now; it can be removed when that has ended."""

    def __init__(self, name: str) -> None:
        super().__init__("the adapter is in use", where=name, hint="wait for its requests")
        self.args = (name,)


@dataclass(frozen=True, eq=False)
class PooledAdapter:
    """An adapter in the pool.

    grains: int64 [layout.grains], its grains in the first layer. ahead: pages of the keys and
    values that stand before the text, which rows copy.
    """

    name: str
    layout: Layout
    pages: tuple[int, ...]
    grains: Tensor
    ahead: tuple[int, ...] = ()


@settings
class AdapterState:
    """Where one adapter is; "alone" is in memory as a network of its own, see `kinds.alone`.

    bytes: what it takes in the pool, in host memory, or of tensors of its own.

    hits: requests that found it in the pool.
    """

    name: str
    method: str
    tier: Tier
    bytes: int
    pages: int
    pins: int
    hits: int


@dataclass
class CacheCounts:
    """Counters since the start.

    hits: found in the pool. from_host, from_disk: loads into it. evictions: from the pool to host
    memory. dropped: from host memory, so that only the folder is left.
    """

    hits: int = 0
    from_host: int = 0
    from_disk: int = 0
    evictions: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class CheckedAdapter:
    """A folder that can be served. pages: that its adapter takes in the pool."""

    folder: Path
    layout: Layout
    pages: int


@dataclass
class _Known:
    """used: when, by `PagePool.tick`. read: a digest of its pages as they were read last."""

    folder: Path
    layout: Layout
    pages: int
    version: int
    pins: int = 0
    hits: int = 0
    used: int = 0
    read: bytes = b""
    hot: PooledAdapter | None = field(default=None, repr=False)


class AdapterCache:
    """The registered adapters of one base, and the pool that they share with keys and values.

    base: of the plain model. pool: of its type of number. host_bytes: the most that warm adapters
    take; 0 keeps none. share: whether rows share the keys of what they begin with. prefix_bytes:
    the most that blocks of such keys take which the pool has no room for.

    prefixes: the pages of those keys.
    """

    def __init__(
        self,
        base: BaseMaps,
        pool: PagePool,
        *,
        host_bytes: int = 256 << 20,
        share: bool = True,
        prefix_bytes: int = 0,
    ) -> None:
        self._base, self._pool, self._most = base, pool, host_bytes
        self.grain = grain_of(base.sizes)
        self.counts = CacheCounts()
        self.prefixes = PrefixPages(pool, on=share, host=HostPages(prefix_bytes))
        self._versions = 0
        self._known: dict[str, _Known] = {}
        #: Least recently used first.
        self._hot: OrderedDict[str, PooledAdapter] = OrderedDict()
        self._warm: OrderedDict[str, Tensor] = OrderedDict()
        self._warm_bytes = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Registered adapters, in the order they came."""
        return tuple(self._known)

    @property
    def host_bytes(self) -> int:
        """Bytes of warm adapters."""
        return self._warm_bytes

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def add(self, name: str, folder: str | Path) -> None:
        """Register what `Tuned.save` wrote: `check` it, and `register` it."""
        self._require_free(name)
        self.register(name, self.check(folder))

    def check(self, folder: str | Path) -> CheckedAdapter:
        """Read and check a folder, and keep nothing of it. From any thread: it may take long, and
        changes nothing.

        Raises ArtifactError where it is larger than the pool, has nothing in it, or is not finite
        with its scale; and as `BaseMaps.read` does.
        """
        adapter = self._base.read(folder)
        layout = layout_of(adapter.method, self._base.sizes, self.grain)
        pages = layout.pages(self._pool.shape, self.grain)
        if not pages:
            raise ArtifactError(
                "the adapter changes no map",
                where=str(folder),
                hint="tune at least one of the targets, or ask the base",
            )
        if pages > self._pool.capacity:
            raise ArtifactError(
                f"the adapter takes {pages} pages, and the pool has {self._pool.capacity}",
                where=str(folder),
                hint="give the pool more pages",
            )
        if not isinstance(adapter.method, DoRA):
            # Its norms need all of the base's weights, far more than reading it: they are looked
            # at when it is loaded.
            self._image(adapter, layout, folder)
        return CheckedAdapter(Path(folder), layout, pages)

    def register(self, name: str, checked: CheckedAdapter) -> None:
        """Take what was checked; ConfigError where the name is taken."""
        self._require_free(name)
        self._versions += 1
        self._known[name] = _Known(checked.folder, checked.layout, checked.pages, self._versions)

    def remove(self, name: str) -> None:
        """Forget an adapter; ConfigError where there is none, AdapterInUseError of one in use."""
        if self._of(name).pins:
            raise AdapterInUseError(name)
        self.prefixes.drop(self.root(name))
        del self._known[name]
        hot = self._hot.pop(name, None)
        if hot is not None:
            self._pool.release(hot.pages)
        self._forget_warm(name)

    def pages_of(self, name: str) -> int:
        """Pages that an adapter takes in the pool; ConfigError where there is none of that name."""
        return self._of(name).pages

    def root(self, name: str | None) -> bytes:
        """What the keys of blocks under an adapter, or the base, begin with: another for other
        weights. ConfigError where there is none of that name."""
        return b"" if name is None else f"{self._of(name).version} {name}".encode()

    def stamp(self, name: str) -> str:
        """A digest of its weights, which are read first where they have not been; "" where there is
        no room for that."""
        known = self._of(name)
        if not known.read and self.acquire(name) is not None:
            self.release(name)
        return known.read.hex()

    def ahead(self, name: str) -> AheadTokens:
        """What an adapter puts before each text; ConfigError where there is none of that name."""
        return self._of(name).layout.ahead

    def first_acted(self, name: str, prompt: Sequence[int]) -> int | None:
        """The first token of a prompt on which an adapter acts; None where the base answers it, and
        ConfigError where there is none of that name."""
        return first_acted(self._of(name).layout.method, prompt)

    def acquire(self, name: str, *, keep: int = 0) -> PooledAdapter | None:
        """Load the adapter into the pool if need be, and pin it; None where there is no room now.

        keep: pages that must be left over, or could be made free, afterwards.
        Raises ConfigError where it is not registered; as `BaseMaps.read` does where its folder
        was changed meanwhile.
        """
        known = self._of(name)
        if known.hot is not None:
            known.pins += 1
            if self._reachable() < keep:
                known.pins -= 1
                return None
            self.counts.hits += 1
            known.hits += 1
            known.used = self._pool.tick()
            self._hot.move_to_end(name)
            return known.hot
        if self._reachable() < known.pages + keep:
            return None
        # Taken out first, so that making room cannot push it from host memory to disk.
        warm = self._warm.pop(name, None)
        if warm is None:
            pages = self._read(known)
            self._renew(name, known, pages)
            self.counts.from_disk += 1
        else:
            pages, self._warm_bytes = warm, self._warm_bytes - _bytes(warm)
            self.counts.from_host += 1
        return self._put(name, known, pages)

    def release(self, name: str) -> None:
        """Take back one pin of the adapter."""
        known = self._of(name)
        if not known.pins:
            raise ConfigError("the adapter is not pinned", where=name, hint="release it once")
        known.pins -= 1
        known.used = self._pool.tick()
        self._hot.move_to_end(name)

    def room(self, pages: int) -> bool:
        """Evict adapters without a pin and blocks without a row, the least recently used first,
        until so many pages are free; False, and none evicted, where that cannot be reached."""
        if self._reachable() < pages:
            return False
        unused = deque(name for name in self._hot if not self._known[name].pins)
        while self._pool.free < pages:
            oldest = self.prefixes.oldest
            if oldest is None or (unused and self._known[unused[0]].used < oldest):
                self._evict(unused.popleft())
            else:
                self.prefixes.evict()
        return True

    def state(self, name: str) -> AdapterState:
        """Say where one adapter is; ConfigError where there is none of that name."""
        return self._state(name, self._of(name))

    def states(self) -> Sequence[AdapterState]:
        """Say where each adapter is. From any thread: adapters may come and go meanwhile."""
        return [self._state(name, known) for name, known in self._known.copy().items()]

    def _state(self, name: str, known: _Known) -> AdapterState:
        tier: Tier = "pool" if name in self._hot else "host" if name in self._warm else "disk"
        size = 0 if tier == "disk" else known.pages * self._pool.page_bytes
        method = type(known.layout.method).__name__
        return AdapterState(name, method, tier, size, known.pages, known.pins, known.hits)

    def _require_free(self, name: str) -> None:
        if name in self._known:
            raise ConfigError("the name is taken", where=name, hint="remove that adapter first")

    def _of(self, name: str) -> _Known:
        # One look: another thread may ask while the adapter is removed.
        known = self._known.get(name)
        if known is None:
            raise ConfigError(
                "no adapter of that name is registered", where=name, hint="call `add` first"
            )
        return known

    def _reachable(self) -> int:
        """Pages that are free or can be made so."""
        idle = sum(len(hot.pages) for name, hot in self._hot.items() if not self._known[name].pins)
        return self._pool.free + self.prefixes.idle + idle

    def _read(self, known: _Known) -> Tensor:
        adapter = self._base.read(known.folder)
        if adapter.method != known.layout.method:
            raise ArtifactError(
                "the folder holds another adapter than it did",
                where=str(known.folder),
                hint="remove it and add it anew",
            )
        return self._image(adapter, known.layout, known.folder)

    def _renew(self, name: str, known: _Known, pages: Tensor) -> None:
        """Take a new version where the folder holds other weights than when it was read last: what
        they make of a prompt is something else."""
        read = hashlib.blake2b(pages.view(torch.uint8).numpy().data).digest()
        if known.read not in (b"", read):
            self.prefixes.drop(self.root(name))
            self._versions += 1
            known.version = self._versions
        known.read = read

    def _image(self, adapter: StoredAdapter, layout: Layout, folder: str | Path) -> Tensor:
        """Its pages, checked: the stored weights are finite, but times the scale, in the pool's
        type, they may not be."""
        dtype = self._pool.tensor.dtype
        shape, updates = self._pool.shape, self._base.updates(adapter)
        pages = image(layout, updates, shape, self.grain, dtype, adapter.ahead)
        if not pages.isfinite().all():
            raise ArtifactError(
                f"with its scale the adapter is not finite in {dtype}",
                where=str(folder),
                hint="tune it again with a smaller alpha or rate",
            )
        return pages

    def _put(self, name: str, known: _Known, pages: Tensor) -> PooledAdapter:
        tensor = self._pool.tensor
        pages = pages.to(tensor.device)
        self.room(known.pages)
        own = self._pool.allocate(known.pages, "adapters")
        if own is None:
            raise RuntimeError("room was made, and there is none")
        places = torch.tensor(own, dtype=torch.long)
        tensor[places.to(tensor.device)] = pages
        each = self._pool.shape.slice // self.grain
        at = torch.arange(known.layout.grains)
        first = places[at // each] * (self._pool.shape.layers * each)
        ahead = own[known.layout.matrix_pages(self._pool.shape, self.grain) :]
        hot = PooledAdapter(name, known.layout, tuple(own), first + at % each, tuple(ahead))
        known.hot, known.pins, known.used = hot, known.pins + 1, self._pool.tick()
        self._hot[name] = hot
        return hot

    def _evict(self, name: str) -> None:
        hot = self._hot.pop(name)
        self._known[name].hot = None
        self.counts.evictions += 1
        size = len(hot.pages) * self._pool.page_bytes
        if size <= self._most:
            while self._warm_bytes + size > self._most:
                self._forget_warm(next(iter(self._warm)))
                self.counts.dropped += 1
            tensor = self._pool.tensor
            # Indexing makes a copy.
            self._warm[name] = tensor[torch.tensor(hot.pages, device=tensor.device)].cpu()
            self._warm_bytes += size
        else:
            self.counts.dropped += 1
        self._pool.release(hot.pages)

    def _forget_warm(self, name: str) -> None:
        warm = self._warm.pop(name, None)
        if warm is not None:
            self._warm_bytes -= _bytes(warm)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
