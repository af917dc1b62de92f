"""What other processes take in is heard, once, and what this one has written is not heard again."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adwright.campaigns.store.store import Store
from adwright.core.clock import FixedClock
from adwright.core.errors import ResourceError
from adwright.service.decide import following
from adwright.service.decide.following import Followed
from adwright.service.registry.deployed import Deployed, Observer
from adwright.service.registry.registry import FixedModels, FolderModels, publish
from tests.support.service.small_shop import NOW, deployed, save_version

KINDS = frozenset({"click", "purchase"})


def event(name: str, kind: str = "click", **changes: Any) -> dict[str, Any]:
    row = {"event_id": name, "time": NOW, "request_id": "r", "user_id": "anna", "kind": kind}
    return {**row, "item_id": "item-001", **changes}


class Process:
    """One that decides: its models, the store as it writes to it, and what its model heard."""

    def __init__(self, store: Store, clock: FixedClock) -> None:
        self.heard: list[str] = []
        self.models = FixedModels({"acme": self.made()}, clock)
        self.followed = Followed(store, self.models, clock, seconds=600)
        self.followed.begin()

    def made(self, name: str = "v1") -> Deployed:
        return deployed(name, observe=self.observe, kinds=KINDS)

    def observe(self, events: Sequence[Mapping[str, Any]]) -> None:
        self.heard += [one["event_id"] for one in events]

    def write(self, *names: str, tenant: str = "acme", kind: str = "click") -> None:
        self.followed.record_group(tenant, [[event(one, kind) for one in names]])


@pytest.fixture
def pair(store: Store, clock: FixedClock) -> tuple[Process, Process]:
    return Process(store, clock), Process(store, clock)


def test_each_hears_what_the_other_has_written_once(pair: tuple[Process, Process]) -> None:
    first, second = pair
    first.write("a", "b")
    first.write("shown", kind="impression")
    first.write("of another", tenant="umbrella")
    second.write("c")
    for _ in range(3):
        first.followed.look()
        second.followed.look()
    assert (first.heard, second.heard) == (["c"], ["a", "b"])


def test_what_is_sent_again_to_another_process_is_heard_there(
    pair: tuple[Process, Process],
) -> None:
    first, second = pair
    first.write("a")
    second.write("a", "b")
    for one in pair:
        one.followed.look()
        one.followed.look()
    assert (first.heard, second.heard) == (["b"], ["a"])


def test_a_transaction_that_is_seen_late_is_heard(
    pair: tuple[Process, Process], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    first.write("a", "b", "c")
    every, hidden = store.events_after(0, 10), {"a"}

    def seen(number: int, most: int) -> list[tuple[int, str, dict[str, Any]]]:
        rows = [one for one in every if one[0] > number and one[2]["event_id"] not in hidden]
        return rows[:most]

    monkeypatch.setattr(store, "events_after", seen)
    second.followed.look()
    hidden.clear()
    second.followed.look()
    assert second.heard == ["b", "c", "a"]


def test_what_is_long_gone_is_not_asked_for_again(
    store: Store, pair: tuple[Process, Process], clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    asked: list[int] = []
    plain = store.events_after

    def listened(number: int, most: int) -> list[tuple[int, str, dict[str, Any]]]:
        asked.append(number)
        return plain(number, most)

    monkeypatch.setattr(store, "events_after", listened)
    for name in "abcd":
        first.write(name)
        second.followed.look()
        clock.advance(seconds=8)
    assert second.heard == ["a", "b", "c", "d"]
    assert asked[0] == asked[2] < asked[3]


def test_a_store_that_is_away_is_asked_until_all_is_heard(
    pair: tuple[Process, Process], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair

    def away(*_: object) -> None:
        raise ResourceError("the store is down")

    first.write(*"abcde")
    with monkeypatch.context() as patched:
        patched.setattr(store, "events_after", away)
        second.followed.look()
    monkeypatch.setattr(following, "MOST", 2)
    for _ in range(3):
        second.followed.look()
    assert second.heard == list("abcde")


def test_what_cannot_be_written_is_heard_from_who_could(
    pair: tuple[Process, Process], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair

    def full(*_: object) -> None:
        raise ResourceError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(store, "record_group", full)
        with pytest.raises(ResourceError):
            second.write("a")
    first.write("a")
    second.followed.look()
    assert second.heard == ["a"]


def test_a_look_in_the_midst_of_a_commit_leaves_it_alone(
    pair: tuple[Process, Process], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = pair
    plain, looked = store.record_group, threading.Event()

    def slow(tenant: str, entries: Any) -> Any:
        results = plain(tenant, entries)
        first.followed.look()  # the rows are there, and nobody has told of them yet
        looked.set()
        return results

    monkeypatch.setattr(store, "record_group", slow)
    first.write("a")
    first.followed.look()
    assert looked.is_set()
    assert first.heard == []


def test_a_model_that_is_loaded_hears_each_event_once(
    tmp_path: Path, store: Store, clock: FixedClock
) -> None:
    reader, writer = Process(store, clock), Process(store, clock)

    def stored(tenant: str, observer: Observer) -> list[dict[str, Any]]:
        if not observer.shared:
            return []
        writer.write(f"before {len(versions)}")
        found = store.events(tenant, kinds=observer.kinds).to_dicts()
        writer.write(f"meanwhile {len(versions)}")
        followed.look()
        return found

    versions: list[str] = []
    models = FolderModels(
        tmp_path,
        lambda folder: replace(reader.made(folder.name)),
        clock,
        stored=stored,
    )
    followed = Followed(store, models, clock, seconds=600)
    followed.begin()
    save_version(tmp_path, "acme", "v1")
    publish(tmp_path, "acme", "v1")
    models.look()
    followed.look()
    assert reader.heard == ["before 0", "meanwhile 0"]
    writer.write("after")
    followed.look()
    followed.look()
    assert reader.heard == ["before 0", "meanwhile 0", "after"]
