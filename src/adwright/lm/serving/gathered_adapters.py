"""Many tuned parts over one base in one batch: each row has its own, and kinds may differ.

The form of PetS (Zhou et al., USENIX ATC 2022): every method here is the base's map, run once for
all rows, and small operations that differ by row. For row i of x [B, T, in] at one map,

    y_i = f_i * (W (g_i * x_i) + bias) + (x_i A_i) B_i + v_i;    y_i <- y_i + c_i(y_i)

g, f, v vectors, A [in, r] and B [r, out] small matrices, c a bottleneck. LoRA is A, B; DoRA is A,
B and f; (IA)3 is g or f; BitFit is v; SSF is f and v; a serial adapter is c. What a row does not
have costs it nothing: each operation runs on the rows that have it, as one batched product over
stacked matrices (the gathered form of Punica, Chen et al., 2023, arXiv 2310.18547, in torch).

Ours: the stacks of a batch stay while its rows stay, so decoding gathers nothing; where one row
changes hands only its slices are written. Ranks and sizes may differ, shorter ones are padded
with zeros. Memory: what is registered, and B times the small matrices of one part for the stacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from adwright.core.config import check_literals, from_jsonable
from adwright.core.errors import ArtifactError, ConfigError
from adwright.tuning.additive.ia3 import IA3
from adwright.tuning.additive.serial import Activation, SerialAdapter, activated
from adwright.tuning.additive.ssf import SSF
from adwright.tuning.efficient.lora_fa import LoRAFA
from adwright.tuning.modules import TunedLinear
from adwright.tuning.reparameterised.dora import DoRA
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.selective.bitfit import BitFit
from adwright.tuning.sizes import LINEAR, Sizes, Target, places
from adwright.tuning.storage import fill, fingerprint, read_tuned

__all__ = [
    "GATHERED",
    "BaseMaps",
    "Gathered",
    "GatheredLinear",
    "GatheredMethod",
    "Part",
    "Small",
]

GatheredMethod = LoRA | LoRAFA | DoRA | SerialAdapter | IA3 | BitFit | SSF
#: The kinds that a batch may hold, by name.
GATHERED: dict[str, type[GatheredMethod]] = {
    kind.__name__: kind for kind in (LoRA, LoRAFA, DoRA, SerialAdapter, IA3, BitFit, SSF)
}


@dataclass(frozen=True)
class Small:
    """What one part does at one map; see the module.

    low: A [in, r], B [r, out]. before: g [in]. factor: f [out]. shift: v [out]. after: down
    [out, m], its bias [1, m], up [m, out], its bias [1, out]; activation: between them.
    """

    low: tuple[Tensor, ...] | None = None
    before: Tensor | None = None
    factor: Tensor | None = None
    shift: Tensor | None = None
    after: tuple[Tensor, ...] | None = None
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        check_literals(self)


@dataclass(frozen=True)
class Part:
    """A tuned part as it was saved, checked. tensors: by the name of a map, and their own."""

    method: GatheredMethod
    tensors: dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class BaseMaps:
    """The linear maps of a plain base, by dotted name, and what a part is checked against.

    base: its fingerprint. linears: the target that a map is, and the map.
    """

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
        return BaseMaps(fingerprint(model), Sizes.of(model), found)

    def read(self, folder: str | Path) -> Part:
        """What `Tuned.save` wrote.

        Raises ArtifactError where the method is not one of `GATHERED`, the base is another, or
        tensors do not fit; and as `read_tuned` does.
        """
        stored = read_tuned(folder)
        where = str(folder)
        kind = GATHERED.get(stored.method)
        if kind is None:
            raise ArtifactError(
                f"{stored.method} cannot be gathered",
                where=where,
                hint=f"serve it alone, or tune with one of {sorted(GATHERED)}",
            )
        if stored.base != self.base:
            raise ArtifactError(
                "the tuned part belongs to another base model",
                where=where,
                hint="register it with the base that it was tuned on",
            )
        try:
            method = from_jsonable(kind, stored.config)
        except ConfigError as error:
            raise ArtifactError(
                f"the stored method cannot be read: {error.what}", where=where, hint=error.hint
            ) from error
        if method.count(self.sizes) > sum(tensor.numel() for tensor in stored.tensors.values()):
            raise ArtifactError("its settings ask for more numbers than are stored", where=where)
        parts = self.expected(method)
        flat = {f"model.{at}.{part}": t for at, own in parts.items() for part, t in own.items()}
        fill(flat, stored.tensors, where)
        return Part(method, parts)

    def expected(self, method: GatheredMethod) -> dict[str, dict[str, Tensor]]:
        """Zeros of the shapes that a part with these settings has, by map and name."""
        return _expected(method, self.linears)

    def smalls(self, part: Part) -> dict[str, Small]:
        """The operations of a part at each map that it touches, scales folded in."""
        return {
            name: _small(part.method, *self.linears[name], own)
            for name, own in part.tensors.items()
        }


class Gathered:
    """A base model and the parts that rows of a batch may ask for.

    model: a plain causal LM, changed in place; rows without a part see it as it was.

        many = Gathered(model)
        many.add("shop-1", folder_of_a_lora)
        many.add("shop-2", folder_of_an_adapter)
        many.use(["shop-1", "shop-2", None])
        many.model(input_ids)                        # three rows
    """

    def __init__(self, model: nn.Module) -> None:
        self._base = BaseMaps.of(model)
        self.base, self.sizes = self._base.base, self._base.sizes
        self.model = model.requires_grad_(False).eval()
        self._maps: dict[str, GatheredLinear] = {}
        for place in places(model, LINEAR):
            self._maps[place.name] = GatheredLinear(place.linear)
            place.put(self._maps[place.name])
        self._bytes: dict[str, int] = {}
        self._rows: tuple[str | None, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The parts that are registered, in the order they came."""
        return tuple(self._bytes)

    def bytes_of(self, name: str) -> int:
        """Memory that a part takes; ConfigError where there is none of that name."""
        self._known(name)
        return self._bytes[name]

    def add(self, name: str, folder: str | Path) -> None:
        """Register what `Tuned.save` wrote, in the base's type of number.

        Raises ConfigError where the name is taken; ArtifactError where the method is not one of
        `GATHERED`, the base is another, or tensors do not fit; and as `read_tuned` does.
        """
        if name in self._bytes:
            raise ConfigError("the name is taken", where=name, hint="remove that part first")
        smalls = self._base.smalls(self._base.read(folder))
        total = 0
        for at, linear in self._maps.items():
            if at in smalls:
                total += linear.add(name, smalls[at])
        self._bytes[name] = total

    def remove(self, name: str) -> None:
        """Forget a part; ConfigError where there is none, or the rows at hand use it."""
        self._known(name)
        if name in self._rows:
            raise ConfigError("the part is in use", where=name, hint="call `use` without it first")
        for linear in self._maps.values():
            linear.forget(name)
        del self._bytes[name]

    def use(self, rows: Sequence[str | None]) -> None:
        """Let row i of the batches that follow have the part of that name, or none.

        Raises ConfigError for a name that is not registered.
        """
        for name in rows:
            if name is not None:
                self._known(name)
        self._rows = tuple(rows)
        for linear in self._maps.values():
            linear.use(self._rows)

    def _known(self, name: str) -> None:
        if name not in self._bytes:
            raise ConfigError(
                "no part of that name is registered", where=name, hint="call `add` first"
            )


