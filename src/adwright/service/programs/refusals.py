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
from adwright.programs.program import Program
from adwright.service.lm.protocol.errors import respond
from adwright.web.errors import ApiError

__all__ = ["Refused", "on_refused", "path_of", "refusing"]

_KIND = re.compile(
    r"(call or step|call|step|chain|node|variable) ([A-Za-z_][A-Za-z0-9_-]*)(?:\.([\w-]+))?"
)
_OUTPUT = re.compile(r", output ([\w-]+)")


class Refused(ApiError):
    """400: the program is wrong. param: the path of the field, where it is one."""

    def __init__(self, message: str, *, param: str | None, hint: str = "") -> None:
        super().__init__(400, message, code="invalid", hint=hint)
        self.param = param


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
        raise Refused(f"{where}: {what}" if where else what, param=where, hint=error.hint) from None
    except ProgramError as error:
        raise ApiError(409, error.what, hint=error.hint) from None


def path_of(where: str, program: Program) -> str | None:
    """The path of the place `where` of an error in the JSON of a program; None where it is not in
    it, or is all of it."""
    if where.startswith("outputs."):
        return f"{where}.variable"
    found = _KIND.match(where)
    if found is None:
        return None
    kind, name, placeholder = found.groups()
    calls = {one.name: at for at, one in reversed(list(enumerate(program.calls)))}
    steps = {one.name: at for at, one in reversed(list(enumerate(program.steps)))}
    if kind == "variable":
        return _variable(name, program)
    if name in calls and kind != "step":
        path = f"calls.{calls[name]}"
        output = _OUTPUT.search(where)
        if ", template" in where:
            return f"{path}.template"
        if output is not None:
            return f"{path}.settings.{output[1]}"
        return path if placeholder is None else f"{path}.settings.{placeholder}"
    return f"steps.{steps[name]}" if name in steps else None


def _variable(name: str, program: Program) -> str | None:
    if name in program.values:
        return f"values.{name}"
    if name in program.awaited:
        return f"awaited.{program.awaited.index(name)}"
    made = next((at for at, one in enumerate(program.steps) if name in one.outputs), None)
    return None if made is None else f"steps.{made}.outputs"
