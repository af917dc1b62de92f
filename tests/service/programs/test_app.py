"""The application as a whole: what is made up is answered as documented, and tenants are apart."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from adwright.core.errors import ResourceError
from adwright.programs.dispatch.terms import DispatchTerms
from adwright.service.programs.engine_room import EngineRoom
from tests.support.programs.scripted_engine import SALTED
from tests.support.programs.virtual_loop import run_virtually
from tests.support.service.program_apps import (
    TEAM,
    OpenedEngine,
    ScriptedRouter,
    program_app,
    room_app,
)
from tests.support.service.small_shop import Client, running

EXAMPLES = 8
PROMISES = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
PROGRAM = "/v1/programs/{program_id}"
OPERATIONS = [
    ("POST", "/v1/programs"),
    ("GET", PROGRAM),
    ("DELETE", PROGRAM),
    ("POST", f"{PROGRAM}/calls"),
    ("GET", f"{PROGRAM}/trace"),
    ("GET", f"{PROGRAM}/variables/{{name}}"),
    ("GET", f"{PROGRAM}/variables/{{name}}/stream"),
    ("PUT", f"{PROGRAM}/variables/{{name}}"),
    ("DELETE", f"{PROGRAM}/variables/{{name}}"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/responses"),
    ("GET", "/v1/models"),
]
#: Of what takes no query and no body, any text is a path.
CASES = [
    (method, path, mode)
    for method, path in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE
    or method in ("POST", "PUT")
    or (method == "GET" and "{name}" in path)
]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    app = program_app(ScriptedRouter(), wait_seconds=0.05, max_seconds=0.05)
    with running(app) as client:
        yield client


def test_every_operation_is_tried(client: Client) -> None:
    paths = client.app.openapi()["paths"]
    found = {(method.upper(), path) for path, each in paths.items() for method in each}
    assert found - {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")} == {*OPERATIONS}


@pytest.mark.parametrize(("method", "path", "mode"), CASES, ids=str)
def test_whatever_is_sent_gets_an_answer_that_is_documented(
    client: Client, method: str, path: str, mode: GenerationMode
) -> None:
    program = client.post("/v1/programs", json={**TEAM, "awaited": ["name"]}).json()["id"]
    operation = schemathesis.openapi.from_dict(client.app.openapi())[path][method]

    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), known=...)
    def check(case: Any, known: bool) -> None:
        if known and "program_id" in case.path_parameters:
            case.path_parameters["program_id"] = program
            if "name" in case.path_parameters:
                case.path_parameters["name"] = "ad"
        call = case.as_transport_kwargs(base_url="http://test")
        headers = dict(call["headers"])
        if "json" in call:
            # As it is, halves of surrogate pairs included; a client would refuse to encode them.
            headers["Content-Type"] = "application/json"
            call["data"] = json.dumps(call["json"])
        answer = client.send(
            call["method"],
            call["url"].removeprefix("http://test"),
            params=call.get("params"),
            headers=headers,
            content=call.get("data"),
        )
        case.validate_response(answer, checks=PROMISES)

    check()


def auc(low: list[float], high: list[float]) -> float:
    """How well the one is told from the other: 0.5 is chance."""
    pairs = [(one > other) + (one == other) / 2 for one in high for other in low]
    return sum(pairs) / len(pairs)


async def times_of_guesses(rng: random.Random) -> tuple[dict[bool, list[float]], list[float]]:
    """Seconds that one tenant waits for prompts that another has asked for (True), and for others;
    and for his own. On a loop whose clock is virtual no noise hides a difference."""
    # What the engine does not hold for the same salt costs it 10 ms for 1,000 characters.
    engines = {"e0": OpenedEngine(lambda *_: "x", pace=0.01)}
    app = room_app(EngineRoom(engines, len), keys={"writer": "key-writer", "reader": "key-reader"})
    took: dict[bool, list[float]] = {True: [], False: []}
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):

        async def asked(prompt: str, tenant: str) -> float:
            messages = [{"role": "user", "content": prompt * 300}]
            body = {"model": "model", "messages": messages, "max_tokens": 9}
            headers = {"Authorization": f"Bearer key-{tenant}"}
            began = asyncio.get_running_loop().time()
            answer = await client.post("/v1/chat/completions", json=body, headers=headers)
            assert answer.status_code == 200
            # Prompts of one tenant begin alike: a few characters are no hit.
            return round(asyncio.get_running_loop().time() - began, 3)

        secret = [f"secret {n:02}" for n in range(30)]
        for prompt in secret:
            await asked(prompt, "writer")
        guesses = [(one, True) for one in secret] + [(f"secret {n}", False) for n in range(50, 80)]
        rng.shuffle(guesses)
        for prompt, is_held in guesses:
            took[is_held].append(await asked(prompt, "reader"))
        own = [await asked(prompt, "reader") for prompt in secret]
    return took, own


def test_a_tenant_cannot_time_the_prompts_of_another() -> None:
    """He can tell his own, which shows that a difference would be seen."""
    took, own = run_virtually(times_of_guesses(random.Random(7)))
    assert abs(auc(took[True], took[False]) - 0.5) <= 0.05
    assert auc(own, took[False]) > 0.95


async def ends_of(weights: dict[str, float]) -> dict[str, list[float]]:
    """When each of the programs of two tenants ends that come at once, the first one's before."""
    can = replace(SALTED, max_batch=2)
    engines = {"e0": OpenedEngine(lambda *_: "x" * 50, pace=0.01, can=can)}
    room = EngineRoom(engines, len, terms=DispatchTerms(weights=weights, canary=None))
    app = room_app(room, keys={"first": "key-first", "second": "key-second"})
    ends: dict[str, list[float]] = {"first": [], "second": []}
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):

        async def asked(tenant: str, number: int) -> None:
            messages = [{"role": "user", "content": f"{number} {tenant} " * 20}]
            body = {"model": "model", "messages": messages, "max_tokens": 60}
            headers = {"Authorization": f"Bearer key-{tenant}"}
            answer = await client.post("/v1/chat/completions", json=body, headers=headers)
            assert answer.status_code == 200
            ends[tenant].append(asyncio.get_running_loop().time())

        await asyncio.gather(*(asked(tenant, n) for tenant in ends for n in range(20)))
    return ends


