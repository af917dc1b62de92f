"""Runs of tenants, in their folders."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from adwright.agent.document.elements import AppDocument
from adwright.agent.generate.ladder import FoundScript
from adwright.agent.language.script import read_script
from adwright.agent.language.statements import check_script
from adwright.agent.operate.run_folder import read_run
from adwright.agent.operate.tasks import RunsBusyError, find_scripts
from adwright.agent.run.macros import MacroBook
from adwright.core.clock import SystemClock
from adwright.core.errors import ConfigError
from adwright.service.agent_runs import AgentDesk, DeskRun, NoSuchAppError
from adwright.service.config import ServiceConfig
from tests.support.agent.shop_app import Answer, ShopApp
from tests.support.agent.shop_desk import shop_desk, shop_folder
from tests.support.agent.shop_server import shop_server
from tests.support.agent.site.browsing import chromium_or_skip
from tests.support.service.small_shop import wait_until

TASK = 'Set the discount of "Spring" to 25'


@pytest.fixture
def config(tmp_path: Path) -> ServiceConfig:
    shop_folder(tmp_path)
    return ServiceConfig(agents=str(tmp_path), agent_confirm_seconds=30.0)


def in_state(desk: AgentDesk, run_id: str, *states: str) -> DeskRun:
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
        desk = AgentDesk(config, SystemClock())
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
        for one in (desk, AgentDesk(config, SystemClock())):
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
        other = AgentDesk(config, SystemClock()).find("acme", waiting.run_id)
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
    from adwright.agent.run.macros import Macro, Postconditions
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
    assert AgentDesk(ServiceConfig(), SystemClock()).apps("acme") == []
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
