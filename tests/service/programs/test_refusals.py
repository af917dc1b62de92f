"""Graphs with a mistake in them: each is answered 400 with the path of its field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from adwright.core.errors import ConfigError, ProgramError
from adwright.programs.graph import ProgramLimits
from adwright.programs.program import Program
from adwright.service.programs.book import Refused, path_of, refusing
from adwright.web.errors import ApiError
from tests.support.service.program_apps import ScriptedRouter, program_app
from tests.support.service.small_shop import Client, running

WRITER = {"name": "writer", "template": "An ad for {{product}}: {{ad:output}}"}
EDITOR = {"name": "editor", "template": "Better: {{ad}} {{final:output}}"}
JOIN = {"name": "all", "function": {"kind": "join"}, "inputs": ["ad"], "outputs": ["whole"]}
JSON = {"Content-Type": "application/json"}
GOOD: dict[str, Any] = {"values": {"product": "tea"}, "calls": [WRITER, EDITOR]}
LIMITS = ProgramLimits(
    calls=4,
    nodes=6,
    fan_out=3,
    depth=4,
    template_characters=300,
    text_characters=200,
    all_characters=250,
    context_tokens=4000,
    total_tokens=9000,
)


def calls(**changes: Any) -> dict[str, Any]:
    """The good program with a writer that is changed."""
    return {**GOOD, "calls": [{**WRITER, **changes}, EDITOR]}


def fan(count: int, variable: str = "product") -> dict[str, Any]:
    made = [
        {"name": f"c{n}", "template": f"{{{{{variable}}}}}{{{{o{n}:output}}}}"}
        for n in range(count)
    ]
    return {"values": {"product": "tea"}, "calls": made}


def chain(count: int) -> dict[str, Any]:
    outputs = "".join(f" {{{{o{n}:output}}}}" for n in range(count))
    return {"calls": [{"name": "long", "template": f"begin{outputs}"}]}


MISTAKES: list[tuple[dict[str, Any], str | None, str]] = [
    (calls(template="An ad for {{product}"), "calls.0.template", "is no placeholder"),
    (calls(template="An ad"), "calls.0.template", "no output"),
    (calls(template="{{ad:output}}"), "calls.0", "nothing stands before"),
    (calls(template="a {{ad:output}} {{ad:output}}"), "calls.0.template", "stands twice"),
    (calls(template="x" * 400), "calls.0.template", "at most 300"),
    (calls(name="my writer"), "calls.0", "cannot be the name"),
    (calls(name="editor"), "calls.0", "two have the name"),
    (calls(bindings={"produkt": "a"}), "calls.0", "did you mean product"),
    (calls(settings={"add": {}}), "calls.0", "did you mean ad"),
    (calls(settings={"ad": {"max_tokens": 5000}}), "calls.0.settings.ad", "at most 4,000"),
    (calls(settings={"ad": {"json_schema": {"type": "txt"}}}), "calls.0.settings.ad", "schema"),
    (calls(settings={"ad": {"json_schema": {"$ref": "http://x"}}}), "calls.0.settings.ad", "$ref"),
    (calls(settings={"ad": {"min_p": 7}}), "calls.0.settings.ad", "min_p must be"),
    (calls(model="gpt"), "calls.0.model", "no model of this name"),
    (calls(bindings={"product": "nothing"}), "calls.0", "nobody sets nothing"),
    ({**GOOD, "calls": [EDITOR]}, "calls.0", "nobody sets ad"),
    (calls(bindings={"product": "final"}), "calls.0", "wait for each other"),
    (calls(bindings={"ad": "product"}), "values.product", "set twice"),
    ({**GOOD, "awaited": ["product"]}, "values.product", "set twice"),
    ({**GOOD, "awaited": ["a", "ad"]}, "awaited.1", "set twice"),
    ({**GOOD, "values": {"product": "x" * 201}}, "values.product", "at most 200"),
    ({**GOOD, "values": {"product": "tea", "a b": "c"}}, None, "cannot be the name"),
    ({**GOOD, "outputs": [{"variable": "finale"}]}, "outputs.0.variable", "did you mean final"),
    ({**GOOD, "steps": [{**JOIN, "inputs": []}]}, "steps.0", "at least one input"),
    ({**GOOD, "steps": [{**JOIN, "outputs": ["a", "b"]}]}, "steps.0", "gives one output"),
    ({**GOOD, "steps": [{**JOIN, "outputs": ["ad"]}]}, "steps.0.outputs", "set twice"),
    ({**GOOD, "steps": [{**JOIN, "function": {"kind": "join", "separator": 3}}]}, None, "string"),
    (fan(5), None, "5 calls, at most 4"),
    (fan(4), "values.product", "4 readers, at most 3"),
    (chain(7), None, "7 chains and steps"),
    (chain(5), "calls.0.template", "one behind another"),
    ({"outputs": [], "calls": []}, None, "there is nothing in it"),
    ({"calls": "writer"}, "calls", "valid tuple"),
    ({**GOOD, "values": {"product": "\ud83d"}}, None, "not JSON"),
]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with running(program_app(ScriptedRouter(), limits=LIMITS)) as client:
        yield client


@pytest.mark.parametrize(("body", "path", "words"), MISTAKES, ids=[one[2] for one in MISTAKES])
def test_a_mistake_is_named_with_its_place(
    client: Client, body: dict[str, Any], path: str | None, words: str
) -> None:
    answer = client.post("/v1/programs", content=json.dumps(body), headers=JSON)
    told = answer.json()["error"]
    assert (answer.status_code, told["type"]) == (400, "invalid_request_error"), told
    assert words in told["message"]
    if path is not None:
        assert told["param"] == path
        assert path in told["message"]
    assert client.post("/v1/programs", json=GOOD).status_code == 201


def test_what_a_place_is_called() -> None:
    assert path_of("program", Program()) is None
    assert path_of("call elsewhere, template", Program()) is None
    assert path_of("variable unknown", Program()) is None
    assert path_of("outputs.3", Program()) == "outputs.3.variable"


def test_a_place_that_is_not_in_the_body_stands_in_the_message() -> None:
    with pytest.raises(Refused) as told, refusing(Program()):
        raise ConfigError("it is set twice", where="variable ad", hint="rename it")
    assert (told.value.message, told.value.hint) == ("variable ad: it is set twice", "rename it")
    with pytest.raises(ApiError) as closed, refusing(Program()):
        raise ProgramError("the session is closed")
    assert closed.value.status == 409
