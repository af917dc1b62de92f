"""What the OpenAPI of the service allows, and what breaks it, made up by schemathesis."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.attacks.attack import Area, Attack
from tests.attacks.service.running import ATTACKER, Running, running

EXAMPLES = 40
#: Whether what breaks the schema is refused is not among them: the keys that are made up are
#: replaced by one that is known, or every case would end at the key.
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
OPERATIONS = [
    ("POST", "/v1/decide"),
    ("POST", "/v1/events"),
    ("GET", "/v1/items/{item_id}/similar"),
    ("GET", "/v1/campaigns"),
    ("POST", "/v1/campaigns"),
    ("GET", "/v1/models"),
    ("GET", "/v1/stops"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
]


def generated(method: str, path: str, mode: GenerationMode, service: Running) -> dict[str, float]:
    """Cases of one operation; each answer is as documented."""
    base = f"http://127.0.0.1:{service.port}"
    tried = 0
    with httpx.Client(base_url=base, timeout=20) as client:
        schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())

        @seed(1)
        @settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=schema[path][method].as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            nonlocal tried
            tried += 1
            answer = send(client, base, case, service.keys[ATTACKER])
            case.validate_response(answer, checks=CHECKS)

        try:
            check()
        except BaseExceptionGroup as group:
            # Its failures are no Exception, and would end the process.
            raise AssertionError("; ".join(map(str, group.exceptions))) from None
    return {"cases": tried}


def send(client: httpx.Client, base: str, case: Any, key: str) -> httpx.Response:
    """The answer to one case, with the key in its header."""
    call: Mapping[str, Any] = case.as_transport_kwargs(base_url=base)
    headers = {k: v for k, v in call["headers"].items() if k.lower() != "x-api-key"}
    content = call.get("data")
    if "json" in call:
        # As it is, halves of surrogate pairs included.
        headers["Content-Type"] = "application/json"
        content = json.dumps(call["json"])
    headers["X-API-Key"] = key
    return client.request(
        call["method"], call["url"], params=call.get("params"), headers=headers, content=content
    )


def methods(path: str, service: Running) -> None:
    """A method that a path lacks is answered 405 with all that it has."""
    base = f"http://127.0.0.1:{service.port}"
    headers = {"X-API-Key": service.keys[ATTACKER]}
    real = path.replace("{item_id}", "item-1")
    with httpx.Client(base_url=base, timeout=20, headers=headers) as client:
        for method in ("DELETE", "PATCH", "OPTIONS"):
            answer = client.request(method, real)
            assert answer.status_code == 405, answer
            allowed = {each.strip() for each in answer.headers["allow"].split(",")} - {"HEAD"}
            assert allowed == {m for m, p in OPERATIONS if p == path}, answer.headers


def attacks() -> list[Attack]:
    """Cases that fit the schema and cases that do not, of each operation."""
    made = [
        Attack(
            f"{mode.value} cases of {method} {path}",
            partial(generated, method, path, mode),
            seconds=120,
        )
        for method, path in OPERATIONS
        for mode in GenerationMode
        if path.startswith("/v1/") or mode is GenerationMode.POSITIVE
    ]
    paths = dict.fromkeys(path for _, path in OPERATIONS)
    return made + [Attack(f"other methods at {path}", partial(methods, path)) for path in paths]


AREAS = [Area("service: its OpenAPI", attacks(), shared=running, memory=0)]
