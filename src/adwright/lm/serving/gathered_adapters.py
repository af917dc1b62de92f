"""What adapters of different kinds do at the maps of one base, in one form, read and checked.

The form of PetS (Zhou et al., USENIX ATC 2022): every method here is the base's map, run once for
all rows of a batch, and small operations that differ by row. For row i of x [B, T, in] at one map,

    y_i = f_i * (W (g_i * x_i) + bias) + (x_i A_i) B_i + v_i;    y_i <- y_i + c_i(y_i) + d_i(z_i)

g, f, v vectors, A [in, r] and B [r, out] small matrices, c and d bottlenecks, z what the sublayer
reads that the map ends. LoRA and its kin are A, B; DoRA is A, B and f; (IA)3 is g or f; BitFit is
v; SSF is f and v; a serial adapter is c, a parallel one d. Prefixes and prompts are keys and values
that stand before the text (`kinds.ahead`). An aLoRA is A, B from one token of its row on. What a
row does not have costs it nothing. `adapter_layout` puts all of it into pages, `adapter_ops` runs
the operations.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from adwright.core.config import from_jsonable
from adwright.core.errors import ArtifactError, ConfigError
from adwright.lm.serving.kinds.ahead import ahead_of, keys_ahead
from adwright.lm.serving.kinds.shapes import (
    GATHERED,
    GatheredMethod,
    is_gathered,
    shared_of,
    stored_as,
    zeros_of,
)
from adwright.lm.serving.kinds.updates import MapUpdate, update_of
from adwright.tuning.modules import LINEAR, Sizes, Target, places
from adwright.tuning.storage import fill, fingerprint, read_tuned

__all__ = ["BaseMaps", "NotGathered", "StoredAdapter", "layer_of"]


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
