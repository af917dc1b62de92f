"""A day of a server of language models with all of it mixed at random, llama.cpp beneath.

1,440 rounds; in each an honest caller asks for an answer, while one to three disturbances, drawn
from a seed, come from another caller or end the native process. After warming, the memory of the
server and of all processes beneath it may not grow, and no file may stay open.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.service._client import Answer, Pool
from tests.attacks.attack import Area, Attack

SEED = 20261127
ROUNDS, QUICK_ROUNDS = 1440, 6
WARM = ROUNDS // 4
EVERY = 60
#: Of the resident memory after warming, all processes together.
GROWTH = 0.1
#: Seconds in which the native process has to be there again.
PATIENCE = 30.0


@dataclass
class LmWorld:
    """One day: the server and what it answered."""

    process: subprocess.Popen[str]
    port: int
    statuses: Counter[int] = field(default_factory=Counter)
    killed: int = 0

    def tree(self) -> list[int]:
        """Its process and all beneath it."""
        found = [self.process.pid]
        for pid in found:
            with suppress(OSError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    found += map(int, (thread / "children").read_text().split())
        return found

    def resident(self) -> int:
        """Bytes of memory of all of them."""
        pages = 0
        for pid in self.tree():
            with suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def files(self) -> int:
        """Open files and sockets of the server."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


Disturbance = Callable[[LmWorld, np.random.Generator], Awaitable[None]]


def asked(path: str, body: Any) -> bytes:
    """A request as it goes over the wire."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def prompt(**changes: Any) -> dict[str, Any]:
    """A small request."""
    return {"model": "tiny", "prompt": "the best tea", "max_tokens": 4, "seed": 1, **changes}


async def refused(world: LmWorld, request: bytes) -> None:
    """What cannot be understood is answered as such, or its connection is closed."""
    pool = Pool("127.0.0.1", world.port)
    answer = await pool.send(request)
    pool.close()
    assert answer.status in (0, 400, 408, 413, 422, 429, 503), answer


async def deep_schema(world: LmWorld, rng: np.random.Generator) -> None:
    links = int(rng.integers(10, 8000))
    definitions: dict[str, Any] = {
        f"d{n}": {"type": "array", "prefixItems": [{"$ref": f"#/$defs/d{n + 1}"}], "minItems": 1}
        for n in range(links)
    }
    schema = {"$defs": {**definitions, f"d{links}": {"type": "null"}}, "$ref": "#/$defs/d0"}
    pool = Pool("127.0.0.1", world.port)
    await pool.send(asked("/v1/completions", prompt(structured_outputs={"json": schema})))
    pool.close()


async def many_rules(world: LmWorld, rng: np.random.Generator) -> None:
    rules = "\n".join(f"r{n} ::= r{n + 1}" for n in range(20_000))
    grammar = f'root ::= r0\n{rules}\nr20000 ::= "a"'
    await refused(world, asked("/v1/completions", prompt(structured_outputs={"grammar": grammar})))


async def odd_ids(world: LmWorld, rng: np.random.Generator) -> None:
    for number in (2**63, 2**31, 100_000):
        await refused(world, asked("/v1/completions", prompt(prompt=[number])))


async def odd_values(world: LmWorld, rng: np.random.Generator) -> None:
    for changes in ({"temperature": 1e-320}, {"top_k": 10**30}, {"prompt": "\ud800"}):
        pool = Pool("127.0.0.1", world.port)
        answer = await pool.send(asked("/v1/completions", prompt(**changes)))
        pool.close()
        assert answer.status < 500 or answer.status == 503, (changes, answer)


async def nested(world: LmWorld, rng: np.random.Generator) -> None:
    await refused(world, asked("/v1/completions", b"[" * 900_000))


async def left(world: LmWorld, rng: np.random.Generator, path: str, body: Any) -> None:
    """A caller that asks for long work and leaves."""
    _, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(asked(path, body))
    await writer.drain()
    await asyncio.sleep(float(rng.uniform(0, 0.2)))
    writer.close()


async def left_stream(world: LmWorld, rng: np.random.Generator) -> None:
    await left(world, rng, "/v1/completions", prompt(max_tokens=200, stream=True))


async def left_whole(world: LmWorld, rng: np.random.Generator) -> None:
    await left(world, rng, "/v1/completions", prompt(max_tokens=200))


async def left_echo(world: LmWorld, rng: np.random.Generator) -> None:
    body = prompt(prompt=["the best tea " * 20] * 8, max_tokens=0, echo=True, logprobs=1)
    await left(world, rng, "/v1/completions", body)


async def left_embeddings(world: LmWorld, rng: np.random.Generator) -> None:
    await left(world, rng, "/v1/embeddings", {"model": "tiny", "input": ["tea " * 40] * 30})


async def many(world: LmWorld, rng: np.random.Generator) -> None:
    pool = Pool("127.0.0.1", world.port)
    requests = [asked("/v1/completions", prompt(seed=n, max_tokens=30)) for n in range(30)]
    answers = await asyncio.gather(*map(pool.send, requests))
    pool.close()
    assert {answer.status for answer in answers} <= {200, 429, 503}, answers


async def killed_child(world: LmWorld, rng: np.random.Generator) -> None:
    beneath = world.tree()[1:]
    if not beneath or rng.random() > 0.3:
        return
    for pid in beneath:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    world.killed += 1


DISTURBANCES: tuple[Disturbance, ...] = (
    *(deep_schema, many_rules, odd_ids, odd_values, nested, left_stream, left_whole, left_echo),
    *(left_embeddings, many, killed_child),
)


async def live(world: LmWorld, rounds: int) -> dict[str, float]:
    """Let the rounds pass; memory and files as they go."""
    rng = np.random.default_rng(SEED)
    pool = Pool("127.0.0.1", world.port)
    memory, files = list[int](), list[int]()
    for number in range(rounds):
        which = rng.choice(len(DISTURBANCES), size=rng.integers(1, 4), replace=False)
        disturbed = [asyncio.create_task(DISTURBANCES[n](world, rng)) for n in which]
        await asyncio.gather(*disturbed)
        answer = await _answered(pool)
        world.statuses[answer.status] += 1
        assert answer.status == 200, (number, [DISTURBANCES[n].__name__ for n in which], answer)
        if number % EVERY == EVERY - 1:
            await asyncio.sleep(1.0)
            memory.append(world.resident())
            files.append(world.files())
    pool.close()
    found = {"answered": float(world.statuses[200]), "native_kills": float(world.killed)}
    return found | (_flatness(memory, files) if memory else {})


async def _answered(pool: Pool) -> Answer:
    """The honest caller's answer; after a 429 or 503 it comes back, for a while."""
    answer, ends = Answer(0, b""), asyncio.get_running_loop().time() + PATIENCE
    while asyncio.get_running_loop().time() < ends:
        answer = await pool.send(asked("/v1/completions", prompt()))
        if answer.status not in (429, 503):
            break
        await asyncio.sleep(0.2)
    return answer


