"""A grammar in GBNF of the scripts that may be written for one task: its elements, no others.

    grammar = script_grammar(elements, GrammarChoice(texts=("Spring", "20")))
    model.generate([prompt], GenerationConfig(grammar=grammar))

A model that decodes by it cannot name an element that there is not, set a button, tap a field of a
form or leave the language. What the grammar cannot say, such as the order of states, the checker
does. It is smaller than the language: blocks to a depth, five names of variables and no arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from adwright.agent.document.elements import (
    AppDocument,
    Element,
    column_of,
    frame_of,
    variants_of,
)
from adwright.agent.document.finding import word_of
from adwright.agent.generate.field_values import DocumentForms, is_head
from adwright.agent.generate.reading import TaskReading, task_numbers
from adwright.agent.generate.retrieve import RetrieveConfig, RetrievedElements
from adwright.agent.generate.task import (
    read_intent,
    read_task,
)
from adwright.agent.language.kinds import ATTRIBUTES, VERBS, Verb
from adwright.agent.language.problems import ScriptError, ScriptProblem
from adwright.agent.language.script import (
    PARAMETER_KINDS,
    ScriptParameter,
    print_script,
    quote_text,
    read_script,
)
from adwright.agent.language.statements import CheckedScript, CheckRules, check_script
from adwright.agent.run.locate import form_of
from adwright.core.assets import shipped
from adwright.core.config import Count, Ge, Le, Natural, settings
from adwright.core.errors import AssetError, ConfigError
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, Message
from adwright.lm.engine.weights import SMOLLM2
from adwright.lm.open_model import LmSpec, open_lm

# --------------------------------------------------------------------------------------------------
# What a model is told: the language and the app first, the screen and the task last.
#
#     messages = script_messages(task, elements, document)
#
# The help is the same for all tasks, and so is the document where it has room as a whole
# (`document_lines`): a prefix cache reads them once. A model that was tuned on scripts knows the
# language, and is told the briefer form without the help (`brief`). An element is told in the
# fewest words: its label only where its name does not say it, its kind or effect, and where it
# leads; of the whole document also its page, its form and its list. Labels of pages
# are data, shortened and without signs that hide; a model that is told something by them can still
# name only elements, and what it writes is checked.

_FIELD_NAME = re.compile(r"\[(?:name|id)=\"([^\"]*)\"\]")
_LONGEST_LABEL, _MOST_OPTIONS, _LONGEST_EXCERPT = 60, 6, 600
_ITEMS = ("row", "listitem", "article")
_EXAMPLE = """for row in match($offers__rows, "Spring"):
    tap(inside(row, $offers__edit))
    set_text($offer_edit__discount, 25)
    tap($offer_edit__save)
    break"""


def language_help() -> str:
    """The language in a page: statements, verbs and an example."""
    verbs = "\n".join(f"{one.example:42} {one.help}" for one in VERBS.values())
    return (
        "A script operates an app. Each line is one statement; blocks are indented by 4 blanks.\n"
        "Statements: name = value, verb(...), if/elif/else, for name in list, break.\n"
        "Values: texts in quotes, numbers, true, false, lists, $elements of the app.\n"
        "Pages are opened by themselves: name the elements, not the way to them.\n"
        f"{verbs}\nExample:\n{_EXAMPLE}\n"
    )


def element_lines(elements: Sequence[Element]) -> str:
    """One line an element: its name, its label where the name does not say it, what it takes or
    does, and where it leads."""
    return "".join(f"{_line(one)}\n" for one in elements)


def document_lines(document: AppDocument) -> str:
    """A whole document: its pages as headings, their elements by form and list. What stands on most
    pages is told once, and other views of a page are not."""
    forms, frame, variants = DocumentForms(document), frame_of(document), variants_of(document)
    said, once = list[str](), dict[tuple[str, str], str]()
    for state in document.states:
        if state.name in variants:
            continue
        own = document.elements_of(state.name)
        for one in own:
            if one.name in frame:
                once.setdefault((one.role, one.label), _line(one))
        title = f' "{_label(state.title)}"' if state.title else ""
        shown = [one for one in own if one.name not in frame and not is_head(one)]
        lines = _page_lines(shown, forms)
        if lines:
            said += [f"# {state.name} {_label(state.url_template)}{title}", *lines]
    if once:
        said += ["# on most pages", *once.values()]
    return "\n".join(said) + "\n"


def _page_lines(elements: Sequence[Element], forms: DocumentForms) -> list[str]:
    """The elements of a page: what stands in items below their list, what a form sends in it."""
    inside: dict[str | None, list[Element]] = {}
    rows = {one.name for one in elements if one.many and one.role in _ITEMS}
    for one in elements:
        around = forms.rows_around(one) if one.many and one.name not in rows else None
        inside.setdefault(around.name if around and around.name in rows else None, []).append(one)
    said, form = list[str](), ""
    for one in inside.get(None, ()):
        own = form_of(one) or ""
        if own != form:
            form = own
            said += ["form:"] if form else []
        said.append(f"{'  ' if form else ''}{_line(one)}{_more(one)}")
        said += [f"    {_line(part)}{_more(part)}" for part in inside.get(one.name, ())]
    return said


def _more(element: Element) -> str:
    """What a field must have, its name in the form where it has no label, and the column of a
    cell."""
    limits, said = element.constraints, ""
    if element.value_type != "none" and not element.label:
        names = (_FIELD_NAME.search(one.value) for one in element.locators if one.kind == "css")
        said = next((f' field "{_label(one[1])}"' for one in names if one), "")
    if limits.required:
        said += " required"
    if limits.lowest is not None or limits.highest is not None:
        said += f" {limits.lowest or ''}..{limits.highest or ''}"
    column = column_of(element) if element.many else ""
    return f'{said} column "{_label(column)}"' if column else said


def script_messages(
    task: str,
    elements: Sequence[Element] | None,
    document: AppDocument,
    *,
    brief: bool = False,
) -> list[Message]:
    """The turns of a prompt. elements: of the task; None for the whole document. brief: without the
    help, for a model that has learned the language."""
    lines = document_lines(document) if elements is None else element_lines(elements)
    about = f"Elements of the app {_label(document.app)}:\n{lines}"
    about = about if brief else f"{language_help()}\n{about}"
    last = f"The app shows {document.start}.\n"
    last += f"Task: {' '.join(task.split())}\nWrite the script, nothing else."
    return [Message("system", about), Message("user", last)]


def repair_messages(
    messages: Sequence[Message], script: str, problems: Sequence[ScriptProblem]
) -> list[Message]:
    """The same, with what was wrong with an answer: codes, places and hints, at most five, and the
    script as it was, shortened. Nothing of a page is quoted but names of elements."""
    said = "".join(
        f"{one.code} at line {one.line}: {one.what}{f' -> {one.hint}' if one.hint else ''}\n"
        for one in problems[:5]
    )
    text = f"The script is refused:\n{said[:_LONGEST_EXCERPT]}Write it again, nothing else."
    return [*messages, Message("assistant", script[:_LONGEST_EXCERPT]), Message("user", text)]


def _line(element: Element) -> str:
    parts = [f"${element.name}"]
    own = element.name.partition("__")[2]
    if not own.startswith(word_of(element.label)):
        parts.append(f'"{_label(element.label)}"')
    if element.many:
        parts.append("list" if element.role in _ITEMS else "in each item")
    if element.options:
        options = ", ".join(f'"{_label(one)}"' for one in element.options[:_MOST_OPTIONS])
        more = ", ..." if len(element.options) > _MOST_OPTIONS else ""
        parts.append(f"one of {options}{more}")
    elif element.value_type != "none":
        parts.append(element.value_type)
    elif element.effect not in ("navigate", "read") or not (element.target or element.many):
        parts.append(element.effect)
    if element.target and element.effect in ("navigate", "read"):
        parts.append(f"to {element.target}")
    return " ".join(parts)


def _label(text: str) -> str:
    """Text of a page as it may stand in a prompt: a short line without quotes or hidden signs."""
    plain = "".join(one if one.isprintable() else " " for one in text).replace('"', "'")
    plain = " ".join(plain.split()).replace("<|", "< |")
    return plain if len(plain) <= _LONGEST_LABEL else plain[: _LONGEST_LABEL - 3] + "..."


_MOST_CHOICES = 60


@settings
class GrammarChoice:
    """What scripts may hold.

    texts, numbers: the only ones that may be written, such as those of a task; None for any text to
    `longest` characters, and any number. parameters: of the script, which come first as they are.
    deepest: blocks within blocks. statements: in one block. answers: whether it may answer and
    expect.
    """

    texts: tuple[str, ...] | None = None
    numbers: tuple[Decimal, ...] | None = None
    parameters: tuple[ScriptParameter, ...] = ()
    longest: Count = 80
    deepest: Annotated[int, Ge(0), Le(5)] = 2
    statements: Count = 12
    answers: bool = True


def script_grammar(elements: Sequence[Element], choice: GrammarChoice | None = None) -> str:
    """The grammar, whose first rule is `root`. Raises ConfigError without an element, or where two
    have one name."""
    choice = choice or GrammarChoice()
    names = [one.name for one in elements]
    if not names or len(set(names)) != len(names):
        raise ConfigError(
            "a grammar needs elements, each once",
            where=", ".join(names[:5]),
            hint="take the elements that were retrieved for the task",
        )
    rules = [*_statements(elements, choice), *_values(choice), *_elements(elements, choice)]
    return "".join(f"{name} ::= {body}\n" for name, body in rules)


def _statements(elements: Sequence[Element], choice: GrammarChoice) -> list[tuple[str, str]]:
    lists, inner = _lists(elements), _inner(elements)
    head = "".join(f"param {one.name}: {one.kind}\n" for one in choice.parameters)
    count = f"{{1,{choice.statements}}}"
    rules = [("root", f"{_quoted(head)} s0{count}" if head else f"s0{count}")]
    for level in range(choice.deepest + 1):
        blanks = _quoted(" " * (4 * level))
        lead = f"{blanks} " if level else ""
        parts = [rf'{lead}act "\n"']
        if level:
            parts.append(rf'{lead}"break\n"') if lists else None
        if level < choice.deepest:
            block = f"s{level + 1}{{1,{choice.statements}}}"
            parts.append(rf'{lead}"if " test ":\n" {block} ({lead}"else:\n" {block})?')
            if lists:
                parts.append(rf'{lead}"for row in " items ":\n" {block}')
        rules.append((f"s{level}", " | ".join(parts)))
    acts = ["tap", "other", *(_rule(one) for one in VERBS.values() if _filled_by(one, elements))]
    if choice.answers:
        acts += ["say"]
        rules.append(("say", '"answer(" value ")" | "expect(" test ")"'))
    rules.append(("act", " | ".join(acts)))
    targets = [f'"${one.name}"' for one in elements if _is_tapped(one) and not one.many]
    if lists:
        targets.append('"row"')
        targets += [f'"inside(row, ${one.name})"' for one in inner if _is_tapped(one)]
        targets += [f'"inside(" picked ", ${one.name})"' for one in inner if _is_tapped(one)]
    rules.append(("tap", f'"tap(" ({" | ".join(targets)}) ")"' if targets else '"back()"'))
    rules.append(("other", '"back()" | "enter()" | "scroll(" direction ")"'))
    rules.append(("direction", r'"\"up\"" | "\"down\""'))
    return rules


def _values(choice: GrammarChoice) -> list[tuple[str, str]]:
    texts = [_quoted(quote_text(one)) for one in choice.texts or ()]
    if choice.texts is None:
        texts.append(rf'"\"" [^"\\\x00-\x1f\x7f]{{0,{choice.longest}}} "\""')
    given = [one for one in choice.parameters if one.kind == "text"]
    texts += [f'"{one.name}"' for one in given]
    numbers = [_quoted(f"{one:f}") for one in choice.numbers or ()]
    # A task may say its numbers in words; then there is none to hold to.
    numbers = numbers or ['[0-9]{1,15} ("." [0-9]{1,6})?']
    numbers += [f'"{one.name}"' for one in choice.parameters if one.kind in PARAMETER_KINDS[1:3]]
    truths = ['"true"', '"false"']
    truths += [f'"{one.name}"' for one in choice.parameters if one.kind == "truth"]
    # Without any text there is still the empty one, so that the rule is one.
    return [
        ("text", " | ".join(texts or [r'"\"\""'])),
        ("number", " | ".join(numbers)),
        ("truth", " | ".join(truths)),
    ]


def _elements(elements: Sequence[Element], choice: GrammarChoice) -> list[tuple[str, str]]:
    rules = []
    lists = _lists(elements)
    if lists:
        names = " | ".join(f'"${one.name}"' for one in lists)
        rules.append(("list", names))
        rules.append(("items", 'list | "match(" list ", " text ")"'))
        rules.append(("picked", '"find(" list ", " text ")" | items "[" [0-9]{1,2} "]"'))
    for verb in VERBS.values():
        if filled := _filled_by(verb, elements):
            forms = [f'"${one.name}, " {_taken(one)}' for one in filled]
            rules.append((_rule(verb), f'"{verb.name}(" ({" | ".join(forms)}) ")"'))
    read = [f'"${one.name}"' for one in elements if not one.many and one.value_type != "secret"]
    inner = _inner(elements) if lists else []
    read += ['"row"', *(f'"inside(row, ${one.name})"' for one in inner)] if lists else []
    read += [f'"inside(" picked ", ${one.name})"' for one in inner]
    read = read or ['"row"']
    rules.append(("read", " | ".join(read)))
    words = [f'"\\"{name}\\""' for name, kind in ATTRIBUTES.items() if kind == "truth"]
    rules.append(("flag", f'"get_attributes(" read ", " ({" | ".join(words)}) ")"'))
    rules.append(("seen", r'"get_text(" read ")" | "get_attributes(" read ", \"value\")"'))
    values = ["seen", "text"] + (['"len(" items ")"'] if lists else [])
    rules.append(("value", " | ".join(values)))
    tests = ['seen " == " text', 'text " in " seen', "flag", '"not " flag']
    tests += ['"number(" seen ") " compare " " number']
    tests += ['"len(" items ") " compare " " [0-9]{1,3}'] if lists else []
    rules.append(("test", " | ".join(tests)))
    rules.append(("compare", '"==" | "!=" | "<" | "<=" | ">" | ">="'))
    return rules


def _taken(element: Element) -> str:
    match element.value_type:
        case "secret":
            return r'"secret(\"" [a-z] [a-z0-9_]{0,39} "\")"'
        case "number":
            return "number"
        case "date":
            return r'("\"" [0-9]{4} "-" [0-9]{2} "-" [0-9]{2} "\"" | text)'
        case "switch":
            return "truth"
        case "choice" if element.options:
            options = element.options[:_MOST_CHOICES]
            return f"({' | '.join(_quoted(quote_text(one)) for one in options)})"
        case _:
            return "text"


def _lists(elements: Iterable[Element]) -> list[Element]:
    return [one for one in elements if one.many]


def _inner(elements: Iterable[Element]) -> list[Element]:
    """What may stand within an item: other lists of the same state."""
    return [one for one in elements if one.many and one.role not in ("row", "listitem")]


def _is_tapped(element: Element) -> bool:
    return element.value_type in ("none", "switch", "choice") and element.effect != "read"


def _filled_by(verb: Verb, elements: Iterable[Element]) -> list[Element]:
    return [one for one in elements if one.value_type in verb.fills and not one.many]


def _rule(verb: Verb) -> str:
    return verb.name.replace("_", "")


def _quoted(text: str) -> str:
    """A literal of GBNF."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + escaped.replace("\t", "\\t").replace("\r", "\\r") + '"'


