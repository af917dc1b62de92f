"""One poisoned request beside eight good ones of the same batch: the good ones end unchanged."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from adwright.cli import app
from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, Prompt, TokenPrompt
from adwright.lm.engine.hf_tokens import check_bounds
from adwright.lm.engine.scripted import ScriptedConfig
from adwright.lm.open_model import open_model
from adwright.lm.serving.config import ServingConfig
from adwright.lm.torch_engine.config import TorchConfig
from adwright.service.lm.app import create_lm_app
from adwright.service.lm.config import LmServiceConfig
from tests.broken.cases import (
    CSV_HEAD,
    Call,
    Case,
    Make,
    Shop,
    artifact,
    check,
    contents,
    flip,
    forge,
    log,
    named,
    raw,
    run_file,
    scored,
)
from tests.support.lm.adapter_engine import models_of
from tests.support.service.small_shop import Client, running


def adapter(here: Path, _: Shop) -> Call:
    """An artifact of a kind that is neither served nor asked."""
    save_artifact(here / "adapter", kind="adapter", config={})
    return lambda: load_artifact(here / "adapter", kind="ranker")


CLI: list[tuple[str, Make, tuple[str, ...], tuple[str, ...]]] = [
    (
        "unknown key",
        run_file("[fit]\nepoch = 1\n"),
        ("train", "run.toml", "--out", "out"),
        ("unknown key", "run.toml, key fit.epoch", "remove it"),
    ),
    (
        "wrong type",
        run_file('seed = "3"\n'),
        ("train", "run.toml", "--out", "out"),
        ("valid integer", "run.toml, key seed", "correct the value"),
    ),
    (
        "no task",
        run_file("base = false\n"),
        ("train", "run.toml", "--task", "nowhere", "--out", "out"),
        ("no readable task", "nowhere/task.json", "adwright data import"),
    ),
    (
        "policy of an agent",
        raw("shop.policy.toml", '[reach]\norigins = ["http://h"]\n[confirm]\nasks = []\n'),
        ("agent", "policy", "shop.policy.toml"),
        ("unknown key", "shop.policy.toml, key confirm.asks", "did you mean ask?"),
    ),
    (
        "document of an agent",
        raw("shop.txt", 'app "shop"\nstat offers\n'),
        ("agent", "do", "Count the offers", "--document", "shop.txt"),
        ("begins no line here", "shop.txt", "did you mean state?"),
    ),
    (
        "run of an agent",
        raw("run.json", "[]"),
        ("agent", "report", "."),
        ("changed after it ended", "run.json", "do not rely on it"),
    ),
    (
        "bad row",
        log(kind=["click", "glance", "click"]),
        ("data", "import", "log.parquet", "out"),
        ("kind is not one", "log.parquet, row 1, column kind, value 'glance'", "use one of"),
    ),
    (
        "text named .parquet",
        raw("log.parquet", CSV_HEAD),
        ("data", "describe", "log.parquet"),
        ("not a Parquet file", "log.parquet", "rename it"),
    ),
    (
        "output below a file",
        log(),
        ("data", "import", "log.parquet", "log.parquet/out"),
        ("not a folder", "log.parquet/out", "choose another path"),
    ),
    (
        "scored without a column",
        scored(lambda rows: rows.drop("price")),
        ("score", "{ranker}", "rows.parquet", "--events", "events.parquet", "--out", "s.parquet"),
        ("trained on: price", "rows.parquet, column price", "add them"),
    ),
    (
        "flipped byte",
        artifact(lambda f: flip(f / "tensors.safetensors")),
        ("evaluate", "ranker", "--task", "{task}", "--out", "report.json"),
        ("SHA-256 differs", "ranker/tensors.safetensors", "copy or make"),
    ),
    (
        "pickle",
        artifact(lambda f: forge(f, "tensors.safetensors", pickle.dumps({"a": 1}))),
        ("explain", "ranker", "i0", "--user", "u0", "--events", "none.parquet"),
        ("is a pickle", "ranker", "store arrays as tensors"),
    ),
    (
        "published adapter",
        adapter,
        ("publish", "adapter", "--tenant", "shop"),
        ("'adapter' cannot be served", "adapter", "publish one of kind"),
    ),
    (
        "published damage",
        artifact(lambda f: flip(f / "tensors.safetensors")),
        ("publish", "ranker", "--tenant", "shop"),
        ("SHA-256 differs", "ranker/tensors.safetensors", "copy or make"),
    ),
    (
        "published folder of nothing",
        adapter,
        ("publish", "nowhere", "--tenant", "shop"),
        ("no model here", "nowhere", "manifest.json"),
    ),
    (
        "asked adapter",
        adapter,
        ("recommend", "adapter", "--out", "recs.parquet"),
        ("recommends nothing", "adapter", "those of kind"),
    ),
    (
        "model without a log",
        artifact(lambda f: None),
        ("recommend", "ranker", "--out", "recs.parquet"),
        ("no log is known", "ranker", "--events"),
    ),
    (
        "log without the model's kinds",
        log(kind=["impression", "impression", "impression"]),
        ("recommend", "{ranker}", "--events", "log.parquet", "--out", "recs.parquet"),
        ("no event is history", "log.parquet, column kind", "of these kinds"),
    ),
    (
        "store with a typo",
        adapter,
        ("store", "show", "--store", "sqlite:///sub/typo.db"),
        ("no such store", "typo.db", "check --store"),
    ),
    (
        "keys of a store with a typo",
        adapter,
        ("key", "shop", "--list", "--store", "sqlite:///typo.db"),
        ("no such store", "typo.db", "check --store"),
    ),
    (
        "retrained on nothing new",
        log(),
        ("retrain", "{ranker}", "--log", "log.parquet", "--served", "log.parquet", "--out", "new"),
        ("wrote nothing", "column event_id", "compacted into"),
    ),
]


@pytest.mark.parametrize(
    ("make", "command", "parts"), [c[1:] for c in CLI], ids=[c[0] for c in CLI]
)
def test_command_line(
    make: Make,
    command: tuple[str, ...],
    parts: tuple[str, str, str],
    tmp_path: Path,
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 2, and three lines: what, where, and what to do."""
    make(tmp_path, shop)
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    places = {"ranker": shop.folder / "ranker", "task": shop.folder / "task"}
    result = CliRunner().invoke(app, [word.format(**places) for word in command])
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    for start, part in zip(("Error: ", "  where: ", "  to do: "), parts, strict=True):
        line = next(line for line in result.output.splitlines() if line.startswith(start))
        assert part in line
    assert contents(tmp_path) == before


