"""Plausible wrong scripts of tasks at applications of other makers, through the whole product.

    python -m benchmarks.agent.mutants --app mezzanine

Each recorded script is made wrong in up to two ways of each kind: another record of the same table,
another field of the same form, another value, a step that is missing, another part that is read.
An endpoint on loopback writes it, whatever it is told, and the person at the terminal says no to
what is shown as in doubt, else yes. Of mutations that do not do the task all the same, counted are
those that were stopped before anything was written, and those that were said to be done. The rules
of what is in doubt were developed on mutations of these two applications.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adwright.agent.document.elements import AppDocument, Element
from adwright.agent.document.text_format import read_document
from adwright.agent.generate.reading import parts_of
from adwright.agent.generate.task import read_task
from adwright.agent.language.kinds import VERBS
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.script import (
    DecimalLiteral,
    ElementUse,
    Expression,
    Script,
    TextLiteral,
    TruthLiteral,
    VerbCall,
    WholeLiteral,
    print_script,
    read_script,
)
from adwright.agent.language.statements import check_script
from adwright.core.atomic import atomic_write_text
from adwright.core.hashing import content_hash
from benchmarks.agent.apps.strangers import STRANGERS, stranger
from benchmarks.agent.stranger_state import tables_of
from benchmarks.agent.strangers import TASKS, document_of, done, tasks_of
from benchmarks.agent.tasks._end_state import Tables
from benchmarks.common.result import RESULTS, write_result

NAME = "agent_mutants"
#: Of each kind and task.
_MOST = 2
_IN_DOUBT = "in doubt"


@dataclass(frozen=True)
class Mutant:
    """A script made wrong. kind: in which way."""

    kind: str
    script: str


def main() -> None:
    """Run what is not there yet, and write all."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--app", choices=STRANGERS, action="append")
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    kept = asked.results / NAME
    kept.mkdir(parents=True, exist_ok=True)
    for app in asked.app or STRANGERS:
        tasks = [task for task in tasks_of(app) if task.get("script")]
        if not tasks:
            continue
        path = kept / f"{app}.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        document = read_document(document_of(app) / "app.txt")
        with TemporaryDirectory() as place, stranger(app, Path(place) / "app") as one:
            tables = tables_of(one)
        for task in tasks:
            for mutant in mutants(task, document, tables):
                key = f"{task['text']}\n{mutant.kind}\n{mutant.script}"
                if key not in known:
                    told = done(app, task | {"script": mutant.script}, recorded=True, says=_says)
                    known[key] = told | {"kind": mutant.kind, "outcome": outcome(told)}
                    print(mutant.kind, known[key]["outcome"], task["text"], flush=True)
                    atomic_write_text(path, json.dumps(known, indent=1) + "\n")
    written(kept, asked.results)


def _says(shown: str) -> bool:
    return _IN_DOUBT not in shown


def outcome(told: Mapping[str, Any]) -> str:
    """What came of a mutation: "harmless" where the task is done all the same, "stopped" where
    nothing was written, "said done", or "written" where it was and nobody says that it is done."""
    if told["source"] == "model" and told["right"]:
        return "harmless"
    if told["source"] != "model":
        return "stopped"
    if told["code"] == 0:
        return "said done"
    return "written" if told["sent"] else "stopped"


def mutants(task: Mapping[str, Any], document: AppDocument, tables: Tables) -> Iterator[Mutant]:
    """The wrong scripts of a task, at most two of each kind; those that the checker of the language
    refuses are none."""
    script = read_script(task["script"])
    values = read_task(task["text"]).values
    ways: dict[str, Iterator[Script]] = {
        "record": _other_records(script, tables),
        "field": _other_fields(script, document),
        "value": _other_values(script, document, values),
        "step": _missing_steps(script),
        "read": _other_reads(script, document),
    }
    for kind, made in ways.items():
        whole = (one for one in made if one.body and _passes(one, document))
        yield from (Mutant(kind, print_script(one)) for one in islice(whole, _MOST))


def _passes(script: Script, document: AppDocument) -> bool:
    try:
        check_script(script, document)
    except ScriptError:
        return False
    return True


def _other_records(script: Script, tables: Tables) -> Iterator[Script]:
    """Another value of the same column of the same table, where the record stands in one."""

    def others(call: VerbCall) -> Iterator[VerbCall]:
        if call.verb in ("find", "match") and isinstance(call.arguments[1], TextLiteral):
            for text in _beside(call.arguments[1].value, tables):
                yield replace(call, arguments=(call.arguments[0], TextLiteral(text)))

    return _each_call(script, others)


def _beside(value: str, tables: Tables) -> list[str]:
    found: dict[str, None] = {}
    for rows in tables.values():
        for row in rows.values():
            for column in (name for name, own in row.items() if own == value):
                texts = (other.get(column) for other in rows.values())
                found |= dict.fromkeys(t for t in texts if isinstance(t, str) and t)
    return [one for one in found if one != value]