# --------------------------------------------------------------------------------------------------
# Several scripts of a model, all checked before anything is tapped, the best first.
#
#     found = write_scripts(model, 'Set the discount of "Spring" to 25', document)
#     found.best                   # a CheckedScript, or None
#     found.tokens_in, found.tokens_out
#
# The first answer is the likeliest, the others are drawn. Answers are decoded by the grammar of the
# task's elements where the engine can do that. Refused is what does not pass the check, and what is
# not of the task (`reading`): a number that it does not have, a value that is left out, a question
# without an answer. A script that is refused, or does otherwise than the task reads, is mended at
# most twice, from the codes of its problems. Which is best: one that is not refused, then that with
# fewer doubts, with fewer writes, then the shorter.


@settings
class BeamConfig:
    """scripts: answers to the first prompt. repairs: times that the best refused one is mended.
    constrained: decode by the grammar; only_values: texts and numbers are the task's. max_tokens,
    temperature, seed: of the drawn answers. brief: the model has learned the language. whole: a
    document of so many tokens at most is told as a whole; of a larger one, those elements that
    `retrieve` finds."""

    scripts: int = 4
    repairs: int = 2
    constrained: bool = True
    only_values: bool = True
    max_tokens: int = 300
    temperature: float = 0.7
    seed: int = 0
    brief: bool = False
    whole: Natural = 0
    retrieve: RetrieveConfig = field(default_factory=RetrieveConfig)

    def __post_init__(self) -> None:
        if self.scripts < 1 or not 0 <= self.repairs <= 2:
            raise ConfigError(
                "scripts is 1 or more, repairs from 0 to 2",
                where="BeamConfig",
                hint="more repairs than two have not helped anybody",
            )


