"""What can be wrong with a script, and where: one shape for reading, checking and running.

    ScriptError: there is no element $offer__sav [line 3, column 5] -> did you mean $offer__save?

A problem has a short code, which a model that mends a script is told, and which tests name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from adwright.core.clock import Clock
from adwright.core.config import Gt, Natural, settings
from adwright.core.errors import AdwrightError

# fmt: off
ProblemCode = Literal[
    # of reading
    "character", "text_end", "escape", "number", "indent", "bracket", "expected", "keyword",
    "too_long", "too_deep",
    # of checking
    "unknown_element", "unknown_name", "unknown_verb", "arguments", "wrong_type", "wrong_option",
    "constraint", "unreachable", "tainted_write", "forbidden_effect", "loop",
    # of running
    "budget", "index", "value", "expectation", "not_found", "ambiguous", "identity", "wrong_state",
    "effect", "refused", "cap", "driver",
]
# fmt: on
_MOST_QUOTED = 60


@settings
class ScriptProblem:
    """What is wrong in one place. line, column: from 1; 0 where it is about the whole script."""

    code: ProblemCode
    what: str
    line: int = 0
    column: int = 0
    hint: str = ""

    @property
    def where(self) -> str:
        """As "line 3, column 5"; empty where it is about the whole script."""
        return f"line {self.line}, column {self.column}" if self.line else ""


class ScriptError(AdwrightError):
    """A script cannot be read, is refused, or has stopped; `problems` has all that was found."""

    def __init__(self, problems: Sequence[ScriptProblem]) -> None:
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(first.what + more, where=first.where, hint=first.hint)
        self.problems = tuple(problems)
        self.args = (self.problems,)

    @property
    def code(self) -> ProblemCode:
        """Of the first problem."""
        return self.problems[0].code


def quoted(text: str) -> str:
    """`text` as it may stand in a message: shortened, in quotes, with nothing that is invisible."""
    shown = text if len(text) <= _MOST_QUOTED else text[: _MOST_QUOTED - 3] + "..."
    return ascii(shown)


# --------------------------------------------------------------------------------------------------
# How much a run may use: steps, acts, writes and time. Each is counted before it is used.


@settings
class RunBudget:
    """Limits of one run.

    steps: statements and values that are computed. acts: taps and their like. writes: acts on
    elements that may change what the app stores. seconds: from the start of the run.
    """

    steps: Natural = 5_000
    acts: Natural = 100
    writes: Natural = 5
    seconds: Annotated[float, Gt(0)] = 300.0


class BudgetMeter:
    """Counts what a run uses. Raises ScriptError of code "budget" before more is used."""

    def __init__(self, budget: RunBudget, clock: Clock) -> None:
        self.budget = budget
        self.steps = self.acts = self.writes = 0
        self._clock = clock
        self._start = clock.monotonic()

    def step(self) -> None:
        """A statement or a value."""
        if self.steps >= self.budget.steps:
            self._refuse(f"the script has taken its {self.budget.steps:,} steps", "steps")
        self.steps += 1

    def act(self, *, writes: bool) -> None:
        """A tap or its like, which may write."""
        seconds = self._clock.monotonic() - self._start
        if seconds >= self.budget.seconds:
            self._refuse(f"the script has run for {self.budget.seconds:g} seconds", "seconds")
        if self.acts >= self.budget.acts:
            self._refuse(f"the script has acted {self.budget.acts} times", "acts")
        if writes and self.writes >= self.budget.writes:
            self._refuse(f"the script has written {self.budget.writes} times", "writes")
        self.acts += 1
        self.writes += writes

    def _refuse(self, what: str, name: str) -> None:
        hint = f"raise RunBudget.{name}, or let the script do less"
        raise ScriptError([ScriptProblem("budget", what, hint=hint)])
