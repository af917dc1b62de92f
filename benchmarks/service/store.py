"""Store: events per CPU-second into SQLite and PostgreSQL and out into Parquet (2 minutes).

    python -m benchmarks.service.store

A PostgreSQL server is started for it, from the same programs as in the tests.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from adwright.campaigns.store.database import Database
from adwright.campaigns.store.store import Store
from adwright.core.hashing import content_hash
from benchmarks.common.result import write_result
from tests.support.store.postgres import ABSENT, programs, running

START = datetime(2024, 5, 1, tzinfo=UTC)
MANY, FEW = 200_000, 20_000
PROTOCOL = (
    f"Impressions in slates of ten, 11 of 13 columns filled. {MANY:,} events in batches of "
    f"1,000 and {FEW:,} in batches of 10, each batch one transaction that is checked, written "
    "and synced to the disk before it returns; one sender, a fresh database each. CPU-seconds "
    "are those of the sender and, with PostgreSQL, of the server. Then all events are compacted "
    "into Parquet. PostgreSQL runs here without fsync, as the tests start it, which costs it no "
    "CPU time to speak of. Bytes an event_id: what remembers it for good, after compaction."
)


def make_events(n: int) -> list[dict[str, Any]]:
    """n events, a slate of ten each second."""
    return [
        {
            "event_id": f"3f2a9c{number // 10:08x}-{number % 10 + 1}",
            "time": START + timedelta(seconds=number // 10),
            "request_id": f"3f2a9c{number // 10:08x}",
            "user_id": f"household-{number // 10 % 2469}",
            "kind": "impression",
            "item_id": str(820_000 + number * 7919 % 68_509),
            "creative_id": f"creative-{number % 997}",
            "campaign_id": f"campaign-{number % 27}",
            "position": number % 10 + 1,
            "propensity": 1 / (1 + number % 7),
            "policy_id": "softmax-0.1",
            "value": None,
            "context": f'{{"stage": "fine", "store": "{number // 10 % 115}"}}',
        }
        for number in range(n)
    ]


def measure(url: str, size: int, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Write the rows in batches of `size`; what the sender spent."""
    with Store.open(url) as store:
        store.create_tenant("acme")
        cpu, wall = time.process_time(), time.perf_counter()
        for first in range(0, len(rows), size):
            store.record_events("acme", rows[first : first + size])
        written = {
            "cpu_seconds": time.process_time() - cpu,
            "seconds": time.perf_counter() - wall,
        }
    return written


def compact(url: str, folder: Path) -> tuple[float, int]:
    """Compact everything; CPU-seconds of this process and bytes of the files."""
    with Store.open(url) as store:
        cpu = time.process_time()
        parts = store.compact("acme", folder, before=START + timedelta(days=30))
        return time.process_time() - cpu, sum(part.stat().st_size for part in parts)


def bytes_of_ids(url: str) -> int:
    """What the table of event_ids takes on the disk, its index included."""
    database = Database.open(url)
    with database.read() as connection:
        size = _size(connection)
    database.close()
    return size


def _size(connection: Connection) -> int:
    if connection.dialect.name == "sqlite":
        query = "SELECT SUM(pgsize) FROM dbstat WHERE name = 'event_ids'"
    else:
        query = "SELECT pg_total_relation_size('event_ids')"
    return int(connection.execute(text(query)).scalar_one())


def server_cpu(process: int) -> float:
    """CPU-seconds of a server and of those of its processes that have ended."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure both databases and write the result."""
    found = programs()
    if found is None:
        raise SystemExit(ABSENT)
    events = make_events(MANY)
    figures: dict[str, float] = {}
    table: list[dict[str, Any]] = []
    scratch = Path(tempfile.mkdtemp(prefix="adwright-store-"))
    try:
        with running(found) as server:
            for kind in ("sqlite", "postgresql"):
                for size, n in ((1_000, MANY), (10, FEW)):
                    name = f"{kind}_{size}"
                    is_file = kind == "sqlite"
                    url = f"sqlite:///{scratch / name}.db" if is_file else server.new_database()
                    pid = os.getpid() if is_file else server.process.pid
                    marks = [cpu_of(pid, is_file)]
                    written = measure(url, size, events[:n])
                    marks.append(cpu_of(pid, is_file))
                    seconds, stored = compact(url, scratch / name)
                    marks.append(cpu_of(pid, is_file))
                    used, used_compacting = marks[1] - marks[0], marks[2] - marks[1]
                    figures[f"events_per_cpu_second_{name}"] = n / (written["cpu_seconds"] + used)
                    seconds += used_compacting
                    row = {
                        "database": kind,
                        "batch": size,
                        "events": n,
                        "sender_cpu_seconds": written["cpu_seconds"],
                        "server_cpu_seconds": used,
                        "seconds": written["seconds"],
                        "compaction_cpu_seconds": seconds,
                        "parquet_bytes": stored,
                        "event_id_bytes": bytes_of_ids(url),
                    }
                    table.append(row)
                    if n == MANY:
                        figures[f"compacted_per_cpu_second_{kind}"] = n / seconds
                        figures[f"bytes_per_event_id_{kind}"] = row["event_id_bytes"] / n
                        figures["parquet_bytes_per_event"] = stored / n
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    write_result(
        "store",
        protocol=PROTOCOL,
        data=content_hash([{**event, "time": str(event["time"])} for event in events[:FEW]]),
        seeds=[],
        rows=table,
        figures=figures,
    )


def cpu_of(process: int, is_file: bool) -> float:
    """As `server_cpu`, once the processes of closed connections have ended; 0 without one."""
    if is_file:
        return 0.0
    time.sleep(1)
    return server_cpu(process)


if __name__ == "__main__":
    main()
