"""Servers that fail in every way behind `programs serve`: what becomes of programs (10 minutes).

python -m benchmarks.programs.chaos
python -m benchmarks.programs.chaos --programs 4 --keep          a small one, printed alone
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from adwright.core.hashing import content_hash
from benchmarks.common.result import write_result
from tests.support.lm.tiny_gguf import save_tiny_gguf
from tests.support.programs.faulty_server import FAULTS, FaultyServer, faulty_servers

SERVERS, PROGRAMS, AT_ONCE, TOKENS, BOUND = 4, 16, 8, 8, 90.0
KEYS = {"shop": "key-of-the-shop", "agency": "key-of-the-agency"}
PROTOCOL = (
    f"One `adwright lm serve` (OpenVINO on a random model of 60,000 weights, one thread) behind "
    f"{SERVERS} doors, which are {SERVERS} servers to `adwright programs serve`, with its "
    "defaults and two tenants. Doors answer /models always, and generations as told: 500, 429 with "
    "Retry-After 1, 404, 401, no answer at all, a page of HTML, an empty stream, or 2 seconds late."
    f" Of each fault 1, 2 and 3 doors at a time, others at each turn, with {PROGRAMS} programs "
    f"from the moment of the turn on, {AT_ONCE} at a time, of the tenants in turn: three calls of "
    f"{TOKENS} tokens and one that reads them. finished: all texts are there within {BOUND:g} s; "
    "p50, p99: seconds of a program from its POST to its texts, of those that finished; quiet: no "
    "door fails. p99 of a fault over all its turns."
)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and write benchmarks/results/chaos.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=PROGRAMS, help="of each turn")
    parser.add_argument("--keep", action="store_true", help="keep the result that there is")
    chosen = parser.parse_args(argv)
    rows = asyncio.run(chaos(chosen.programs))
    if chosen.keep:
        print(figures(rows))
        return
    write_result(
        "chaos",
        protocol=PROTOCOL,
        data=content_hash([SERVERS, chosen.programs, AT_ONCE, TOKENS]),
        seeds=[0],
        rows=rows,
        figures=figures(rows),
    )


def figures(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """What is published of the rows."""
    turns = [row for row in rows if row["fault"] not in ("quiet", "all")]
    (quiet,) = (row for row in rows if row["fault"] == "quiet")
    (whole,) = (row for row in rows if row["fault"] == "all")
    return {
        "chaos_programs": sum(row["programs"] for row in turns),
        "chaos_finished": sum(row["finished"] for row in turns),
        "chaos_p99_quiet": quiet["p99"],
        "chaos_p99": whole["p99"],
        "chaos_p99_over_quiet": round(whole["p99"] / quiet["p99"], 1),
    }


async def chaos(programs: int, faults: Sequence[str] = FAULTS) -> list[dict[str, Any]]:
    """A row of the quiet, one of each fault and number of doors, and one of all programs."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = await stack.enter_async_context(_model(folder))
        doors = [FaultyServer(upstream) for _ in range(SERVERS)]
        urls = await stack.enter_async_context(faulty_servers(*doors))
        service = await stack.enter_async_context(programs_service(folder, urls))
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=BOUND))
        await _programs(client, service, AT_ONCE)  # what is made once is made now
        rows = [_row("quiet", 0, await _programs(client, service, 3 * programs))]
        every: list[float | None] = []
        for fault in faults:
            for number in range(1, SERVERS):
                for at, door in enumerate(doors):
                    is_ill = (at - len(rows)) % SERVERS < number
                    door.fault = fault if is_ill else ""  # type: ignore[assignment]
                found = await _programs(client, service, programs)
                rows.append(_row(fault, number, found))
                every += found
                print(rows[-1], flush=True)
        rows.append(_row("all", 0, every))
        return rows


def _row(fault: str, doors: int, found: Sequence[float | None]) -> dict[str, Any]:
    ended = [one for one in found if one is not None] or [BOUND]
    done = sum(one is not None for one in found)
    p50, p99 = (round(float(np.quantile(ended, q)), 2) for q in (0.5, 0.99))
    row = {"fault": fault, "doors": doors, "programs": len(found), "finished": done}
    return row | {"p50": p50, "p99": p99}


async def _programs(client: httpx.AsyncClient, service: str, number: int) -> list[float | None]:
    """Seconds of each program; None where a text of it is not there."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(at: int) -> float | None:
        key = list(KEYS.values())[at % len(KEYS)]
        said = {"max_tokens": TOKENS, "ignore_eos": True}
        calls = [
            {
                "name": f"c{call}",
                "template": f"Tea {at} of {call}: {{{{v{call}:output}}}}",
                "settings": {f"v{call}": said},
            }
            for call in range(3)
        ]
        reads = "{{v0}} {{v1}} {{v2}}: {{all:output}}"
        calls.append({"name": "all", "template": reads, "settings": {"all": said}})
        body = {"calls": calls, "outputs": [{"variable": "all"}], "wait": True}
        async with room:
            began = time.monotonic()
            try:
                headers = {"Authorization": f"Bearer {key}"}
                told = await client.post(f"{service}/programs", json=body, headers=headers)
            except httpx.HTTPError:
                return None
            seconds, found = time.monotonic() - began, told.json()
            if found.get("state") != "done":
                print(str(found)[:300], flush=True)
                return None
            # A tenant may have 64 that are open.
            await client.delete(f"{service}/programs/{found['id']}", headers=headers)
            return seconds

    return list(await asyncio.gather(*(one(at) for at in range(number))))


@asynccontextmanager
async def _model(folder: Path) -> AsyncIterator[tuple[str, int]]:
    """A real server of a small model."""
    model = save_tiny_gguf(folder / "tiny.gguf")
    command = ["lm", "serve", "--model", str(model), "--engine", "openvino", "--name", "tiny"]
    async with _adwright([*command, "--threads", "1", "--port", "0"], folder) as url:
        host, _, port = url.removeprefix("http://").removesuffix("/v1").rpartition(":")
        yield host, int(port)


@asynccontextmanager
async def programs_service(
    folder: Path, urls: Sequence[str], further: Sequence[str] = ()
) -> AsyncIterator[str]:
    """The address of programs behind all doors. further: options."""
    keys = folder / "keys"
    keys.write_text("".join(f"{tenant} {key}\n" for tenant, key in KEYS.items()), "utf-8")
    command = ["programs", "serve", "tiny", "--key-file", str(keys), "--port", "0", "--no-measure"]
    command += further
    for url in urls:
        command += ["--engine-url", url]
    async with _adwright(command, folder) as address:
        yield address


@asynccontextmanager
async def _adwright(command: Sequence[str], folder: Path) -> AsyncIterator[str]:
    """The address that a verb says it serves on."""
    environment = {**os.environ, "ADWRIGHT_CACHE": str(folder / "cache")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "adwright", *command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    try:
        if process.stdout is None:
            raise RuntimeError("it has no output")
        async for line in process.stdout:
            if found := re.search(r"serving on (http://\S+)", line.decode()):
                yield found[1]
                return
        raise RuntimeError(f"{' '.join(command)} ended before it served")
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


if __name__ == "__main__":
    main()
