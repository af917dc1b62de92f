"""Scripts without a model: from the words and values of a task, and the forms of the document.

    plans = plan_scripts('Set the discount of "Spring" to 25', document)
    plans[0].script             # a CheckedScript; empty where nothing fits
    plans[0].is_whole           # it accounts for every value of the task

A plan is: find the item that the task names, fill the fields whose labels stand before its values,
tap the button that sends the form. Each form of the document is tried with each value as the item,
and what accounts for most of the task's words wins, rare words first. Or, of a question: read the
part of an item, a field, or count a list. Only what passes the check is a plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from adwright.agent.document.elements import (
    AppDocument,
    EffectClass,
    Element,
    column_of,
    edges_of,
)
from adwright.agent.generate.acts import act_plans, find_item
from adwright.agent.generate.field_values import DocumentForms, FilledForm, ItemDoor, fill_form
from adwright.agent.generate.task import (
    WORDS,
    TaskIntent,
    read_intent,
    read_task,
    takes_a_part,
    terms_of,
)
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.script import (
    Act,
    ElementUse,
    Expression,
    Script,
    Statement,
    TextLiteral,
    VerbCall,
)
from adwright.agent.language.statements import CheckedScript, CheckRules, check_script
from adwright.core.config import package_patterns

# --------------------------------------------------------------------------------------------------
# How well a value of a task fits as the name of an item of a list.
#
#     fit, is_known = named_item(intent, forms, "Spring", forms.terms("offers"))
#
# The word before the value says what it is: in 'the offer "Spring"' an item of offers. A list of
# something else is refused where the document knows the word.

_RULES = package_patterns(__package__, "words.toml", "planner")
ACTS = frozenset(WORDS["planner_words"]["acts"])
#: What becomes something is no name of an item; what something is said of may be. Our choice.
_BECOMES, _OWNER, _WEAK = 1.5, 1.0, 1.0


def named_item(
    intent: TaskIntent, forms: DocumentForms, value: str, about: Collection[str]
) -> tuple[float, bool]:
    """How well it fits, and whether no other list is meant. about: terms of the list."""
    cue = next(one for one in intent.values if one.value == value)
    weights = forms.weights
    kind = [one for one in cue.before[-1:] or cue.after[:1] if one not in ACTS]
    kind = [] if cue.owns else kind
    shared = weights.shared(kind, about)
    strange = weights.of(kind) - shared
    fit = shared - strange - (_BECOMES if cue.follows else 0.0) - (_WEAK if cue.named else 0.0)
    is_other = strange > 0 and any(one in forms.kinds for one in kind)
    return fit + (_OWNER if cue.owns else 0.0), not is_other


# --------------------------------------------------------------------------------------------------
# Plans for questions: how many items a list has, what stands in a column or a field of one.
#
#     for body, merit, is_whole in question_plans(intent, forms):
#         ...                   # answer(get_text(inside(find($orders__row, "7"), $orders__total)))
#
# A list that goes on on other pages is not counted: the number would be that of one page.

_STRANGE, _STEP = 0.35, 0.4


def question_plans(
    intent: TaskIntent, forms: DocumentForms
) -> Iterator[tuple[list[Statement], float, bool]]:
    """All plans of a question: statements, merit, and whether each value has its place."""
    asked = asked_terms(intent)
    if intent.kind == "count":
        yield from _counts(asked, forms)
        return
    sure = {one.value for one in intent.values if not one.named}
    items = [one.value for one in intent.values] if intent.values else []
    for one in forms.document.elements:
        for value in items:
            cue = next(cue for cue in intent.values if cue.value == value)
            kind = set() if cue.owns else set(cue.before[-1:]) & set(forms.kinds)
            wanted = [term for term in asked if term not in kind] or asked
            for body, merit, state in _of_item(one, value, wanted, forms):
                about = forms.terms(state) | forms.path_terms(one.state)
                likely, is_known = named_item(intent, forms, value, about)
                yield body, merit + 0.3 * likely, sure <= {value} and is_known
        if not sure and _is_read(one):
            fit = fit_of(one, asked, forms)
            if fit is not None and not one.many:
                merit = fit + 0.5 * _about(one.state, asked, forms)
                yield [_said(_reading(one, ElementUse(one.name)))], merit, True


def asked_terms(intent: TaskIntent) -> list[str]:
    """What a question asks for: its words, but those with which one asks."""
    return [one for one in intent.terms if one not in WORDS["planner_words"]["asking"]]


def _counts(
    asked: list[str], forms: DocumentForms
) -> Iterator[tuple[list[Statement], float, bool]]:
    weights = forms.weights
    for state in forms.document.states:
        if forms.is_paged(state.name):
            continue
        for rows in forms.lists(state.name):
            if rows.state != state.name:
                continue
            merit = _about(state.name, asked, forms)
            if merit <= 0:
                continue
            place = 0.3 if rows.role == "row" else 0.0
            merit += place - 0.1 * weights.of(set(forms.terms(state.name)) - set(asked)) / 10
            yield [_said(VerbCall("len", (ElementUse(rows.name),)))], merit, True


def _about(state: str, asked: list[str], forms: DocumentForms) -> float:
    """How much a state is about what is asked, less what else its path says."""
    weights = forms.weights
    path = forms.path_terms(state)
    shared = weights.shared(asked, forms.terms(state))
    strange = {one for one in path if not weights.shared([one], asked)}
    return shared - _STRANGE * weights.of(strange) if shared else 0.0


def _of_item(
    one: Element, value: str, asked: list[str], forms: DocumentForms
) -> Iterator[tuple[list[Statement], float, str]]:
    """Readings of one part of an item, in its list or on its own page, and the list's state."""
    merit = fit_of(one, asked, forms)
    if merit is None:
        return
    if one.many:
        rows = forms.rows_around(one)
        if rows is None or rows is one:
            return
        item = find_item(rows, value)
        inner = VerbCall("inside", (item, ElementUse(one.name)))
        yield [_said(_reading(one, inner))], merit + _about(rows.state, asked, forms), rows.state
    elif _is_read(one) and (one.state not in forms.free or forms.is_of_item(one.state)):
        for door in forms.doors(one.state)[:3]:
            about = max(_about(s, asked, forms) for s in (one.state, door.rows.state))
            reading = _said(_reading(one, ElementUse(one.name)))
            yield (
                [Act(VerbCall("tap", (_in_item(door, value),))), reading],
                merit + about - _STEP * (1 + door.steps),
                door.rows.state,
            )


