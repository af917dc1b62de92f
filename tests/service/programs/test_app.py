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
from pydantic import ValidationError
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from adwright.core.clock import FixedClock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError, ProgramError, ResourceError
from adwright.programs.dispatch.terms import DispatchTerms
from adwright.programs.graph import ProgramLimits
from adwright.programs.persistence import ProgramLog
from adwright.programs.program import Program, SemanticCall, WantedOutput
from adwright.programs.runner import Session
from adwright.service.programs.app import create_programs_app
from adwright.service.programs.book import (
    OpenProgram,
    ProgramServiceConfig,
    Refused,
    path_of,
    refusing,
)
from adwright.service.programs.engine_room import EngineRoom
from adwright.service.programs.state import ProgramIn, ProgramPartIn, ProgramState, TextIn
from adwright.web.errors import ApiError
from adwright.web.gate import LOCAL_HOSTS
from tests.support.looped import in_a_loop
from tests.support.programs.scripted_engine import SALTED
from tests.support.programs.virtual_loop import run_virtually
from tests.support.service.program_apps import (
    TEAM,
    OpenedEngine,
    ScriptedRouter,
    program_app,
    room_app,
)
from tests.support.service.small_shop import Client, running, wait_until

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


def test_how_the_service_is() -> None:
    with running(program_app(ScriptedRouter())) as client:
        models = client.get("/v1/models").json()["data"]
        assert [one["id"] for one in models] == ["m", "other"]
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"ready": True, "engines": {"engine": True}}
        assert "adwright_requests_total" in client.get("/metrics").text


def test_it_is_ready_while_one_engine_is() -> None:
    alive = {"e0": False, "e1": True}
    config = ProgramServiceConfig(allowed_hosts=("test",))

    async def ready() -> dict[str, bool]:
        return alive

    app = create_programs_app(config, ScriptedRouter(), {}, ready=ready)
    with running(app) as client:
        assert client.get("/readyz").status_code == 200
        alive["e1"] = False
        told = client.get("/readyz")
        assert (told.status_code, told.json()) == (503, {"ready": False, "engines": alive})


def test_programs_and_chains_are_counted_without_a_name() -> None:
    router = ScriptedRouter(held="legal", broken="brand")
    with running(program_app(router, keys={"shop-1": "key"})) as client:
        client.headers = {"Authorization": "Bearer key"}
        program = client.post("/v1/programs", json=TEAM).json()["id"]
        wait_until(lambda: len(router.asked) == 3)
        wait_until(lambda: router.cancelled == ["legal"])
        told = client.get("/metrics").text
        for line in (
            'adwright_programs{state="failed"} 1.0',
            'adwright_programs{state="running"} 0.0',
            "adwright_program_parts_total 1.0",
            'adwright_program_chains{state="done"} 1.0',
            'adwright_program_chains{state="failed"} 2.0',
            "adwright_program_waiting 0.0",
        ):
            assert line in told
        assert 'adwright_programs_ended_total{why="' not in told
        client.send("DELETE", f"/v1/programs/{program}")
        told = client.get("/metrics").text
        assert 'adwright_programs_ended_total{why="deleted"} 1.0' in told
        assert "adwright_program_owed_tokens 0.0" in told
        assert not any(name in told for name in ("shop-1", "legal", program))


def test_models_are_found_by_name() -> None:
    state: ProgramState = program_app(ScriptedRouter(), clock=FixedClock()).state.service
    assert state.text("other").count("two words") == 2
    with pytest.raises(ApiError) as told:
        state.text("none")
    assert told.value.status == 404
    assert state.now() == 1704067200


def test_who_may_call() -> None:
    assert ProgramServiceConfig().gate().allowed_hosts == LOCAL_HOSTS
    assert ProgramServiceConfig(key="k").gate().allowed_hosts == ()
    assert ProgramServiceConfig(allowed_hosts=("a",)).gate().allowed_hosts == ("a",)
    shares = [ProgramServiceConfig(keys=keys).gate().tenant_share for keys in ({}, {"a": "k"})]
    assert shares == [1.0, 0.5]


OPEN_PROGRAM_PROGRAM = Program(
    calls=(
        SemanticCall("a", "{{given}} {{x:output}}"),
        SemanticCall("b", "{{other}} {{y:output}}"),
    ),
    awaited=("given", "other"),
    outputs=(WantedOutput("x"), WantedOutput("y")),
)


def opened(log: ProgramLog | None = None) -> OpenProgram:
    chains = ScriptedRouter().for_program("p", "t")
    session = Session(chains)
    session.submit(OPEN_PROGRAM_PROGRAM)
    return OpenProgram("p", "t", chains, session, "detach", 5, 0.0, 0.0, log)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("kept", [True, False])
@in_a_loop
async def test_what_is_said_of_variables_is_kept_once(tmp_path: Path, kept: bool) -> None:
    path = tmp_path / "p"

    log = ProgramLog(path) if kept else None
    one = opened(log)
    assert (one.state, one.outputs) == ("running", ("x", "y"))
    one.set("given", "tea")
    with pytest.raises(ProgramError):
        one.set("given", "coffee")
    with pytest.raises(ConfigError):
        one.set("x", "tea")
    one.fail("other", "nobody came")
    await settle()
    assert one.state == "failed"
    # What has its text stays as it is, so there is nothing to keep.
    one.cancel("x")
    if log is not None:
        log.close()

    told = path.read_text("utf-8") if kept else ""
    lines = ['{"set":["given","tea"]}', '{"fail":["other","nobody came"]}']
    assert told.splitlines() == (lines if kept else [])


@in_a_loop
async def test_a_cancelled_variable_is_kept(tmp_path: Path) -> None:
    log = ProgramLog(tmp_path / "p")
    one = opened(log)
    one.cancel("y")
    one.set("given", "tea")
    await settle()
    assert (one.session.variable("x").text, one.state) == ("[tea ]", "failed")
    log.close()

    assert '{"cancel":["y",""]}' in (tmp_path / "p").read_text("utf-8")


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
def refusals_client() -> Iterator[Client]:
    with running(program_app(ScriptedRouter(), limits=LIMITS)) as client:
        yield client


@pytest.mark.parametrize(("body", "path", "words"), MISTAKES, ids=[one[2] for one in MISTAKES])
def test_a_mistake_is_named_with_its_place(
    refusals_client: Client, body: dict[str, Any], path: str | None, words: str
) -> None:
    answer = refusals_client.post("/v1/programs", content=json.dumps(body), headers=JSON)
    told = answer.json()["error"]
    assert (answer.status_code, told["type"]) == (400, "invalid_request_error"), told
    assert words in told["message"]
    if path is not None:
        assert told["param"] == path
        assert path in told["message"]
    assert refusals_client.post("/v1/programs", json=GOOD).status_code == 201


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
