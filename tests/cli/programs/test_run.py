"""adwright programs run."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from adwright.cli.programs.run import EngineChoice, values_of
from adwright.core.errors import AssetError, ConfigError
from adwright.web.server import on_loopback
from tests.support.service.program_apps import TEAM, ScriptedRouter, program_app
from tests.support.service.program_server import run

TWO: dict[str, Any] = {**TEAM, "outputs": [{"variable": "ad"}, {"variable": "final"}]}


def written(tmp_path: Path, program: dict[str, Any]) -> str:
    file = tmp_path / "program.json"
    file.write_text(json.dumps(program))
    return str(file)


def test_a_dry_run_says_what_it_is(tmp_path: Path) -> None:
    told = run("run", "creative-team", "--dry-run")
    assert "editor.draft" in told.stdout
    assert "9 calls. Nothing was run." in told.stderr
    waits = written(tmp_path, {**TEAM, "values": {}, "awaited": ["product"]})
    assert "--value product=TEXT" in run("run", waits, "--dry-run", code=2).output
    run("run", waits, "--dry-run", "--value", "product=tea")
    idle = written(tmp_path, {**TEAM, "outputs": []})
    assert "nothing is asked for" in run("run", idle, "--dry-run", code=2).output


def test_in_a_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADWRIGHT_LM_KEY", "key")
    router = ScriptedRouter()
    file = written(tmp_path, TWO)
    with on_loopback(program_app(router, key="key")) as url:
        told = run("run", file, "--url", url, "--value", "product=cups")
        # Each result is shown as it comes.
        assert "== ad\n[An ad for cups: ]\n" in told.stdout
        assert "== final\n[[An ad for cups: ] " in told.stdout
        assert "4 calls" in told.stderr
        router.broken.append("legal")
        told = run("run", file, "--url", url, code=2)
        assert "== ad\n" in told.stdout
        assert "legal is broken" in told.stderr
        assert "from legal.legal_view" in told.stderr
        monkeypatch.setenv("ADWRIGHT_LM_KEY", "other")
        assert "the key is missing" in run("run", file, "--url", url, code=2).output
    # Nothing of it is left there.
    assert router.closed == len(router.tenants) == 2


def test_on_an_engine_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from tests.support.lm.tiny_llama import save_tiny

    tiny = str(save_tiny(tmp_path / "tiny"))
    calls = [
        {"name": "a", "template": "the best {{x:output}}", "settings": {"x": {"max_tokens": 4}}},
        {"name": "b", "template": "{{x}} tea {{y:output}}", "settings": {"y": {"max_tokens": 4}}},
    ]
    file = written(tmp_path, {"calls": calls, "outputs": [{"variable": "y"}]})
    first = run("run", file, "--model", tiny, "--threads", "1")
    assert "2 calls" in first.stderr
    assert first.stdout
    assert run("run", file, "--model", tiny, "--threads", "1").stdout == first.stdout


def test_the_verbs_explain_themselves() -> None:
    told = run("--help").output
    assert all(verb in told for verb in ("serve", "run", "explain", "creative-team"))
    for verb, words in (
        ("serve", ("/v1/programs/ID/trace", "--key-file", "--engines")),
        ("run", ("--value", "--url", "--dry-run")),
        ("explain", ("--svg", "--html", "group")),
    ):
        told = run(verb, "--help").output
        assert all(word in told for word in words)


def test_engines_and_their_tokeniser(tiny: str) -> None:
    choice = EngineChoice("paged", tiny, name="tiny", engines=3)
    assert (choice.called, EngineChoice("paged", tiny).called) == ("tiny", tiny)
    room, text = choice.room()
    assert room.ready() == {"e0": False, "e1": False, "e2": False}
    assert text.count("tea") > 0
    with pytest.raises(ConfigError, match="OpenVINO does not read"):
        EngineChoice("openvino", tiny).room()
    with pytest.raises(AssetError):
        EngineChoice("paged", str(Path(tiny) / "none")).room()


def test_servers_elsewhere(tiny: str) -> None:
    urls = ("http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1")
    room, text = EngineChoice("paged", "llama", urls=urls, dialect="vllm").room()
    assert len(room.ready()) == 2
    assert (text.chat, text.count("a" * 8)) == (None, 2)
    _, text = EngineChoice("paged", "llama", urls=urls, tokenizer=tiny).room()
    assert text.chat is not None
    one = EngineChoice("paged", f"{urls[0]}#llama")
    assert (one.called, one.urls) == ("llama", urls[:1])


def test_a_cache_without_salts_is_one_tenants() -> None:
    urls = ("http://127.0.0.1:1/v1",)

    async def opened(*tenants: str) -> bool:
        room, _ = EngineChoice("paged", "llama", urls=urls, tenants=tenants).room()
        async with room:
            assert room.dispatcher is not None
            (engine,) = room.dispatcher.carrier.scheduler.engines.values()
            return engine.capabilities.prefix_cache

    assert asyncio.run(opened("shop"))
    assert not asyncio.run(opened("shop", "other"))


def test_the_table_and_the_pictures(tmp_path: Path) -> None:
    svg, html = tmp_path / "team.svg", tmp_path / "team.html"
    told = run("explain", "creative-team", "--engines", "2", "--svg", str(svg), "--html", str(html))
    (copywriter,) = (line for line in told.output.splitlines() if line.startswith("copywriter"))
    assert copywriter.split() == [
        "copywriter.brief",
        "product",
        "brief",
        "latency",
        "4",
        "220",
        "132",
        "e0",
    ]
    assert "e1" in told.output
    assert "editor.draft" in "".join(ElementTree.parse(svg).getroot().itertext())
    assert "<h1>creative-team</h1>" in html.read_text("utf-8")
    assert "exists already" in run("explain", "creative-team", "--svg", str(svg), code=2).output
    run("explain", "creative-team", "--svg", str(svg), "--force")


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    file = tmp_path / "program.json"
    file.write_text('{"calls": [{"name": "a", "template": "{{b}} {{c:output}}"}]}')
    told = run("explain", str(file), code=2).output
    assert "nobody sets b" in told
    assert "call a, variable b" in told
    assert "a.c" in run("explain", str(file), "--value", "b=tea").output
    assert "check the path" in run("explain", str(tmp_path / "none"), code=2).output


def test_values(tmp_path: Path) -> None:
    (tmp_path / "brief").write_text("a=b")
    assert values_of(["a=b=c", "d=", f"e=@{tmp_path / 'brief'}"]) == {
        "a": "b=c",
        "d": "",
        "e": "a=b",
    }
    for wrong in ("a", "=b", "a=@/none"):
        with pytest.raises(ConfigError):
            values_of([wrong])