def fit_of(one: Element, asked: list[str], forms: DocumentForms) -> float | None:
    """How much of what is asked a column or label says; None where it says nothing of it."""
    if one.value_type == "secret" or one.role in ("heading", "button", "tab"):
        return None
    label = set(terms_of(column_of(one) if one.many else one.label))
    if not label or (one.many and one.role not in ("cell", "gridcell", "link")):
        return None
    shared = forms.weights.shared(label, asked)
    if not shared:
        return None
    strange = forms.weights.of(label) - shared
    # What is about the list as a whole tells nothing of its parts.
    own = label - set(forms.path_terms(one.state))
    if own and not forms.weights.shared(own, asked):
        return None
    return 1.5 * shared - _STRANGE * strange


def _is_read(one: Element) -> bool:
    return one.value_type not in ("none", "secret", "file") or one.role in (
        "status",
        "alert",
        "cell",
    )


def _reading(one: Element, term: Expression) -> Expression:
    if one.value_type in ("none",):
        return VerbCall("get_text", (term,))
    if one.value_type == "switch":
        return VerbCall("get_attributes", (term, TextLiteral("checked")))
    return VerbCall("get_attributes", (term, TextLiteral("value")))


def _said(term: Expression) -> Statement:
    return Act(VerbCall("answer", (term,)))


def _in_item(door: ItemDoor, value: str) -> Expression:
    item = find_item(door.rows, value)
    if door.door is None or door.door is door.rows:
        return item
    return VerbCall("inside", (item, ElementUse(door.door.name)))


_MOST_PLANS, _MOST_CHECKS = 5, 25
_EFFECTS: dict[str, tuple[EffectClass, ...]] = {
    "delete": ("destructive",),
    "create": ("commit", "message", "spend"),
    "change": ("commit", "message", "spend"),
}
#: Of paths, but for no kind of item: what is taken from the home page is not deleted.
_SECTIONS = frozenset(("home", "index", "main", "front", "dashboard"))
_GONE = frozenset(("delet", "remov", "eras", "trash", "discard"))
_MADE = frozenset(("creat", "add", "new"))
#: What a plan loses, in units of a word that half of all texts have. Our choice.
_STRANGE_PATH, _MERIT_STEP, _OPEN, _UNUSED, _STRANGE_BUTTON = 0.15, 0.1, 0.8, 3.0, 0.3
_MAKING, _OWN_LIST = 6.0, 0.5
#: Of the weight of the task's words; a plan that says less of it is none.
_LEAST_COVERED = 0.3


@dataclass(frozen=True)
class PlannedScript:
    """A plan. merit: how much of the task it accounts for. is_whole: every value of the task has
    its place in it."""

    script: CheckedScript
    merit: float
    is_whole: bool


