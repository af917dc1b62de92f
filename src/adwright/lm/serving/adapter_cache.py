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
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from adwright.core.config import settings
from adwright.core.errors import ArtifactError, ConfigError
from adwright.lm.serving.adapter_layout import Layout, grain_of, image, layout_of
from adwright.lm.serving.gathered_adapters import BaseMaps, StoredAdapter
from adwright.lm.serving.kinds.activated import first_acted
from adwright.lm.serving.kinds.ahead import AheadTokens
from adwright.lm.serving.page_pool import PagePool
from adwright.lm.serving.paging.host_pages import HostPages
from adwright.lm.serving.paging.prefix_pages import PrefixPages
from adwright.tuning.reparameterised.lora import DoRA

__all__ = [
    "AdapterCache",
    "AdapterInUseError",
    "AdapterState",
    "CacheCounts",
    "CheckedAdapter",
    "PooledAdapter",
    "Tier",
]

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
