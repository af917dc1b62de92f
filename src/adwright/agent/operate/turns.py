"""Scripts of a task in turn: the next where the one before stopped and has written nothing.

    found, report = run_in_turn(find_scripts(task, document), run, on_next=say)

A script that looks for "Hill Farm" in a list where there is none has read the task wrong, more
often than not: 'the partner "Hill Farm" is new to us'. That is no harm, as nothing was sent, and
another script may fit. Nothing is tried after a no of a person or of the policy, after an effect
that was not foreseen, nor when anything may have left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from adwright.agent.generate.ladder import FoundScript
from adwright.agent.run.runner import RunReport

__all__ = ["MOST_TURNS", "is_untouched", "run_in_turn"]

#: So many scripts of a task are run at most. Our choice.
MOST_TURNS = 4
#: Why a run stops when the app has no such item, or several. A form that does not take its values
#: says nothing of how the task was read.
_MISREAD = ("not_found", "ambiguous", "index")


def is_untouched(report: RunReport) -> bool:
    """Whether a run stopped for what it did not find, and sent nothing."""
    sent = report.written or report.would_send
    stopped = report.verdict == "stopped" and report.problem is not None
    return stopped and not sent and report.problem.code in _MISREAD  # type: ignore[union-attr]


def run_in_turn(
    scripts: Iterable[FoundScript],
    run: Callable[[FoundScript], RunReport],
    *,
    on_next: Callable[[RunReport], object] = lambda _: None,
    most: int = MOST_TURNS,
) -> tuple[FoundScript, RunReport]:
    """The last script that was run, and what came of it. on_next: told of each that another comes
    after, before that is run.

    Raises what the iterable and `run` raise; ValueError for no script at all.
    """
    last: tuple[FoundScript, RunReport] | None = None
    for found in islice(scripts, most):
        if last is not None:
            on_next(last[1])
        report = run(found)
        last = (found, report)
        if not is_untouched(report):
            break
    if last is None:
        raise ValueError("there is no script")
    return last
