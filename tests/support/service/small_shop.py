"""A small shop for the tests of the service: models that need no network, and a client."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.delivery.decision import Candidates, Deadline, Decision, Request
from adwright.delivery.popularity import Popularity
from adwright.service.registry.deployed import Deployed

T = TypeVar("T")
NOW = datetime(2024, 6, 1, 18, 30, tzinfo=UTC)
ITEMS = tuple(f"item-{n:03}" for n in range(60))


def request(request_id: str = "r1", user_id: str = "u1", **changes: Any) -> Request:
    """A request at a fixed time."""
    return replace(Request(request_id, user_id, NOW), **changes)


class Hashed:
    """Everybody has an order of their own, from a hash; may be slow or broken."""

    def __init__(self, salt: str = "", *, seconds: float = 0.0, broken: bool = False) -> None:
        self.salt, self.seconds, self.broken = salt, seconds, broken
        self.batches: list[int] = []
        self.deadlines: list[Deadline | None] = []
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def recommend_many(
        self, requests: Sequence[Request], deadline: Deadline | None
    ) -> list[Candidates]:
        self.batches.append(len(requests))
        self.deadlines.append(deadline)
        self.entered.set()
        self.go_on.wait(10)
        if self.broken:
            raise RuntimeError("the model is broken")
        if self.seconds:
            time.sleep(self.seconds)
        stage = "popularity" if deadline is not None and deadline.passed() else "fine"
        return [self._one(request, stage) for request in requests]

    def _one(self, request: Request, stage: str) -> Candidates:
        allowed = ITEMS if request.candidates is None else request.candidates
        allowed = tuple(item for item in allowed if item not in request.exclude)
        digests = [
            hashlib.sha256(f"{self.salt}{request.user_id}{item}".encode()).digest()
            for item in allowed
        ]
        score = np.array([int.from_bytes(one[:6], "big") / 2**48 for one in digests])
        order = np.argsort(-score, kind="stable")
        return Candidates(
            tuple(allowed[row] for row in order), score[order].reshape(-1), True, stage
        )


class Shuffle:
    """Any candidate at any place with the same probability: chance shows at once."""

    policy_id = "shuffle"

    def decide(
        self, request: Request, candidates: Candidates, rng: np.random.Generator
    ) -> Decision:
        places = min(request.k, len(candidates))
        rows = rng.permutation(len(candidates))[:places]
        return Decision(
            request,
            self.policy_id,
            tuple(candidates.item_ids[row] for row in rows),
            1 / (len(candidates) - np.arange(places, dtype=np.float64)),
            candidates.score[rows],
            ("by chance",) * places,
            candidates.stage,
        )


def neighbours(item_id: str, k: int) -> list[tuple[str, float]] | None:
    """The items before and after, by number."""
    if item_id not in ITEMS:
        return None
    place = ITEMS.index(item_id)
    others = sorted((abs(n - place), other) for n, other in enumerate(ITEMS) if n != place)
    return [(other, 1 / (1 + distance)) for distance, other in others[:k]]


def deployed(name: str = "v1", **changes: Any) -> Deployed:
    """A model of the shop."""
    made = Deployed(
        name=name,
        artifact_id=hashlib.sha256(name.encode()).hexdigest(),
        kind="hashed",
        recommender=Hashed(name),
        policy=Shuffle(),
        fallback=Popularity(ITEMS, np.arange(len(ITEMS), dtype=np.float64)),
        seed=7,
        similar=neighbours,
    )
    return replace(made, **changes)


def save_version(
    root: Path, tenant: str, name: str, *, salt: str = "", kind: str = "hashed"
) -> str:
    """Write a version of the shop's model below `root`; its id."""
    return save_artifact(root / tenant / name, kind=kind, config={"salt": salt or name})


def load_version(folder: Path) -> Deployed:
    """The loader that goes with `save_version`."""
    artifact = load_artifact(folder, kind="hashed")
    return deployed(
        folder.name, artifact_id=artifact.id, recommender=Hashed(artifact.config["salt"])
    )


def wait_until(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for another thread; fails after `seconds`."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.002)


class Client:
    """Calls an app in an event loop of its own, on another thread."""

    def __init__(self, app: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.app, self._loop = app, loop
        self.headers: dict[str, str] = {}

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    def start(self, method: str, path: str, **options: Any) -> Any:
        """Send without waiting; the future of the answer."""
        return asyncio.run_coroutine_threadsafe(self._send(method, path, options), self._loop)

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer: httpx.Response = self.start(method, path, **options).result(30)
        return answer

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.send("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.send("POST", path, **options)

    def decide(self, request_id: str, user_id: str = "u1", **fields: Any) -> httpx.Response:
        body = {"request_id": request_id, "user_id": user_id, "time": NOW.isoformat(), **fields}
        return self.post("/v1/decide", json=body)

    async def _send(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        headers = {**self.headers, **options.pop("headers", {})}
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, headers=headers, **options)


@contextmanager
def running(app: Any) -> Iterator[Client]:
    """The app between its start and its end, and a client for it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    client = Client(app, loop)
    try:
        lifespan = app.router.lifespan_context(app)
        client.run(lifespan.__aenter__())
        try:
            yield client
        finally:
            client.run(lifespan.__aexit__(None, None, None))
            client.run(loop.shutdown_default_executor())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
