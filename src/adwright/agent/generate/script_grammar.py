"""A grammar in GBNF of the scripts that may be written for one task: its elements, no others.

    grammar = script_grammar(elements, GrammarChoice(texts=("Spring", "20")))
    model.generate([prompt], GenerationConfig(grammar=grammar))

A model that decodes by it cannot name an element that there is not, set a button, tap a field of a
form or leave the language. What the grammar cannot say, such as the order of states, the checker
does. It is smaller than the language: blocks to a depth, five names of variables and no arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Annotated

from adwright.agent.document.elements import Element
from adwright.agent.language.kinds import ATTRIBUTES, VERBS, Verb
from adwright.agent.language.printer import quote_text
from adwright.agent.language.tree import PARAMETER_KINDS, ScriptParameter
from adwright.core.config import Count, Ge, Le, settings
from adwright.core.errors import ConfigError

__all__ = ["GrammarChoice", "script_grammar"]

_VARIABLES = ("row", "item", "value", "count", "found")
_MOST_OPTIONS = 60


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
            options = element.options[:_MOST_OPTIONS]
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
