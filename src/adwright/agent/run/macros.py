"""Scripts that have worked: kept with parameters and postconditions, run again without a model.

    book = MacroBook(folder)
    book.keep(Macro("raise_discount", "Set the discount of an offer", script, postconditions, ...))
    macro = book.macro("raise_discount")

A macro is kept only of a run that was verified. It runs on the version of the document that it was
made on, and on a later one after it is checked anew against it; what no longer fits is an error
that says so, never a new script.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from adwright.agent.document.elements import AppDocument
from adwright.agent.drivers.protocol import SeenRequest
from adwright.agent.language.problems import ScriptError, ScriptProblem
from adwright.agent.language.script import (
    Act,
    BinaryTerm,
    ElementUse,
    Expression,
    IndexedTerm,
    Script,
    VariableUse,
    VerbCall,
    print_script,
    read_script,
)
from adwright.agent.language.statements import CheckedScript, CheckRules, check_script
from adwright.agent.language.values import ArgumentValue
from adwright.agent.policy.shapes import matching_shape
from adwright.agent.policy.taint import FlowRule
from adwright.core.atomic import atomic_write_text
from adwright.core.config import closest_name, settings
from adwright.core.errors import ConfigError, FileUnreadableError

# --------------------------------------------------------------------------------------------------
# What must be true after a run, asked of the app by a way that the run did not use.
#
#     Postconditions(requests=("POST /offers/{}/",), check=read_script('''
#     param code: text
#     param share: number
#     tap(inside(match($offers__rows, code)[0], $offers__edit))
#     expect(number(get_attributes($offer_edit__share, "value")) == share)
#     '''))
#
# A banner that says "saved" counts for nothing. Each request must have been answered without an
# error, and the check, a script that only reads, must run to its end on pages that are loaded anew.
# Of an item that was given another name, the check looks under that one where the old one is gone.

_READ_ONLY = CheckRules(
    forbidden=("commit", "message", "spend", "destructive", "unknown"), most_items=200
)


@settings
class Postconditions:
    """requests: shapes that must have been answered with a status from 200 to 399. check: a script
    without effects, which takes some of the run's parameters; None for no check."""

    requests: tuple[str, ...] = ()
    check: Script | None = None

    def __post_init__(self) -> None:
        for one in self.requests:
            method, _, path = one.partition(" ")
            if not method.isupper() or not path.startswith("/"):
                raise ConfigError(
                    f"{one!r} is no request",
                    where="Postconditions.requests",
                    hint="write METHOD /path, as in POST /offers/{}/",
                )
        if not self.requests and self.check is None:
            raise ConfigError(
                "there is nothing to check",
                where="Postconditions",
                hint="name a request, or write a check",
            )


def check_postconditions(wanted: Postconditions, document: AppDocument) -> CheckedScript | None:
    """The check, ready to be run. Raises ScriptError where it would do more than read."""
    return None if wanted.check is None else check_script(wanted.check, document, _READ_ONLY)


def missing_requests(
    wanted: Postconditions, seen: Iterable[SeenRequest]
) -> tuple[ScriptProblem, ...]:
    """Those of the requests that were not answered well, one problem each."""
    answered = [one.request for one in seen if one.decision.allowed and 200 <= one.status < 400]
    return tuple(
        ScriptProblem("expectation", f"{shape} was not answered well")
        for shape in wanted.requests
        if not any(matching_shape(one.method, one.url, [shape]) for one in answered)
    )


def compared_fields(check: Script) -> frozenset[str]:
    """The fields that a check compares with something."""
    calls = [one.call for one in check.body if isinstance(one, Act)]
    return frozenset(
        name for call in calls if call.verb == "expect" for name in _fields(call.arguments)
    )


def own_arguments(
    script: Script, arguments: Mapping[str, ArgumentValue]
) -> dict[str, ArgumentValue]:
    """Those of a run's arguments that its check takes. Raises ScriptError for one that is not."""
    missing = [one.name for one in script.parameters if one.name not in arguments]
    if missing:
        what = f"the check takes {missing[0]}, which the run has not"
        raise ScriptError([ScriptProblem("arguments", what)])
    return {one.name: arguments[one.name] for one in script.parameters}


