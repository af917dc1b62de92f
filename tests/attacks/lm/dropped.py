"""Connections that are closed while their work is under way: it has to end with them."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any

import httpx

from tests.attacks.attack import Area, Attack
from tests.attacks.lm.served import SMOLLM2, Served, served, until

TOKENS = list(range(1000, 2500))
#: What is asked for, three times at once, and the path. Each takes far longer than the caller
#: stays.
LONG: dict[str, tuple[str, dict[str, Any]]] = {
    "a stream": ("completions", {"prompt": "tea", "max_tokens": 2000, "stream": True}),
    "a whole answer": ("completions", {"prompt": "tea", "max_tokens": 2000, "temperature": 1.5}),
    "an echo": (
        "completions",
        {"prompt": [TOKENS] * 4, "max_tokens": 0, "echo": True, "logprobs": 1},
    ),
    "embeddings": ("embeddings", {"input": ["a cup of tea with a friend " * 200] * 16}),
}
#: Seconds that a caller stays; and in which all is free again after it has gone, on a machine that
#: others use too. The measure beside it says how long it was.
STAYS, FREE = 1.5, 6.0


def drop(server: Served, kind: str) -> Mapping[str, float]:
    """Ask, go away, and look when the server is free."""
    path, body = LONG[kind]
    assert server.answer(1).status_code == 200

    def ask() -> None:
        with (
            suppress(httpx.TimeoutException),
            httpx.stream(
                "POST",
                f"{server.url}/v1/{path}",
                json={"model": server.name, **body},
                timeout=STAYS,
            ) as answer,
        ):
            over = time.monotonic() + STAYS
            for _ in answer.iter_raw():
                if time.monotonic() > over:
                    return
            assert time.monotonic() > over, f"it ended before: {answer.status_code}"

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert until(lambda: server.pending() == 3, 5), "the work has not begun"
    for thread in threads:
        thread.join()
    began = time.monotonic()
    assert until(lambda: server.pending() == 0, FREE), f"{server.pending()} are still in work"
    free = time.monotonic() - began
    assert server.answer(1, seconds=20).status_code == 200
    answered = time.monotonic() - began
    assert server.ready()
    return {"seconds_to_free": free, "seconds_to_an_answer": answered}


@contextmanager
def with_adapters() -> Iterator[Served]:
    """The base of a folder of adapters, which is empty: all of them run by the same engine."""
    with (
        tempfile.TemporaryDirectory(prefix="attacks-") as top,
        served(SMOLLM2, "--adapters", top, name="m") as server,
    ):
        yield server


def area(name: str, shared: Callable[[], AbstractContextManager[Served]], kinds: list[str]) -> Area:
    attacks = [
        Attack(f"three callers of {kind} go away", partial(drop, kind=kind), seconds=120)
        for kind in kinds
    ]
    return Area(f"lm-dropped-{name}", attacks, shared=shared, memory=0)


AREAS = [
    area(
        "openvino",
        partial(served, SMOLLM2, "--engine", "openvino"),
        [kind for kind in LONG if kind != "embeddings"],  # which it has none of
    ),
    area("llamacpp", partial(served, SMOLLM2, "--engine", "llamacpp"), list(LONG)),
    area("adapters", with_adapters, list(LONG)),
]
