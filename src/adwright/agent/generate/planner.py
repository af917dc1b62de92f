"""Scripts without a model: from the values and words of a task, and the effects in the document.

    plans = plan_scripts('Set the discount of "Spring" to 25', document)
    plans[0].script             # a CheckedScript; empty where nothing fits

A plan is: pick the item that the task names, fill the fields whose labels it names, tap the button
that does what its verb says. Or, of a question: read an element, or count the items of a list. Only
what passes the check is a plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from adwright.agent.document.elements import AppDocument, EffectClass, Element
from adwright.agent.document.routes import edges_of
from adwright.agent.generate.task_values import TaskText, read_task, task_words
from adwright.agent.language.checker import CheckedScript, CheckRules, check_script
from adwright.agent.language.field_values import read_decimal
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.reach import StateReach
from adwright.agent.language.tree import (
    Act,
    DecimalLiteral,
    ElementUse,
    Expression,
    IndexedTerm,
    Script,
    Statement,
    TextLiteral,
    TruthLiteral,
    VerbCall,
    WholeLiteral,
)

__all__ = ["PlannedScript", "plan_scripts"]

_VERBS: dict[EffectClass, tuple[str, ...]] = {
    "destructive": ("delete", "remove", "erase", "cancel", "discard"),
    "message": ("send", "mail", "write", "reply", "notify", "message"),
    "spend": ("launch", "pay", "buy", "spend", "order", "publish"),
    "commit": (
        "set",
        "change",
        "update",
        "save",
        "create",
        "add",
        "rename",
        "edit",
        "raise",
        "lower",
        "make",
        "put",
        "enable",
        "disable",
        "activate",
        "deactivate",
        "mark",
    ),
}
_NEW = ("new", "create", "add")
_ON = ("on", "enable", "activate", "check", "tick", "active", "enabled")
_OFF = ("off", "disable", "deactivate", "uncheck", "untick", "inactive", "disabled", "not")
_QUESTIONS = ("what", "how many", "how much", "which", "read", "tell me", "show", "count")
_MOST_PLANS = 5


@dataclass(frozen=True)
class PlannedScript:
    """A plan; merit: how much of the task it accounts for, values first."""

    script: CheckedScript
    merit: tuple[int, int, int]


def plan_scripts(
    task: str, document: AppDocument, rules: CheckRules | None = None
) -> tuple[PlannedScript, ...]:
    """At most five plans, best first. Raises ConfigError for a task that is none."""
    planner = _Planner(read_task(task), document)
    found: dict[Script, PlannedScript] = {}
    for body, merit in planner.plans():
        script = Script(tuple(body))
        try:
            checked = check_script(script, document, rules)
        except ScriptError:
            continue
        found.setdefault(script, PlannedScript(checked, merit))
    ranked = sorted(found.values(), key=lambda one: one.merit, reverse=True)
    return tuple(ranked[:_MOST_PLANS])


class _Planner:
    def __init__(self, task: TaskText, document: AppDocument) -> None:
        self._task = task
        self._words = task_words(task.text)
        self._document = document
        self._reach = StateReach(document)

    def plans(self) -> Iterator[tuple[list[Statement], tuple[int, int, int]]]:
        if self._task.has_any(_QUESTIONS):
            yield from self._questions()
        for effect, verbs in _VERBS.items():
            if self._task.has_any(verbs):
                for goal in self._document.elements:
                    if goal.effect == effect and goal.value_type == "none" and not goal.many:
                        yield from self._writes(goal)

    # --- writes ------------------------------------------------------------------------

    def _writes(self, goal: Element) -> Iterator[tuple[list[Statement], tuple[int, int, int]]]:
        fields, used = self._fields(goal)
        close = len(self._words & task_words(f"{goal.label} {goal.state} {goal.name}"))
        for pick, named in self._picks(goal, used):
            tap = Act(VerbCall("tap", (ElementUse(goal.name),)))
            taken = used | ({named} if named else set())
            left = sum(one not in taken for one in self._task.values)
            if fields or named or goal.effect in ("spend", "destructive"):
                yield [*pick, *fields, tap], (len(taken) - left, len(fields), close)

    def _fields(self, goal: Element) -> tuple[list[Statement], set[str]]:
        found: list[Statement] = []
        used: set[str] = set()
        for one in self._document.elements_of(goal.state):
            if one.many or one.value_type in ("none", "file", "secret"):
                continue
            value = self._value(one)
            if value is None:
                continue
            verb = "choose" if one.value_type in ("choice", "switch") else "set_text"
            found.append(Act(VerbCall(verb, (ElementUse(one.name), value[0]))))
            used |= {value[1]} if value[1] else set()
        return found, used

    def _value(self, field: Element) -> tuple[Expression, str] | None:
        """What a field gets, and which value of the task that is."""
        task, label = self._task, field.label
        if field.value_type == "switch":
            if not task.has(label) and not task.has_any([one for one in (*_ON, *_OFF)]):
                return None
            mentioned = task.has(label) or task.has_any(
                one for one in (*_ON, *_OFF) if label.lower()[:5] in one
            )
            off = task.has_any(_OFF)
            on = task.has_any(_ON)
            return (TruthLiteral(not off), "") if mentioned and (off or on) else None
        said = task.value_of(label)
        if field.value_type == "choice":
            options = [one for one in field.options if task.has(one)]
            if not task.has(label) or len(options) != 1:
                return None
            return TextLiteral(options[0]), said if said == options[0] else options[0]
        if said is None:
            return None
        if field.value_type == "number":
            number = read_decimal(said)
            return None if number is None else (_number(number), said)
        return TextLiteral(said), said

    def _picks(self, goal: Element, used: set[str]) -> Iterator[tuple[list[Statement], str]]:
        """Ways to the page of the goal: that of an item which the task names, or by links alone."""
        if goal.state in self._reach.from_state(self._document.start) and (
            self._task.has_any(_NEW) or not self._doors(goal.state)
        ):
            yield [], ""
        for door in self._doors(goal.state):
            rows = self._rows_around(door)
            for value in self._task.values:
                if value not in used and rows is not None:
                    row = VerbCall("match", (ElementUse(rows.name), TextLiteral(value)))
                    item = IndexedTerm(row, WholeLiteral(0))
                    inner = VerbCall("inside", (item, ElementUse(door.name)))
                    yield [Act(VerbCall("tap", (inner,)))], value

    def _rows_around(self, door: Element) -> Element | None:
        """The list whose items hold `door`: by their paths, else the first of its state."""
        rows = [
            one
            for one in self._document.elements_of(door.state)
            if one.many and one.role in ("row", "listitem", "article")
        ]
        path = _path(door)
        around = [one for one in rows if _path(one) and path.startswith(f"{_path(one)}/")]
        return next(iter(around or rows), None)

    def _doors(self, state: str) -> list[Element]:
        """The links of items that lead to a state, itself or over further links."""
        return [
            self._document.by_name[edge.element]
            for edge in edges_of(self._document)
            if self._document.by_name[edge.element].many
            and self._document.by_name[edge.element].effect in ("navigate", "read")
            and state in self._reach.from_state(edge.target)
            and not self._is_far(edge.target, state)
        ]

    def _is_far(self, start: str, goal: str) -> bool:
        """Whether the way goes back over the start of the app: then the item does not matter."""
        near = {start}
        for _ in range(2):
            near |= {
                edge.target
                for edge in edges_of(self._document)
                if edge.source in near and edge.target != self._document.start
            }
        return goal not in near

    # --- questions -----------------------------------------------------------------------

    def _questions(self) -> Iterator[tuple[list[Statement], tuple[int, int, int]]]:
        counts = self._task.has_any(("how many", "count"))
        for one in self._document.elements:
            words = task_words(f"{one.label} {one.name} {one.state}")
            close = len(self._words & words)
            use: Expression = ElementUse(one.name)
            if one.many and close and one.role in ("row", "listitem", "article"):
                yield from self._about_rows(use, close, counts=counts)
            elif not one.many and self._task.has(one.label) and one.value_type != "secret":
                is_field = one.value_type != "none"
                read = VerbCall("get_text", (use,))
                if is_field or one.effect == "read":
                    yield [Act(VerbCall("answer", (read,)))], (0, 1, close)

    def _about_rows(
        self, rows: Expression, close: int, *, counts: bool
    ) -> Iterator[tuple[list[Statement], tuple[int, int, int]]]:
        found: Iterable[tuple[Expression, int]] = [
            (VerbCall("match", (rows, TextLiteral(one))), 1) for one in self._task.values
        ]
        if counts:
            for some, values in [(rows, 0), *found]:
                yield [Act(VerbCall("answer", (VerbCall("len", (some,)),)))], (values, 1, close)
        else:
            for some, values in found:
                text = VerbCall("get_text", (IndexedTerm(some, WholeLiteral(0)),))
                yield [Act(VerbCall("answer", (text,)))], (values, 0, close)


def _path(element: Element) -> str:
    return next((one.value for one in element.locators if one.kind == "xpath"), "")


def _number(value: Decimal) -> WholeLiteral | DecimalLiteral:
    whole = value == value.to_integral_value()
    return WholeLiteral(int(value)) if whole else DecimalLiteral(value)
