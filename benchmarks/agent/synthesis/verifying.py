"""Whether a solution does what its task says, on a fresh copy of the app: by what was sent, and by
what is stored afterwards.

    proof = prove(intent, document, app, clock=clock)
    proof.kept, proof.cause           # False, "stored: a row of sessions was added"

A solution is kept where its script comes to its end, the requests carry the task's values and
change no other field of the form, the stored state holds them, and nothing else is different. A
question is kept where the answer is what the page was seen to say, and nothing was written. Of a
message or a payment the requests count, and that something was stored. A field that holds the
time of the run, such as that of the last change, may differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from adwright.agent.document.elements import AppDocument
from adwright.agent.language.kinds import read_decimal
from adwright.agent.language.problems import RunBudget, ScriptError
from adwright.agent.policy.confirmation import PendingChange
from adwright.agent.policy.gate import GateRules, PolicyGate
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.runner import RunPolicy, RunReport, run_on_screen
from adwright.core.clock import Clock
from benchmarks.agent.synthesis.compose import solve
from benchmarks.agent.synthesis.disposable import (
    DisposableApp,
    RowChange,
    noise_of,
    state_changes,
)
from benchmarks.agent.synthesis.drawn_values import FieldValue, said_value
from benchmarks.agent.synthesis.intents import DrawnIntent
from benchmarks.agent.synthesis.known_items import moved_to

#: Clocks of apps may be in any time zone.
_ZONES = timedelta(hours=14)
_BUDGET = RunBudget(acts=40, writes=3, seconds=120.0)
_ON = frozenset(("true", "on", "1", "yes"))


@dataclass(frozen=True)
class SolutionProof:
    """cause: why it is not kept, "check: ...", "run: ...", "sent: ...", "stored: ..." or
    "answer: ..."; empty where it is."""

    kept: bool
    cause: str = ""


def prove(
    intent: DrawnIntent,
    document: AppDocument,
    app: DisposableApp,
    *,
    clock: Clock,
    noise: Iterable[str] = (),
) -> SolutionProof:
    """Run the solution of an intent on a fresh copy, and look at what came of it.

    Everything that must be confirmed is: the copy is thrown away. noise: see `quiet_noise`. Raises
    what the app raises.
    """
    origin = app.start()
    try:
        here = moved_to(document, origin)
        try:
            checked = solve(intent, here)
        except ScriptError as error:
            return SolutionProof(False, f"check: {error.code}")
        before, started = app.snapshot(), clock.now()
        policy = RunPolicy(GateRules(OriginRules((origin,))), confirm=_yes)
        report = run_on_screen(checked, here, app.open, policy, {}, clock=clock, budget=_BUDGET)
        changes = state_changes(before, app.snapshot(), noise)
        return judge_state(intent, report, changes, (started, clock.now()))
    finally:
        app.stop()


def quiet_noise(document: AppDocument, app: DisposableApp) -> frozenset[str]:
    """What changes in a copy when somebody signs in and looks at the start, as sessions do: no
    task is blamed for it."""
    origin = app.start()
    try:
        before = app.snapshot()
        gate = PolicyGate(GateRules(OriginRules((origin,)), dry=True), moved_to(document, origin))
        driver = app.open(gate.decide)
        try:
            path = document.state_by_name[document.start].url_template.partition("?")[0]
            driver.open(f"{origin}{path}")
            driver.observe()
        finally:
            driver.close()
        return noise_of(before, app.snapshot())
    finally:
        app.stop()


def judge_state(
    intent: DrawnIntent,
    report: RunReport,
    changes: Sequence[RowChange],
    times: tuple[datetime, datetime],
) -> SolutionProof:
    """Whether a run did what its task says. changes: of what is stored, without the noise; times:
    before and after the run."""
    if report.verdict != "done":
        code = report.problem.code if report.problem else report.verdict
        return SolutionProof(False, f"run: {code}")
    if not intent.writes:
        return _judge_answer(intent, report, changes)
    cause = _why_not_sent(intent, report.written) or _why_not_stored(intent, changes, times)
    return SolutionProof(not cause, cause)


def _judge_answer(
    intent: DrawnIntent, report: RunReport, changes: Sequence[RowChange]
) -> SolutionProof:
    if changes or report.written:
        return SolutionProof(False, "stored: a question has written")
    if len(report.answers) != 1:
        return SolutionProof(False, "answer: there is none")
    if intent.kind == "look_up":
        # Only the app knows how many; at least the item that was searched for is found.
        good = report.answers[0].isdigit() and int(report.answers[0]) > 0
        return SolutionProof(good, "" if good else "answer: nothing was found")
    good = report.answers[0] == intent.expected
    return SolutionProof(good, "" if good else "answer: it is not what the page said")


def _why_not_sent(intent: DrawnIntent, written: Sequence[PendingChange]) -> str:
    if len(written) != 1:
        return f"sent: {len(written)} writes"
    (change,) = written
    if change.element != intent.button:
        return "sent: by another element"
    new = [one.new for one in change.fields]
    for value in _typed(intent):
        if not any(_is_same(value, text) for text in new):
            return "sent: without a value"
    moved = [
        one
        for one in change.fields
        if one.old is not None and one.old != one.new and not _is_button(one.new, intent.pressed)
    ]
    if len(moved) > len(intent.settings):
        return f"sent: {moved[-1].name} was changed too"
    return ""


def _is_button(value: str, pressed: str) -> bool:
    """Whether it is what a button adds to its form: its own value."""
    plain = value.casefold()
    return bool(plain) and (plain in pressed or pressed in plain)


def _why_not_stored(
    intent: DrawnIntent, changes: Sequence[RowChange], times: tuple[datetime, datetime]
) -> str:
    of = {kind: [one for one in changes if one.kind == kind] for kind in ("added", "removed")}
    changed = [one for one in changes if one.kind == "changed"]
    if not changes:
        return "stored: nothing"
    deletes = not intent.settings
    makes = not intent.link and not deletes
    links = sum(one.coded for one in intent.settings)  # options may be rows of a table of links
    if len(of["added"]) > links and not makes:
        return f"stored: a row of {of['added'][0].table} was added"
    if len(of["removed"]) > links and not deletes:
        return f"stored: a row of {of['removed'][0].table} was removed"
    if changed and (makes or deletes) and intent.kind != "send":
        strange = [one for one in changed if _strange(one, (), times)]
        if strange:
            return f"stored: a row of {strange[0].table} was changed"
    if deletes:
        named = any(intent.item in row.old.values() for row in of["removed"])
        return (
            "" if named or _mentions(intent.item, of["removed"]) else "stored: another was removed"
        )
    if intent.kind == "send":
        return ""  # what becomes of a message or a payment, only the app knows
    rows = of["added"] if makes else changed
    if not _holds(rows, _typed(intent)):
        return "stored: the values are not there"
    if makes:
        return ""
    others = len(intent.settings) - len(_typed(intent))
    strange_fields = [name for one in changed for name in _strange(one, _typed(intent), times)]
    if len(strange_fields) > others:
        return f"stored: {strange_fields[0]} was changed too"
    return ""


def _typed(intent: DrawnIntent) -> tuple[FieldValue, ...]:
    """The values that are sent as they are said: no switches, and no options, which have keys."""
    return tuple(
        one.value for one in intent.settings if not isinstance(one.value, bool) and not one.coded
    )


def _strange(
    row: RowChange, values: Sequence[FieldValue], times: tuple[datetime, datetime]
) -> list[str]:
    """The fields of a row that changed to something that is neither a value of the task nor the
    time of the run."""
    return [
        name
        for name in row.fields
        if not any(_is_same(value, row.new.get(name, "")) for value in values)
        and not _is_time(row.new.get(name, ""), times)
    ]


def _holds(rows: Sequence[RowChange], values: Sequence[FieldValue]) -> bool:
    """Whether all values are among what the rows have now and had not before."""
    new = [one.new.get(name, "") for one in rows for name in one.fields]
    return all(any(_is_same(value, text) for text in new) for value in values)


def _mentions(item: str, rows: Sequence[RowChange]) -> bool:
    wanted = item.casefold()
    return any(wanted in text.casefold() for row in rows for text in row.old.values())


def _is_same(value: FieldValue, text: str) -> bool:
    """Whether a text of a request or of a row is a value, however it is written there."""
    if isinstance(value, bool):
        return (text.lower() in _ON) == value
    said = said_value(value)
    number = read_decimal(said)
    if number is not None:
        return read_decimal(text) == number
    plain, wanted = " ".join(text.split()), " ".join(said.split())
    if plain.startswith("<"):  # editors of rich text wrap what is typed
        return wanted in plain
    moment = _moment(wanted)
    return plain == wanted or (moment is not None and _moment(plain) == moment)


def _is_time(text: str, times: tuple[datetime, datetime]) -> bool:
    moment = _moment(text)
    if moment is None:
        return False
    plain = moment.replace(tzinfo=moment.tzinfo or UTC)
    return times[0] - _ZONES <= plain <= times[1] + _ZONES


def _moment(text: str) -> datetime | None:
    if len(text) < len("2027-01-04") or not text[:4].isdigit():
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _yes(change: PendingChange) -> bool:
    return True
