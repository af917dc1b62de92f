"""What every attack looks like to whoever runs it: steps, each with the best text so far.

    for step in attack.steps(state):
        step.text, step.value, step.state

An attack that is given the state of one of its steps goes on behind that step as if it had never
stopped: the state holds the random generator too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from adwright.audit.attacks.goal import AttackGoal
from adwright.core.errors import ResumeError

#: T0 templates, T1 search, T2 gradient, T3 fluent gradient, T4 adaptive; and what is no attack.
AttackTier = Literal["T0", "T1", "T2", "T3", "T4", "control"]


@dataclass(frozen=True)
class AttackStep:
    """text: the best so far, to be added behind the field. value: what the attack makes small, of
    that text: a loss, or a mean rank. state: from which it goes on, as JSON. note: for a reader."""

    text: str
    value: float
    state: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@runtime_checkable
class Attack(Protocol):
    """One attack on one goal with one seed."""

    @property
    def tier(self) -> AttackTier:
        """How strong it is."""

    @property
    def goal(self) -> AttackGoal:
        """What it is after."""

    @property
    def model(self) -> str:
        """The model that it was found on."""

    def steps(self, state: Mapping[str, Any] | None = None) -> Iterator[AttackStep]:
        """Go on from a state, or begin; ends when it is done or its budget is spent."""


def kept_generator(rng: np.random.Generator) -> dict[str, Any]:
    """The state of a generator as JSON."""
    return dict(rng.bit_generator.state)


def generator_of(state: Mapping[str, Any]) -> np.random.Generator:
    """The generator that goes on from a state. Raises ResumeError where it is none."""
    rng = np.random.default_rng(0)
    try:
        rng.bit_generator.state = dict(state)
    except (TypeError, ValueError, KeyError) as error:
        raise ResumeError(
            f"the state of the random generator cannot be read: {error}",
            where="attack",
            hint="begin anew in another folder",
        ) from error
    return rng