pytest.importorskip("transformers", reason="the extra lm is not installed")
pytest.importorskip("llguidance", reason="the extra lm is not installed")
pytest.importorskip("fastapi", reason="the extra service is not installed")


USER = {"role": "user", "content": "name three teas"}
HALF = "\ud800"
JSON = {"content-type": "application/json"}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def schema(told: Mapping[str, Any]) -> dict[str, Any]:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": told}}
    return {"response_format": form}


def shaped(**form: Any) -> dict[str, Any]:
    return {"structured_outputs": form}


def template(**settings: Any) -> dict[str, Any]:
    return {"chat_template_kwargs": settings}


def tool(**function: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", **function}}]}


#: What is said in a completion, in a chat, in an embedding; or whole bodies, with their headers.
COMPLETIONS: dict[str, dict[str, Any]] = {
    "a token outside the vocabulary": {"prompt": [5, 400]},
    "a huge token": {"prompt": [2**31 - 1]},
    "a negative token": {"prompt": [-1]},
    "a token that is no number": {"prompt": ["5", 6]},
    "a bad token in the second prompt": {"prompt": [[5], [400]]},
    "a bad token in a stream": {"prompt": [400], "stream": True},
    "a bad token in an echo": {"prompt": [5, 400], "max_tokens": 0, "echo": True, "logprobs": 1},
    "an echo with others in its place": {"prompt": [5, 6], "echo": True, "logprobs": 3},
    "an echo without room": {"prompt": [5] * 300, "max_tokens": 0, "echo": True, "logprobs": 1},
    "no answer and no echo": {"prompt": "a", "max_tokens": 0},
    "half a character": {"prompt": f"tea {HALF}"},
    "half a character, streamed": {"prompt": HALF, "stream": True},
    "a prompt without room": {"prompt": [5] * 300},
    "no prompt": {"prompt": []},
    "a bias on a token that there is not": {"prompt": "a", "logit_bias": {"400": 1}},
    "a bias that is no number": {"prompt": "a", "logit_bias": {"5": "much"}},
    "an end that there is not": {"prompt": "a", "stop_token_ids": [400]},
    "a least length above the most": {"prompt": "a", "max_tokens": 2, "min_tokens": 3},
    "a temperature that is not finite": {"prompt": "a", "temperature": 1e99},
    "a top_p next to nothing": {"prompt": "a", "top_p": 1e-12},
    "a thousand answers": {"prompt": "a", "n": 1000},
    "too many tokens": {"prompt": "a", "max_tokens": 10**9},
    "a regular expression that is none": {"prompt": "a", **shaped(regex="(a")},
    "a regular expression without end": {"prompt": "a", **shaped(regex="a" * 9000)},
    "half a character in a regular expression": {"prompt": "a", **shaped(regex=HALF)},
    "half a character in a choice": {"prompt": "a", **shaped(choice=[HALF])},
    "a grammar without its root": {"prompt": "a", **shaped(grammar="a ::= b")},
    "a grammar without end": {"prompt": "a", **shaped(grammar="root ::= " + "(" * 5000)},
    "a model that there is not": {"prompt": "a", "model": "../../etc/passwd"},
}
CHATS: dict[str, dict[str, Any]] = {
    "half a character in a turn": {"messages": [{"role": "user", "content": HALF}]},
    "turns that the template refuses": {"messages": [USER, {"role": "system", "content": "a"}]},
    "a role that there is not": {"messages": [{"role": "tea", "content": "a"}]},
    "a picture": {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    "a result of no call": {"messages": [{"role": "tool", "content": "a"}]},
    "a field that there is not": {"messages": [USER], "surprise": 1},
    "a schema of no type": {"messages": [USER], **schema({"type": "nothing"})},
    "a schema that is too deep": {"messages": [USER], **schema(nested(90))},
    "a schema from elsewhere": {"messages": [USER], **schema({"$ref": "http://a.example/b"})},
    "a schema of 50,000 words": {
        "messages": [USER],
        **schema({"enum": [str(n) for n in range(50_000)]}),
    },
    "a tool of no type": {"messages": [USER], **tool(parameters={"type": "nothing"})},
    "a tool that is too deep": {"messages": [USER], **tool(parameters=nested(90))},
    "a tool with half a character": {"messages": [USER], **tool(description=HALF)},
    "a template's own messages": {"messages": [USER], **template(messages="a")},
    "a template's loop without end": {"messages": [USER], **template(range=10**30)},
    "a template of one's own": {"messages": [USER], "chat_template": "{{ 7 }}"},
    "a choice of no tool": {"messages": [USER], **tool(), "tool_choice": "tea"},
    "tools and no room for them": {"messages": [USER], **tool(description="tea " * 200)},
}
EMBEDDINGS: dict[str, dict[str, Any]] = {
    "a bad token to embed": {"input": [[5], [400]]},
    "half a character to embed": {"input": HALF},
    "more dimensions than there are": {"input": "a", "dimensions": 10_000},
}
BODIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "a form": (b"model=base&prompt=a", {"content-type": "application/x-www-form-urlencoded"}),
    "no JSON": (b"{", JSON),
    "brackets": (b"[" * 100_000, JSON),
    "a long body": (b'{"prompt":"' + b"a" * 3_000_000 + b'"}', JSON),
}

LOAD = b'{"lora_name": "evil", "lora_path": "../../etc"}'
ENDLESS = b"""{"model": "base", "input": "a", "tool_choice": "none", "tools":
    [{"type": "function", "name": "f", "parameters": {"maximum": 1e999}}]}"""

POISON = [
    *(
        (what, "completions", json.dumps({"model": "base", **body}).encode(), JSON)
        for what, body in COMPLETIONS.items()
    ),
    *(
        (what, "chat/completions", json.dumps({"model": "base", **body}).encode(), JSON)
        for what, body in CHATS.items()
    ),
    *(
        (what, "embeddings", json.dumps({"model": "base", **body}).encode(), JSON)
        for what, body in EMBEDDINGS.items()
    ),
    *((what, "completions", *body) for what, body in BODIES.items()),
    ("a load of what is elsewhere", "load_lora_adapter", LOAD, JSON),
    ("a tool of 1e999", "responses", ENDLESS, JSON),
]
#: Two of them streams, one a chat, two drawn, one bound by a schema.
GOOD: list[tuple[str, dict[str, Any]]] = [
    ("completions", {"prompt": "the best"}),
    ("completions", {"prompt": "buy two packs", "logprobs": 2}),
    ("completions", {"prompt": "fresh", "stream": True}),
    ("completions", {"prompt": "a warm coat", "temperature": 1.0, "seed": 5}),
    ("completions", {"prompt": "a light", "temperature": 0.7, "seed": 9, "n": 2}),
    ("completions", {"prompt": "user", "presence_penalty": 0.5}),
    ("chat/completions", {"messages": [USER], "stream": True}),
    ("chat/completions", {"messages": [USER], **schema({"enum": ["tea", "coffee"]})}),
]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    models = models_of({}, config=ServingConfig(drive="thread"))
    app = create_lm_app(
        LmServiceConfig(allowed_hosts=("test",)), {"base": models["base"]}, clock=FixedClock()
    )
    with running(app) as client:
        yield client
    models.close()


@pytest.fixture(scope="module")
def alone(client: Client) -> list[Any]:
    """What the good ones answer, one after the other."""
    return [told(start(client, path, body).result(30)) for path, body in GOOD]


def start(client: Client, path: str, body: dict[str, Any]) -> Any:
    fields = {"model": "base", "max_tokens": 8, "temperature": 0, **body}
    return client.start("POST", f"/v1/{path}", json=fields)


def told(answer: Any) -> Any:
    """The answer but for its name, the last digits of its log-probabilities, and how many tokens
    were read before."""
    assert answer.status_code == 200, answer.text
    if not answer.headers["content-type"].startswith("text/event-stream"):
        choices = answer.json()["choices"]
        for one in choices:
            one["logprobs"] = one["logprobs"] and list(map(list, one["logprobs"]["top_logprobs"]))
        usage = answer.json()["usage"]
        return choices, usage["prompt_tokens"], usage["completion_tokens"]
    *events, last = (one.removeprefix("data: ") for one in answer.text.split("\n\n") if one)
    assert last == "[DONE]"
    choices = [json.loads(one)["choices"][0] for one in events]
    return "".join(
        one.get("text", "") or one.get("delta", {}).get("content", "") for one in choices
    )


def test_there_are_forty_kinds() -> None:
    assert len({what for what, *_ in POISON}) >= 40


@pytest.mark.parametrize(
    ("path", "body", "headers"), [one[1:] for one in POISON], ids=[one[0] for one in POISON]
)
def test_the_good_ones_end_unchanged(
    client: Client, alone: list[Any], path: str, body: bytes, headers: dict[str, str]
) -> None:
    before = [start(client, path, body) for path, body in GOOD[:4]]
    poisoned = client.start("POST", f"/v1/{path}", content=body, headers=headers)
    after = [start(client, path, body) for path, body in GOOD[4:]]
    answer = poisoned.result(30)
    assert [told(one.result(30)) for one in (*before, *after)] == alone
    assert answer.status_code in (400, 404, 413, 415), answer.text
    error = answer.json()["error"]
    assert error["type"] in ("invalid_request_error", "not_found_error")
    assert len(error["message"]) > 10


#: Each way to ask a model about a prompt, which is the second of two where there are several.
ASKED: dict[str, Callable[[LanguageModel, Prompt], object]] = {
    "generate": lambda model, prompt: model.generate(["fine", prompt]),
    "stream": lambda model, prompt: list(model.stream(prompt)),
    "score": lambda model, prompt: model.score(["fine", prompt], ["a", "b"]),
    "continue": lambda model, prompt: model.score(["fine"], [prompt]),  # type: ignore[list-item]
}


@pytest.fixture(scope="module", params=["scripted", "torch"])
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LanguageModel, int]]:
    """A model, and the number of tokens that it knows."""
    if request.param == "scripted":
        with closing(open_model(ScriptedConfig())) as opened:
            yield opened, 257
    else:
        pytest.importorskip("transformers", reason="the extra lm is not installed")
        from tests.support.lm.tiny_llama import VOCABULARY, save_tiny

        folder = save_tiny(tmp_path_factory.mktemp("tiny") / "model")
        with closing(open_model(TorchConfig(str(folder), threads=1))) as opened:
            yield opened, VOCABULARY


