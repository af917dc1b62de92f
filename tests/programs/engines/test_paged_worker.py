"""The server of the process, stepped by the test."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.programs.engines.paged_worker import PagedServer, serve
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.adapter_engine import BLOCK, models_of, saved_parts

RULES = list(range(20, 60))
OUTSIDE = ServingConfig(drive="outside", prompt_tokens=64)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return saved_parts(tmp_path_factory.mktemp("parts"), {"lora": LoRA(rank=3)})


class Talk:
    """Requests to a server, and what it said to each."""

    def __init__(self, models: AdapterModels) -> None:
        self.models, self.said = models, list[dict[str, Any]]()
        self.server = PagedServer(models, self._say)
        self.idents = iter(range(1, 1000))

    def _say(self, *whats: dict[str, Any]) -> None:
        self.said += whats

    def ask(self, do: str, **what: Any) -> int:
        ident = next(self.idents)
        self.server.hand({"id": ident, "do": do, **what})
        return ident

    def of(self, ident: int) -> list[dict[str, Any]]:
        return [one for one in self.said if one.get("id") == ident]

    def run(self, *idents: int) -> list[dict[str, Any]]:
        """Step until these are over; what was said last of each."""
        for _ in range(300):
            ends = [
                one for ident in idents for one in self.of(ident) if "over" in one or "error" in one
            ]
            if len(ends) == len(idents):
                return ends
            self.server.step()
        raise AssertionError("they do not end")

    def write(self, prompt: list[int], most: int = 6, **what: Any) -> int:
        return self.ask("generate", prompt=prompt, settings={"max_tokens": most}, **what)

    def text(self, ident: int) -> str:
        return "".join(one.get("text", "") for one in self.of(ident))


@pytest.fixture
def talk(folders: dict[str, Path]) -> Iterator[Talk]:
    with closing(models_of(folders, config=OUTSIDE)) as models:
        yield Talk(models)


def test_several_answers_at_once_are_those_of_each_alone(talk: Talk) -> None:
    prompts = [[*RULES, at, at + 1] for at in range(60, 64)]
    found = [talk.write(one) for one in prompts]
    found.append(talk.write(prompts[0], adapter="lora"))
    talk.run(*found)
    config = GenerationConfig(max_tokens=6)
    for name, ident, prompt in zip(
        ["base"] * 4 + ["lora"], found, [*prompts, prompts[0]], strict=True
    ):
        plain = talk.models.batched(name).row(prompt, config)
        plain.shares = False
        talk.models.submit([plain])
        while not plain.over:
            talk.models.step()
        assert talk.text(ident) == plain.answer.completion().text
    # One reads the beginning, the others wait for it.
    cached = [one["cached"] for ident in found for one in talk.of(ident) if "cached" in one]
    assert cached == [0, 40, 40, 40, 0]
    assert [talk.of(ident)[-1]["reason"] for ident in found] == ["length"] * 5


def test_salts_share_nothing(talk: Talk) -> None:
    talk.run(talk.ask("fill", prompt=RULES, salt="one"))
    for salt in ("one", "two", ""):
        for last in (7, 8):
            talk.run(talk.write([*RULES, last], salt=salt))
    cached = [one["cached"] for one in talk.said if "cached" in one]
    assert cached == [0, 40, 40, 0, 40, 0, 40]


def test_what_is_filled_is_held_until_it_is_freed(folders: dict[str, Path]) -> None:
    with closing(models_of({}, pages=41, config=OUTSIDE)) as models:
        talk = Talk(models)
        talk.run(talk.ask("fill", prompt=RULES))
        # Forty pages; ten are held. Others come and go.
        for at in range(6):
            talk.run(talk.write([100 + at] * 60, 4))
        assert talk.run(talk.ask("stats"))[0]["kv_tokens"] == 40
        assert talk.run(talk.ask("fill", prompt=RULES))[0]["cached"] == 39
        assert talk.run(talk.ask("free", prompt=RULES, salt="other"))[0]["freed"] == 0
        assert talk.run(talk.ask("free", prompt=RULES))[0]["freed"] == 1
        assert talk.run(talk.ask("free", prompt=RULES))[0]["freed"] == 0
        assert talk.run(talk.ask("stats"))[0]["kv_tokens"] == 0
        for at in range(4):
            talk.run(talk.write([200 + at] * 60, 4))
        assert talk.run(talk.ask("fill", prompt=RULES))[0]["cached"] == 0


def test_what_is_held_gives_way_where_nothing_else_can() -> None:
    with closing(models_of({}, pages=41, config=OUTSIDE)) as models:
        talk = Talk(models)
        for at in range(4):
            talk.run(talk.ask("fill", prompt=[20 + at] * 40))
        assert talk.run(talk.write([300] * 150, 4))[0]["reason"] == "length"


def test_cancelled_ones_free_what_they_have_at_the_next_step(talk: Talk) -> None:
    long = talk.write(RULES, 100)
    waits = talk.ask("fill", prompt=[5] * 150)
    for _ in range(4):
        talk.server.step()
    assert talk.models.pool().keys >= 10
    for ident in (long, waits):
        talk.server.hand({"do": "cancel", "job": ident})
    stats = talk.ask("stats")
    talk.server.step()
    assert talk.models.pool().keys == 0
    assert (talk.of(stats)[0]["running"], talk.of(stats)[0]["waiting"]) == (0, 0)
    assert (talk.of(long)[-1]["reason"], talk.of(long)[-1]["over"]) == ("cancelled", True)
    assert talk.of(waits)[-1]["over"]
    talk.server.hand({"do": "cancel", "job": long})  # it is over


def test_scores_with_and_without_what_others_have_read(talk: Talk) -> None:
    prompt = "the best tea in the world is a cup of tea with a friend"
    for adapter in (None, "lora"):
        told = {"prompt": prompt, "continuation": " and bread", "adapter": adapter}
        talk.run(talk.ask("fill", prompt=prompt, adapter=adapter))
        both = [talk.run(talk.ask("score", **told, shared=one))[0] for one in (True, False)]
        one, other = (each["logprobs"] for each in both)
        np.testing.assert_allclose(one, other, atol=1e-4)
        wanted = talk.models[adapter or "base"]
        assert len(one) == len(wanted.tokens.encode(" and bread"))
    assert "error" in talk.run(talk.ask("score", **told | {"continuation": ""}))[0]


def test_a_schema_binds_the_answer(talk: Talk) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    settings = {"max_tokens": 60, "json_schema": schema | {"additionalProperties": False}}
    ident = talk.ask("generate", prompt=RULES, settings=settings)
    ended = threading.Event()
    while not talk.of(ident) or "over" not in talk.of(ident)[-1]:
        talk.server.step() or ended.wait(0.01)
    assert isinstance(json.loads(talk.text(ident))["a"], bool)


def test_what_is_wrong_ends_its_request_alone(talk: Talk) -> None:
    good = talk.write(RULES)
    bad = [
        talk.write([5] * 300),
        talk.write([5000]),
        talk.write(RULES, adapter="unknown"),
        talk.ask("generate", prompt=RULES, settings={"max_tokens": 0}),
        talk.ask("nonsense"),
        talk.ask("restore", file="/no/such/file"),
    ]
    ends = talk.run(good, *bad)
    kinds = [one.get("error", {}).get("kind") for one in ends]
    assert kinds == [None, "value", "value", "config", "config", "config", "config"]


def test_what_it_says_of_itself(talk: Talk) -> None:
    told = talk.run(talk.ask("describe"))[0]
    assert told["adapters"] == ["lora"]
    assert told["kv_bytes_per_token"] * BLOCK * (told["kv_tokens"] // BLOCK + 1) == (
        talk.models.pool().bytes
    )
    assert (told["block_size"], told["context_length"]) == (BLOCK, 256)


def test_a_prefix_outlives_the_process_in_a_file(folders: dict[str, Path], tmp_path: Path) -> None:
    file = str(tmp_path / "rules")
    prompt = [*RULES, 61]
    texts = []
    for adapter in (None, "lora"):
        with closing(models_of(folders, config=OUTSIDE)) as models:
            talk = Talk(models)
            asked = {"prompt": RULES, "adapter": adapter, "salt": "s", "file": file}
            assert talk.run(talk.ask("snapshot", **asked))[0]["tokens"] == 0
            talk.run(talk.ask("fill", prompt=RULES, adapter=adapter, salt="s"))
            assert talk.run(talk.ask("snapshot", **asked))[0]["tokens"] == 40
            ident = talk.write(prompt, adapter=adapter, salt="s")
            talk.run(ident)
            texts.append(talk.text(ident))
        with closing(models_of(folders, config=OUTSIDE)) as models:
            talk = Talk(models)
            assert talk.run(talk.ask("restore", file=file))[0]["tokens"] == 40
            score = {"prompt": RULES, "continuation": "tea", "adapter": adapter, "salt": "s"}
            scores = [talk.run(talk.ask("score", **score, shared=one))[0] for one in (True, False)]
            np.testing.assert_allclose(scores[0]["logprobs"], scores[1]["logprobs"], atol=1e-4)
            ident = talk.write(prompt, adapter=adapter, salt="s")
            talk.run(ident)
            assert talk.of(ident)[0]["cached"] == 40
            texts.append(talk.text(ident))
            other = talk.write(prompt, adapter=adapter)
            talk.run(other)
            assert talk.of(other)[0]["cached"] == 0
        assert texts[-1] == texts[-2]


def test_over_a_socket() -> None:
    here, there = socket.socketpair()
    with closing(models_of({}, config=OUTSIDE)) as models:
        thread = threading.Thread(target=serve, args=(there, models))
        thread.start()
        with here, here.makefile("rb") as lines:
            here.sendall(b'{"ping": 3}\n')
            assert json.loads(lines.readline()) == {"pong": 3}
            told = {"id": 1, "do": "generate", "prompt": RULES, "settings": {"max_tokens": 3}}
            here.sendall(json.dumps(told).encode() + b"\n")
            while "over" not in (found := json.loads(lines.readline())):
                pass
            assert found["reason"] == "length"
            here.shutdown(socket.SHUT_RDWR)
            thread.join(20)
        assert not thread.is_alive()
        there.close()