def renamed_arguments(
    check: Script, arguments: Mapping[str, ArgumentValue]
) -> Iterator[dict[str, ArgumentValue]]:
    """The arguments of a check with which it looks for its item under a text that was set: what is
    picked by a text is then picked by one that a field is compared with."""
    calls = [one.call for one in check.body if isinstance(one, Act)]
    picked = {name for call in calls if call.verb == "tap" for name in _names(call, within="pick")}
    compared = {name for call in calls if call.verb == "expect" for name in _names(call)}
    for name in sorted(picked):
        for other in sorted(compared - picked):
            if isinstance(arguments.get(name), str) and isinstance(arguments.get(other), str):
                yield {**arguments, name: arguments[other]}


def _fields(term: object) -> Iterator[str]:
    match term:
        case VerbCall("get_attributes", (ElementUse(name), *_)):
            yield name
        case VerbCall(_, arguments):
            yield from _fields(arguments)
        case BinaryTerm(_, left, right):
            yield from (*_fields(left), *_fields(right))
        case tuple():
            for one in term:
                yield from _fields(one)


def _names(term: Expression, *, within: str = "") -> Iterator[str]:
    """The parameters in a term; within "pick": only those that say which item is meant."""
    match term:
        case VariableUse(name) if not within:
            yield name
        case VerbCall(verb, arguments):
            inner = "" if verb in ("match", "find") else within
            for one in arguments:
                yield from _names(one, within=inner)
        case IndexedTerm(sequence):
            yield from _names(sequence, within=within)
        case BinaryTerm(_, left, right):
            yield from (*_names(left, within=within), *_names(right, within=within))


_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")


@settings
class Macro:
    """A script to be used again. task: what it does, one sentence of the user's. app, version: of
    the document that it was verified on. flows: data from pages that it may put into fields."""

    name: str
    task: str
    app: str
    version: str
    script: Script
    postconditions: Postconditions
    flows: tuple[FlowRule, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"{self.name!r} is no name of a macro",
                where="Macro.name",
                hint="use small letters, digits and underscores, as in raise_discount",
            )


class MacroBook:
    """The macros of a folder, a file each, which people can read and edit."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(one.stem for one in self._folder.glob("*.json")))

    def keep(self, macro: Macro, document: AppDocument) -> None:
        """Write a macro, in the place of one of its name. Raises ScriptError where it or its check
        does not fit the document."""
        check_script(macro.script, document, CheckRules(flows=macro.flows))
        check_postconditions(macro.postconditions, document)
        check = macro.postconditions.check
        content = {
            "task": macro.task,
            "app": macro.app,
            "version": macro.version,
            "script": print_script(macro.script).splitlines(),
            "requests": list(macro.postconditions.requests),
            "check": [] if check is None else print_script(check).splitlines(),
            "flows": [[one.source, one.sink] for one in macro.flows],
        }
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        atomic_write_text(self._folder / f"{macro.name}.json", text)

    def macro(self, name: str) -> Macro:
        """The macro of a name.

        Raises ConfigError where there is none, FileUnreadableError where its file is broken,
        ScriptError where its script is.
        """
        path = self._folder / f"{name}.json"
        if not _NAME.fullmatch(name) or not path.is_file():
            meant = closest_name(name, self.names())
            raise ConfigError(
                f"there is no macro {name!r}",
                where=str(self._folder),
                hint=f"did you mean {meant}?" if meant else "keep one first",
            )
        try:
            content = json.loads(path.read_text("utf-8"))
            lines, check = content["script"], content["check"]
            texts = (content["task"], content["app"], content["version"])
            flows = tuple(FlowRule(source, sink) for source, sink in content["flows"])
            requests = tuple(content["requests"])
            if not all(isinstance(one, str) for one in (*texts, *lines, *check, *requests)):
                raise TypeError("a text is missing")
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise FileUnreadableError(
                f"the macro cannot be read: {error!r}", file=str(path), hint="keep it anew"
            ) from error
        wanted = Postconditions(requests, read_script("\n".join(check)) if check else None)
        return Macro(name, *texts, read_script("\n".join(lines)), wanted, flows)
