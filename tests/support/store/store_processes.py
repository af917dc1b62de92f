"""What other processes do to a store in the tests; started afresh, since a store is not forked."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from datetime import datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from adwright.campaigns.store import compaction
from adwright.campaigns.store.compaction import Compactor
from adwright.campaigns.store.store import Store
from adwright.core import atomic
from tests.support.store.events import events

#: Where a compaction dies, in the order in which it gets there.
STEPS = ("announced", "half written", "written", "deleted", "settled")


def start(target: Callable[..., None], *arguments: object) -> BaseProcess:
    """A process that runs the target; the modules are loaded once for all of them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.store.store_processes"])
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def post(url: str, tenant: str, seed: int, n: int, size: int, accepted: Any) -> None:
    """Post n events twice in overlapping batches of this size, in an order of its own."""
    rng = random.Random(seed)
    rows = events(n)
    with Store.open(url) as store:
        for _ in range(2):
            rng.shuffle(rows)
            for first in range(0, n, size):
                batch = rows[first : first + size]
                recorded = store.record_events(tenant, batch)
                if recorded.conflicting or recorded.accepted + recorded.duplicates != len(batch):
                    os._exit(3)
                with accepted.get_lock():
                    accepted.value += recorded.accepted


def post_and_tell(url: str, tenant: str, n: int, size: int, told: Path) -> None:
    """Post n events in batches, and note each in a file once the store has acknowledged it."""
    rows = events(n)
    with Store.open(url) as store, told.open("a") as stream:
        for first in range(0, n, size):
            batch = rows[first : first + size]
            store.record_events(tenant, batch)
            stream.writelines(f"{row['event_id']}\n" for row in batch)
            stream.flush()


def show_until_killed(url: str, tenant: str, seed: int, told: Path) -> None:
    """Record impressions of campaigns a and b, most of them once and some again, until killed; the
    file is there once twenty are kept."""
    rng = random.Random(seed)
    with Store.open(url) as store:
        for first in range(0, 10**9, 20):
            rows = [
                {**row, "event_id": f"{seed}-{row['event_id']}", "campaign_id": rng.choice("ab")}
                for row in events(20, start=max(0, first - rng.randrange(8)))
            ]
            store.record_events(tenant, rows)
            told.touch()


def compact(url: str, tenant: str, folder: Path, before: datetime, part: int) -> None:
    """Compact again and again, until killed."""
    with Store.open(url) as store:
        while True:
            store.compact(tenant, folder, before=before, part=part)


def compact_and_die(url: str, tenant: str, folder: Path, before: datetime, step: str) -> None:
    """Compact, and be killed at this step of the first part."""
    match step:
        case "announced":
            _die_after(Compactor, "_announce")
        case "half written":
            atomic.os.replace = _die  # type: ignore[attr-defined]
        case "written":
            _die_after(compaction, "_write")
        case "deleted":
            _die_after(compaction, "_delete")
        case "settled":
            _die_after(Compactor, "_settle")
    with Store.open(url) as store:
        store.compact(tenant, folder, before=before)


def _die_after(owner: object, name: str) -> None:
    original = getattr(owner, name)

    def run(*arguments: object) -> None:
        original(*arguments)
        _die()

    setattr(owner, name, run)


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
