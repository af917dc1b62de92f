"""The group of `adwright agent`, and the whole way in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from adwright.agent.document.elements import AppDocument
from adwright.agent.document.text_format import read_document
from adwright.agent.drivers.chromium import ChromiumBrowser
from adwright.agent.generate.ladder import FoundScript
from adwright.agent.generate.writing import WRITER_BEAM
from adwright.agent.language.problems import ScriptProblem
from adwright.agent.language.script import read_script
from adwright.agent.language.statements import check_script
from adwright.agent.operate.policy_file import load_policy, read_run
from adwright.agent.operate.tasks import find_scripts
from adwright.agent.policy.confirmation import FieldChange, PendingChange
from adwright.agent.run.runner import RunReport
from adwright.cli.agent.running import (
    CONTRADICTED,
    REFUSED,
    STOPPED,
    AppFiles,
    ModelChoice,
    RunOptions,
    ask_person,
    confirmer,
    end_by_verdict,
    name_values,
    new_run_folder,
    show_script,
)
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.lm.open_model import LmSpec
from tests.cli.agent.conftest import Shop
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_server import shop_server
from tests.support.commands import call

TASK = 'Set the discount of "Spring" to 25'


def test_the_group_teaches() -> None:
    said = call("agent", "--help")
    for verb in ("explore", "do", "replay", "verify", "report", "policy"):
        assert verb in said


def test_the_whole_way(
    chromium: ChromiumBrowser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def open_browser(*_: object, **__: object) -> Iterator[ChromiumBrowser]:
        yield chromium

    monkeypatch.setattr("adwright.agent.operate.screens.open_browser", open_browser)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOP_USER", "ann")
    monkeypatch.setenv("SHOP_PASSWORD", "hunter22")
    app = ShopApp()
    with shop_server(app) as url:
        fields = ("user=SHOP_USER", "password=SHOP_PASSWORD")
        sign_in = ("--sign-in", f"{url}/sign-in/")
        sign_in += tuple(part for one in fields for part in ("--sign-in-field", one))
        said = call("agent", "explore", f"{url}/", "--document", "shop.txt", *sign_in)
        assert "0 unsafe" in said
        assert [path for path, _ in app.writes] == ["/sign-in/"]
        assert len(read_document("shop.txt").states) > 4
        app.writes.clear()
        do = ("agent", "do", TASK, "--document", "shop.txt", "--no-model", "--folder")
        assert "would send: commit: POST" in call(*do, "dry", "--dry-run")
        assert [path for path, _ in app.writes] == ["/sign-in/"]
        refused = call(*do, "unattended", code=1)
        assert "nobody can be asked here" in refused
        text = refused[refused.index("[[allow]]") :].partition("most = 1")[0] + "most = 1\n"
        Path("allow.toml").write_text(text, "utf-8")
        said = call(*do, "run", "--confirm-file", "allow.toml", "--keep", "discount")
        assert "verified" in said
        assert "share: '10' -> '25'" in said
        assert app.offers[7].share == "25"
        mark = said.partition("mark:")[2].split()[0]
        assert "unchanged since the run" in call("agent", "report", "run", "--mark", mark)
        page = Path("run/report.html").read_text("utf-8")
        assert page.count("<img") >= 4
        Path("allow.toml").write_text(text.replace('"25"', '"15"'), "utf-8")
        replay = ("agent", "replay", "discount", "item=Autumn", "discount=15", "--document")
        assert "0 tokens" in call(*replay, "shop.txt", "--confirm-file", "allow.toml")
        assert app.offers[8].share == "15"
        verify = ("agent", "verify", "discount", "--document", "shop.txt")
        assert "gone" not in call(*verify)
        app.labels["Save"], app.test_ids["offer_edit-save"] = "Discard", "other"
        assert "gone" in call(*verify, code=1)  # a word of another effect
        app.labels["Save"] = "Store"
        assert "moved" in call(*verify)
        said = call("agent", "explore", f"{url}/", "--document", "shop.txt")
        assert "version 2" in said
        kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        assert not any(b"hunter22" in one for one in kept)


CHANGE = PendingChange(
    "offer_edit__save",
    "commit",
    "POST",
    "http://shop.test:8000/offers/7/",
    (FieldChange("name", "Spring", "Spring"), FieldChange("share", "10", "25\u202e")),
    1,
    documented=True,
)


@pytest.mark.parametrize("yes", [True, False])
def test_a_person_sees_the_request_and_decides(
    yes: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, object]] = []

    def confirm(text: str, default: object = None) -> bool:
        asked.append((text, default))
        return yes

    monkeypatch.setattr(typer, "confirm", confirm)
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    assert ask_person(CHANGE) is yes
    assert confirmer(None, shop_document())(CHANGE) is yes
    assert asked == [("Send it?", False)] * 2
    said = capsys.readouterr().err
    assert "nothing is sent yet: commit: POST /offers/7/" in said
    assert "by $offer_edit__save" in said
    assert "share: '10' -> '25\\u202e'" in said
    assert "1 fields as they were" in said


def test_to_break_off_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    def confirm(text: str, default: object = None) -> bool:
        raise typer.Abort

    monkeypatch.setattr(typer, "confirm", confirm)
    assert ask_person(CHANGE) is False


def test_a_file_decides_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "allow.toml"
    path.write_text('[[allow]]\nrequest = "POST /offers/{}/"\nchanges = ["share"]\n', "utf-8")
    decide = confirmer(path, shop_document())
    assert (decide(CHANGE), decide(CHANGE)) == (True, False)
    said = capsys.readouterr().err
    assert "allowed: commit" in said
    assert f"to allow it once, in {path}" in said
    assert 'request = "POST /offers/{}/"' in said


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


EXPLORE = ("agent", "explore", f"{ORIGIN}/", "--document", "own.txt")


def test_a_document_and_a_careful_policy_are_written_and_refreshed(shop: Shop) -> None:
    said = call(*EXPLORE)
    assert "wrote a careful policy" in said
    assert "0 unsafe" in said
    assert load_policy(shop.folder / "own.policy.toml").reach.origins == (ORIGIN,)
    first = read_document("own.txt")
    assert (first.app, first.version) == ("own", "1")
    assert "changes:" not in said
    shop.app.labels["Send"] = "Dispatch"
    said = call(*EXPLORE)
    assert "version 2" in said
    assert "Dispatch" in said or "dispatch" in said
    assert "1 had changed" in said
    assert shop.app.writes == []
    (shop.folder / "own.records" / "pages.jsonl").rename(shop.folder / "elsewhere")
    assert "exists already" in call(*EXPLORE, "--anew", code=2)
    call(*EXPLORE, "--anew", "--force", "--app", "Mill", "--records", "seen")
    assert read_document("own.txt").app == "Mill"
    assert (shop.folder / "seen" / "pages.jsonl").is_file()
    assert "no records of version" in call(*EXPLORE, "--records", "none", code=2)


def test_bounds_are_heeded(shop: Shop) -> None:
    mail = ("agent", "explore", f"{ORIGIN}/mail/", "--document", "own.txt", "--path", "/mail/")
    call(*mail)
    assert {one.url_template for one in read_document("own.txt").states} == {"/mail/"}
    said = call("agent", "explore", f"{ORIGIN}/", "--document", "c.txt", "--pages", 2)
    assert "2 known" in said
    assert "is no page" in call("agent", "explore", "shop", "--document", "b.txt", code=2)


@pytest.mark.parametrize("disposable", [True, False])
def test_links_that_speak_of_harm_are_left_unless_it_is_a_copy(
    shop: Shop, disposable: bool
) -> None:
    shop.app.labels["Budget"] = "Pay the bills"
    call(*EXPLORE, *(["--disposable"] if disposable else []), "--phone", "--seconds", 60)
    states = {one.url_template for one in read_document("own.txt").states}
    assert ("/budget/" in states) == disposable
    assert getattr(shop.settings[-1], "screen", "") == "phone"


def test_a_sign_in_is_named_by_variables_alone(shop: Shop) -> None:
    sign_in = ("--sign-in", f"{ORIGIN}/sign-in/")
    said = call(*EXPLORE, *sign_in, "--sign-in-field", "password=hunter22", code=2)
    assert "no name of an environment variable" in said
    assert "hunter22" not in said
    assert "where does one sign in?" in call(
        *EXPLORE, "--sign-in-field", "password=SHOP_PASSWORD", code=2
    )
    assert "at least one field" in call(*EXPLORE, *sign_in, code=2)
    call(*EXPLORE, *sign_in, "--sign-in-field", "password=SHOP_PASSWORD")
    entry = load_policy(shop.folder / "own.policy.toml").sign_in
    assert entry is not None
    assert dict(entry.fields) == {"password": "SHOP_PASSWORD"}
    other = call(*EXPLORE, *sign_in, "--sign-in-field", "password=OTHER", code=2)
    assert "says otherwise" in other


def test_files_lie_beside_the_document() -> None:
    files = AppFiles(Path("a/shop.txt"))
    assert files.policy_path == Path("a/shop.policy.toml")
    assert files.caps_path == Path("a/shop.caps.json")
    assert files.records_path == Path("a/shop.records")
    own = AppFiles(Path("a/shop.txt"), Path("b/p.toml"), Path("c"), Path("d"))
    assert (own.policy_path, own.caps_path) == (Path("b/p.toml"), Path("b/p.caps.json"))
    assert own.records_path == Path("d")


def test_a_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    clock = FixedClock(datetime(2026, 1, 5, 10, 15, tzinfo=UTC))
    assert new_run_folder(None, clock) == Path("runs/agent/20260105-101500-000000")
    assert new_run_folder(tmp_path, clock) == tmp_path
    (tmp_path / "trace.jsonl").touch()
    with pytest.raises(ResourceError, match="a run already"):
        new_run_folder(tmp_path, clock)


def test_pairs_keep_what_stands_behind_the_sign() -> None:
    assert name_values(["a=b=c", "d="], "replay") == {"a": "b=c", "d": ""}
    assert name_values(None, "replay") == {}
    with pytest.raises(ConfigError, match="NAME=VALUE") as caught:
        name_values(["=hunter22"], "replay")
    assert "hunter22" not in str(caught.value)


def test_no_model_and_one_is_a_contradiction() -> None:
    assert ModelChoice().opener is not None
    with pytest.raises(ConfigError, match="one is named"):
        ModelChoice(none=True, adapter="a")
    with pytest.raises(ConfigError, match="one is named"):
        ModelChoice(none=True, writer="w")
    with pytest.raises(ConfigError, match="its own adapter"):
        ModelChoice(url="http://127.0.0.1:9/v1", writer="w")


def test_what_does_not_work_is_told(tmp_path: Path) -> None:
    program = tmp_path / "adb"
    program.write_text('#!/bin/sh\necho "$@" >> "$0.asked"\nexit 1\n', "utf-8")
    program.chmod(0o755)
    said = call("agent", "phone", "emulator-5554", "--adb", program, "--port", 5999, code=1)
    assert "FAIL connection" in said
    assert "cannot be driven as it is" in said
    asked = (tmp_path / "adb.asked").read_text("utf-8")
    assert "5999" in asked
    assert "emulator-5554" in asked


def test_a_serial_is_one() -> None:
    assert "no serial of a device" in call("agent", "phone", "a; reboot", code=2)


def test_an_example_is_a_policy_that_can_be_checked(tmp_path: Path) -> None:
    text = call("agent", "policy", "--example", "http://127.0.0.1:8000/dashboard/?a=1")
    path = tmp_path / "a.toml"
    path.write_text(text, "utf-8")
    assert load_policy(path).reach.origins == ("http://127.0.0.1:8000",)
    said = call("agent", "policy", path)
    assert "commit, message, spend, destructive, unknown" in said
    assert "refused" in said
    path.write_text(text.replace("bulk = 5", "bulks = 5"), "utf-8")
    said = call("agent", "policy", path, code=2)
    assert "confirm.bulks" in said
    assert "did you mean bulk?" in said


def test_one_of_both_is_asked_for(tmp_path: Path) -> None:
    assert "give one" in call("agent", "policy", code=2)
    assert "give one" in call("agent", "policy", "a", "--example", "http://h", code=2)
    assert "is no origin" in call("agent", "policy", "--example", "ftp://h", code=2)


ON = ("--document", "shop.txt")


def keep(shop: Shop) -> None:
    allowed = shop.allow("share")
    call("agent", "do", TASK, *ON, "--no-model", "--keep", "discount", "--confirm-file", allowed)
    shop.app.writes.clear()


def test_a_kept_task_is_done_again_with_other_values(shop: Shop) -> None:
    keep(shop)
    replay = ("agent", "replay", "discount", "item=Autumn", "share=7.5", *ON)
    assert "would send: commit: POST /offers/8/" in call(*replay, "--dry-run")
    assert "nobody can be asked" in call(*replay, code=1)
    assert shop.app.writes == []
    allowed = ("--confirm-file", shop.allow("share"))
    said = call(*replay, *allowed, "--folder", "run")
    assert "kept as discount, 0 tokens" in said
    assert shop.app.offers[8].share == "7.5"
    run = read_run(shop.folder / "run")
    assert (run.task.source, run.task.tokens_in, run.report.verdict) == ("replay", 0, "verified")
    assert dict(run.task.arguments) == {"item": "Autumn", "share": "7.5"}


def test_mistakes_are_told(shop: Shop) -> None:
    keep(shop)
    for words, said in (
        (("discont",), "did you mean discount?"),
        (("discount", "item=Autumn"), "'share' is missing"),
        (("discount", "item=Autumn", "share=many"), "no number"),
        (("discount", "Autumn"), "NAME=VALUE"),
        (("discount", "item=a", "item=b"), "once"),
    ):
        assert said in call("agent", "replay", *words, *ON, code=2)
    assert shop.app.writes == []
    text = shop.document.read_text("utf-8").replace('app "shop"', 'app "mill"', 1)
    shop.document.write_text(text, "utf-8")
    assert "of 'mill'" in call("agent", "verify", "discount", *ON, code=2)


def test_verify_looks_and_does_nothing(shop: Shop) -> None:
    keep(shop)
    verify = ("agent", "verify", "discount", *ON)
    said = call(*verify)
    assert "offers__rows" in said
    assert "there" in said
    (shop.folder / "shop.macros").rename(shop.folder / "kept")
    (shop.folder / "shop.policy.toml").rename(shop.folder / "p.toml")
    assert "no policy" in call(*verify, code=2)
    verify += ("--macros", "kept", "--policy", "p.toml")
    shop.app.offers.clear()
    assert "gone" in call(*verify, "--phone", code=1)
    assert shop.app.writes == []


def test_a_run_is_read_again(shop: Shop) -> None:
    task = ("agent", "do", "How many offers are there?", "--document", "shop.txt", "--no-model")
    mark = call(*task, "--folder", "run").partition("mark:")[2].split()[0]
    page = shop.folder / "run/report.html"
    page.unlink()
    said = call("agent", "report", "run", "--mark", mark)
    assert "How many offers are there?" in said
    assert "unchanged since the run" in said
    assert "not compared" not in said
    assert page.is_file()
    assert "not compared" in call("agent", "report", "run", "--out", "page.html")
    assert "exists already" in call("agent", "report", "run", "--out", "page.html", code=2)
    call("agent", "report", "run", "--out", "page.html", "--force")
    assert "its mark is" in call("agent", "report", "run", "--mark", "0" * 64, code=2)


def test_what_was_changed_is_told(shop: Shop) -> None:
    call("agent", "do", "How many offers?", "--document", "shop.txt", "--no-model", "--folder", "r")
    trace = shop.folder / "r/trace.jsonl"
    trace.write_text(trace.read_text("utf-8").replace('"2"', '"3"'), "utf-8")
    said = call("agent", "report", "r", code=2)
    assert "the trace is broken" in said
    assert "line" in said
    assert "no run that came to its end" in call("agent", "report", ".", code=2)


def report(verdict: str, code: str = "") -> RunReport:
    problem = ScriptProblem(code, "why") if code else None  # type: ignore[arg-type]
    return RunReport(verdict, (), problem, (), (), (), (), shop_document(), 0, 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (report("contradicted", "expectation"), CONTRADICTED),
        (report("stopped", "refused"), REFUSED),
        (report("stopped", "cap"), REFUSED),
        (report("stopped", "identity"), STOPPED),
    ],
)
def test_exit_codes_follow_verdicts(found: RunReport, code: int) -> None:
    with pytest.raises(typer.Exit) as caught:
        end_by_verdict(found)
    assert caught.value.exit_code == code


@pytest.mark.parametrize("verdict", ["verified", "done", "dry"])
def test_what_went_well_is_no_exit(verdict: str) -> None:
    assert end_by_verdict(report(verdict)) is None


def test_a_script_is_shown_with_what_it_may_do(capsys: pytest.CaptureFixture[str]) -> None:
    script = read_script("param who: text\nset_text($mail__to, who)\ntap($mail__send)\n")
    show_script(check_script(script, shop_document()), "by hand", {"who": "ann"})
    said = capsys.readouterr().out
    assert "script, by hand:" in said
    assert "  tap($mail__send)" in said
    assert "  who = ann" in said
    assert "may write: message by $mail__send" in said


def test_options_have_careful_defaults() -> None:
    options = RunOptions(AppFiles(Path("shop.txt")))
    assert (options.dry, options.confirm_file, options.phone) == (False, None, False)