@pytest.mark.parametrize("ask", ASKED)
def test_tokens_outside_the_vocabulary(
    ask: str, model: tuple[LanguageModel, int], tmp_path: Path, shop: Shop
) -> None:
    opened, size = model
    # The last token is one; those behind it, far away and below zero are none.
    ASKED[ask](opened, TokenPrompt((size - 1, 5)))
    for wrong in (size, 10**9, -1):
        parts = ("no such token", f"value {wrong}", f"its tokens are 0 to {size - 1}")
        case = Case(
            f"{ask} {wrong}",
            lambda *_, wrong=wrong: lambda: ASKED[ask](opened, TokenPrompt((5, wrong))),  # type: ignore[misc]
            ValueInvalidError,
            parts,
        )
        check(case, tmp_path, shop)


def scripted(ask: Callable[[LanguageModel], object]) -> Make:
    """Ask a scripted model."""
    return lambda *_: lambda: ask(open_model(ScriptedConfig()))


PROMPTS = [
    Case(
        "one string for a list",
        scripted(lambda model: model.generate("buy tea")),
        ConfigError,
        ("prompts is one string", "pass a list with the string in it"),
    ),
    Case(
        "half a character",
        scripted(lambda model: model.generate(["fine", "a\ud800"])),
        ValueInvalidError,
        ("row 1", "half a character", "leave out the surrogate at character 1"),
    ),
    Case(
        "an empty grammar",
        lambda *_: lambda: GenerationConfig(grammar=" "),
        ConfigError,
        ("grammar must have a rule: root ::= ...",),
    ),
    Case(
        "too many objects in a schema",
        lambda *_: lambda: check_bounds(GenerationConfig(json_schema={"anyOf": [{}] * 600})),
        ConfigError,
        ("501 objects, at most 500 are taken", "make it smaller"),
    ),
    Case(
        "no continuation",
        scripted(lambda model: model.score(["a", "b"], ["c"])),
        ValueInvalidError,
        ("2 prompts cannot be paired with 1 continuations", "one continuation for each prompt"),
    ),
    Case(
        "empty continuation",
        scripted(lambda model: model.score(["a", "b"], ["c", ""])),
        ValueInvalidError,
        ("row 1", "the continuation is empty", "give it a text"),
    ),
    Case(
        "no reply",
        lambda *_: lambda: ScriptedConfig(()),
        ConfigError,
        ("at least one string", "replies"),
    ),
]


@pytest.mark.parametrize("case", PROMPTS, ids=named)
def test_prompts(case: Case, tmp_path: Path, shop: Shop) -> None:
    check(case, tmp_path, shop)


@pytest.mark.parametrize("prompt", [[5, 257], [5, 10**9], [-1]])
def test_over_http_only_the_request_is_refused(prompt: list[int]) -> None:
    pytest.importorskip("fastapi", reason="the extra service is not installed")
    from adwright.lm.engine.scripted import ScriptedModel
    from tests.support.service.scripted_models import app_of
    from tests.support.service.small_shop import running

    with running(app_of(ScriptedModel(ScriptedConfig(("tea",))))) as client:
        body = {"model": "m", "prompt": prompt}
        refused = client.post("/v1/completions", json=body)
        assert refused.status_code == 400, refused.text
        assert set(refused.json()) == {"error"}
        good = client.post("/v1/completions", json={**body, "prompt": [5, 256]})
        assert good.status_code == 200, good.text