def test_tenants_share_engines_by_their_weights() -> None:
    equal = run_virtually(ends_of({}))
    assert median(equal["second"]) < 1.2 * median(equal["first"])
    favoured = run_virtually(ends_of({"second": 4.0}))
    assert median(favoured["second"]) < 0.7 * median(favoured["first"])


def test_programs_that_cannot_be_kept_stop_the_start_and_say_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    app = program_app(ScriptedRouter(), keep_folder=tmp_path / "file" / "kept")

    async def main() -> None:
        async with app.router.lifespan_context(app):
            pytest.fail("it starts")

    with pytest.raises(ResourceError) as told:
        asyncio.run(main())
    assert app.state.error is told.value


def test_kept_programs_are_there_when_it_starts_again(tmp_path: Path) -> None:
    async def main(*, asks: bool) -> dict[str, Any]:
        app = program_app(ScriptedRouter(), keep_folder=tmp_path / "kept")
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            if asks:
                body = {**TEAM, "wait": True}
                made: dict[str, Any] = (await client.post("/v1/programs", json=body)).json()
                return made
            (one,) = app.state.service.book.programs
            found: dict[str, Any] = (await client.get(f"/v1/programs/{one.program_id}")).json()
            return found

    first, again = asyncio.run(main(asks=True)), asyncio.run(main(asks=False))
    assert again["values"] == first["values"]
    assert (again["id"], again["state"]) == (first["id"], "done")