def plan_scripts(
    task: str,
    document: AppDocument,
    rules: CheckRules | None = None,
    *,
    forms: DocumentForms | None = None,
) -> tuple[PlannedScript, ...]:
    """At most five plans, best first. forms: of the document, where they are at hand.

    Raises ConfigError for a task that is none.
    """
    forms = forms or DocumentForms(document)
    intent = read_intent(read_task(task), forms.kinds)
    if intent.kind in ("ask", "count"):
        drafts = list(question_plans(intent, forms))
    else:
        drafts = [*_FormPlans(intent, forms).plans(), *act_plans(intent, forms)]
    if intent.kind == "delete" and takes_a_part(intent, ()):
        # "Remove the flag from X" may be a box that is to be unticked.
        unticks = replace(intent, kind="change", off=True)
        drafts += (one for one in _FormPlans(unticks, forms).plans() if len(one[0]) > 2)
    drafts.sort(key=lambda one: (one[2], one[1]), reverse=True)
    found: dict[object, PlannedScript] = {}
    for body, merit, is_whole in drafts[:_MOST_CHECKS]:
        script, what = Script(tuple(body)), _what_it_does(body, forms)
        if what in found:
            continue
        try:
            checked = check_script(script, document, rules)
        except ScriptError:
            continue
        if intent.kind == "delete" and _deletes_more(intent, checked, forms):
            continue
        found[what] = PlannedScript(checked, merit, is_whole)
        if len(found) == _MOST_PLANS:
            break
    return tuple(found.values())


def _deletes_more(intent: TaskIntent, checked: CheckedScript, forms: DocumentForms) -> bool:
    """Whether a script deletes an item of which the task deletes a part."""
    by_name = forms.document.by_name
    if not any(by_name[one.element].effect == "destructive" for one in checked.effects):
        return False
    states = {by_name[one].state for one in checked.elements}
    kinds = frozenset[str]().union(*map(forms.path_terms, states)) - _SECTIONS
    return takes_a_part(intent, kinds)


