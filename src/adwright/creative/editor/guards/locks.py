"""Directions that may be used, those that never may, and mixtures of the first that come to the
second.

    rules = DirectionRules(
        allowed=(DirectionCard.of("smile", "expression", vector),),
        locked={"gender": gender, "age": age, "skin": skin, "ethnicity": ethnicity},
    )
    rules.refusals(vectors, amounts, face)

A direction is allowed by its card: its name, its group (expression, gaze, pose, light), and the
hash of its vector, so a locked direction under an allowed name is found. What the groups gender,
age, skin and ethnicity move is *locked*: given as vectors in the same space, as many as are known.

Of all that a face is moved, v = sum_k a_k n_k, over all edits of a plan and all earlier edits of
the log, the part along the locked directions is bounded. With an orthonormal basis Q of these,

    leak = |Q Q' v|,     refused where leak > most_leak, or leak > most_share |v|

so neither a mixture, nor many small steps, nor a direction that leans towards a locked one passes.
Our choice: .25 of the length 1 that a whole step has, and a share of .35.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import Ge, Le, settings
from adwright.core.errors import ConfigError
from adwright.core.hashing import sha256_bytes
from adwright.creative.editor.guards.refusals import Refusal

__all__ = ["DirectionCard", "DirectionRules", "LockedGroup", "vector_hash"]

Vector = NDArray[np.float64]
LockedGroup = Literal["gender", "age", "skin", "ethnicity"]
AllowedGroup = Literal["expression", "gaze", "pose", "light"]
_LOCKED: tuple[str, ...] = get_args(LockedGroup)
#: A part of a unit vector that counts as a dimension of its own.
_RANK = 1e-6


@settings
class DirectionCard:
    """name, group: of a direction that may be used. vector: its hash, see `vector_hash`."""

    name: str
    group: AllowedGroup
    vector: str

    @classmethod
    def of(cls, name: str, group: AllowedGroup, vector: Vector) -> DirectionCard:
        """The card of a direction [D]."""
        return cls(name, group, vector_hash(vector))


@settings(eq=False)
class DirectionRules:
    """allowed: cards. locked: of each locked group its direction [D], or several [M, D]; a group
    that is missing has to be named in `unknown`, so that nobody forgets one unseen. most_leak,
    most_share, most_moved: bounds, the last of the sum of one direction's amounts."""

    allowed: tuple[DirectionCard, ...]
    locked: Mapping[LockedGroup, Vector]
    unknown: tuple[LockedGroup, ...] = ()
    most_leak: Annotated[float, Ge(0), Le(10)] = 0.25
    most_share: Annotated[float, Ge(0), Le(10)] = 0.35
    most_moved: Annotated[float, Ge(0), Le(10)] = 1.5

    def __post_init__(self) -> None:
        told = [*self.locked, *self.unknown]
        if sorted(told) != sorted(_LOCKED):
            raise ConfigError(
                f"the locked groups are {sorted(told)}",
                where="DirectionRules.locked",
                hint=f"give a direction of each of {_LOCKED}, or name it in unknown",
            )
        names = [card.name for card in self.allowed]
        if len(set(names)) != len(names):
            raise ConfigError("a direction has two cards", where="DirectionRules.allowed")
        _orthonormal(self.locked)  # refuses what is no direction

    @cached_property
    def _basis(self) -> Vector:
        return _orthonormal(self.locked)

    def leak(self, vector: Vector) -> float:
        """How far a move [D] goes along the locked directions. Raises ConfigError for another D."""
        if not self._basis.size:
            return 0.0
        if vector.shape != self._basis.shape[1:]:
            raise ConfigError(
                f"a direction has shape {vector.shape}",
                where="DirectionRules",
                hint=f"the locked ones have {self._basis.shape[1:]}",
            )
        return float(np.linalg.norm(self._basis @ vector))

    def refusals(
        self,
        vectors: Mapping[str, Vector],
        amounts: Mapping[str, float],
        face: int,
        *,
        before: Mapping[str, float] | None = None,
    ) -> tuple[Refusal, ...]:
        """Why a face is not moved by these amounts of each direction; empty where it may be.

        vectors: of each direction [D], as the model uses it. amounts: of each direction that is
        used, also where it is taken back again. before: what earlier edits moved it.
        """
        made: list[Refusal] = []
        earlier = {name: value for name, value in (before or {}).items() if value}
        total = dict(earlier)
        for name, amount in amounts.items():
            total[name] = total.get(name, 0.0) + amount
            refusal = self._of_one(name, vectors.get(name), face)
            if refusal is not None:
                made.append(refusal)
        for name, amount in total.items():
            if abs(amount) > self.most_moved + 1e-9:
                reason = f"{name} is moved by {amount:+.2f} in all, at most {self.most_moved:g}"
                made.append(Refusal("too_far", reason, face))
        known = [(vectors[name], amount) for name, amount in total.items() if name in vectors]
        if known and not made:
            moved = np.sum([amount * vector for vector, amount in known], axis=0)
            leak, length = self.leak(moved), float(np.linalg.norm(moved))
            if leak > self.most_leak or leak > self.most_share * length + 1e-12:
                reason = (
                    f"all moves together go {leak:.2f} of {length:.2f} along locked directions"
                    f" ({', '.join(self.locked)})"
                )
                made.append(Refusal("mixture", reason, face))
        return tuple(made)

    def _of_one(self, name: str, vector: Vector | None, face: int) -> Refusal | None:
        if vector is None:
            return Refusal("unknown_direction", f"the model has no direction {name!r}", face)
        length = float(np.linalg.norm(vector))
        locked = next((group for group in _LOCKED if group in name.lower().split("_")), "")
        if locked or self.leak(vector) > 0.7 * length:
            return Refusal(
                "locked_direction",
                f"{name!r} is of a locked group ({locked or 'by its vector'})",
                face,
            )
        card = next((card for card in self.allowed if card.name == name), None)
        if card is None:
            return Refusal("not_allowed", f"{name!r} is not on the list of directions", face)
        if card.vector != vector_hash(vector):
            return Refusal("renamed_direction", f"{name!r} is another vector than the list's", face)
        return None


def vector_hash(vector: Vector) -> str:
    """SHA-256 of a direction [D], in float32 as generators hold it."""
    return sha256_bytes(np.ascontiguousarray(vector, np.float32).tobytes())


def _orthonormal(locked: Mapping[LockedGroup, Vector]) -> Vector:
    """float64 [R, D]: a basis of all that is spanned by the locked directions."""
    if not locked:
        return np.empty((0, 0))
    rows = [np.atleast_2d(np.asarray(vector, float)) for vector in locked.values()]
    if len({row.shape[1] for row in rows}) != 1 or any(not np.isfinite(row).all() for row in rows):
        raise ConfigError(
            "locked directions differ in length, or are not finite", where="DirectionRules.locked"
        )
    every = np.concatenate(rows)
    lengths = np.linalg.norm(every, axis=1)
    if not lengths.all():
        raise ConfigError("a locked direction is zero", where="DirectionRules.locked")
    _, sizes, basis = np.linalg.svd(every / lengths[:, None], full_matrices=False)
    return np.asarray(basis[sizes > _RANK])
