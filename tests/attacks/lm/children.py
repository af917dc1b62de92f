"""The processes beneath a server of language models: killed, stopped, and left by their parent."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx

from tests.attacks.attack import Area, Attack
from tests.attacks.lm.served import SMOLLM2, Served, alive, served, until
from tests.support.lm.tiny_gguf import save_tiny_gguf

#: Seconds in which the engine has to be there again; the default model takes some to be read.
BACK = {"llamacpp": 30.0, "openvino": 120.0}
#: Of one request, in all attacks.
MOST = 5


@contextmanager
def running(folder: Path, engine: str, *arguments: str) -> Iterator[Served]:
    """A server on the smallest model that the engine reads."""
    model: str | Path = SMOLLM2
    if engine == "llamacpp":
        model = folder / "tiny.gguf"
        if not model.exists():
            save_tiny_gguf(model)
    with served(model, "--engine", engine, *arguments) as server:
        assert server.answer().status_code == 200
        yield server


def back(server: Served, engine: str) -> float:
    """Seconds until it answers again; until then it says so, and is not ready."""
    began = time.monotonic()

    def answers() -> bool:
        assert server.get("healthz").status_code == 200
        told = server.answer(seconds=BACK[engine])
        if told.status_code == 503:
            assert int(told.headers["Retry-After"]) >= 1
        return told.status_code == 200

    assert until(answers, BACK[engine]), "it does not come back"
    assert until(server.ready, 10)
    return time.monotonic() - began


def killed(folder: Path, engine: str, times: int) -> Mapping[str, float]:
    with running(folder, engine) as server:
        took = []
        for _ in range(times):
            (child,) = server.children()
            os.kill(child, signal.SIGKILL)
            took.append(back(server, engine))
            assert not alive(child)
        server.end()
    return {"kills": times, "longest_seconds_until_it_answers": max(took)}


def killed_at_work(folder: Path, engine: str) -> None:
    """What is in work gets a 503 that says when to come again, or its answer, and no other."""
    with running(folder, engine) as server:
        told: list[httpx.Response] = []

        def ask() -> None:
            told.append(server.answer(200, seconds=BACK[engine]))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert until(lambda: server.pending() > 0, 10)
        os.kill(server.children()[0], signal.SIGKILL)
        for thread in threads:
            thread.join()
        statuses = {one.status_code for one in told}
        assert statuses <= {200, 503}, statuses
        assert all(int(one.headers["Retry-After"]) for one in told if one.status_code == 503)
        back(server, engine)


def second_killed(folder: Path, engine: str) -> None:
    """The process of scores, or of embeddings."""
    asked = (
        ("completions", {"prompt": "a cup of tea", "max_tokens": 0, "echo": True, "logprobs": 1})
        if engine == "openvino"
        else ("embeddings", {"input": "a cup of tea"})
    )
    with running(folder, engine) as server:
        before = set(server.children())
        assert server.post(*asked).status_code == 200
        (second,) = set(server.children()) - before
        os.kill(second, signal.SIGKILL)
        assert server.answer().status_code == 200
        assert until(lambda: server.post(*asked).status_code == 200, BACK[engine])
        assert until(server.ready, 10)


def parent_killed(folder: Path, engine: str) -> None:
    with running(folder, engine) as server:
        children = server.children()
        server.process.kill()
        assert until(lambda: not any(map(alive, children)), 10), "it outlives its parent"


def stopped(folder: Path, engine: str) -> Mapping[str, float]:
    """Not ready, and every request has its end; ready again as soon as it goes on."""
    with running(folder, engine, "--max-seconds", str(MOST)) as server:
        (child,) = server.children()
        os.kill(child, signal.SIGSTOP)
        began = time.monotonic()
        assert server.answer(seconds=30).status_code == 503
        waited = time.monotonic() - began
        assert until(lambda: not server.ready(), 30), "it says that it is ready"
        noticed = time.monotonic() - began
        assert server.get("healthz").status_code == 200
        os.kill(child, signal.SIGCONT)
        assert until(server.ready, 30), "it goes on, and is not ready"
        back(server, engine)
    return {"seconds_until_503": waited, "seconds_until_not_ready": noticed}


def ends(folder: Path, engine: str, before: Callable[[Served], None]) -> Mapping[str, float]:
    """SIGTERM in whatever state."""
    with running(folder, engine) as server:
        before(server)
        return {"seconds": server.end()}


def _stop(server: Served) -> None:
    os.kill(server.children()[0], signal.SIGSTOP)


def _stop_with_work(server: Served) -> None:
    _stop(server)
    _ask_aside(server)


def _kill(server: Served) -> None:
    os.kill(server.children()[0], signal.SIGKILL)


def _kill_with_work(server: Served) -> None:
    _ask_aside(server)
    _kill(server)
    _ask_aside(server)


def _ask_aside(server: Served) -> None:
    def ask() -> None:
        with suppress(httpx.HTTPError):  # it ends meanwhile
            server.answer(200, seconds=100)

    for _ in range(4):
        threading.Thread(target=ask, daemon=True).start()
    time.sleep(0.3)


def area(engine: str, title: str) -> Area:
    def one(name: str, run: Callable[..., Mapping[str, float] | None], **more: object) -> Attack:
        return Attack(f"{title}: {name}", partial(run, engine=engine, **more), seconds=400)

    many = 20 if engine == "llamacpp" else 5
    attacks = [
        one("its process is killed again and again", killed, times=many),
        one("its process is killed with work in it", killed_at_work),
        one("its second process is killed", second_killed),
        one("its parent is killed", parent_killed),
        one("its process is stopped", stopped),
        one("SIGTERM after its process was stopped", ends, before=_stop),
        one("SIGTERM after its process was stopped with work in it", ends, before=_stop_with_work),
        one("SIGTERM while its process starts again", ends, before=_kill),
        one("SIGTERM while it starts again and requests wait", ends, before=_kill_with_work),
        one("SIGTERM with work in it", ends, before=_ask_aside),
    ]
    if engine == "llamacpp":
        quick = partial(killed, engine=engine, times=2)
        attacks.append(Attack(f"{title}: its process is killed twice", quick, True, seconds=120))
    return Area(f"lm-children-{engine}", attacks, memory=0)


AREAS = [area("llamacpp", "llama.cpp"), area("openvino", "OpenVINO")]