class _FormPlans:
    """The plans that write."""

    def __init__(self, intent: TaskIntent, forms: DocumentForms) -> None:
        self._intent = intent
        self._forms = forms
        self._terms = set(intent.terms)
        self._sure = {one.value for one in intent.values if not one.named}
        # States to which something leads that says "new", as to a form that also changes things.
        opens = (
            (one.target, forms.document.by_name[one.element]) for one in edges_of(forms.document)
        )
        self._made = {state for state, one in opens if _RULES["makes"].search(one.label)}

    def plans(self) -> Iterator[tuple[list[Statement], float, bool]]:
        effects = _EFFECTS[self._intent.kind]
        leaves = bool(_RULES["leaves"].search(self._intent.task.text))
        for goal in self._forms.document.elements:
            if _RULES["leaves"].search(goal.label) and not leaves:
                continue
            if goal.effect in effects and goal.value_type == "none" and goal.role != "generic":
                fields = () if goal.effect == "destructive" else self._forms.scope(goal)
                yield from self._of_goal(goal, fields)

    def _of_goal(
        self, goal: Element, fields: tuple[Element, ...]
    ) -> Iterator[tuple[list[Statement], float, bool]]:
        is_free = goal.state in self._forms.free
        is_of_item = not is_free or self._forms.is_of_item(goal.state)
        tap: Expression = ElementUse(goal.name)
        if goal.many:
            rows = self._forms.rows_around(goal)
            if rows is None:
                return
            for value in self._items():
                item = find_item(rows, value)
                act = Act(VerbCall("tap", (VerbCall("inside", (item, ElementUse(goal.name))),)))
                filled = fill_form(self._intent, (), self._forms.weights, picked=value)
                yield self._plan([act], goal, filled, value, ItemDoor(rows, None, 0))
            return
        last = Act(VerbCall("tap", (tap,)))
        if is_free and (
            self._intent.kind == "create" or not is_of_item or not self._forms.doors(goal.state)
        ):
            named = self._forms.path_terms(goal.state) - _MADE
            named = named if self._intent.kind == "create" else frozenset()
            filled = fill_form(self._intent, fields, self._forms.weights, picked=None, named=named)
            if filled.acts or self._says(goal):
                yield self._plan([*filled.acts, last], goal, filled, None, None)
        if not is_of_item:
            return
        for value in self._items():
            filled = fill_form(self._intent, fields, self._forms.weights, picked=value)
            if not filled.acts and not self._says(goal) and goal.effect != "destructive":
                continue
            for door in self._forms.doors(goal.state)[:8]:
                body = [Act(VerbCall("tap", (_in_item(door, value),))), *filled.acts, last]
                yield self._plan(body, goal, filled, value, door)

    def _items(self) -> Iterator[str]:
        for one in self._intent.values:
            yield one.value

    def _says(self, goal: Element) -> bool:
        """Whether the task has the words of a button that is no mere "Save"."""
        if _RULES["keeps"].match(goal.label):
            return False  # saves what nobody has changed
        label = set(terms_of(goal.label))
        own = label - {"submit", "ok", "ye", "go"}
        return bool(own) and self._forms.weights.shared(own, self._terms) > 0

    def _plan(
        self,
        body: list[Statement],
        goal: Element,
        filled: FilledForm,
        picked: str | None,
        door: ItemDoor | None,
    ) -> tuple[list[Statement], float, bool]:
        weights, forms, is_known = self._forms.weights, self._forms, True
        has = set(forms.terms(goal.state)) | set(filled.terms)
        path = set(forms.path_terms(goal.state))
        near, merit_of_list = set(has), 0.0
        if door is not None:
            path |= set(forms.path_terms(door.rows.state))
            if _is_above(forms.path(door.rows.state), forms.path(goal.state)):
                near |= set(forms.terms(door.rows.state))
                merit_of_list = _OWN_LIST
            if door.door is not None:
                near |= set(terms_of(door.door.label))
        merit = weights.shared(self._terms - ACTS, near) + filled.score + merit_of_list
        missing = {one for one in path if not weights.shared([one], self._terms)}
        merit -= _STRANGE_PATH * weights.of(missing)
        merit += self._button(goal)
        merit -= _MERIT_STEP * (door.steps + 1 if door else 0)
        label = door.door.label if door and door.door else ""
        makes = bool(_RULES["makes"].search(f"{goal.label} {label}"))
        makes |= any(one in _MADE for one in forms.path_terms(goal.state))
        if makes and self._intent.kind == "change":
            merit -= _MAKING
        if self._intent.kind == "create":
            merit += 1.0 if makes else -1.5
            if not filled.acts and goal.effect == "commit" and not goal.many:
                merit -= _MAKING
            # What saves settings makes nothing.
            opens = makes or picked is not None or goal.state in self._made
            is_known = opens or goal.effect != "commit"
        if door is None:
            merit -= _OPEN * filled.open
        if picked is not None and door is not None:
            listed = forms.terms(door.rows.state) | forms.path_terms(goal.state)
            fit, is_named = named_item(self._intent, forms, picked, set(listed))
            is_known &= is_named
            merit += fit
        taken = filled.used | ({picked} if picked else set()) | ({self._intent.secret} - {""})
        left = self._sure - taken
        labels = set(filled.terms) | set(terms_of(goal.label))
        left = {one for one in left if not set(terms_of(one)) <= labels or not terms_of(one)}
        merit -= _UNUSED * len(left)
        if self._intent.kind == "delete":
            ways = path | set(terms_of(f"{goal.label} {label}"))
            is_known &= weights.shared(_GONE, ways) > 0
        covered = weights.shared(self._terms, near | set(terms_of(goal.label)))
        known = {one for one in self._terms - ACTS if weights.knows(one)}
        is_known &= covered >= _LEAST_COVERED * weights.of(known)
        return body, merit, not left and is_known

    def _button(self, goal: Element) -> float:
        """How well a button fits: it says what the task says, or just that it sends."""
        weights = self._forms.weights
        sends = _RULES["sends"].match(goal.label)
        does = terms_of(goal.label)[:1]
        label = set(terms_of(goal.label[sends.end() :] if sends else goal.label))
        shared = weights.shared(label, self._terms)
        strange = weights.of(label) - shared
        plain = sends is not None and strange <= 0
        said = bool(weights.shared(does, self._terms))
        merit = 0.5 * shared + (0.8 if plain else -_STRANGE_BUTTON * strange)
        merit -= 2.0 + shared if _RULES["goes_on"].search(goal.label) else 0.0
        if not plain and not said:
            merit -= 1.0 if goal.effect in ("commit", "destructive") else 4.0
        return merit


def _is_above(path: str, goal: str) -> bool:
    """Whether a list's page is the folder of a goal's, or beside it: all items of that kind are on
    it, and not only those that somebody has looked for."""
    return goal.startswith(path[: path.rfind("/") + 1] or path)


def _what_it_does(body: list[Statement], forms: DocumentForms) -> object:
    """What a plan comes to, whichever way it takes to its page, and whichever of the states of one
    address that is."""

    def of(term: object) -> object:
        match term:
            case ElementUse(name):
                one = forms.document.by_name[name]
                return forms.path(one.state), one.role, one.label, column_of(one)
            case VerbCall("find", (_, value)):
                return value
            case VerbCall("inside", (item, ElementUse(name))) if is_way:
                return of(item)
            case VerbCall(verb, arguments):
                return verb, *(of(one) for one in arguments)
            case Act(call):
                return of(call)
        return term

    found = []
    for place, one in enumerate(body):
        is_way = place == 0 and len(body) > 1
        found.append(of(one))
    return tuple(found)