class GatheredLinear(TunedLinear):
    """The base's map and the small operations of the rows at hand."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base)
        self._small: dict[str, Small] = {}
        self._rows = 0
        self._low = _Stack()
        self._before, self._factor, self._shift = _Vectors(1.0), _Vectors(1.0), _Vectors(0.0)
        self._after: dict[Activation, _Stack] = {
            "relu": _Stack(),
            "gelu": _Stack(),
            "silu": _Stack(),
        }

    def add(self, name: str, small: Small) -> int:
        """Register a part, and return the bytes that it takes."""
        like = self.base.weight

        def one(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(like).contiguous()

        def all_(tensors: tuple[Tensor, ...] | None) -> tuple[Tensor, ...] | None:
            return (
                None if tensors is None else tuple(each.to(like).contiguous() for each in tensors)
            )

        own = Small(
            low=all_(small.low),
            before=one(small.before),
            factor=one(small.factor),
            shift=one(small.shift),
            after=all_(small.after),
            activation=small.activation,
        )
        self._small[name] = own
        vectors = [v for v in (own.before, own.factor, own.shift) if v is not None]
        held = [*(own.low or ()), *(own.after or ()), *vectors]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)

    def forget(self, name: str) -> None:
        """Remove a part, if it is here."""
        self._small.pop(name, None)

    def use(self, names: tuple[str | None, ...]) -> None:
        """Make the stacks for these rows."""
        own = {
            row: (name, self._small[name])
            for row, name in enumerate(names)
            if name is not None and name in self._small
        }
        self._rows = len(names)
        like = self.base.weight
        self._low.set({r: (n, s.low) for r, (n, s) in own.items() if s.low is not None}, like)
        for activation, stack in self._after.items():
            stack.set(
                {
                    r: (n, s.after)
                    for r, (n, s) in own.items()
                    if s.after is not None and s.activation == activation
                },
                like,
            )
        rows = len(names)
        self._before.set({r: (n, s.before) for r, (n, s) in own.items()}, rows, like)
        self._factor.set({r: (n, s.factor) for r, (n, s) in own.items()}, rows, like)
        self._shift.set({r: (n, s.shift) for r, (n, s) in own.items()}, rows, like)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, in] to [B, T, out]; ConfigError where B is not the number of rows in use."""
        if self._rows and x.shape[0] != self._rows:
            raise ConfigError(
                f"the batch has {x.shape[0]} rows, and {self._rows} are in use",
                where="Gathered.use",
                hint="name a part, or None, for each row",
            )
        if self._before.values is not None:
            x = x * self._before.values
        y: Tensor = self.base(x)
        if self._factor.values is not None:
            y = y * self._factor.values
        if self._low.parts:
            a, b = self._low.parts
            y = self._low.added(y, torch.bmm(torch.bmm(self._low.of(x), a), b))
        if self._shift.values is not None:
            y = y + self._shift.values
        for activation, stack in self._after.items():
            if stack.parts:
                down, inner, up, outer = stack.parts
                bent = activated(torch.baddbmm(inner, stack.of(y), down), activation)
                y = stack.added(y, torch.baddbmm(outer, bent, up))
        return y


