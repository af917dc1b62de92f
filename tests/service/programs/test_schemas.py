from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from adwright.core.config import from_jsonable, to_jsonable
from adwright.programs.program import Program
from adwright.service.programs.routes import ProgramIn, ProgramPartIn, TextIn

CALL = {"name": "writer", "template": "An ad: {{ad:output}}"}


def test_the_same_json_as_in_a_file() -> None:
    settings = {"max_tokens": 9, "stop": ["\n"], "json_schema": {"type": "object"}}
    told: dict[str, Any] = {
        "values": {"product": "tea"},
        "awaited": ["word"],
        "calls": [{**CALL, "bindings": {"ad": "first"}, "settings": {"ad": settings}}],
        "steps": [
            {
                "name": "cut",
                "function": {"kind": "trim", "characters": 9},
                "inputs": ["first"],
                "outputs": ["short"],
            }
        ],
        "outputs": [
            {"variable": "short", "objective": {"kind": "deadline", "seconds": 2.0}},
            {"variable": "first"},
        ],
    }
    program = ProgramPartIn.model_validate(told).program()
    assert program == from_jsonable(Program, told)
    assert ProgramPartIn.model_validate(to_jsonable(program)).program() == program


@pytest.mark.parametrize(
    ("part", "path", "words"),
    [
        ({"calls": [{"name": "a"}]}, ("calls", 0, "template"), "Field required"),
        ({"calls": [{**CALL, "tempalte": "b"}]}, ("calls", 0, "tempalte"), "not permitted"),
        (
            {"calls": [CALL, {**CALL, "settings": {"ad": {"max_token": 3}}}]},
            ("calls", 1, "settings", "ad"),
            "did you mean max_tokens?",
        ),
        (
            {"calls": [{**CALL, "settings": {"ad": {"temperature": -1}}}]},
            ("calls", 0, "settings", "ad"),
            "temperature must be 0",
        ),
        (
            {"calls": [{**CALL, "settings": {"ad": {"logprobs": True}}}]},
            ("calls", 0, "settings", "ad"),
            "nobody would be told",
        ),
        (
            {
                "steps": [
                    {"name": "a", "function": {"kind": "eval"}, "inputs": ["a"], "outputs": ["b"]}
                ]
            },
            ("steps", 0, "function"),
            "'eval'",
        ),
        (
            {"outputs": [{"variable": "a", "objective": {"kind": "deadline"}}]},
            ("outputs", 0, "objective"),
            "needs seconds",
        ),
        ({}, (), "there is nothing in it"),
        ({"calls": None}, (), "there is nothing in it"),
    ],
)
def test_a_mistake_has_the_path_of_its_field(
    part: dict[str, Any], path: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(ValidationError) as told:
        ProgramIn.model_validate(part)
    (error,) = told.value.errors()
    assert error["loc"] == path
    assert words in error["msg"]


def test_a_variable_is_set_or_fails() -> None:
    assert TextIn(text="").text == ""
    for wrong in ({}, {"text": "a", "failure": "b"}, {"failure": ""}):
        with pytest.raises(ValidationError):
            TextIn.model_validate(wrong)
