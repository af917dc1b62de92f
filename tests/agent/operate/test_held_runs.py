"""Runs that wait for a yes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from adwright.agent.operate.tasks import HeldRun, HeldRuns, HeldView, RunsBusyError, change_key
from adwright.agent.policy.confirmation import FieldChange, PendingChange
from adwright.core.errors import DataError
from tests.support.service.small_shop import wait_until

CHANGE = PendingChange(
    "save", "commit", "POST", "http://h/a", (FieldChange("a", "1", "2"),), 1, documented=True
)


def asking(run: HeldRun) -> list[bool]:
    run.tell("a script")
    return [run.ask(CHANGE), run.ask(replace(CHANGE, number=2))]


def begun(work: Callable[[HeldRun], object], **bounds: float) -> tuple[HeldRuns, HeldRun]:
    runs = HeldRuns(most=2, patience=bounds.get("patience", 30.0))
    return runs, runs.start("acme", "r1", work)


def waits(run: HeldRun, key: str = "") -> HeldView:
    wait_until(lambda: run.view().state == "waiting" and run.view().key != key)
    return run.view()


def test_each_change_waits_for_its_own_yes() -> None:
    _, run = begun(asking)
    first = waits(run)
    assert (first.pending, first.key, first.told) == (CHANGE, change_key("r1", CHANGE), "a script")
    assert not run.answer("another", yes=True)
    assert run.answer(first.key, yes=True)
    assert not run.answer(first.key, yes=False)
    second = waits(run, first.key)
    assert not run.answer(first.key, yes=True)
    assert run.answer(second.key, yes=False)
    wait_until(lambda: run.view().state == "ended")
    assert (run.view().outcome, run.view().pending, run.view().key) == ([True, False], None, "")


def test_hashes_tell_all_that_is_shown() -> None:
    others = (
        replace(CHANGE, number=2),
        replace(CHANGE, url="http://h/b"),
        replace(CHANGE, fields=(FieldChange("a", "1", "3"),)),
        replace(CHANGE, fields=(FieldChange("a", None, "2"),)),
    )
    keys = {change_key("r1", one) for one in (CHANGE, *others)} | {change_key("r2", CHANGE)}
    assert len(keys) == 6


def test_what_nobody_answers_is_refused() -> None:
    _, run = begun(asking, patience=0.01)
    wait_until(lambda: run.view().state == "ended")
    assert run.view().outcome == [False, False]


def test_the_end_of_the_process_refuses() -> None:
    runs, run = begun(asking)
    waits(run)
    runs.close(10.0)
    assert (run.view().state, run.view().outcome) == ("ended", [False, False])
    with pytest.raises(RunsBusyError, match="the service ends"):
        runs.start("umbrella", "r2", asking)


def test_an_owner_has_one_and_all_have_so_many() -> None:
    runs, goes_on = HeldRuns(most=2, patience=30.0), threading.Event()

    def busy(run: HeldRun) -> bool:
        return goes_on.wait(30.0)

    first = runs.start("acme", "r1", busy)
    with pytest.raises(RunsBusyError, match="another run") as caught:
        runs.start("acme", "r2", busy)
    assert caught.value.own
    runs.start("umbrella", "r3", busy)
    with pytest.raises(RunsBusyError, match="too many runs") as caught:
        runs.start("hooli", "r4", busy)
    assert not caught.value.own
    assert runs.find("acme", "r1") is first
    assert (runs.find("umbrella", "r1"), runs.find("acme", "none")) == (None, None)
    goes_on.set()
    runs.close(10.0)


def test_what_waits_leaves_its_place_to_others() -> None:
    runs = HeldRuns(most=2, patience=30.0)
    for number in range(8):
        waits(runs.start(f"owner-{number}", f"r{number}", asking))
    with pytest.raises(RunsBusyError, match="too many changes wait"):
        runs.start("owner-8", "r8", asking)
    runs.close(10.0)


def test_an_owner_whose_run_has_ended_begins_another() -> None:
    runs, run = begun(lambda run: "done")
    wait_until(lambda: run.view().state == "ended")
    other = runs.start("acme", "r2", lambda run: "again")
    wait_until(lambda: other.view().state == "ended")
    assert [runs.find("acme", one).view().outcome for one in ("r1", "r2")] == ["done", "again"]


def test_errors_are_told_and_faults_are_not_described() -> None:
    def broken(run: HeldRun) -> None:
        raise DataError("the document cannot be read")

    def faulty(run: HeldRun) -> None:
        raise RuntimeError("hunter22")

    for work, said in ((broken, "the document cannot be read"), (faulty, "a fault of the service")):
        _, run = begun(work)
        wait_until(lambda run=run: run.view().state == "ended")
        assert said in run.view().error
        assert "hunter22" not in run.view().error


def test_only_one_of_many_answers_counts() -> None:
    _, run = begun(asking)
    key = waits(run).key
    said: list[bool] = []
    threads = [
        threading.Thread(target=lambda n=n: said.append(run.answer(key, yes=n % 2 == 0)))
        for n in range(8)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sum(said) == 1
    waits(run, key)
    run.close()
