"""The application as a whole: what is made up is answered as documented, and tenants are apart."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator
from typing import Any

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

from tests.support.service.program_apps import TEAM, ScriptedRouter, program_app
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


class _Cached:
    """An engine with a prefix cache: what it has read for the same salt costs it nothing, and
    anything else takes a while."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.held = seconds, set[tuple[str, str]]()

    async def read(self, salt: str, prompt: str) -> None:
        if (salt, prompt) not in self.held:
            await asyncio.sleep(self.seconds)
            self.held.add((salt, prompt))


class CachedRouter(ScriptedRouter):
    """Runs all programs on one engine with a cache, whose salt is the tenant."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.engine = _Cached(seconds)

    async def read(self, tenant: str, prompt: str) -> None:
        await self.engine.read(tenant, prompt)


def asked_in(client: Client, prompt: str, tenant: str) -> float:
    """Seconds until a chat of a tenant is answered."""
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
    headers = {"Authorization": f"Bearer key-{tenant}"}
    began = time.perf_counter()
    answer = client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200
    return time.perf_counter() - began


def auc(low: list[float], high: list[float]) -> float:
    """How well the one is told from the other: 0.5 is chance."""
    pairs = [(one > other) + (one == other) / 2 for one in high for other in low]
    return sum(pairs) / len(pairs)


def test_a_tenant_cannot_time_the_prompts_of_another() -> None:
    """The reader asks for prompts that the other tenant has asked for, and for others, in an order
    that is drawn; his own he can tell, which shows that the measurement would see a difference."""
    rng = random.Random(7)
    keys = {"writer": "key-writer", "reader": "key-reader"}
    with running(program_app(CachedRouter(0.01), keys=keys)) as client:
        secret = [f"secret {n}" for n in range(40)]
        for prompt in secret:
            asked_in(client, prompt, "writer")
        guesses = [(one, True) for one in secret] + [(f"guess {n}", False) for n in range(40)]
        rng.shuffle(guesses)
        took: dict[bool, list[float]] = {True: [], False: []}
        for prompt, is_held in guesses:
            took[is_held].append(asked_in(client, prompt, "reader"))
        own = [asked_in(client, prompt, "reader") for prompt in secret]
    # With 40 of each the chance that it is further from a half than 0.18 is below 1 in 100.
    assert abs(auc(took[True], took[False]) - 0.5) < 0.18
    assert auc(own, took[False]) > 0.95
