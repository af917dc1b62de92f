from __future__ import annotations

from pathlib import Path

import pytest

from adwright.authoring.writer.asking import open_writer
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.job import run_job
from adwright.core.errors import AssetError
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.open_model import LmSpec
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.chat_server import chatting
from tests.support.lm.adapter_engine import saved_parts
from tests.support.lm.tiny_llama import save_tiny
from tests.support.writing import Teller, opened, table_of


def test_a_server_is_asked_over_http() -> None:
    with open_writer(LmSpec("served", url="http://127.0.0.1:9/v1")) as there:
        assert (there.engine, there.name, there.adapter_hash) == ("http", "served", "")
        assert there.model.info.engine == "http"


def test_a_server_of_another_make_gives_the_same_report(tmp_path: Path) -> None:
    """Bounded requests at a time, one product in each, and the report of any other engine."""
    config, table = WriteConfig(("headline",), pause=0.0), table_of(tmp_path, count=12)
    here = run_job(table, tmp_path / "a", config, opened(Teller(lambda p, c: "Fresh tea")))
    with (
        chatting(lambda asked: "Fresh tea") as (url, server),
        open_writer(LmSpec("served", url=url, concurrency=3)) as there,
    ):
        report = run_job(table, tmp_path / "b", config, there)
    assert 1 < server.most <= 3
    assert {one["model"] for one in server.asked} == {"served"}
    assert all(str(one["messages"]).count("Title: Tea") == 1 for one in server.asked)
    assert report.as_json().keys() == here.as_json().keys()
    assert (report.written, report.engine) == (12, "http")
    assert (report.prompt_tokens, report.answer_tokens) == (13 * 40, 13 * 5)


def test_a_row_that_the_server_refuses_harms_no_other(tmp_path: Path) -> None:
    table = table_of(tmp_path, count=4)
    config = WriteConfig(("headline",), pause=0.0, attempts=1)
    with (
        chatting(lambda asked: "" if "Tea 2" in asked else "Fresh tea") as (url, _),
        open_writer(LmSpec("served", url=url, retries=0)) as there,
    ):
        report = run_job(table, tmp_path / "out", config, there)
    assert (report.written, report.failed) == (3, 1)


def test_a_folder_without_an_adapter_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(AssetError, match="no adapter in this folder"),
        open_writer(LmSpec(adapter=str(tmp_path))),
    ):
        pass


def test_a_model_here_is_paged_with_its_adapter(tmp_path: Path) -> None:
    base = str(save_tiny(tmp_path / "base"))
    adapter = saved_parts(tmp_path / "parts", {"shop": LoRA(rank=3)})["shop"]
    config, prompts = GenerationConfig(max_tokens=6), ["the best tea", "the best cup"]
    with open_writer(LmSpec(base)) as there:
        assert (there.engine, there.adapter_hash) == ("paged", "")
        plain = there.model.generate(prompts, config).texts
    with open_writer(LmSpec(base, adapter=str(adapter))) as there:
        assert there.engine == "paged"
        assert len(there.adapter_hash) == 64
        tuned = there.model.generate(prompts, config).texts
    with open_writer(LmSpec(base, engine="torch")) as there:
        assert there.engine == "torch"
        assert len(there.model.generate(prompts, config)) == 2
    assert tuned != plain