@dataclass(frozen=True)
class WrittenScript:
    """An answer of a model. checked: None where it is refused, and then `problems` say why. doubts:
    what it does otherwise than the task reads."""

    text: str
    checked: CheckedScript | None
    problems: tuple[ScriptProblem, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def objections(self) -> tuple[ScriptProblem, ...]:
        """What a model is told to write it again for; none where it is as the task reads."""
        return self.problems or tuple(ScriptProblem("expected", one) for one in self.doubts)


@dataclass(frozen=True)
class BeamFound:
    """All answers, best first. tokens_in, tokens_out: of all calls. repairs: that were made."""

    scripts: tuple[WrittenScript, ...]
    tokens_in: int
    tokens_out: int
    repairs: int

    @property
    def best(self) -> CheckedScript | None:
        """The best that passes; None where none does."""
        return self.scripts[0].checked if self.scripts else None


def write_scripts(
    model: LanguageModel,
    task: str,
    document: AppDocument,
    retrieved: RetrievedElements | None,
    *,
    config: BeamConfig | None = None,
    rules: CheckRules | None = None,
) -> BeamFound:
    """Scripts for a task, written by a model and checked. retrieved: what it is told of; None for
    the whole document.

    Raises what the model raises; ConfigError for a task that is none.
    """
    config, rules = config or BeamConfig(), rules or CheckRules()
    return _Beam(model, task, document, retrieved, config, rules).search()


class _Beam:
    def __init__(
        self,
        model: LanguageModel,
        task: str,
        document: AppDocument,
        retrieved: RetrievedElements | None,
        config: BeamConfig,
        rules: CheckRules,
    ) -> None:
        self._model = model
        forms = DocumentForms(document)
        intent = read_intent(read_task(task), forms.kinds)
        self._reading = TaskReading(intent, forms)
        self._document = document
        self._config = config
        self._rules = rules
        elements = None if retrieved is None else retrieved.elements
        self._messages = script_messages(intent.task.text, elements, document, brief=config.brief)
        self._in = self._out = 0
        choice = GrammarChoice()
        if config.only_values:
            choice = GrammarChoice(intent.task.values, task_numbers(intent.task) or None)
        self._grammar = (
            script_grammar(elements, choice) if elements and config.constrained else None
        )

    def search(self) -> BeamFound:
        found = [self._checked(one) for one in self._answers(self._messages, self._config.scripts)]
        ranked = rank_scripts(found)
        repairs = 0
        while (first := ranked[0]).objections and repairs < self._config.repairs:
            repairs += 1
            messages = repair_messages(self._messages, first.text, first.objections)
            again = [self._checked(one) for one in self._answers(messages, 1, seed=repairs)]
            ranked = rank_scripts([*again, *ranked])
            if first.checked is not None and again[0].text == first.text:
                break  # it means what it wrote
        return BeamFound(ranked, self._in, self._out, repairs)

    def _answers(self, messages: list[Message], count: int, *, seed: int = 0) -> list[str]:
        config = self._config
        calls = [(1, 0.0)] if count == 1 else [(1, 0.0), (count - 1, config.temperature)]
        texts: list[str] = []
        for number, warmth in calls:
            asked = GenerationConfig(
                max_tokens=config.max_tokens,
                temperature=warmth,
                seed=config.seed + 1_000 * seed,
                grammar=self._grammar,
            )
            prompts = [messages] * number
            try:
                answer = self._model.generate(prompts, asked)
            except ConfigError:
                if self._grammar is None:
                    raise
                # Many servers know no grammars; scripts are checked in any case.
                self._grammar = None
                answer = self._model.generate(prompts, replace(asked, grammar=None))
            texts += answer.texts
            self._in += answer.usage.prompt_tokens
            self._out += answer.usage.completion_tokens
        return texts

    def _checked(self, text: str) -> WrittenScript:
        plain = _bare(text)
        try:
            script = read_script(plain)
            if not script.body:
                empty = ScriptProblem("expected", "the script is empty", 1, 1, "write a statement")
                return WrittenScript(plain, None, (empty,))
            checked = check_script(script, self._document, self._rules)
        except ScriptError as error:
            return WrittenScript(plain, None, error.problems)
        unfit = self._reading.refusals(checked)
        doubts = () if unfit else self._reading.doubts(checked)
        return WrittenScript(print_script(script), None if unfit else checked, unfit, doubts)


def rank_scripts(scripts: Sequence[WrittenScript]) -> tuple[WrittenScript, ...]:
    """Equal ones once, best first; of those that are as good, that which came first."""
    once = list({one.text: one for one in reversed(scripts)}.values())[::-1]

    def merit(one: WrittenScript) -> tuple[int, int, int, int]:
        if one.checked is None:
            return (1, len(one.problems), 0, 0)
        return (0, len(one.doubts), one.checked.most_writes, len(one.text))

    return tuple(sorted(once, key=merit))


def _bare(text: str) -> str:
    """An answer without the fence that models like to put around code."""
    lines = text.strip("\n").split("\n")
    if lines and lines[0].startswith("```"):
        lines = lines[1:]
        ends = [n for n, line in enumerate(lines) if line.startswith("```")]
        lines = lines[: ends[0]] if ends else lines
    return "\n".join(lines) + "\n"


# --------------------------------------------------------------------------------------------------
# A small model that has learned to write scripts: it is asked briefly, as it was when it learned,
# about as many elements as it has learned on, and by the grammar.
#
#     with closing(open_tuned_writer()) as model:          # the adapter that ships, if it does
#         write_scripts(model, task, document, retrieved, config=WRITER_BEAM)

#: The adapter that ships with the package.
WRITER_ADAPTER = shipped("agent_writer")
#: How many elements the writer is shown, in training and when it is asked.
WRITER_RETRIEVE = RetrieveConfig(best=14, most=26)
WRITER_BEAM = BeamConfig(scripts=2, max_tokens=220, brief=True, retrieve=WRITER_RETRIEVE)


#: A model that knows language and follows instructions, such as one behind an endpoint: told the
#: whole document where it is no longer than this, else many elements; asked once, and mended by
#: what the checker says.
ENDPOINT_BEAM = BeamConfig(
    scripts=1,
    max_tokens=800,
    whole=30_000,
    constrained=False,
    retrieve=RetrieveConfig(best=60, most=200),
)
#: Characters of a token, at the least: names of elements are of few.
_CHARACTERS = 3.0


def is_told_whole(document: AppDocument, config: BeamConfig, context: int = 0) -> bool:
    """Whether a document goes into a prompt as a whole. context: tokens of the model's prompt and
    answer, 0 where nobody knows."""
    most = min(config.whole, context - config.max_tokens) if context else config.whole
    if most <= 0:
        return False
    return len(language_help() + document_lines(document)) <= _CHARACTERS * most


def open_tuned_writer(
    adapter: str | Path = "", *, model: str = SMOLLM2, threads: int = 0, offline: bool = False
) -> LanguageModel:
    """A model with an adapter of `benchmarks.agent.train_writer`; with that which ships where none
    is named. model: what the adapter was trained on. offline: never download.

    Raises AssetError where there is none, and as `open_lm`.
    """
    folder = Path(adapter or WRITER_ADAPTER)
    if not folder.is_dir():
        raise AssetError(
            "there is no adapter for writing scripts",
            where=str(folder),
            hint="name one, or use a model without one",
        )
    return open_lm(LmSpec(model, "torch", str(folder), threads=threads, offline=offline))
