"""What is wrong with a graph, as the field of the body that it stands in.

A graph is refused with the name of a call, step or variable. Who sent it as JSON finds the place by
its path: "call writer, output ad" is `calls.0.settings.ad`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request, Response

from adwright.core.errors import ConfigError, ProgramError
from adwright.programs.program import Program, SemanticCall
from adwright.service.lm.protocol.errors import respond
from adwright.web.errors import ApiError

_KINDS = ("call or step ", "call ", "step ", "chain ", "node ", "variable ")
_OUTPUT = re.compile(r", output ([\w-]+)")


class Refused(ApiError):
    """400: the program is wrong. param: the path of the field, where it is one."""

    def __init__(self, what: str, *, param: str | None, hint: str = "") -> None:
        message = what if param is None else f"{param}: {what}"
        super().__init__(400, message, code="invalid", hint=hint)
        self.what, self.param = what, param


async def on_refused(_: Request, error: Exception) -> Response:
    """The answer to it."""
    if not isinstance(error, Refused):
        raise error
    return respond(error, param=error.param)


@contextmanager
def refusing(program: Program) -> Iterator[None]:
    """Whatever is wrong with a program that is submitted within the context is its sender's to
    correct. Raises Refused."""
    try:
        yield
    except ConfigError as error:
        # The name stands in the path where that can be told, and else in the message.
        where = path_of(error.where, program)
        what = error.what if where else f"{error.where}: {error.what}"
        raise Refused(what, param=where, hint=error.hint) from None
    except ProgramError as error:
        raise ApiError(409, error.what, hint=error.hint) from None


def path_of(where: str, program: Program) -> str | None:
    """The path of the place `where` of an error in the JSON of a program; None where it is not in
    it, or is all of it."""
    if where.startswith("outputs."):
        return f"{where}.variable"
    kind = next((one for one in _KINDS if where.startswith(one)), None)
    if kind is None:
        return None
    rest = where.removeprefix(kind)
    if kind == "variable ":
        return _variable(rest.partition(",")[0], program)
    at = _at(rest, [one.name for one in program.calls])
    if at is not None and kind != "step ":
        return _in_call(rest, program.calls[at], f"calls.{at}")
    at = _at(rest, [one.name for one in program.steps])
    return None if at is None else f"steps.{at}"


def _at(rest: str, names: list[str]) -> int | None:
    """Which of the names a place begins with."""
    fits = [
        (len(name), -at)
        for at, name in enumerate(names)
        if rest.startswith(name) and rest[len(name) : len(name) + 1] in ("", ",", ".")
    ]
    return -max(fits)[1] if fits else None


def _in_call(rest: str, call: SemanticCall, path: str) -> str:
    if ", template" in rest:
        return f"{path}.template"
    output = _OUTPUT.search(rest)
    # Of a chain: the placeholder that it writes.
    name = output[1] if output else rest.removeprefix(call.name).partition(",")[0][1:]
    if not name:
        return path
    return f"{path}.settings.{name}" if name in call.settings else f"{path}.template"


def _variable(name: str, program: Program) -> str | None:
    if name in program.values:
        return f"values.{name}"
    if name in program.awaited:
        return f"awaited.{program.awaited.index(name)}"
    made = next((at for at, one in enumerate(program.steps) if name in one.outputs), None)
    return None if made is None else f"steps.{made}.outputs"
