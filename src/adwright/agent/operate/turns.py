"""Scripts of a task in turn: the next where the one before found no such item and sent nothing.

    found, report = run_in_turn('Rename "Own brand" to "House"', scripts, run)

A script that looks for "Own brand" among the offers, where there is none, may have taken the wrong
list: the next one looks among the ranges. It must look for the same item. What nobody finds at all
is a name that was mistyped: nothing else is renamed, and nothing is made, in its place, but where
the task asks for something new. Nothing is tried after a no of a person or of the policy, after an
effect that was not foreseen, nor when anything may have left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from itertools import islice

from adwright.agent.generate.ladder import FoundScript
from adwright.agent.generate.task_intent import read_intent
from adwright.agent.generate.task_values import read_task
from adwright.agent.language.tree import TextLiteral, VerbCall
from adwright.agent.run.runner import RunReport

__all__ = ["MOST_TURNS", "is_untouched", "run_in_turn"]

#: So many scripts of a task are run at most. Our choice.
MOST_TURNS = 4


def is_untouched(report: RunReport) -> bool:
    """Whether a run stopped because something was not there, and sent nothing."""
    sent = report.written or report.would_send
    stopped = report.verdict == "stopped" and report.problem is not None
    return stopped and not sent and report.problem.code == "not_found"  # type: ignore[union-attr]


def run_in_turn(
    task: str,
    scripts: Iterable[FoundScript],
    run: Callable[[FoundScript], RunReport],
    *,
    most: int = MOST_TURNS,
) -> tuple[FoundScript, RunReport]:
    """The last script that was run, and what came of it.

    Raises what the iterable and `run` raise; ValueError for no script at all.
    """
    last: tuple[FoundScript, RunReport] | None = None
    for found in islice(_of_one_item(task, scripts), most):
        report = run(found)
        last = (found, report)
        if not is_untouched(report):
            break
    if last is None:
        raise ValueError("there is no script")
    return last


def _of_one_item(task: str, scripts: Iterable[FoundScript]) -> Iterator[FoundScript]:
    """The first, and those after it that look for the same items, or make what is to be made."""
    wanted: frozenset[str] | None = None
    for found in scripts:
        items = frozenset(_looked_for(found.script.script))
        if wanted is None:
            wanted = items
        elif items != wanted and (items or read_intent(read_task(task)).kind != "create"):
            continue
        yield found


def _looked_for(node: object) -> Iterator[str]:
    """The texts by which a script finds items."""
    if isinstance(node, VerbCall) and node.verb in ("find", "match"):
        yield from (one.value for one in node.arguments if isinstance(one, TextLiteral))
    if isinstance(node, tuple):
        for part in node:
            yield from _looked_for(part)
    elif is_dataclass(node) and not isinstance(node, type):
        for one in fields(node):
            yield from _looked_for(getattr(node, one.name))
