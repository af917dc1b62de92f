"""From a task to a checked script by the cheapest means: a macro, a plan, or else a model.

    found = ScriptLadder(document, macros=book, open_model=opener).script(task)
    found.source                 # "macro", "plan" or "model"
    found.tokens_in              # 0 where no model was asked

A macro is taken where the task reads like its own but for the values, which become its arguments.
A plan is taken where it accounts for every value and every word of the task, and no other plan does
as well. Else the model is asked, and only then a plan that leaves words of the task over
(`unsaid_words`); with `first="model"` the model comes before all plans. A tuned writer of scripts
comes after them: it is too small to know better.

`scripts` goes on with what comes after. It is for tasks whose first script stops because a list has
no such item: another list may (`operate.turns`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import compress, pairwise
from typing import Literal

from adwright.agent.document.elements import AppDocument, Element, column_of
from adwright.agent.generate.field_values import DocumentForms
from adwright.agent.generate.planner import ACTS, plan_scripts
from adwright.agent.generate.reading import TaskReading, calls_of, counts_by_a_box, literals_of
from adwright.agent.generate.retrieve import ElementIndex
from adwright.agent.generate.task import (
    ANY_ITEM,
    WORDS,
    TaskText,
    near_terms,
    read_intent,
    read_task,
    terms_of,
)
from adwright.agent.generate.writing import (
    BeamConfig,
    BeamFound,
    is_told_whole,
    write_scripts,
)
from adwright.agent.language.kinds import VERBS, ArgumentValue, read_decimal
from adwright.agent.language.problems import ScriptError, ScriptProblem
from adwright.agent.language.script import (
    KEYWORDS,
    Act,
    BinaryTerm,
    DecimalLiteral,
    ElementUse,
    Expression,
    IndexedTerm,
    ParameterKind,
    Script,
    ScriptParameter,
    Statement,
    TextLiteral,
    VariableUse,
    VerbCall,
    WholeLiteral,
)
from adwright.agent.language.statements import CheckedScript, CheckRules, check_script
from adwright.agent.run.runner import Macro, MacroBook, Postconditions, check_postconditions
from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import LanguageModel

# --------------------------------------------------------------------------------------------------
# Make a macro of a script that did one task: its values become parameters, and what it wrote a
# check.
#
#     general = generalise(script, 'Set the discount of "Spring" to 25', document)
#     general.task                 # "Set the discount of {item} to {discount}"
#     general.script               # param item: text / param discount: number / ...
#     general.arguments            # {"item": "Spring", "discount": Decimal(25)}
#     general.postconditions       # the requests of its buttons, and a script that looks again
#
# Values that the task names become parameters where the script holds them as literals; others stay.
# The check opens the item anew and compares each field that was set, or, after a deletion, looks
# that the item is gone; of a message or a payment only the requests are checked, since the app may
# show neither again.

_Literal = TextLiteral | WholeLiteral | DecimalLiteral


@dataclass(frozen=True)
class GeneralScript:
    """postconditions: None where nothing that was written can be looked up. arguments: with which
    it does what the script did."""

    task: str
    script: Script
    postconditions: Postconditions | None
    arguments: Mapping[str, ArgumentValue] = field(default_factory=dict)


def generalise(script: Script, task: str, document: AppDocument) -> GeneralScript:
    """The script with parameters, its task with their names in braces, and what to check.

    Blocks are left as they are: a script with loops or branches gets no parameters, and only its
    requests are checked. Raises ScriptError where the script does not fit the document.
    """
    check_script(script, document, CheckRules(forbidden=()))
    read = read_task(task)
    acts = [one.call for one in script.body if isinstance(one, Act)]
    simple = len(acts) == len(script.body) and not script.parameters
    renaming = _Parameters(read) if simple else None
    body: list[Statement] = list(script.body)
    if renaming is not None:
        body = [Act(renaming.call(one)) for one in acts]
    parameters = renaming.parameters if renaming else script.parameters
    general = Script(tuple(body), tuple(parameters))
    template = renaming.template() if renaming else read.text
    calls = [one.call for one in body if isinstance(one, Act)] if simple else []
    wanted = _wanted(script, calls, general, document)
    return GeneralScript(template, general, wanted, renaming.arguments if renaming else {})


class _Parameters:
    """Replaces the values of a task by parameters."""

    def __init__(self, task: TaskText) -> None:
        self.parameters: list[ScriptParameter] = []
        self.arguments: dict[str, ArgumentValue] = {}
        self._task = task
        self._by_value: dict[str, str] = {}

    def call(self, call: VerbCall) -> VerbCall:
        name = _name_of(call)
        arguments = tuple(self._term(one, name) for one in call.arguments)
        return replace(call, arguments=arguments)

    def template(self) -> str:
        text = self._task.text
        for value, name in sorted(self._by_value.items(), key=lambda one: -len(one[0])):
            quoted = rf"[\"'“]?(?<![\w{{]){re.escape(value)}(?![\w}}])[\"'”]?"
            text = re.sub(quoted, f"{{{name}}}", text, count=1)
        return text

    def _term(self, term: Expression, name: str) -> Expression:
        match term:
            case TextLiteral() | WholeLiteral() | DecimalLiteral():
                return self._literal(term, name)
            case VerbCall("secret"):
                return term
            case VerbCall():
                inner = "item" if term.verb in ("match", "find") else name
                arguments = tuple(self._term(one, inner) for one in term.arguments)
                return replace(term, arguments=arguments)
            case IndexedTerm(sequence):
                return replace(term, sequence=self._term(sequence, name))
            case _:
                return term

    def _literal(self, term: _Literal, name: str) -> Expression:
        value = next((one for one in self._task.values if _is_value(one, term)), None)
        if value is None:
            return term
        kind: ParameterKind = "text" if isinstance(term, TextLiteral) else "number"
        known = self._by_value.get(value)
        if known is None:
            taken = {one.name for one in self.parameters} | KEYWORDS
            known, number = name, 2
            while known in taken:
                known, number = f"{name}_{number}", number + 1
            self._by_value[value] = known
            self.parameters.append(ScriptParameter(known, kind))
            is_text = isinstance(term, TextLiteral)
            self.arguments[known] = term.value if is_text else Decimal(term.value)
        elif ScriptParameter(known, kind) not in self.parameters:
            return term  # once as a text and once as a number: one of them stays
        return VariableUse(known)


def _is_value(value: str, term: _Literal) -> bool:
    if isinstance(term, TextLiteral):
        return term.value == value
    return read_decimal(value) == Decimal(term.value)


def _name_of(call: VerbCall) -> str:
    match call.arguments:
        case (ElementUse(name), *_):
            word = name.rpartition("__")[2].lower()
            return word if re.fullmatch(r"[a-z][a-z0-9_]{0,39}", word) else "value"
    return "value"


def _wanted(
    script: Script, calls: Sequence[VerbCall], general: Script, document: AppDocument
) -> Postconditions | None:
    """Postconditions: the write requests to expect, and a value to verify if possible."""
    used = check_script(script, document, CheckRules(forbidden=())).effects
    writing = [document.by_name[one.element] for one in used if one.element]
    requests = tuple(dict.fromkeys(one.requests[0] for one in writing if _is_certain(one)))
    check = _check(calls, general, document)
    if check is not None:
        try:
            check_postconditions(Postconditions(check=check), document)
        except ScriptError:
            check = None
    return Postconditions(requests, check) if requests or check else None


def _is_certain(element: Element) -> bool:
    return element.writes and len(element.requests) == 1


def _check(calls: Sequence[VerbCall], general: Script, document: AppDocument) -> Script | None:
    if not calls:
        return None
    goal = _element(calls[-1], document)
    if goal is None or not goal.writes:
        return None
    picks = [one for one in calls if one.verb == "tap" and _picked(one) is not None]
    sets = [one for one in calls if VERBS[one.verb].fills]
    body: list[Statement] = []
    if goal.effect == "destructive" and picks:
        item = _picked(picks[0])
        if item is not None:
            count = VerbCall("len", (item,))
            body = [_expect(BinaryTerm("==", count, WholeLiteral(0)))]
    elif goal.effect == "commit" and picks and sets:
        body = [Act(one) for one in picks]
        body += [one for call in sets if (one := _compared(call, document)) is not None]
        if len(body) == len(picks):
            return None
    if not body:
        return None
    used = set(_variables(body))
    return Script(tuple(body), tuple(one for one in general.parameters if one.name in used))


def _compared(call: VerbCall, document: AppDocument) -> Statement | None:
    """That a field has what was put into it."""
    element = _element(call, document)
    if element is None or element.value_type == "secret":
        return None
    field, value = call.arguments
    if element.value_type == "switch":
        read: Expression = VerbCall("get_attributes", (field, TextLiteral("checked")))
    else:
        read = VerbCall("get_attributes", (field, TextLiteral("value")))
    if element.value_type == "number":
        read = VerbCall("number", (read,))
    return _expect(BinaryTerm("==", read, value))


def _expect(test: Expression) -> Statement:
    return Act(VerbCall("expect", (test,)))


def _element(call: VerbCall, document: AppDocument) -> Element | None:
    match call.arguments:
        case (ElementUse(name), *_):
            return document.by_name.get(name)
    return None


def _picked(call: VerbCall) -> Expression | None:
    """The match of a tap within an item: of tap(inside(find(...), $edit))."""
    match call.arguments:
        case (VerbCall("inside", (VerbCall("find", arguments), _)),):
            return VerbCall("match", arguments)
        case (VerbCall("inside", (IndexedTerm(VerbCall("match") as found), _)),):
            return found
    return None


def _variables(body: Iterable[Statement]) -> Iterable[str]:
    def of(term: Expression) -> Iterable[str]:
        match term:
            case VariableUse(name):
                yield name
            case VerbCall(_, arguments):
                for one in arguments:
                    yield from of(one)
            case IndexedTerm(sequence, index):
                yield from (*of(sequence), *of(index))
            case BinaryTerm(_, left, right):
                yield from (*of(left), *of(right))

    for one in body:
        if isinstance(one, Act):
            yield from of(one.call)


_QUOTED = re.compile(r"\"[^\"]{1,200}\"|“[^”]{1,200}”|(?<!\w)'[^']{1,200}'(?!\w)")
_HIDDEN = re.compile(r"\x00(\d+)\x00")
#: A plan that another comes nearer to is not sure enough to be run, nor is one of less than this
#: share of the best one's merit. Our choice.
_LEAST_LEAD, _LEAST_SHARE = 0.05, 0.5
#: Words that say what is done, how it is asked for, or that stand for any item.
_TELLING = frozenset(
    (
        *ACTS,
        *WORDS["planner_words"]["does"],
        *WORDS["planner_words"]["asking"],
        *ANY_ITEM,
    )
)
_SLOT = re.compile(r"\{([a-z][a-z0-9_]*)\}", re.I)


@settings
class FoundScript:
    """A script for a task, ready to be run with `arguments`. postconditions: of its macro.
    tokens_in, tokens_out: that were spent since the script before it in turn. unsaid: words of the
    task that nothing in it stands for. doubts: what it does otherwise than the task reads."""

    script: CheckedScript
    source: Literal["macro", "plan", "model"]
    arguments: Mapping[str, ArgumentValue] = field(default_factory=dict)
    postconditions: Postconditions | None = None
    name: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    unsaid: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


#: Who is asked first, where a plan does not account for every word of a task, or in any case.
FirstAsked = Literal["plans", "model"]
#: Opens the model that may be asked; called only where no macro and no plan fits.
OpenLanguageModel = Callable[[], AbstractContextManager[LanguageModel]]


class ScriptLadder:
    """The means for one document. open_model: None asks no model. first: who is asked first.
    tokens_in, tokens_out: of all that the model was asked so far."""

    def __init__(
        self,
        document: AppDocument,
        *,
        macros: MacroBook | None = None,
        open_model: OpenLanguageModel | None = None,
        config: BeamConfig | None = None,
        rules: CheckRules | None = None,
        first: FirstAsked = "plans",
    ) -> None:
        self._document = document
        self._first = first
        self._macros = macros
        self._open_model = open_model
        self._config = config or BeamConfig()
        self._rules = rules or CheckRules()
        self._forms = DocumentForms(document)
        self.tokens_in = self.tokens_out = 0

    def script(self, task: str) -> FoundScript:
        """A script for a task. Raises ScriptError where nothing makes one that passes the check."""
        return next(self.scripts(task))

    def scripts(self, task: str) -> Iterator[FoundScript]:
        """All scripts for a task, the likeliest first; the model is asked when its turn comes.

        A macro is the only one: its words are those of the task. Raises ScriptError where there is
        none at all.
        """
        read = read_task(task)
        macro = self._macro(read)
        if macro is not None:
            yield macro
            return
        plans = list(self._plans(read))
        if self._first == "plans":
            # Of a plan that leaves words over a large model may know better, a small one does not.
            is_sure = [self._config.brief or not (one.unsaid or one.doubts) for one in plans]
            sure = list(compress(plans, is_sure))
            yield from sure
            plans = [one for one in plans if one not in sure]
            if sure and not plans:
                return
        if not plans:
            yield from self.written(task)
            return
        with suppress(ScriptError):
            yield from self.written(task)
        yield from plans

    def written(self, task: str) -> Iterator[FoundScript]:
        """Those of the model alone that pass the check, best first; it is closed before they are
        given. Raises ScriptError where none does, and what the model raises."""
        text, problems = read_task(task).text, tuple[ScriptProblem, ...]()
        if self._open_model is not None:
            with self._open_model() as model:
                written = self._asked(model, text)
            tokens = written.tokens_in, written.tokens_out
            self.tokens_in += tokens[0]
            self.tokens_out += tokens[1]
            for one in written.scripts:
                if one.checked is not None:
                    yield FoundScript(
                        one.checked,
                        "model",
                        tokens_in=tokens[0],
                        tokens_out=tokens[1],
                        unsaid=unsaid_words(read_task(task), one.checked, self._forms),
                        doubts=one.doubts,
                    )
                    tokens = 0, 0
            if written.best is not None:
                return
            problems = written.scripts[0].problems
        what = "no script for this task passes the check" if problems else "no plan fits the task"
        hint = "say the task with the names of fields, and its values in quotes"
        raise ScriptError([ScriptProblem("expected", what, hint=hint), *problems])

    def _asked(self, model: LanguageModel, text: str) -> BeamFound:
        """What it writes, told the whole document or what is found for the task."""
        document, config, rules = self._document, self._config, self._rules
        if is_told_whole(document, config, model.info.context):
            try:
                return write_scripts(model, text, document, None, config=config, rules=rules)
            except ConfigError:
                pass  # It may be longer than what this model reads.
        found = ElementIndex(document).retrieve(text, config.retrieve)
        return write_scripts(model, text, document, found, config=config, rules=rules)

    def _macro(self, task: TaskText) -> FoundScript | None:
        for name in self._macros.names() if self._macros else ():
            macro = self._macros.macro(name)  # type: ignore[union-attr]
            arguments = macro_arguments(macro, task)
            if arguments is None or macro.app != self._document.app:
                continue
            try:
                rules = CheckRules(self._rules.forbidden, macro.flows, self._rules.most_items)
                checked = check_script(macro.script, self._document, rules)
            except ScriptError:
                continue  # made on a document that has changed: a person must look at it
            return FoundScript(checked, "macro", arguments, macro.postconditions, name)
        return None

    def _plans(self, task: TaskText) -> Iterator[FoundScript]:
        """Whole plans, best first, up to one that another comes too near to, or that counts,
        deletes, or writes and looks for no item, and leaves a word over that the app knows."""
        plans = plan_scripts(task.text, self._document, self._rules, forms=self._forms)
        best = plans[0].merit if plans else 0.0
        reading = TaskReading(read_intent(task, self._forms.kinds), self._forms)
        for plan, after in pairwise([*plans, None]):
            if plan is None or not plan.is_whole:
                return
            if plan is not plans[0] and (best <= 0 or plan.merit < _LEAST_SHARE * best):
                return
            if after is not None and after.is_whole and after.merit >= plan.merit - _LEAST_LEAD:
                return
            if counts_by_a_box(task, plan.script):
                continue
            unsaid = unsaid_words(task, plan.script, self._forms)
            if self._is_far(task, plan.script) and any(map(self._knows, unsaid)):
                return
            doubts = reading.doubts(plan.script)
            yield FoundScript(plan.script, "plan", unsaid=unsaid, doubts=doubts)

    def _is_far(self, task: TaskText, script: CheckedScript) -> bool:
        """Whether it would be far from what is meant, where it is of something else: it counts,
        deletes, or writes and looks for no item."""
        names = [one.element for one in script.effects if one.element]
        if any(self._document.by_name[name].effect == "destructive" for name in names):
            return True
        if next(calls_of(script.script, "find"), None) is None and names:
            return True
        return read_intent(task, self._forms.kinds).kind == "count"

    def _knows(self, word: str) -> bool:
        return any(map(self._forms.weights.knows, terms_of(word)))


def unsaid_words(task: TaskText, script: CheckedScript, forms: DocumentForms) -> tuple[str, ...]:
    """The words of a task that nothing in a script stands for: no element that it names, no page
    that it opens, no value that it writes, and no verb of what it does."""
    document, said = forms.document, set(_TELLING)
    for one in (document.by_name[name] for name in script.elements):
        own = one.name.partition("__")[2].replace("_", " ")
        said |= set(terms_of(" ".join((one.label, own, column_of(one), one.role, *one.options))))
        said |= forms.terms(one.state) | forms.path_terms(one.state)
    said |= {term for one in literals_of(script.script) for term in terms_of(str(one))}
    left = dict[str, None]()
    for word in read_intent(task, forms.kinds).plain.split():
        terms = terms_of(word)
        if not all(term in said or near_terms(term) & said for term in terms):
            left[word.strip(".,;:!?\"'()")] = None
    return tuple(left)


def macro_arguments(macro: Macro, task: TaskText) -> dict[str, ArgumentValue] | None:
    """The arguments with which a macro does a task; None where the task is another.

    The macro's own task has its parameters in braces, "Set the discount of {code} to {share}"; the
    words around them must be those of the task, capitals and blanks apart.
    """
    parts = _SLOT.split(" ".join(macro.task.split()))
    kinds = {one.name: one for one in macro.script.parameters}
    names = parts[1::2]
    if set(names) != set(kinds) or len(set(names)) != len(names):
        return None
    pattern = "".join(
        rf"(?P<{part}>.{{1,200}}?)" if n % 2 else re.escape(part) for n, part in enumerate(parts)
    )
    quotes: list[str] = []

    def hide(found: re.Match[str]) -> str:
        quotes.append(found[0][1:-1])
        return f"\x00{len(quotes) - 1}\x00"

    # What stands in quotes is one value, whatever words are in it.
    plain = _QUOTED.sub(hide, task.text)
    match = re.fullmatch(pattern.rstrip(".") + r"\.?", plain, re.I)
    if match is None:
        return None
    given: dict[str, ArgumentValue] = {}
    for name in names:
        text = _HIDDEN.sub(lambda found: quotes[int(found[1])], match[name])
        value = _as_kind(kinds[name], text)
        if value is None:
            return None
        given[name] = value
    return given


def _as_kind(parameter: ScriptParameter, text: str) -> ArgumentValue | None:
    number: Decimal | None = read_decimal(text.removesuffix("%"))
    match parameter.kind:
        case "text":
            return text
        case "whole":
            whole = number is not None and number == number.to_integral_value()
            return int(number) if whole and number is not None else None
        case "number":
            return number
        case _:
            known = {"true": True, "on": True, "yes": True, "false": False, "off": False}
            return known.get(text.lower())
