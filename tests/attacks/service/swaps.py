"""Models that are exchanged while the service decides: pointers, artifacts and settings of all
kinds, a soak with some garbage in it, SIGTERM under load, and replicas on Ray."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from adwright.campaigns.store.store import Store
from adwright.core.artifacts import MANIFEST, TENSORS, save_artifact
from adwright.delivery.popularity import save_popularity
from adwright.service.registry.registry import POINTER, SETTINGS, publish
from tests.attacks.attack import GIB, Area, Attack
from tests.attacks.files.forging import forge, rewrite
from tests.attacks.service.running import HONEST, THIRD, Caller, Running, caller, running

#: Sends to and fro in the soak, and hot swaps in it, of which every third is garbage.
SOAK, SWAPS, CALLERS = 20_000, 48, 4
TARGET = THIRD
Spoil = Callable[[Path], object]


def swapped() -> AbstractContextManager[Running]:
    """A service that looks at its models ten times a second."""
    return running(settings={"poll_seconds": 0.1, "deadline_ms": 2000.0})


def decide(calling: Caller, **changes: Any) -> tuple[int, list[str]]:
    """Status of a decision, and its items."""
    body = {"request_id": uuid.uuid4().hex, "user_id": "u1", "k": 3} | changes
    status, text = calling.post("/v1/decide", json.dumps(body))
    items = json.loads(text).get("items", []) if status == 200 else []
    return status, [place["item_id"] for place in items]


def model_of(calling: Caller) -> dict[str, Any]:
    status, text = calling.get("/v1/models")
    assert status == 200
    found: dict[str, Any] = json.loads(text)["models"][0]
    return found


def until(holds: Callable[[], object], seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.05)


def version(folder: Path, items: list[str] | None = None) -> Path:
    """A version of which all is right but what an attack does to it then."""
    save_popularity(folder, items or [f"item-{n}" for n in range(50)], np.arange(50.0))
    return folder


def in_place(service: Running) -> None:
    """Let a good version decide, without settings."""
    folder = service.folder / "models" / TARGET
    for name in (POINTER, SETTINGS):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(True)
    service.publish(TARGET, f"good-{uuid.uuid4().hex[:8]}")


def swap(name: str, spoil: Spoil, *, quick: bool = False) -> Attack:
    """`spoil` gets the tenant's folder. It is refused with a reason, and both tenants' decisions go
    on; the next good version is put in place."""

    def run(service: Running) -> None:
        in_place(service)
        with caller(service, TARGET) as target, caller(service, HONEST) as honest:
            good = model_of(target)["name"]
            spoil(service.folder / "models" / TARGET)
            until(lambda: model_of(target)["refused"])
            found = model_of(target)
            assert found["name"] == good
            assert found["reason"], "no reason is given"
            for calling in (target, honest):
                assert decide(calling)[0] == 200
            in_place(service)
            assert model_of(target)["refused"] is None
            assert decide(target)[0] == 200

    return Attack(name, run, quick=quick)


def pointing(data: bytes | str) -> Spoil:
    content = data.encode() if isinstance(data, str) else data
    return lambda folder: (folder / POINTER).write_bytes(content)


def settings(text: str) -> Spoil:
    return lambda folder: (folder / SETTINGS).write_text(text)


def instead(name: str, make: Callable[[Path], object]) -> Spoil:
    """Something else in the place of a file of the tenant's folder."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return spoil


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, GIB)


def artifact(spoil: Spoil) -> Spoil:
    """A new version, spoilt before it is pointed at."""

    def publishes(folder: Path) -> None:
        name = f"bad-{uuid.uuid4().hex[:8]}"
        spoil(version(folder / name))
        (folder / POINTER).write_text(name)

    return publishes


def ids(*first: str) -> Spoil:
    """A version with these items."""

    def spoil(folder: Path) -> None:
        shutil.rmtree(folder)
        version(folder, [*first, *(f"item-{n}" for n in range(50 - len(first)))])

    return spoil


def of_kind(kind: str) -> Spoil:
    return lambda folder: save_artifact(folder, kind=kind, config={}, overwrite=True)


