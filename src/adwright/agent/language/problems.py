"""What can be wrong with a script, and where: one shape for reading, checking and running.

    ScriptError: there is no element $offer__sav [line 3, column 5] -> did you mean $offer__save?

A problem has a short code, which a model that mends a script is told, and which tests name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from adwright.core.config import settings
from adwright.core.errors import AdwrightError

__all__ = ["ProblemCode", "ScriptError", "ScriptProblem", "quoted"]

ProblemCode = Literal[
    # of reading
    "character",
    "text_end",
    "escape",
    "number",
    "indent",
    "bracket",
    "expected",
    "keyword",
    "too_long",
    "too_deep",
    # of checking
    "unknown_element",
    "unknown_name",
    "unknown_verb",
    "arguments",
    "wrong_type",
    "wrong_option",
    "constraint",
    "unreachable",
    "tainted_write",
    "forbidden_effect",
    "loop",
    # of running
    "budget",
    "index",
    "value",
    "expectation",
    "not_found",
    "ambiguous",
    "identity",
    "wrong_state",
    "effect",
    "refused",
    "cap",
    "driver",
]
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
