"""Runs of tenants, in their folders."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adwright.agent.document.elements import AppDocument
from adwright.agent.generate.ladder import FoundScript
from adwright.agent.language.script import read_script
from adwright.agent.language.statements import check_script
from adwright.agent.operate.policy_file import read_run
from adwright.agent.operate.tasks import RunsBusyError, find_scripts
from adwright.agent.run.runner import MacroBook
from adwright.audit.report.audit_report import AuditRunConfig, run_audit
from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.core.errors import ConfigError
from adwright.service.agent_runs import AgentRuns, DeskRun, NoSuchAppError
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.registry import FixedModels
from benchmarks.service._history import ITEMS, Call, Trial, violations
from tests.support.agent.shop_app import Answer, ShopApp
from tests.support.agent.shop_desk import shop_desk, shop_folder
from tests.support.agent.shop_server import shop_server
from tests.support.agent.site.browsing import chromium_or_skip
from tests.support.audit.scripted_targets import gullible
from tests.support.audit.shops import kettles
from tests.support.audit.texts import praise, quiet
from tests.support.service.small_shop import Client, running, wait_until

TASK = 'Set the discount of "Spring" to 25'


@pytest.fixture
def config(tmp_path: Path) -> ServiceConfig:
    shop_folder(tmp_path)
    return ServiceConfig(agents=str(tmp_path), agent_confirm_seconds=30.0)


def in_state(desk: AgentRuns, run_id: str, *states: str) -> DeskRun:
    def found() -> DeskRun:
        run = desk.find("acme", run_id)
        assert run is not None
        return run

    wait_until(lambda: found().view.state in states, 60)
    return found()


def test_a_run_waits_is_confirmed_and_is_found_by_the_next_process(config: ServiceConfig) -> None:
    app = ShopApp()
    desk = shop_desk(app, config)
    assert desk.apps("acme") == ["shop"]
    run = desk.begin("acme", "shop", TASK, dry_run=False)
    waiting = in_state(desk, run.run_id, "waiting")
    assert (waiting.told.source, waiting.told.task, app.writes) == ("plan", TASK, [])
    assert "tap($offer_edit__save)" in waiting.told.script
    assert desk.find("umbrella", run.run_id) is None
    assert not desk.answer("umbrella", run.run_id, waiting.view.key, yes=True)
    assert not desk.answer("acme", run.run_id, "0" * 64, yes=True)
    assert desk.answer("acme", run.run_id, waiting.view.key, yes=True)
    ended = in_state(desk, run.run_id, "ended")
    assert ended.kept is not None
    assert (ended.kept.report.verdict, app.offers[7].share) == ("verified", "25")
    later = shop_desk(ShopApp(), config).find("acme", run.run_id)
    assert later is not None
    assert (later.told, later.kept) == (ended.told, ended.kept)
    (Path(config.agents) / "acme/shop/runs" / run.run_id / "trace.jsonl").write_text("x", "utf-8")
    assert shop_desk(ShopApp(), config).find("acme", run.run_id) is None


class SlowShop(ShopApp):
    """Keeps what it is sent waiting, until `goes_on`."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived, self.goes_on = threading.Event(), threading.Event()

    def post(self, path: str, fields: Mapping[str, str]) -> Answer:
        self.arrived.set()
        self.goes_on.wait(30.0)
        return super().post(path, fields)