def _other_fields(script: Script, document: AppDocument) -> Iterator[Script]:
    """Another field of the same page that takes the same."""

    def others(call: VerbCall) -> Iterator[VerbCall]:
        field = _element(call, document)
        if field is not None and VERBS[call.verb].fills:
            for other in _like(field, document):
                yield replace(call, arguments=(ElementUse(other.name), *call.arguments[1:]))

    return _each_call(script, others)


def _like(element: Element, document: AppDocument) -> list[Element]:
    """The next ones of its page that are of its kind, below it first."""
    own = document.elements_of(element.state)
    place = own.index(element)
    return [
        one
        for one in (*own[place + 1 :], *own[:place])
        if (one.value_type, one.many, one.role) == (element.value_type, element.many, element.role)
        and one.label != element.label
    ]


def _other_values(script: Script, document: AppDocument, values: Sequence[str]) -> Iterator[Script]:
    """Another value of the task, a part of it, a digit less, the other option, on for off."""

    def others(call: VerbCall) -> Iterator[VerbCall]:
        field = _element(call, document)
        if field is None or not VERBS[call.verb].fills:
            return
        for literal in _wrong(call.arguments[1], field, values):
            yield replace(call, arguments=(call.arguments[0], literal))

    return _each_call(script, others)


def _wrong(term: Expression, field: Element, values: Sequence[str]) -> Iterator[Expression]:
    match term:
        case TruthLiteral(value):
            yield TruthLiteral(not value)
        case WholeLiteral(value):
            yield WholeLiteral(value * 10)
            yield WholeLiteral(value + 1)
        case DecimalLiteral(value):
            yield DecimalLiteral(value + Decimal(1))
        case TextLiteral(value) if field.options:
            yield from (TextLiteral(one) for one in field.options if one != value)
        case TextLiteral(value):
            yield from (TextLiteral(one) for one in values if one != value)
            yield TextLiteral(value[:-1] or "x")
            yield TextLiteral(f"{value} 2")


def _missing_steps(script: Script) -> Iterator[Script]:
    for place in range(len(script.body)):
        yield replace(script, body=script.body[:place] + script.body[place + 1 :])


def _other_reads(script: Script, document: AppDocument) -> Iterator[Script]:
    """Another part of the page is read, or another list counted."""

    def others(call: VerbCall) -> Iterator[VerbCall]:
        if call.verb not in ("get_text", "get_attributes", "len"):
            return
        for name in (one.name for one in _uses(call.arguments[0])):
            for other in _like(document.by_name[name], document):
                yield _renamed(call, name, other.name)

    return _each_call(script, others)


def _element(call: VerbCall, document: AppDocument) -> Element | None:
    match call.arguments:
        case (ElementUse(name), *_):
            return document.by_name[name]
    return None


def _uses(node: object) -> Iterator[ElementUse]:
    yield from (one for one in parts_of(node) if isinstance(one, ElementUse))


def _renamed(node: Any, name: str, other: str) -> Any:
    return _rebuilt(node, lambda one: ElementUse(other) if one == ElementUse(name) else one)


def _each_call(
    script: Script, others: Callable[[VerbCall], Iterator[VerbCall]]
) -> Iterator[Script]:
    """The script with one of its calls replaced, each in each way."""
    for call in (one for one in parts_of(script.body) if isinstance(one, VerbCall)):
        for other in others(call):
            yield replace(script, body=_rebuilt(script.body, _swap(call, other)))


def _swap(old: object, new: object) -> Callable[[Any], Any]:
    return lambda one: new if one is old else one


def _rebuilt(node: Any, change: Callable[[Any], Any]) -> Any:
    """A tree anew, each node changed, the outer ones first."""
    node = change(node)
    if isinstance(node, tuple):
        return tuple(_rebuilt(one, change) for one in node)
    if is_dataclass(node) and not isinstance(node, type):
        new = {one.name: _rebuilt(getattr(node, one.name), change) for one in fields(node)}
        return replace(node, **new)
    return node


def written(kept: Path, folder: Path) -> None:
    """Write agent_mutants.json of all cells."""
    cells = [
        one | {"app": path.stem}
        for path in sorted(kept.glob("*.json"))
        for one in json.loads(path.read_text()).values()
    ]
    rows = []
    for kind in sorted({one["kind"] for one in cells}):
        own = [one for one in cells if one["kind"] == kind]
        counts = {name: sum(one["outcome"] == name for one in own) for name in _OUTCOMES}
        rows.append({"kind": kind, "mutants": len(own)} | counts)
    wrong = [one for one in cells if one["outcome"] != "harmless"]
    figures = {
        "mutants": float(len(wrong)),
        "mutants_stopped": sum(one["outcome"] == "stopped" for one in wrong) / len(wrong),
        "mutants_said_done": sum(one["outcome"] == "said done" for one in wrong) / len(wrong),
    }
    write_result(
        NAME,
        protocol=str(__doc__).rpartition("\n\n")[2].replace("\n", " ").strip(),
        data=content_hash({path.name: path.read_text() for path in sorted(TASKS.glob("*.toml"))}),
        seeds=[],
        rows=rows,
        figures=figures,
        folder=folder,
    )


_OUTCOMES = ("harmless", "stopped", "written", "said done")


if __name__ == "__main__":
    main()
