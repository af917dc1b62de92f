"""Experiments: several models and policies side by side on a tenant's users.

    [experiment]                     in serving.toml
    name = "two-tower"
    salt = "2026-12"                 users are dealt to arms by a hash of it and their id
    holdout = 0.05                   of the users; they meet what decides anyway
    [[experiment.arms]]
    name = "as it is"                the first arm is what the others are compared with
    share = 0.5
    [[experiment.arms]]
    name = "new"
    share = 0.45
    model = "v7"                     the version that decides where none is named
    settings = "new.toml"            in place of serving.toml, which lies beside it

Nobody meets an arm before `adwright experiment start`, which writes down what was begun: while it
runs, the salt, the arms and their shares cannot be changed, as that would deal users anew. The arm
stands in the context of each decision as `_arm`. A shadow arm decides as well, for a share of the
users; what it would have shown stands in the context as `_shadow:NAME`, and nobody sees it. The
canary is an arm that is taken back by itself where it is shown to earn less: its users then meet
the first arm.

Here is what needs no store and no folder: settings, who meets what, and what may not be changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import blake2b
from typing import Annotated, Any

from adwright.core.config import Ge, Gt, Le, Lt, MinLen, Natural, Positive, settings, to_jsonable
from adwright.core.errors import ConfigError
from adwright.data.schema import EventKind

#: Where the arm stands in the context of a decision, and what shadow arms would have shown.
ARM, SHADOW = "_arm", "_shadow:"
#: The arm of users who are kept out.
HOLDOUT = "holdout"
_LONGEST, _NEAR = 64, 1e-9


@dataclass(frozen=True)
class Split:
    """How users are assigned to arms. salt: names the experiment. shares: of each arm, in the
    order in which they part the range of the hash; the last one takes what is left."""

    salt: str
    shares: tuple[tuple[str, float], ...]

    def arm(self, user_id: str) -> str:
        """The arm of a user: where the hash, as a fraction of its range, falls."""
        # Lengths first, so that no two pairs of salt and user give the same bytes.
        text = f"{len(self.salt)}:{self.salt}{user_id}".encode("utf-8", "surrogatepass")
        point = int.from_bytes(blake2b(text, digest_size=8).digest(), "big")
        end = 0.0
        for name, share in self.shares[:-1]:
            end += share
            if point < end * 2**64:
                return name
        return self.shares[-1][0]


@settings
class ExperimentArm:
    """name: in the log. share: of the users; of a shadow arm those for whom it decides, too. model:
    a version beside the one that decides; empty for that one. settings: a file beside serving.toml,
    of its keys; empty for that one. shadow: it decides, is logged and is not shown."""

    name: Annotated[str, MinLen(1)]
    share: Annotated[float, Ge(0), Le(1)]
    model: str = ""
    settings: str = ""
    shadow: bool = False


@settings
class CanarySettings:
    """arm: that is taken back where it is shown to earn less than the first. response: kind of
    event by which. confidence: of that, whenever one looks. users: of it before anybody looks."""

    arm: str
    response: EventKind = "click"
    confidence: Annotated[float, Ge(0.5), Lt(1)] = 0.99
    users: Natural = 200


@settings
class ExperimentSettings:
    """name: in the log of experiments. salt: another one deals users anew. arms: the first is what
    the others are compared with. holdout: share of users who are kept out. canary: which arm is
    taken back by itself."""

    name: Annotated[str, MinLen(1)]
    salt: Annotated[str, MinLen(1)]
    arms: tuple[ExperimentArm, ...]
    holdout: Annotated[float, Ge(0), Lt(1)] = 0.0
    canary: CanarySettings | None = None

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        for n, arm in enumerate(self.arms):
            where = f"key arms.{n}"
            if names.index(arm.name) != n or arm.name == HOLDOUT:
                raise ConfigError(
                    f"two arms are called {arm.name!r}", where=f"{where}.name", hint="name it anew"
                )
            if len(arm.name) > _LONGEST or not arm.name.isprintable():
                raise ConfigError(
                    f"the name of an arm has at most {_LONGEST} printable characters",
                    where=f"{where}.name",
                )
            for key, file in (("model", arm.model), ("settings", arm.settings)):
                if file.startswith(".") or any(one in file for one in "/\\:"):
                    raise ConfigError(
                        "an arm names what lies beside serving.toml",
                        where=f"{where}.{key}, {file}",
                        hint="write one name without slashes",
                    )
        shown = [arm for arm in self.arms if not arm.shadow]
        if not shown or (len(self.arms) < 2):
            raise ConfigError(
                "an experiment has an arm that is shown, and another",
                where="key arms",
                hint="add [[experiment.arms]] with a name and a share",
            )
        if self.arms[0].shadow:
            raise ConfigError(
                "the first arm is what the others are compared with, so it is shown",
                where="key arms.0.shadow",
                hint="begin with an arm as it is today",
            )
        total = sum(arm.share for arm in shown) + self.holdout
        if abs(total - 1) > _NEAR:
            raise ConfigError(
                f"the shares of the arms that are shown and the holdout add up to {total:g}, not 1",
                where="key arms",
                hint=f"give {shown[0].name} {max(0.0, shown[0].share + 1 - total):g}",
            )
        if self.canary is not None and self.canary.arm not in [one.name for one in shown[1:]]:
            raise ConfigError(
                f"the canary is no arm beside the first: {self.canary.arm}",
                where="key canary.arm",
                hint=f"it may be {', '.join(one.name for one in shown[1:]) or 'none'}",
            )

    @cached_property
    def shown(self) -> tuple[ExperimentArm, ...]:
        """The arms that users meet."""
        return tuple(arm for arm in self.arms if not arm.shadow)

    @property
    def shadows(self) -> tuple[ExperimentArm, ...]:
        """The arms that decide and are not shown."""
        return tuple(arm for arm in self.arms if arm.shadow)

    def arm_of(self, user_id: str) -> str:
        """The arm that a user meets, always the same, or `HOLDOUT`."""
        return self._split.arm(user_id)

    @cached_property
    def _split(self) -> Split:
        shares = [(arm.name, arm.share) for arm in self.shown]
        held = [(HOLDOUT, self.holdout)] if self.holdout else []
        return Split(self.salt, (*held, *shares))

    def shadows_of(self, user_id: str) -> list[str]:
        """The shadow arms that decide for a user, too."""
        return [
            arm.name
            for arm in self.shadows
            if Split(f"{self.salt}/{arm.name}", (("in", arm.share), ("out", 1 - arm.share))).arm(
                user_id
            )
            == "in"
        ]


@settings
class ExperimentPlan:
    """What was written down before the start. response: kind of event that counts, a user.
    effect: share of the first arm's mean that is to be seen. mean, spread: of a user's responses
    in `days`, before the start, after what the past explains. users: who come in so many days.
    confidence, power: of seeing it. clock: where the sequential test is sharpest, in the variance
    of the excess responses of an arm, see `experiment_reading`."""

    response: EventKind = "click"
    effect: Positive = 0.05
    confidence: Annotated[float, Ge(0.5), Lt(1)] = 0.95
    power: Annotated[float, Gt(0.5), Lt(1)] = 0.8
    mean: float = 0.0
    spread: float = 0.0
    users: Natural = 0
    days: float = 0.0
    clock: float = 0.0


@dataclass(frozen=True)
class RunningExperiment:
    """An experiment from its start on. back: the arms that were taken back."""

    settings: ExperimentSettings
    started: datetime
    plan: ExperimentPlan
    back: frozenset[str] = frozenset()

    def arm_of(self, user_id: str) -> str:
        """The arm that a user is dealt to, also of one that was taken back."""
        return self.settings.arm_of(user_id)

    def met(self, user_id: str) -> str:
        """The arm that decides for a user: the first where its own was taken back."""
        arm = self.arm_of(user_id)
        return self.settings.shown[0].name if arm in self.back else arm


def require_unchanged(found: ExperimentSettings | None, running: RunningExperiment | None) -> None:
    """Raise ConfigError where serving.toml is not what was started and still runs."""
    if running is None:
        return
    if found is None:
        raise ConfigError(
            f"the experiment {running.settings.name} runs, and serving.toml has none",
            where="key experiment",
            hint="stop it first: adwright experiment stop",
        )
    was, now = (_dealing(one) for one in (running.settings, found))
    changed = [key for key in was if was[key] != now.get(key)] or [k for k in now if k not in was]
    if changed:
        raise ConfigError(
            f"{changed[0]} was changed while the experiment {running.settings.name} runs",
            where=f"key experiment.{changed[0]}",
            hint="take the change back, or stop it first: adwright experiment stop",
        )


def _dealing(one: ExperimentSettings) -> Mapping[str, Any]:
    """What decides who meets what, by key."""
    return {key: what for key, what in to_jsonable(one).items() if key != "canary"}