class _Stack:
    """Matrices of some rows, stacked and padded. parts: each [n, ...]; rows: int64 [n]."""

    def __init__(self) -> None:
        self.parts: tuple[Tensor, ...] = ()
        self.names: tuple[str, ...] = ()
        self.at: tuple[int, ...] = ()
        self.rows = torch.zeros(0, dtype=torch.long)
        self.everything = False

    def set(self, items: dict[int, tuple[str, tuple[Tensor, ...] | None]], like: Tensor) -> None:
        """Hold these, by row; slices that are there already are left as they are."""
        at, names = tuple(items), tuple(name for name, _ in items.values())
        matrices = [tensors for _, tensors in items.values() if tensors is not None]
        if not matrices:
            self.parts, self.names, self.at = (), (), ()
            return
        wanted = [
            tuple(max(sizes) for sizes in zip(*(m[k].shape for m in matrices), strict=True))
            for k in range(len(matrices[0]))
        ]
        # Kept where the rows are the same and the new ones are not larger.
        kept = at == self.at and all(
            all(n <= room for n, room in zip(shape, part.shape[1:], strict=True))
            for shape, part in zip(wanted, self.parts, strict=True)
        )
        if not kept:
            self.parts = tuple(like.new_zeros(len(at), *shape) for shape in wanted)
            self.rows = torch.tensor(at, device=like.device)
        for slot, (name, tensors) in enumerate(zip(names, matrices, strict=True)):
            if kept and name == self.names[slot]:
                continue
            for part, tensor in zip(self.parts, tensors, strict=True):
                part[slot].zero_()[tuple(slice(n) for n in tensor.shape)] = tensor
        self.at, self.names = at, names
        self.everything = False

    def of(self, x: Tensor) -> Tensor:
        """The rows [n, T, ...] of x [B, T, ...] that these matrices are for."""
        self.everything = len(self.at) == len(x)
        return x if self.everything else x[self.rows]

    def added(self, y: Tensor, update: Tensor) -> Tensor:
        """y with [n, T, ...] added to its rows, in place."""
        return y.add_(update) if self.everything else y.index_add_(0, self.rows, update)