def below(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    own = [int(one) for file in files for one in file.read_text().split()]
    return [two for one in own for two in (one, *below(one))]


def gone(pids: Iterable[int]) -> bool:
    return not any(Path(f"/proc/{one}").exists() for one in pids)


def test_a_run_is_a_process_whose_death_says_what_it_may_have_sent(tmp_path: Path) -> None:
    with chromium_or_skip():
        pass
    app = SlowShop()
    with shop_server(app) as origin:
        home = shop_folder(tmp_path, origin=origin)
        config = ServiceConfig(agents=str(tmp_path), agent_confirm_seconds=30.0)
        desk = AgentRuns(config, SystemClock())
        before = set(below(os.getpid()))

        def begun() -> tuple[DeskRun, list[int]]:
            run = desk.begin("acme", "shop", TASK, dry_run=False)
            waiting = in_state(desk, run.run_id, "waiting", "ended")
            assert waiting.view.state == "waiting", waiting.view.error
            started = [one for one in below(os.getpid()) if one not in before]
            assert any("chrom" in Path(f"/proc/{one}/comm").read_text() for one in started)
            return waiting, started

        # Killed while a person is waited for: nothing was sent, and no browser is left.
        waiting, started = begun()
        os.kill(started[0], signal.SIGKILL)
        ended = in_state(desk, waiting.run_id, "ended")
        assert ("killed by SIGKILL" in ended.view.error, ended.left.unknown) == (True, ())
        wait_until(lambda: gone(started), 30)
        # Killed as the change is sent: that is said by this process, and by the next one.
        waiting, started = begun()
        assert desk.answer("acme", waiting.run_id, waiting.view.key, yes=True)
        assert app.arrived.wait(30.0)
        os.kill(started[0], signal.SIGKILL)
        in_state(desk, waiting.run_id, "unknown")
        for one in (desk, AgentRuns(config, SystemClock())):
            found = one.find("acme", waiting.run_id)
            assert found is not None
            assert (found.view.state, found.view.key) == ("unknown", waiting.view.key)
            assert found.left.unknown == (waiting.view.pending,)
            assert found.told.task == TASK
        with pytest.raises(ConfigError, match="killed as it sent: commit: POST"):
            read_run(home / "runs" / waiting.run_id)
        wait_until(lambda: gone(started), 30)
        app.goes_on.set()
        # And one that is left to it comes to its end; what it keeps is for its owner alone.
        waiting, started = begun()
        other = AgentRuns(config, SystemClock()).find("acme", waiting.run_id)
        assert other is not None
        assert other.view.state == "running"
        assert desk.answer("acme", waiting.run_id, waiting.view.key, yes=True)
        ended = in_state(desk, waiting.run_id, "ended")
        assert ended.kept is not None
        assert ended.kept.report.verdict == "verified"
        wait_until(lambda: gone(started), 30)
        modes = {one.name: one.stat().st_mode & 0o77 for one in home.glob("runs/*/*")}
        assert {"step-001.png", "run.json", "report.html", "trace.jsonl"} <= modes.keys()
        assert set(modes.values()) == {0}
        # The end of the service refuses what waits.
        waiting, started = begun()
        desk.close(15.0)
        in_state(desk, waiting.run_id, "ended")
        wait_until(lambda: gone(started), 30)
    assert [path for path, _ in app.writes] == ["/offers/7/", "/offers/7/"]


def test_a_no_and_the_end_of_the_process_send_nothing(config: ServiceConfig) -> None:
    app = ShopApp()
    desk = shop_desk(app, config)
    first = desk.begin("acme", "shop", TASK, dry_run=False)
    with pytest.raises(RunsBusyError):
        desk.begin("acme", "shop", TASK, dry_run=False)
    waiting = in_state(desk, first.run_id, "waiting")
    assert desk.answer("acme", first.run_id, waiting.view.key, yes=False)
    in_state(desk, first.run_id, "ended")
    second = desk.begin("acme", "shop", TASK, dry_run=False)
    in_state(desk, second.run_id, "waiting")
    desk.close(10.0)
    for run in (first, second):
        ended = in_state(desk, run.run_id, "ended")
        assert ended.kept is not None
        assert ended.kept.report.problem is not None
        assert (ended.kept.report.verdict, ended.kept.report.problem.code) == ("stopped", "refused")
    assert app.writes == []


def test_what_nobody_answers_is_refused(config: ServiceConfig) -> None:
    app = ShopApp()
    desk = shop_desk(app, replace(config, agent_confirm_seconds=0.02))
    run = desk.begin("acme", "shop", TASK, dry_run=False)
    ended = in_state(desk, run.run_id, "ended")
    assert ended.kept is not None
    assert ended.kept.report.verdict == "stopped"
    assert app.writes == []


def test_every_write_is_asked_about_whatever_the_policy_says(config: ServiceConfig) -> None:
    path = Path(config.agents) / "acme/shop/policy.toml"
    text = path.read_text("utf-8").replace('["commit", ', "[").replace("bulk = 5", "bulk = 99")
    path.write_text(text, "utf-8")
    desk = shop_desk(ShopApp(), config)
    run = desk.begin("acme", "shop", TASK, dry_run=False)
    assert in_state(desk, run.run_id, "waiting", "ended").view.state == "waiting"
    desk.close(10.0)


def test_a_dry_run_does_not_wait(config: ServiceConfig) -> None:
    app = ShopApp()
    desk = shop_desk(app, config)
    run = desk.begin("acme", "shop", TASK, dry_run=True)
    ended = in_state(desk, run.run_id, "ended")
    assert ended.kept is not None
    assert (ended.kept.report.verdict, ended.told.dry_run, app.writes) == ("dry", True, [])
    assert len(ended.kept.report.would_send) == 1


def test_a_task_that_nothing_fits_ends_with_why(config: ServiceConfig) -> None:
    desk = shop_desk(ShopApp(), config)
    run = desk.begin("acme", "shop", "Sing a song", dry_run=False)
    ended = in_state(desk, run.run_id, "ended")
    assert (ended.kept, ended.told.script) == (None, "")
    assert "no plan fits" in ended.view.error


def test_kept_tasks_of_the_app_are_taken(config: ServiceConfig, tmp_path: Path) -> None:
    from adwright.agent.language.script import read_script
    from adwright.agent.run.runner import Macro, Postconditions
    from tests.support.agent.shop_document import shop_document

    script = read_script('set_text($mail__to, "ann")\ntap($mail__send)\n')
    macro = Macro("post", "Post it", "shop", "1", script, Postconditions(("POST /mail/",)))
    MacroBook(tmp_path / "acme/shop/macros").keep(macro, shop_document())
    app = ShopApp()
    desk = shop_desk(app, config)
    run = desk.begin("acme", "shop", "Post it", dry_run=False)
    waiting = in_state(desk, run.run_id, "waiting")
    assert (waiting.told.source, waiting.told.name) == ("macro", "post")
    desk.answer("acme", run.run_id, waiting.view.key, yes=True)
    in_state(desk, run.run_id, "ended")
    assert app.mails == [("ann", "")]


def test_only_what_is_there_is_operated(config: ServiceConfig, tmp_path: Path) -> None:
    desk = shop_desk(ShopApp(), config)
    for tenant, app in (("acme", "none"), ("umbrella", "shop"), ("..", "acme"), ("acme", "..")):
        with pytest.raises(NoSuchAppError):
            desk.begin(tenant, app, TASK, dry_run=False)
    assert AgentRuns(ServiceConfig(), SystemClock()).apps("acme") == []
    assert desk.find("acme", "../../x") is None
    other = shop_folder(tmp_path, app="other")
    (other / "policy.toml").write_text('[reach]\norigins = ["http://other.test"]\n', "utf-8")
    with pytest.raises(ConfigError, match="does not list"):
        desk.begin("acme", "other", TASK, dry_run=False)
    (other / "policy.toml").unlink()
    assert desk.apps("acme") == ["shop"]


def test_the_next_script_takes_the_place_of_one_that_found_nothing(
    config: ServiceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two(task: str, document: AppDocument, **more: object) -> Iterator[FoundScript]:
        # Among links that all say "Edit" there is no "Spring".
        other = read_script('tap(find($offers__edit, "Spring"))\ntap($offer_edit__save)\n')
        yield FoundScript(check_script(other, document), "plan")
        yield from find_scripts(task, document)

    monkeypatch.setattr("adwright.service.agent_worker.find_scripts", two)
    app = ShopApp()
    desk = shop_desk(app, config)
    run = desk.begin("acme", "shop", TASK, dry_run=False)
    waiting = in_state(desk, run.run_id, "waiting")
    assert desk.answer("acme", run.run_id, waiting.view.key, yes=True)
    ended = in_state(desk, run.run_id, "ended")
    assert ended.kept is not None
    assert (ended.kept.report.verdict, app.offers[7].share) == ("verified", "25")
    aside = Path(config.agents) / "acme/shop/runs" / f"{run.run_id}-tried-1"
    kept = read_run(aside)
    assert kept.report.problem is not None
    assert (kept.report.verdict, kept.report.problem.code) == ("stopped", "not_found")


RUNS = "/v1/agent/runs"
AGENT_RUNS_TASK = {"app": "shop", "task": 'Set the discount of "Spring" to 25'}


@pytest.fixture
def shop() -> ShopApp:
    return ShopApp()


@pytest.fixture
def api(tmp_path: Path, store: Store, shop: ShopApp) -> Iterator[Client]:
    """A service with an app of acme."""
    shop_folder(tmp_path / "agents")
    config = ServiceConfig(agents=str(tmp_path / "agents"), agent_runs=1)
    app = create_app(config, store, FixedModels({}, SystemClock()))
    app.state.agents = shop_desk(shop, config)
    with running(app) as client:
        client.headers = {"X-API-Key": store.create_key("acme", SCOPES)}
        yield client


def begun(api: Client, *, headers: dict[str, str] | None = None, **changes: Any) -> str:
    answer = api.post(RUNS, json={**AGENT_RUNS_TASK, **changes}, headers=headers or {})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["run_id"])


def state_of(api: Client, run_id: str, state: str) -> dict[str, Any]:
    wait_until(lambda: api.get(f"{RUNS}/{run_id}").json()["state"] == state)
    return dict(api.get(f"{RUNS}/{run_id}").json())


def test_nothing_is_sent_before_the_yes_to_this_change(api: Client, shop: ShopApp) -> None:
    assert api.get("/v1/agent/apps").json() == {"apps": ["shop"]}
    run_id = begun(api)
    found = state_of(api, run_id, "waiting")
    assert (found["source"], found["tokens_in"], found["verdict"]) == ("plan", 0, None)
    pending = found["pending"]
    assert (pending["effect"], pending["method"], pending["number"]) == ("commit", "POST", 1)
    (share,) = (one for one in pending["fields"] if one["name"] == "share")
    assert share == {"name": "share", "old": "10", "new": "25"}
    wrong = api.post(f"{RUNS}/{run_id}/confirm", json={"hash": "0" * 64})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (409, "conflict")
    assert api.get(f"{RUNS}/{run_id}/report").status_code == 409
    assert api.post(RUNS, json=AGENT_RUNS_TASK).status_code == 409
    assert shop.writes == []
    answer = api.post(f"{RUNS}/{run_id}/confirm", json={"hash": found["hash"]})
    assert answer.status_code == 200
    ended = state_of(api, run_id, "ended")
    assert (ended["verdict"], ended["problem"], ended["pending"]) == ("verified", "", None)
    assert [one["number"] for one in ended["written"]] == [1]
    assert shop.offers[7].share == "25"
    again = api.post(f"{RUNS}/{run_id}/confirm", json={"hash": found["hash"]})
    assert again.status_code == 409
    page = api.get(f"{RUNS}/{run_id}/report")
    assert "Verdict: <strong>verified</strong>" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["content-type"].startswith("text/html")


def test_a_tenant_may_want_another_key_to_say_yes(api: Client, store: Store) -> None:
    store.want_two_keys("acme", True)
    asked = {"X-API-Key": store.create_key("acme", SCOPES)}
    run_id = begun(api, headers=asked)
    found = state_of(api, run_id, "waiting")
    body = {"hash": found["hash"]}
    answer = api.post(f"{RUNS}/{run_id}/confirm", json=body, headers=asked)
    assert answer.status_code == 403
    assert "the key that asked" in answer.json()["error"]["message"]
    other = {"X-API-Key": store.create_key("acme", ["agent:confirm"])}
    assert api.post(f"{RUNS}/{run_id}/confirm", json=body, headers=other).status_code == 200
    state_of(api, run_id, "ended")
    ids = [one["X-API-Key"].split("_")[1] for one in (other, asked)]
    noted = [one for one in store.actions("acme") if one.what.startswith("agent")]
    assert [(one.what, one.subject, one.key_id) for one in noted] == [
        ("agent confirm", run_id, ids[0]),
        ("agent ask", run_id, ids[1]),
    ]


def test_nothing_begins_that_cannot_be_written_down(api: Client, store: Store) -> None:
    with store._database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE actions RENAME TO gone")
    assert api.post(RUNS, json=AGENT_RUNS_TASK).status_code == 503
    with store._database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO actions")
    state_of(api, begun(api), "waiting")  # nothing else is under way
    assert api.post(RUNS, json=AGENT_RUNS_TASK).status_code == 409
    assert len(store.actions("acme", what="agent ask")) == 1  # what is refused is not noted


def test_a_no_stops_the_run(api: Client, shop: ShopApp) -> None:
    run_id = begun(api)
    found = state_of(api, run_id, "waiting")
    assert api.post(f"{RUNS}/{run_id}/refuse", json={"hash": found["hash"]}).status_code == 200
    ended = state_of(api, run_id, "ended")
    assert (ended["verdict"], shop.writes) == ("stopped", [])
    assert "not confirmed" in ended["problem"]


def test_questions_and_dry_runs_do_not_wait(api: Client, shop: ShopApp) -> None:
    found = state_of(api, begun(api, task="How many offers are there?"), "ended")
    assert (found["verdict"], found["answers"], found["written"]) == ("done", ["2"], [])
    found = state_of(api, begun(api, dry_run=True), "ended")
    assert (found["verdict"], found["dry_run"], shop.writes) == ("dry", True, [])
    assert [one["effect"] for one in found["would_send"]] == ["commit"]
    found = state_of(api, begun(api, task="Sing a song"), "ended")
    assert (found["verdict"], found["script"]) == (None, "")
    assert "no plan fits" in found["problem"]


def test_others_see_and_answer_nothing(api: Client, store: Store) -> None:
    run_id = begun(api)
    found = state_of(api, run_id, "waiting")
    other = {"X-API-Key": store.create_key("umbrella", SCOPES)}
    assert api.get("/v1/agent/apps", headers=other).json() == {"apps": []}
    for path in ("", "/report"):
        assert api.get(f"{RUNS}/{run_id}{path}", headers=other).status_code == 404
    for verb in ("confirm", "refuse"):
        body = {"hash": found["hash"]}
        assert api.post(f"{RUNS}/{run_id}/{verb}", json=body, headers=other).status_code == 404
    assert api.post(RUNS, json=AGENT_RUNS_TASK, headers=other).status_code == 404
    assert state_of(api, run_id, "waiting")["hash"] == found["hash"]
    assert api.get("/v1/agent/apps", headers={"X-API-Key": "none"}).status_code == 401


def test_what_waits_keeps_nobody_out_but_too_much_of_it_does(
    api: Client, store: Store, tmp_path: Path
) -> None:
    def asked(tenant: str) -> Any:
        shop_folder(tmp_path / "agents", tenant=tenant)
        return api.post(
            RUNS, json=AGENT_RUNS_TASK, headers={"X-API-Key": store.create_key(tenant, SCOPES)}
        )

    state_of(api, begun(api), "waiting")
    for number in range(3):
        wait_until(lambda n=number: asked(f"t{n}-{time.time_ns()}").status_code == 202)
    wait_until(lambda: "too many changes wait" in asked(f"u{time.time_ns()}").text)
    answer = asked("umbrella")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_busy")
    assert "retry-after" in answer.headers


def test_wrong_requests_are_refused(api: Client, tmp_path: Path) -> None:
    assert api.post(RUNS, json={**AGENT_RUNS_TASK, "app": "none"}).status_code == 404
    for changes in (
        {"app": "../x"},
        {"task": ""},
        {"task": "   "},
        {"yes": True},
        {"task": "x" * 3000},
    ):
        assert api.post(RUNS, json={**AGENT_RUNS_TASK, **changes}).status_code == 422
    for path in ("none", "0" * 24):
        assert api.get(f"{RUNS}/{path}").status_code in (404, 422)
    policy = tmp_path / "agents/acme/shop/policy.toml"
    policy.write_text("[reach]\norigin = 1\n", "utf-8")
    answer = api.post(RUNS, json=AGENT_RUNS_TASK)
    assert answer.status_code == 409
    assert str(tmp_path) not in answer.text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An audit of acme."""
    texts = [praise("Steel Kettle"), quiet("Teapot")]
    config = AuditRunConfig(orders=3, draws=50)
    run_audit(kettles(), gullible(), texts, config, out=tmp_path / "audits/acme/spring")
    return tmp_path / "audits"


def asked(folder: Path, store: Store, tenant: str, *paths: str) -> list[tuple[int, dict]]:
    app = create_app(ServiceConfig(audits=str(folder)), store, FixedModels({}, SystemClock()))
    headers = {"X-API-Key": store.create_key(tenant, SCOPES)}
    with running(app) as client:
        return [answer(client, path, headers) for path in paths]


def answer(client: Client, path: str, headers: dict[str, str]) -> tuple[int, dict]:
    found = client.get(path, headers=headers)
    return found.status_code, found.json()


def test_a_tenant_reads_its_audits_and_asks_for_a_verdict(folder: Path, store: Store) -> None:
    names, plain, strict, loose = asked(
        folder,
        store,
        "acme",
        "/v1/audits",
        "/v1/audits/spring",
        "/v1/audits/spring?fail_above=20",
        "/v1/audits/spring?fail_above=100",
    )
    assert names == (200, {"audits": ["spring"]})
    assert plain[1]["gate"] is None
    assert [(one["tier"], one["net"]) for one in plain[1]["tiers"]] == [
        ("T0", 100.0),
        ("control truthful", 0.0),
    ]
    assert (plain[1]["target"], plain[1]["products"], plain[1]["orders"]) == ("gullible", 6, 3)
    assert strict[1]["gate"]["passed"] is False
    assert loose[1]["gate"]["passed"] is True


def test_nobody_reads_what_is_anothers_or_none(folder: Path, store: Store) -> None:
    (folder / "acme" / "broken").mkdir()
    (folder / "acme" / "broken" / "report.json").write_text("{}", "utf-8")
    (folder / "acme" / "linked").mkdir()
    (folder / "acme" / "linked" / "report.json").symlink_to(folder / "acme/spring/report.json")
    paths = ("/v1/audits", "/v1/audits/spring", "/v1/audits/..%2Facme%2Fspring")
    names, spring, above = asked(folder, store, "umbrella", *paths)
    assert names == (200, {"audits": []})
    assert (spring[0], above[0] in (404, 422)) == (404, True)
    found = asked(folder, store, "acme", "/v1/audits/broken", "/v1/audits/linked", "/v1/audits/no")
    assert [status for status, _ in found] == [404, 404, 404]
    assert found[0][1]["error"]["message"] == "there is no such audit"


def test_without_a_folder_there_are_no_audits(store: Store) -> None:
    app = create_app(ServiceConfig(), store, FixedModels({}, SystemClock()))
    headers = {"X-API-Key": store.create_key("acme", SCOPES)}
    with running(app) as client:
        assert answer(client, "/v1/audits", headers) == (200, {"audits": []})
        assert answer(client, "/v1/audits/spring", headers)[0] == 404
        assert client.get("/v1/audits").status_code == 401


def test_controls_alone_cannot_be_judged(tmp_path: Path, store: Store) -> None:
    config = AuditRunConfig(orders=2, draws=20)
    run_audit(kettles(), gullible(), [quiet("Teapot")], config, out=tmp_path / "a/acme/x")
    (found,) = asked(tmp_path / "a", store, "acme", "/v1/audits/x?fail_above=5")
    assert found[0] == 422
    assert "no attack to judge" in found[1]["error"]["message"]


I = ITEMS[0]  # noqa: E741 - the item
ALL = frozenset(ITEMS)
STOP: dict[str, Any] = {"item": I, "event_id": "s1", "user": "anna"}


def decided(begin: float, *, shows: bool, replica: int = 0) -> Call:
    return Call("decide", replica, begin, begin + 1, shown=ALL if shows else ALL - {I})


def stop(begin: float = 0, end: float = 1, **changes: Any) -> Call:
    return Call("stop", 0, begin, end, **{**STOP, **changes})


def undo(begin: float, end: float, **changes: Any) -> Call:
    return Call("undo", 0, begin, end, **{**STOP, "event_id": "u1", **changes})


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ([stop(), decided(2, shows=False)], []),
        ([stop(), decided(2, shows=True)], ["shown"]),
        ([stop(), decided(0.5, shows=True)], []),  # begun before the acknowledgement
        ([stop(), decided(2, shows=True, replica=1)], []),  # which binds one process
        ([stop(force=True), decided(2, shows=True, replica=1)], ["shown"]),
        ([stop(end=math.inf), decided(2, shows=True), decided(4, shows=False)], []),  # no answer
        ([stop(), undo(2, 3), decided(4, shows=True)], []),
        ([stop(), undo(2, 3), decided(4, shows=False)], ["hidden"]),
        ([stop(), undo(2, math.inf), decided(2.5, shows=True), decided(9, shows=False)], []),
        ([stop(), undo(2, 3, user="ben"), decided(4, shows=True)], ["shown"]),
        ([stop(), undo(2, 3, user="ben", names=("s1",)), decided(4, shows=True)], []),
        ([stop(), undo(2, 3, names=("s0",)), decided(4, shows=True)], ["shown"]),
        ([stop(), stop(event_id="s2", user="law"), undo(2, 3), decided(4, shows=True)], ["shown"]),
        ([undo(0, 1), stop(2, 3), decided(4, shows=True)], ["shown"]),  # it came before
        ([undo(0, 3), stop(2, 4), decided(5, shows=True), decided(7, shows=False)], []),  # unknown
        ([decided(0, shows=False)], ["hidden"]),
    ],
)
def test_the_checker_finds_what_cannot_be_and_nothing_else(
    calls: list[Call], said: list[str]
) -> None:
    assert [one.split(":")[0] for one in violations(calls)] == said


def test_a_history_with_kills_freezes_and_steps_of_clocks(store_url: str) -> None:
    trial = Trial(store_url, seconds=20, seed=3)
    assert trial.run() == []
    assert len(trial.calls) > 100
    assert trial.counts["in force"] > 0
    assert sum(trial.counts[what] for what in ("kills", "freezes", "steps")) > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deadline_ms": 5000}, "deadline_ms must not exceed max_deadline_ms, 2000"),
        ({"agent_model_url": "http://h/v1"}, "agent_model must name the model"),
        ({"replica": "a\r\nb"}, "replica must be plain text"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ServiceConfig(**changes)