def _flatness(memory: list[int], files: list[int]) -> dict[str, float]:
    warm = WARM // EVERY
    memory, files = memory[warm:], files[warm:]
    third = len(memory) // 3
    first, last = np.median(memory[:third]), np.median(memory[-third:])
    found = {"memory_mb": round(float(last) / 1e6, 1), "memory_growth": float(last / first - 1)}
    assert found["memory_growth"] <= GROWTH, f"memory grew: {[m >> 20 for m in memory]} MiB"
    assert np.median(files[-third:]) <= np.median(files[:third]) + 5, f"files stay open: {files}"
    return found | {"files_last": float(np.median(files[-third:]))}


@contextmanager
def lm_world() -> Iterator[LmWorld]:
    """`adwright lm serve` with the tiny Llama on llama.cpp."""
    from tests.support.lm.tiny_gguf import save_tiny_gguf

    with tempfile.TemporaryDirectory(prefix="day-") as name:
        path = save_tiny_gguf(Path(name) / "tiny.gguf")
        settings = ("--engine", "llamacpp", "--name", "tiny", "--port", "0", "--threads", "1")
        process = subprocess.Popen(
            [Path(sys.executable).with_name("adwright"), "lm", "serve", "--model", path, *settings],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
        )
        try:
            yield LmWorld(process, _port(process))
        finally:
            process.kill()
            process.wait()


def _port(process: subprocess.Popen[str]) -> int:
    if process.stdout is None:
        raise RuntimeError("the process has no pipe")
    for line in process.stdout:
        if "serving on " in line:
            return int(line.rpartition(":")[2].partition("/")[0])
    raise AssertionError("the server did not start")


def passes(rounds: int) -> dict[str, float]:
    """A server of its own, the rounds, and an end by a signal that leaves no process behind."""
    with lm_world() as world:
        found = asyncio.run(live(world, rounds))
        beneath = world.tree()[1:]
        world.process.send_signal(signal.SIGTERM)
        assert world.process.wait(60) == 0
        assert [pid for pid in beneath if Path(f"/proc/{pid}/exe").exists()] == []
    return found


AREAS = (
    [
        Area(
            "a day of language models",
            [
                Attack("6 rounds", lambda _: passes(QUICK_ROUNDS), quick=True, seconds=180),
                Attack("1,440 rounds", lambda _: passes(ROUNDS), seconds=3600),
            ],
            memory=0,
        )
    ]
    if find_spec("gguf") and find_spec("xllamacpp")
    else []
)