class _Vectors:
    """A vector for each row [B, 1, n], or None where no row has one. neutral: for the others."""

    def __init__(self, neutral: float) -> None:
        self.neutral = neutral
        self.values: Tensor | None = None
        self.names: tuple[str | None, ...] = ()

    def set(self, items: dict[int, tuple[str, Tensor | None]], rows: int, like: Tensor) -> None:
        """Hold these, by row."""
        found = {row: (name, v) for row, (name, v) in items.items() if v is not None}
        names = tuple(found[row][0] if row in found else None for row in range(rows))
        if names == self.names and self.values is not None:
            return
        self.names, self.values = names, None
        if found:
            width = len(next(iter(found.values()))[1])
            self.values = like.new_full((rows, 1, width), self.neutral)
            for row, (_, vector) in found.items():
                self.values[row, 0] = vector


def _expected(
    method: GatheredMethod, at: dict[str, tuple[Target, nn.Linear]]
) -> dict[str, dict[str, Tensor]]:
    """Empty tensors of the shapes that a part has, by map and name."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, (target, linear) in at.items():
        o, i = linear.out_features, linear.in_features
        shapes: dict[str, tuple[int, ...]] = {}
        match method:
            case LoRA() | LoRAFA() | DoRA() if target in method.targets:
                shapes = {"a": (method.rank, i), "b": (o, method.rank)}
                if isinstance(method, DoRA):
                    shapes["magnitude"] = (o,)
            case SerialAdapter() if target in method.targets:
                m = method.size
                shapes = {"adapter.down": (m, o), "adapter.inner_bias": (m,)}
                shapes |= {"adapter.up": (o, m), "adapter.outer_bias": (o,)}
            case IA3() if target in ("k_proj", "v_proj"):
                shapes = {"factor": (o,)}
            case IA3() if target == "down_proj":
                shapes = {"factor": (i,)}
            case BitFit() if target in method.targets:
                shapes = {"shift": (o,)}
            case SSF() if target in method.targets:
                shapes = {"factor": (o,), "shift": (o,)}
            case _:
                continue
        found[name] = {part: torch.zeros(shape) for part, shape in shapes.items()}
    return found


def _small(
    method: GatheredMethod, target: Target, base: nn.Linear, own: dict[str, Tensor]
) -> Small:
    """The operations of one part at one map, scales folded in."""
    match method:
        case LoRA():
            return Small(low=(own["a"].T, own["b"].T * method.scale))
        case LoRAFA():
            return Small(low=(own["a"].T, own["b"].T * (method.alpha / method.rank)))
        case DoRA():
            update = (method.alpha / method.rank) * own["b"]
            moved = base.weight.float().cpu() + update @ own["a"]
            factor = own["magnitude"] / torch.linalg.vector_norm(moved, dim=1)
            bias = None if base.bias is None else base.bias.float().cpu() * (1 - factor)
            return Small(low=(own["a"].T, (factor[:, None] * update).T), factor=factor, shift=bias)
        case SerialAdapter():
            names = ("down", "inner_bias", "up", "outer_bias")
            down, inner, up, outer = (own[f"adapter.{name}"] for name in names)
            after = (down.T, inner[None], up.T, outer[None])
            return Small(after=after, activation=method.activation)
        case IA3():
            is_input = target == "down_proj"
            return Small(before=own["factor"]) if is_input else Small(factor=own["factor"])
        case BitFit():
            return Small(shift=own["shift"])
        case SSF():
            return Small(factor=own["factor"], shift=own["shift"])
