"""Where the tuned parts are: in the pool (hot), in host memory (warm), or on disk alone (cold).

A part that is asked for is brought into the pool and pinned until the request lets go of it. Room
is made by the least recently used part that nobody has pinned, which moves to host memory, a
copy; host memory is bounded by bytes, and what has to leave it is forgotten: its folder is still
there. A part is in one of the two at most.

    pool <-> host    copies of pages          host -> nothing    beyond `host_bytes`, oldest first
    disk -> pool     the folder is read and checked again

What is kept for each registered part is its settings and the place of its pieces, so thousands
can be registered. Nothing here is safe for several threads: the engine has one that computes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from adwright.core.config import check_literals
from adwright.core.errors import ArtifactError, ConfigError
from adwright.lm.serving.adapter_layout import Layout, grain_of, image, layout_of
from adwright.lm.serving.gathered_adapters import BaseMaps, Part
from adwright.lm.serving.page_pool import PagePool
from adwright.tuning.reparameterised.dora import DoRA

__all__ = ["AdapterState", "Counts", "Hot", "Residency", "Tier"]

Tier = Literal["pool", "host", "disk"]


@dataclass(frozen=True, eq=False)
class Hot:
    """A part in the pool. grains: int64 [layout.grains], its grains in the first layer."""

    name: str
    layout: Layout
    pages: tuple[int, ...]
    grains: Tensor


@dataclass(frozen=True)
class AdapterState:
    """What can be told of one part. bytes: what it takes in the pool or in host memory.

    hits: requests that found it in the pool.
    """

    name: str
    method: str
    tier: Tier
    bytes: int
    pages: int
    pins: int
    hits: int

    def __post_init__(self) -> None:
        check_literals(self)


@dataclass
class Counts:
    """Since the start. hits: found in the pool. from_host, from_disk: loads into it. evictions:
    from the pool to host memory. dropped: from host memory, so that only the folder is left."""

    hits: int = 0
    from_host: int = 0
    from_disk: int = 0
    evictions: int = 0
    dropped: int = 0


@dataclass
class _Known:
    folder: Path
    layout: Layout
    pages: int
    pins: int = 0
    hits: int = 0
    hot: Hot | None = field(default=None, repr=False)


class Residency:
    """The registered parts of one base, and the pool that they share with keys and values.

    base: of the plain model. pool: of its type of number. host_bytes: the most that warm parts
    take; 0 keeps none.
    """

    def __init__(self, base: BaseMaps, pool: PagePool, *, host_bytes: int = 256 << 20) -> None:
        self._base, self._pool, self._most = base, pool, host_bytes
        self.grain = grain_of(base.sizes)
        self.counts = Counts()
        self._known: dict[str, _Known] = {}
        #: Least recently used first.
        self._hot: OrderedDict[str, Hot] = OrderedDict()
        self._warm: OrderedDict[str, Tensor] = OrderedDict()
        self._warm_bytes = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Registered parts, in the order they came."""
        return tuple(self._known)

    @property
    def host_bytes(self) -> int:
        """Bytes of warm parts."""
        return self._warm_bytes

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def add(self, name: str, folder: str | Path) -> None:
        """Register what `Tuned.save` wrote: it is read and checked, and not kept.

        Raises ConfigError where the name is taken; ArtifactError where it is larger than the
        pool, has nothing in it, or is not finite with its scale; and as `BaseMaps.read` does.
        """
        if name in self._known:
            raise ConfigError("the name is taken", where=name, hint="remove that part first")
        part = self._base.read(folder)
        layout = layout_of(part.method, self._base.sizes, self.grain)
        pages = layout.pages(self._pool.shape, self.grain)
        if not pages:
            raise ArtifactError(
                "the part changes no map",
                where=str(folder),
                hint="tune at least one of the targets, or ask the base",
            )
        if pages > self._pool.capacity:
            raise ArtifactError(
                f"the part takes {pages} pages, and the pool has {self._pool.capacity}",
                where=str(folder),
                hint="give the pool more pages",
            )
        if not isinstance(part.method, DoRA):
            # Its norms need all of the base's weights, far more than reading it: they are looked
            # at when it is loaded.
            self._image(part, layout, folder)
        self._known[name] = _Known(Path(folder), layout, pages)

    def remove(self, name: str) -> None:
        """Forget a part; ConfigError where there is none, or a request uses it."""
        if self._of(name).pins:
            raise ConfigError("the part is in use", where=name, hint="wait for its requests")
        del self._known[name]
        hot = self._hot.pop(name, None)
        if hot is not None:
            self._pool.release(hot.pages)
        self._forget_warm(name)

    def pages_of(self, name: str) -> int:
        """Pages that a part takes in the pool; ConfigError where there is none of that name."""
        return self._of(name).pages

    def acquire(self, name: str, *, keep: int = 0) -> Hot | None:
        """The part, in the pool and pinned once more; None where there is no room now.

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
            self._hot.move_to_end(name)
            return known.hot
        if self._reachable() < known.pages + keep:
            return None
        # Taken out first, so that making room cannot push it from host memory to disk.
        warm = self._warm.pop(name, None)
        if warm is None:
            pages = self._read(known)
            self.counts.from_disk += 1
        else:
            pages, self._warm_bytes = warm, self._warm_bytes - _bytes(warm)
            self.counts.from_host += 1
        return self._put(name, known, pages)

    def release(self, name: str) -> None:
        """One request less uses the part."""
        known = self._of(name)
        if not known.pins:
            raise ConfigError("the part is not pinned", where=name, hint="release it once")
        known.pins -= 1

    def room(self, pages: int) -> bool:
        """Make so many pages free by evicting parts without a pin; nothing goes in vain."""
        if self._reachable() < pages:
            return False
        for name in [name for name in self._hot if not self._known[name].pins]:
            if self._pool.free >= pages:
                break
            self._evict(name)
        return True

    def state(self, name: str) -> AdapterState:
        """What can be told of one part; ConfigError where there is none of that name."""
        return self._state(name, self._of(name))

    def states(self) -> Sequence[AdapterState]:
        """That of all of them. From any thread: parts may come and go meanwhile."""
        return [self._state(name, known) for name, known in self._known.copy().items()]

    def _state(self, name: str, known: _Known) -> AdapterState:
        tier: Tier = "pool" if name in self._hot else "host" if name in self._warm else "disk"
        size = 0 if tier == "disk" else known.pages * self._pool.page_bytes
        method = type(known.layout.method).__name__
        return AdapterState(name, method, tier, size, known.pages, known.pins, known.hits)

    def _of(self, name: str) -> _Known:
        # One look: another thread may ask while the part is removed.
        known = self._known.get(name)
        if known is None:
            raise ConfigError(
                "no part of that name is registered", where=name, hint="call `add` first"
            )
        return known

    def _reachable(self) -> int:
        """Pages that are free or can be made so."""
        idle = sum(len(hot.pages) for name, hot in self._hot.items() if not self._known[name].pins)
        return self._pool.free + idle

    def _read(self, known: _Known) -> Tensor:
        part = self._base.read(known.folder)
        if part.method != known.layout.method:
            raise ArtifactError(
                "the folder holds another part than it did",
                where=str(known.folder),
                hint="remove it and add it anew",
            )
        return self._image(part, known.layout, known.folder)

    def _image(self, part: Part, layout: Layout, folder: str | Path) -> Tensor:
        """Its pages. Numbers that are stored are finite; those of the pool need not be, with the
        scale folded in, and in its type."""
        dtype = self._pool.tensor.dtype
        pages = image(layout, self._base.smalls(part), self._pool.shape, self.grain, dtype)
        if not pages.isfinite().all():
            raise ArtifactError(
                f"with its scale the part is not finite in {dtype}",
                where=str(folder),
                hint="tune it again with a smaller alpha or rate",
            )
        return pages

    def _put(self, name: str, known: _Known, pages: Tensor) -> Hot:
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
        hot = Hot(name, known.layout, tuple(own), first + at % each)
        known.hot, known.pins = hot, known.pins + 1
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
