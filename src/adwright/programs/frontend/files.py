"""Programs in files: JSON, as `programs.program` shows it; and those that come with the package.

program = read_program("creative-team", {"product": "black tea, 50 g"})
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from adwright.core.config import closest_name, from_jsonable
from adwright.core.errors import ConfigError
from adwright.core.regular import read_regular
from adwright.programs.program import Program
from adwright.programs.steps import Template

#: Those that come with the package, by name, and what each does.
PROGRAMS = {
    "creative-team": "a copywriter, four variants, three reviewers and an editor write one ad",
}
_MOST_BYTES = 16 << 20
_NO_VALUES: Mapping[str, str] = {}


def read_program(name: str | Path, values: Mapping[str, str] = _NO_VALUES) -> Program:
    """The program of a file, or of the package by its name. values: of variables, in the place of
    those that the file gives or awaits.

    Raises ConfigError, with the file and the field, where it is none, and for the value of a
    variable that the file does not have.
    """
    told = program_text(name)
    try:
        plain = json.loads(told)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"the program is no JSON: {error}", where=str(name), hint="mend that line"
        ) from error
    if not isinstance(plain, dict):
        raise ConfigError("a program is a JSON object", where=str(name), hint="begin with {")
    program = from_jsonable(Program, plain, source=str(name))
    open_ones = dict.fromkeys((*program.values, *program.awaited, *unset_variables(program)))
    for variable in values:
        if variable not in open_ones:
            close = closest_name(variable, open_ones)
            listed = ", ".join(open_ones) or "none"
            hint = f"did you mean {close}?" if close else f"it has {listed}"
            what = f"the program waits for no value of {variable[:64]!r}"
            raise ConfigError(what, where=str(name), hint=hint)
    return replace(
        program,
        values={**program.values, **values},
        awaited=tuple(one for one in program.awaited if one not in values),
    )


def program_text(name: str | Path) -> str:
    """The JSON of such a program. Raises ConfigError where there is none."""
    if str(name) in PROGRAMS:
        place = files(__package__) / "programs" / f"{name}.json"
        return place.read_text("utf-8")
    try:
        return read_regular(str(name), most=_MOST_BYTES).decode("utf-8")
    except FileNotFoundError as error:
        hint = f"check the path, or name one that is there: {', '.join(PROGRAMS)}"
        raise ConfigError("there is no such file", where=str(name), hint=hint) from error
    except (OSError, ValueError) as error:
        hint = "name a text file in UTF-8 that you may read"
        raise ConfigError(
            f"the program cannot be read: {error}", where=str(name), hint=hint
        ) from error


def unset_variables(program: Program) -> list[str]:
    """Variables that a call or step reads and nothing sets."""
    read: dict[str, None] = {}
    made: set[str] = set()
    for call in program.calls:
        template = Template.parse(call.template, where=f"call {call.name}, template")
        read |= dict.fromkeys(call.variable(one) for one in template.inputs)
        made |= {call.variable(one) for one in template.outputs}
    for step in program.steps:
        read |= dict.fromkeys(step.inputs)
        made |= {*step.outputs}
    return [one for one in read if one not in made]
