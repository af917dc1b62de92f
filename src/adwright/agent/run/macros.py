"""Scripts that have worked: kept with parameters and postconditions, run again without a model.

    book = MacroBook(folder)
    book.keep(Macro("raise_discount", "Set the discount of an offer", script, postconditions, ...))
    macro = book.macro("raise_discount")
    run_macro(macro, document, open_driver, policy, {"code": "SPRING", "share": 20}, clock=clock)

A macro is kept only of a run that was verified. It runs on the version of the document that it was
made on, and on a later one after it is checked anew against it; what no longer fits is an error
that says so, never a new script.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from adwright.agent.document.elements import AppDocument
from adwright.agent.language.budgets import RunBudget
from adwright.agent.language.checker import CheckRules, check_script
from adwright.agent.language.parser import read_script
from adwright.agent.language.printer import print_script
from adwright.agent.language.tree import Script
from adwright.agent.language.values import ArgumentValue
from adwright.agent.policy.taint import FlowRule
from adwright.agent.run.postconditions import Postconditions, check_postconditions
from adwright.agent.run.runner import OpenDriver, RunPolicy, RunReport, run_on_screen
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.config import closest_name, settings
from adwright.core.errors import ConfigError, FileUnreadableError

__all__ = ["Macro", "MacroBook", "macro_of", "run_macro"]

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


def macro_of(
    name: str,
    task: str,
    script: Script,
    postconditions: Postconditions,
    report: RunReport,
    *,
    flows: tuple[FlowRule, ...] = (),
) -> Macro:
    """The macro of a run. Raises ConfigError where the run was not verified."""
    if report.verdict != "verified":
        raise ConfigError(
            f"the run is {report.verdict}, not verified",
            where=f"macro {name}",
            hint="keep scripts whose postconditions hold",
        )
    document = report.document
    return Macro(name, task, document.app, document.version, script, postconditions, flows)


def run_macro(
    macro: Macro,
    document: AppDocument,
    open_driver: OpenDriver,
    policy: RunPolicy,
    arguments: Mapping[str, ArgumentValue],
    *,
    clock: Clock,
    folder: Path | None = None,
    budget: RunBudget | None = None,
) -> RunReport:
    """Run it and check its postconditions. Raises ScriptError where it no longer fits the document,
    ConfigError where the document is of another app."""
    if macro.app != document.app:
        raise ConfigError(
            f"the macro is of the app {macro.app!r}, the document of {document.app!r}",
            where=f"macro {macro.name}",
        )
    checked = check_script(macro.script, document, CheckRules(flows=macro.flows))
    return run_on_screen(
        checked,
        document,
        open_driver,
        policy,
        arguments,
        clock=clock,
        folder=folder,
        postconditions=macro.postconditions,
        budget=budget,
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
