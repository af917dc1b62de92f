"""One tenant floods a server of language models; another wants its answers all the same."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.attacks.attack import Area, Attack
from tests.attacks.lm.served import Served, served, until
from tests.support.lm.tiny_gguf import save_tiny_gguf

RUNNING, QUEUE = 4, 16
HONEST: dict[str, Any] = {"prompt": "the best tea", "max_tokens": 24, "temperature": 1.0}
#: What those who flood ask for, and at how many connections.
FLOODS: dict[str, tuple[dict[str, Any], int]] = {
    "long answers": ({"prompt": "tea", "max_tokens": 200, "temperature": 1.0}, 40),
    "many answers to each request": (
        {"prompt": "tea", "max_tokens": 200, "n": 32, "temperature": 1.0},
        24,
    ),
    "long prompts": ({"prompt": "tea " * 100, "max_tokens": 8, "temperature": 1.0}, 40),
    "streams": ({"prompt": "tea", "max_tokens": 200, "stream": True, "temperature": 1.0}, 40),
    "requests that are dropped at once": (
        {"prompt": "tea", "max_tokens": 200, "temperature": 1.0},
        40,
    ),
}
#: Of the honest tenant's requests, those that are answered.
SHARE = 0.99


@dataclass
class Flood:
    """Connections that ask without a pause. seconds: after which one goes away."""

    server: Served
    keys: list[str]
    body: dict[str, Any]
    connections: int
    seconds: float = 60.0
    statuses: Counter[int] = field(default_factory=Counter)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within the context."""
        over = threading.Event()

        def ask(key: str) -> None:
            while not over.is_set():
                with suppress(httpx.HTTPError):
                    told = self.server.post("completions", self.body, key=key, seconds=self.seconds)
                    self.statuses[told.status_code] += 1
                    time.sleep(0.01 if told.status_code == 429 else 0)

        threads = [
            threading.Thread(target=ask, args=(self.keys[at % len(self.keys)],))
            for at in range(self.connections)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


def honest(server: Served, seconds: float) -> tuple[float, list[float]]:
    """Answered share, and seconds of each answer, of a tenant that asks one after another."""
    took, statuses = [], Counter[int]()
    over = time.monotonic() + seconds
    while time.monotonic() < over:
        began = time.monotonic()
        statuses[server.post("completions", HONEST, key="honest-key").status_code] += 1
        took.append(time.monotonic() - began)
    return statuses[200] / statuses.total(), took


def flood(
    server: Served, body: dict[str, Any], connections: int, keys: list[str], stays: float = 60.0
) -> Mapping[str, float]:
    """Measure the honest tenant in peace and beside the flood."""
    assert until(lambda: server.pending() == 0)
    _, quiet = honest(server, 4)
    evil = Flood(server, keys, body, connections, stays)
    with evil.running():
        time.sleep(1)
        share, took = honest(server, 12)
    ratio = float(np.percentile(took, 99) / np.percentile(quiet, 99))
    assert share >= SHARE, f"{share:.3f} of the honest requests were answered"
    assert server.ready()
    shown = server.get("metrics").text
    assert not any(text in shown for text in ("honest", "evil"))
    # The last place is its own: it never waits for the end of an answer of the other's, which
    # takes many times as long as its own.
    assert max(took) < 10, f"{max(took):.1f} s"
    return {
        "lm_honest_share": share,
        "lm_honest_p99_ratio": ratio,
        "refused": float(evil.statuses[429]),
    }


@contextmanager
def tenants() -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="attacks-") as name:
        folder = Path(name)
        keys = folder / "keys"
        keys.write_text("honest honest-key\nevil evil-key\nevil-2 evil-key-2\n", "utf-8")
        model = save_tiny_gguf(folder / "tiny.gguf")
        with served(
            model,
            "--engine",
            "llamacpp",
            "--keys",
            str(keys),
            "--max-running",
            str(RUNNING),
            "--max-queue",
            str(QUEUE),
        ) as server:
            yield server


def strangers(server: Served) -> None:
    """Without a known key nothing is asked of the model, and nobody is told which key is near."""
    for sent in ("", "honest-ke", "honest", "evil-key-3", "Honest-key"):
        assert server.post("completions", HONEST, key=sent).status_code == 401
    bare = {"Authorization": "honest-key"}
    told = httpx.post(f"{server.url}/v1/completions", json=HONEST, headers=bare, timeout=20)
    assert told.status_code == 401


def _flood(what: str, keys: list[str], stays: float = 60.0) -> Callable[[Any], Any]:
    body, connections = FLOODS[what]
    return partial(flood, body=body, connections=connections, keys=keys, stays=stays)


ATTACKS = [
    Attack("callers without a key, or with one that is nearly right", strangers),
    *(
        Attack(
            f"one tenant floods with {what}",
            _flood(what, ["evil-key"], 0.05 if "dropped" in what else 60.0),
            seconds=120,
        )
        for what in FLOODS
    ),
    Attack(
        "two tenants flood with long answers",
        _flood("long answers", ["evil-key", "evil-key-2"]),
        seconds=120,
    ),
]
AREAS = [Area("lm-tenants", ATTACKS, shared=tenants, memory=0)]
