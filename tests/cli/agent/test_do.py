"""adwright agent do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adwright.agent.document.elements import AppDocument
from adwright.agent.generate.ladder import FoundScript
from adwright.agent.generate.writing import WRITER_BEAM
from adwright.agent.language.script import read_script
from adwright.agent.language.statements import check_script
from adwright.agent.operate.policy_file import read_run
from adwright.agent.operate.tasks import find_scripts
from adwright.cli.agent.options import ModelChoice
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.lm.open_model import LmSpec
from tests.cli.agent.conftest import Shop
from tests.support.commands import call

TASK = 'Set the discount of "Spring" to 25'
DO = ("agent", "do", TASK, "--document", "shop.txt", "--no-model")


def test_a_task_is_done_after_a_yes_and_kept(shop: Shop) -> None:
    said = call(*DO, "--confirm-file", shop.allow("share"), "--folder", "run", "--keep", "discount")
    assert "script, by plan, 0 tokens read" in said
    assert "may write: commit by $offer_edit__save" in said
    assert "share: '10' -> '25'" in said
    assert "kept as discount: Set the discount of {item} to {share}" in said
    run = read_run(shop.folder / "run")
    assert (run.report.verdict, run.task.task, run.task.source) == ("verified", TASK, "plan")
    assert run.mark in said
    assert shop.app.offers[7].share == "25"
    assert (shop.folder / "shop.caps.json").exists()
    again = call(*DO, "--confirm-file", shop.allow("share"))
    assert "script, by macro discount" in again
    assert (shop.folder / "runs/agent").is_dir()


def test_another_script_takes_its_turn_where_one_found_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two(task: str, document: AppDocument, **more: object) -> Iterator[FoundScript]:
        # Among links that all say "Edit" there is no "Spring".
        other = read_script('tap(find($offers__edit, "Spring"))\ntap($offer_edit__save)\n')
        yield FoundScript(check_script(other, document), "plan")
        yield from find_scripts(task, document)

    monkeypatch.setattr("adwright.agent.operate.tasks.find_scripts", two)
    said = call(*DO, "--confirm-file", shop.allow("share"), "--folder", "run")
    assert "problem: no item of $offers__edit reads 'Spring'" in said
    assert "nothing was sent, and another script may fit:" in said
    assert "share: '10' -> '25'" in said
    assert read_run(shop.folder / "run").report.verdict == "stopped"
    assert read_run(shop.folder / "run-2").report.verdict == "verified"


def test_without_somebody_to_ask_the_answer_is_no(shop: Shop) -> None:
    said = call(*DO, code=1)
    assert "nobody can be asked here: commit: POST /offers/7/" in said
    assert 'changes = ["share"]' in said
    assert "stopped" in said
    assert shop.app.writes == []
    said = call(*DO, "--confirm-file", shop.allow("status"), code=1)
    assert "not allowed" in said
    assert shop.app.writes == []


def test_a_dry_run_sends_nothing(shop: Shop) -> None:
    said = call(*DO, "--dry-run", "--keep", "discount")
    assert "would send: commit: POST /offers/7/" in said
    assert shop.app.writes == []
    assert not (shop.folder / "shop.macros").exists()


def test_verdicts_are_exit_codes(shop: Shop) -> None:
    shop.app.lie = "silent"
    assert "contradicted" in call(*DO, "--confirm-file", shop.allow("share"), code=4)
    shop.app.lie = "status"
    said = call(*DO, "--confirm-file", shop.allow("share"), code=3)
    assert "answered with status 409" in said


def test_questions_are_answered(shop: Shop) -> None:
    said = call("agent", "do", "How many offers are there?", "--document", "shop.txt", "--no-model")
    assert "answer: 2" in said
    assert "may write: nothing" in said


def test_mistakes_are_told_before_anything_is_tapped(shop: Shop) -> None:
    usual = ("--document", "shop.txt", "--no-model")
    assert "no plan fits" in call("agent", "do", "Sing a song", *usual, code=2)
    said = call("agent", "do", "How many offers?", *usual, "--keep", "count", code=2)
    assert "no replay could be verified" in said
    assert "no such option" in call("agent", "do", TASK, *usual, "--yes", code=2).lower()
    assert "no model is asked" in call(*DO, "--engine-url", "http://h/v1", code=2)
    (shop.folder / "run").mkdir()
    (shop.folder / "run/trace.jsonl").touch()
    assert "a run already" in call(*DO, "--folder", "run", code=2)
    (shop.folder / "shop.policy.toml").unlink()
    assert "there is no policy" in call(*DO, code=2)
    assert "cannot be read" in call("agent", "do", TASK, "--document", "none.txt", code=2)
    assert shop.policies == []


def test_a_policy_for_another_app_is_refused(shop: Shop) -> None:
    other = shop.folder / "other.toml"
    other.write_text('[reach]\norigins = ["http://other.test"]\n', "utf-8")
    assert "does not list" in call(*DO, "--policy", other, code=2)


def test_a_phone_and_macros_elsewhere(shop: Shop) -> None:
    allowed = shop.allow("share")
    call(*DO, "--phone", "--macros", "kept", "--keep", "discount", "--confirm-file", allowed)
    assert (shop.folder / "kept/discount.json").is_file()
    assert getattr(shop.settings[-1], "screen", "") == "phone"


def test_elements_that_moved_are_healed_where_the_policy_says_so(shop: Shop) -> None:
    shop.app.labels["Offers"], shop.app.test_ids["home-offers"] = "OFFERS", "x"
    assert "stopped" in call(*DO, "--confirm-file", shop.allow("share"), code=3)
    policy = shop.folder / "shop.policy.toml"
    policy.write_text(policy.read_text("utf-8").replace("heal = false", "heal = true"), "utf-8")
    said = call(*DO, "--confirm-file", shop.allow("share"), "--folder", "run")
    assert "review this" in said
    assert "changed element home__offers: locators" in said
    assert (shop.folder / "run/document.txt").is_file()


def test_a_model_is_asked_where_nothing_else_fits(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[LmSpec] = []

    def opened(spec: LmSpec, *, auto: str) -> ScriptedModel:
        asked.append(spec)
        assert auto == "paged"
        return ScriptedModel(ScriptedConfig(("answer(len($offers__rows))\n",)))

    monkeypatch.setattr("adwright.lm.open_model.open_lm", opened)
    options = ("--model", "m", "--engine-url", "http://127.0.0.1:9/v1", "--threads", 2)
    said = call("agent", "do", "Ponder the shelves", "--document", "shop.txt", *options)
    assert "a model is asked\n" in said
    assert "script, by model" in said
    assert "answer: 2" in said
    call("agent", "do", "Ponder", "--document", "shop.txt", "--adapter", "tuned", "--offline")
    config, other = asked
    assert (other.adapter, other.offline, other.url) == ("tuned", True, "")
    assert (config.model, config.url, config.threads) == ("m", "http://127.0.0.1:9/v1", 2)
    assert ModelChoice(none=True).opener is None


def test_the_writer_of_scripts_is_asked_where_there_is_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[LmSpec] = []
    model = ScriptedModel(ScriptedConfig(("answer(len($offers__rows))\n",)))

    def opened(spec: LmSpec) -> ScriptedModel:
        asked.append(spec)
        return model

    monkeypatch.setattr("adwright.agent.generate.writing.open_lm", opened)
    place = "adwright.agent.generate.writing.WRITER_ADAPTER"
    ponder = ("agent", "do", "Ponder the shelves", "--document", "shop.txt")
    named = shop.folder / "named"
    assert "no adapter for writing scripts" in call(*ponder, "--writer", named, code=2)
    named.mkdir()
    said = call(*ponder, "--writer", named, "--model", "base", "--threads", 2, "--offline")
    assert "the tuned writer is asked" in said
    assert "script, by model" in said
    assert "answer: 2" in said
    (config,) = asked
    assert (config.adapter, config.model) == (str(named), "base")
    assert (config.threads, config.offline) == (2, True)
    monkeypatch.setattr(place, shop.folder / "shipped")
    monkeypatch.setattr("adwright.lm.open_model.open_lm", lambda spec, *, auto: model)
    assert "a model is asked, untuned, as no writer of scripts is there" in call(*ponder)
    (shop.folder / "shipped").mkdir()
    assert "the tuned writer is asked" in call(*ponder)
    assert asked[-1].adapter == str(shop.folder / "shipped")
    assert "a model is asked\n" in call(*ponder, "--model", "other")
    assert len(asked) == 2


def test_a_writer_is_asked_as_it_learned() -> None:
    assert ModelChoice(writer="w").beam == WRITER_BEAM
    assert ModelChoice(model="m").beam is None