def weights(values: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        files = {"items.json": json.dumps([f"item-{n}" for n in range(50)])}
        tensors = {"weight": np.asarray(values)}
        save_artifact(
            folder, kind="popularity", config={}, tensors=tensors, files=files, overwrite=True
        )

    return spoil


def linked(folder: Path) -> None:
    folder.rename(folder.with_name(f"real-{folder.name}"))
    folder.symlink_to(folder.with_name(f"real-{folder.name}"))


def cut(name: str) -> Spoil:
    return lambda folder: os.truncate(folder / name, 10)


def fifo(name: str) -> Spoil:
    return instead(name, os.mkfifo)


NAMES = (
    *("", " \n", "..", ".", "/etc", "../honest/popular", "a/b", "a\\b", "current", ".hidden"),
    *("v\0", "nowhere", "x" * 129, "x" * 4000, "v1\nv2", "\ud7ff\u2028", "serving.toml"),
)
TEXTS = (
    *("seed = -1", "seed = 'x'", "other = 1", "policy = 3", "[policy]\nkind = 'magic'", "a = ["),
    *("[policy]\ntemperature = nan", "a = " + "[" * 50_000, f"policy_id = '{'x' * 600}'"),
)
POINTERS: dict[str, Spoil] = {
    **{f"a pointer {text!r:.20}": pointing(text) for text in NAMES},
    "a pointer that is no UTF-8": pointing(b"\xff\xfe"),
    "a pointer that is a FIFO": instead(POINTER, os.mkfifo),
    "a pointer that is a folder": instead(POINTER, os.mkdir),
    "a pointer of 1 GB": instead(POINTER, sparse),
    "a pointer that is a link": instead(POINTER, lambda path: path.symlink_to("/etc/hostname")),
    "a pointer that is /dev/zero": instead(POINTER, lambda path: path.symlink_to("/dev/zero")),
}
ARTIFACTS: dict[str, Spoil] = {
    "without a manifest": lambda folder: (folder / MANIFEST).unlink(),
    "with half a manifest": cut(MANIFEST),
    "whose manifest is a FIFO": fifo(MANIFEST),
    "with half of its tensors": cut(TENSORS),
    "whose tensors are a FIFO": fifo(TENSORS),
    "with a file more": lambda folder: (folder / "more").touch(),
    "with a pickle": lambda folder: forge(folder, "more.bin", b"\x80\x04."),
    "that is a link": linked,
    "that is a file": lambda folder: (shutil.rmtree(folder), folder.touch()),
    "of another kind": of_kind("din"),
    "of no part": of_kind("cascade"),
    "with weights of NaN": weights([np.nan] * 50),
    "with a weight too few": weights(np.arange(49.0)),
    "with weights of two axes": weights(np.zeros((50, 2))),
    "whose items are no list": lambda folder: forge(folder, "items.json", b"{}"),
    "of a newer format": lambda folder: rewrite(folder, format_version=2),
    "with an id of 600 characters": ids("x" * 600),
    "with the id nan": ids("nan"),
    "with a blank id": ids(" "),
    "with NUL in an id": ids("a\0b"),
    "with a line break in an id": ids("a\nb"),
}
SETTINGS_TOML: dict[str, Spoil] = {
    **{f"settings {text!r:.30}": settings(text) for text in TEXTS},
    "settings that are a FIFO": instead(SETTINGS, os.mkfifo),
    "settings of 1 GB": instead(SETTINGS, sparse),
    "settings that are no UTF-8": lambda folder: (folder / SETTINGS).write_bytes(b"\xff\xfe"),
}


def long_ids(service: Running) -> None:
    """An item of 500 characters is decided, and its click is reported."""
    name = "x" * 500
    version(service.folder / "models" / TARGET / "long", [f"item-{n}" for n in range(49)] + [name])
    in_place(service)
    service.publish(TARGET, "long")
    with caller(service, TARGET) as target:
        status, items = decide(target)
        assert (status, items[0]) == (200, name)
        click = {
            **dict.fromkeys(("event_id", "request_id"), uuid.uuid4().hex),
            **{"time": "2026-01-01T00:00:00Z", "user_id": "u1", "kind": "click", "item_id": name},
        }
        assert target.post("/v1/events", json.dumps({"events": [click]}))[0] == 200


def soak(service: Running) -> Mapping[str, float]:
    """Requests of three tenants, each with items of its own, while their models are exchanged."""
    models, tenants = service.folder / "models", list(service.keys)
    for tenant in tenants:
        version(models / tenant / "own-0", [f"{tenant}-{n}" for n in range(50)])
        service.publish(tenant, "own-0")
    errors, crossings, left = list[int](), list[str](), iter(range(SOAK))
    guard, ended = threading.Lock(), threading.Event()

    def call(tenant: str) -> None:
        with caller(service, tenant) as calling:
            while not ended.is_set():
                with guard:
                    if next(left, None) is None:
                        return
                status, items = decide(calling)
                if status != 200:
                    errors.append(status)
                crossings.extend(one for one in items if not one.startswith(f"{tenant}-"))

    callers = [threading.Thread(target=call, args=(tenants[n % 3],)) for n in range(CALLERS)]
    for each in callers:
        each.start()
    try:
        before, turn = resident(service), 0
        while any(each.is_alive() for each in callers):
            tenant, name = tenants[turn % 3], f"own-{turn + 1}"
            if turn < SWAPS:
                folder = version(models / tenant / name, [f"{tenant}-{n}" for n in range(50)])
                if turn % 3 == turn // 3 % 3:
                    cut(TENSORS)(folder)  # garbage, for each of the tenants in turn
                publish(models, tenant, name)
            turn += 1
            time.sleep(0.25)
    finally:
        ended.set()
        for each in callers:
            each.join()
    assert turn >= SWAPS, f"{turn} swaps alone"
    assert not errors, f"{len(errors)} errors: {errors[:5]}"
    assert not crossings, crossings[:3]
    grown = resident(service) - before
    assert grown < 200, f"it grew by {grown:.0f} MB"
    return {"requests": SOAK, "grown_mb": round(grown, 1)}


def resident(service: Running) -> float:
    """Megabytes of the service's process."""
    for line in Path(f"/proc/{service.service.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def ended_under_load(times: int, seconds: float) -> Callable[[Running], Mapping[str, float]]:
    """SIGTERM while four callers send events: what was acknowledged is in the store."""

    def run(service: Running) -> Mapping[str, float]:
        acknowledged, stop, pid = set[str](), threading.Event(), service.service.pid

        def send() -> None:
            with caller(service, HONEST) as calling:
                while not stop.is_set():
                    names = [uuid.uuid4().hex for _ in range(20)]
                    events = [
                        {
                            **dict.fromkeys(("event_id", "request_id"), name),
                            **dict.fromkeys(("user_id", "item_id"), "a"),
                            **{"time": "2026-01-01T00:00:00Z", "kind": "view"},
                        }
                        for name in names
                    ]
                    if calling.post("/v1/events", json.dumps({"events": events}))[0] == 200:
                        acknowledged.update(names)

        senders = [threading.Thread(target=send) for _ in range(4)]
        for each in senders:
            each.start()
        try:
            time.sleep(seconds)
            for _ in range(times - 1):
                os.kill(pid, signal.SIGTERM)
                time.sleep(0.05)
            began = time.monotonic()
            service.service.stop()
            took = time.monotonic() - began
        finally:
            stop.set()
            service.service.start()
            for each in senders:
                each.join()
        assert took < 30, f"it took {took:.0f} s to end"
        with Store.open(f"sqlite:///{service.folder}/store.db") as store:
            kept = set(store.events(HONEST, kinds=["view"])["event_id"])
        lost = acknowledged - kept
        assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged events are lost"
        return {"acknowledged": len(acknowledged), "seconds": round(took, 2)}

    return run


SWAPPED = [
    *(swap(name, spoil, quick="FIFO" in name) for name, spoil in POINTERS.items()),
    *(
        swap(f"a version {name}", artifact(spoil), quick="nan" in name)
        for name, spoil in ARTIFACTS.items()
    ),
    *(swap(name, spoil, quick="FIFO" in name) for name, spoil in SETTINGS_TOML.items()),
    Attack("an item of 500 characters, decided and reported", long_ids),
]
ENDED = [
    *(
        Attack(f"SIGTERM under load after {n + 1} s", ended_under_load(1, n + 1.0), seconds=120)
        for n in range(4)
    ),
    *(
        Attack(f"SIGTERM {times} times under load", ended_under_load(times, 1.0), seconds=120)
        for times in (2, 5)
    ),
]


@contextmanager
def soaked() -> Iterator[Running]:
    with running(settings={"poll_seconds": 0.1, "deadline_ms": 2000.0}) as service:
        yield service


AREAS = [
    Area("hot swaps", SWAPPED, shared=swapped, memory=0),
    Area(
        "soak",
        [Attack(f"{SOAK:,} requests, {SWAPS} hot swaps, a third garbage", soak, seconds=900)],
        shared=soaked,
        memory=0,
    ),
    Area("SIGTERM under load", ENDED, shared=swapped, memory=0),
]
