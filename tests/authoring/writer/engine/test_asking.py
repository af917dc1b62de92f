from __future__ import annotations

from pathlib import Path

import pytest

from adwright.authoring.writer.asking import AskedRow, Asker, SlotPrompt
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.drafts import make_plan
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, ResourceError
from tests.support.writing import Teller, table_of


def rows(folder: Path, count: int = 5, slot: str = "headline") -> list[AskedRow]:
    labels = ("Tea", "Cups and saucers") if slot == "category" else ()
    config = WriteConfig((slot,), labels=labels)
    prompt = SlotPrompt("Write a headline.", "Be calm.")
    found = []
    for row in make_plan(table_of(folder, count=count), config, {slot: "r"}).rows:
        request = row.request(labels)
        found.append(AskedRow(row, request, prompt.messages(request)))
    return found


def asker(model: Teller, slept: list[float] | None = None) -> Asker:
    waits: list[float] = [] if slept is None else slept
    return Asker(model, clock=FixedClock(), attempts=3, pause=1.0, sleep=waits.append)


def test_the_first_row_of_a_slot_warms_what_all_share(tmp_path: Path) -> None:
    model = Teller(lambda prompt, call: "Fresh\ntea")
    one = asker(model)
    asked = rows(tmp_path)
    found = one.ask(asked, temperature=0.5, seeds=(7, 9, 4, 2, 5))
    assert [count for count, _ in model.calls] == [1, 5]
    assert one.warming.completion_tokens == 1
    assert [answer.text for answer in found] == ["Fresh"] * 5
    assert [answer.seed for answer in found] == [7, 9, 4, 2, 5]
    assert [(config.seed_of(0), config.max_tokens) for _, config in model.calls] == [
        (0, 1),
        (7, 20),
    ]
    assert model.calls[1][1].temperature == 0.5
    one.ask(asked, temperature=0.0, seeds=())
    assert [count for count, _ in model.calls] == [1, 5, 5]
    assert one.ask([], temperature=0.0, seeds=()) == []
    # What is the same for all comes first, and each prompt has one product.
    shared = model.prompts[0].partition("Tea 0")[0]
    assert "Be calm." in shared
    assert all(prompt.startswith(shared) for prompt in model.prompts)


def test_a_row_that_fails_is_found_and_harms_no_other(tmp_path: Path) -> None:
    def tell(prompt: str, call: int) -> str:
        if "Tea 3" in prompt:
            raise ValueError("cannot")
        return "Fresh"

    found = asker(Teller(tell)).ask(rows(tmp_path), temperature=0, seeds=())
    assert [answer.text for answer in found] == ["Fresh"] * 3 + [None, "Fresh"]
    assert found[3].reason == "ValueError: cannot"


def test_an_engine_that_does_not_answer_is_asked_again_with_pauses(tmp_path: Path) -> None:
    def tell(prompt: str, call: int) -> str:
        if call in (2, 3):
            raise ResourceError("busy")
        return "Fresh"

    slept: list[float] = []
    found = asker(Teller(tell), slept).ask(rows(tmp_path), temperature=0, seeds=())
    assert [answer.text for answer in found] == ["Fresh"] * 5
    assert slept == [1.0, 2.0]


def test_an_engine_that_is_gone_ends_the_job(tmp_path: Path) -> None:
    def tell(prompt: str, call: int) -> str:
        raise ResourceError("no connection", where="http://x")

    model = Teller(tell)
    with pytest.raises(ResourceError, match=r"does not answer: no connection.*same command again"):
        asker(model).ask(rows(tmp_path), temperature=0, seeds=())
    assert len(model.calls) == 6  # one to warm, three attempts, two to see whether it speaks


def test_a_row_that_the_engine_cannot_take_is_told(tmp_path: Path) -> None:
    def tell(prompt: str, call: int) -> str:
        if "Tea 4" in prompt:
            raise ResourceError("too much memory")
        return "Fresh"

    found = asker(Teller(tell)).ask(rows(tmp_path), temperature=0, seeds=())
    assert [answer.text for answer in found] == ["Fresh"] * 4 + [None]
    assert "too much memory" in found[4].reason


def test_settings_that_are_refused_end_the_job_at_once(tmp_path: Path) -> None:
    def tell(prompt: str, call: int) -> str:
        raise ConfigError("there is no such model")

    with pytest.raises(ConfigError, match="no such model"):
        asker(Teller(tell)).ask(rows(tmp_path), temperature=0, seeds=())


def test_labels_are_constrained(tmp_path: Path) -> None:
    asked = rows(tmp_path, 2, "category")
    here, server = Teller(lambda p, c: "Tea"), Teller(lambda p, c: '"Tea"', engine="http")
    asker(here).ask(asked, temperature=0, seeds=())
    asker(server).ask(asked, temperature=0, seeds=())
    assert '"Cups and saucers"' in (here.calls[1][1].grammar or "")
    assert server.calls[1][1].json_schema == {"type": "string", "enum": ["Tea", "Cups and saucers"]}
    assert here.calls[1][1].stop == ()


def test_the_prompt_has_a_hash(tmp_path: Path) -> None:
    one, other = rows(tmp_path, 2)
    assert len(one.prompt_hash) == 24
    assert one.prompt_hash != other.prompt_hash
