"""Tests of how bodies are parsed."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, ConfigDict, Field

from adwright.core.clock import SystemClock
from adwright.web.bodies import BodyRoute
from adwright.web.errors import add_error_handlers
from adwright.web.gate import Gate, ServiceMetrics
from adwright.web.limits import GateLimits
from tests.support.service.small_shop import running

JSON = {"content-type": "application/json"}


class Entry(BaseModel):
    """One of many."""

    model_config = ConfigDict(extra="forbid")
    number: int


class Bulk(BaseModel):
    """A body with a list of models and other fields."""

    model_config = ConfigDict(extra="forbid")
    name: str = ""
    entries: Annotated[list[Entry], Field(max_length=1000)] = []
    free: Any = None


def app() -> FastAPI:
    made = FastAPI()
    router = APIRouter(route_class=BodyRoute)

    @router.post("/v1/bulk")
    async def bulk(body: Bulk) -> list[int]:
        return [len(body.name), *(entry.number for entry in body.entries)]

    @router.get("/v1/bulk")
    async def none() -> str:
        return "none"

    made.include_router(router)
    add_error_handlers(made)
    limits, metrics = GateLimits(max_body_bytes=4 << 20), ServiceMetrics()
    made.add_middleware(Gate, limits=limits, metrics=metrics, clock=SystemClock())
    return made


def post(*bodies: bytes | dict[str, Any], kind: str = "application/json") -> list[Any]:
    """Status and content of the answer to each."""
    with running(app()) as client:
        answers = [
            client.post(
                "/v1/bulk",
                content=body if isinstance(body, bytes) else json.dumps(body),
                headers={"content-type": kind},
            )
            for body in bodies
        ]
    return [(answer.status_code, answer.json()) for answer in answers]


def where(answer: Any) -> list[str]:
    return [detail["where"] for detail in answer[1]["error"]["details"]]


def test_a_body_becomes_a_model() -> None:
    found = post({"name": "abc"}, {"entries": [{"number": 7}]}, {})
    assert found == [(200, [3]), (200, [0, 7]), (200, [0])]
    (answer,) = post({"name": "a"}, kind="application/vnd.a+json; charset=utf-8")
    assert answer == (200, [1])


def test_long_lists_are_checked_piece_by_piece_with_the_same_outcome() -> None:
    entries = [{"number": n} for n in range(1000)]
    wrong = [*entries[:500], {"number": "x"}, {"number": 1, "more": 2}, *entries[502:]]
    right, broken, many = post(
        {"entries": entries}, {"entries": wrong}, {"entries": [*entries, {"number": 1}]}
    )
    assert right == (200, [0, *range(1000)])
    assert broken[0] == 422
    assert where(broken) == ["body.entries.500.number", "body.entries.501.more"]
    assert many[0] == 422
    assert where(many) == ["body.entries"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 900_000,
        b'{"name":' * 100_000,
        b"\xff\xfe{\x00}\x00",
        b'{"free":NaN}',
        b'{"name":"\\ud800"}',
        b'{"free":' + b"9" * 5_000 + b"}",
    ],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    ((status, said),) = post(body)
    assert (status, said["error"]["code"]) in ((400, "bad_request"), (422, "invalid"))


def test_a_body_of_too_many_parts_is_refused() -> None:
    lists = b'{"free":[' + b"[]," * 300_000 + b"1]}"
    fields = json.dumps({f"f{n}": n for n in range(70_000)}).encode()
    commas = json.dumps({"free": [1] * 70_000}).encode()
    for status, said in post(lists, fields, commas):
        assert status == 422
        assert "more than 10000 lists and objects" in said["error"]["message"]


def test_text_may_hold_any_brackets() -> None:
    text = '{[:"\\"' * 50_000
    assert post({"name": text}) == [(200, [len(text)])]
    # A string that does not end is no way around.
    assert post(b'{"name":"' + b"[:" * 70_000)[0][0] == 400


def test_of_many_errors_few_are_told() -> None:
    unknown, entry, deep = post(
        {f"f{n}": n for n in range(25_000)} | {"name": 1},
        {"entries": [{f"f{n}": n for n in range(5_000)}]},
        {"entries": [{"number": "x", "a": 1, "b": 2, "c": 3}] * 30},
    )
    assert unknown[0] == 422
    assert len(where(unknown)) == 20
    assert where(unknown)[0] == "body.name"
    assert deep[0] == 422
    assert deep[1]["error"]["details"][0]["message"] == "120 fields are wrong"
    assert len(where(entry)) == 20


def test_what_is_not_sent_as_json_is_not_parsed() -> None:
    for kind in ("text/plain", "", "application/x-www-form-urlencoded"):
        ((status, said),) = post({"name": "a"}, kind=kind)
        assert (status, said["error"]["code"]) == (415, "unsupported")
        assert "application/json" in said["error"]["hint"]


def test_a_route_without_a_body_is_as_it_was() -> None:
    with running(app()) as client:
        assert client.get("/v1/bulk").json() == "none"
        assert "Bulk" in client.get("/openapi.json").text


def test_large_bodies_of_a_tenant_take_turns() -> None:
    body = json.dumps({"entries": [{"number": n} for n in range(1000)], "name": "x" * 20_000})
    with running(app()) as client:
        sent = [client.start("POST", "/v1/bulk", content=body, headers=JSON) for _ in range(5)]
        assert {answer.result(30).status_code for answer in sent} == {200}


class Shelf(BaseModel):
    """A body that can hold 1 + 1 + 50 * (1 + 1) objects and lists."""

    model_config = ConfigDict(extra="forbid")

    class Item(BaseModel):
        """With an object of scalars."""

        model_config = ConfigDict(extra="forbid")
        number: int
        context: Annotated[dict[str, int | str], Field(max_length=10)] | None = None

    items: Annotated[list[Item], Field(max_length=50)]
    name: str = ""


def test_a_large_body_has_no_more_parts_than_its_model_can_take() -> None:
    made = FastAPI()
    router = APIRouter(route_class=BodyRoute)

    @router.post("/v1/shelf")
    async def shelf(body: Shelf) -> int:
        return len(body.items)

    made.include_router(router)
    add_error_handlers(made)
    limits, metrics = GateLimits(max_body_bytes=4 << 20), ServiceMetrics()
    made.add_middleware(Gate, limits=limits, metrics=metrics, clock=SystemClock())
    padding = "x" * (1 << 14)
    fits = {"items": [{"number": n, "context": {"a": n}} for n in range(50)], "name": padding}
    over = {"items": [{"number": n} for n in range(103)], "name": padding}
    long = {"items": [{"number": n} for n in range(51)]}
    with running(made) as client:
        answers = [client.post("/v1/shelf", json=body) for body in (fits, over, long)]
    assert [answer.status_code for answer in answers] == [200, 422, 422]
    assert answers[0].json() == 50
    assert "more than 102 lists and objects" in answers[1].text
    # A small body is told what is wrong with it.
    assert where((422, answers[2].json())) == ["body.items"]
