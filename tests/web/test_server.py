from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from adwright.campaigns.store.store import Store
from adwright.core.errors import MissingExtraError, ResourceError
from adwright.service.registry.registry import publish
from adwright.web.server import listen, serve, uvicorn_config
from tests.support.service.small_shop import NOW, save_version, wait_until

PROGRAM = Path(__file__).parents[1] / "support" / "service" / "service_process.py"


@contextmanager
def service(folder: Path, **settings: Any) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and its address; killed at the end where it has not ended by itself."""
    save_version(folder / "models", "acme", "v1")
    publish(folder / "models", "acme", "v1")
    with listen("127.0.0.1", 0) as opened:
        arguments = [f"sqlite:///{folder}/store.db", folder / "models", opened.fileno()]
        process = subprocess.Popen(
            [sys.executable, PROGRAM, *map(str, arguments), json.dumps(settings)],
            pass_fds=[opened.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        address = f"http://127.0.0.1:{opened.getsockname()[1]}"
    try:
        wait_until(lambda: ready(address) or process.poll() is not None, 120)
        yield process, address
    finally:
        process.kill()
        process.communicate()


def ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_signal_drains_and_ends(tmp_path: Path) -> None:
    with service(tmp_path, drain_seconds=3.0, deadline_ms=1000) as (process, address):
        store = Store.open(f"sqlite:///{tmp_path}/store.db")
        headers = {"X-API-Key": store.create_key("acme")}
        answers: list[httpx.Response] = []
        stop = threading.Event()

        def load() -> None:
            number = 0
            with httpx.Client(headers=headers) as client:
                while not stop.is_set():
                    body = {"request_id": f"r{number}", "user_id": "u1", "time": NOW.isoformat()}
                    try:
                        answers.append(client.post(f"{address}/v1/decide", json=body))
                    except httpx.HTTPError:
                        return
                    number += 1

        thread = threading.Thread(target=load)
        thread.start()
        wait_until(lambda: len(answers) > 5)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: not ready(address))
        said_no = time.monotonic()
        during = len(answers)
        out, err = process.communicate(timeout=20)
        stop.set()
        thread.join()
        assert (process.returncode, out, err) == (0, b"ended\n", b"")
        assert time.monotonic() - said_no < 15
        assert len(answers) > during, "it answers while it drains"
        assert {answer.status_code for answer in answers} == {200}
        kept = set(store.decisions("acme")["request_id"])
        assert {answer.json()["request_id"] for answer in answers} <= kept
        store.close()


def test_an_interrupt_ends_it_without_a_traceback(tmp_path: Path) -> None:
    with service(tmp_path) as (process, address):
        answer = httpx.get(f"{address}/healthz")
        assert "server" not in answer.headers
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (0, b"ended\n", b"")


def test_a_taken_port_is_said_in_words() -> None:
    with listen("127.0.0.1", 0) as opened:
        port = opened.getsockname()[1]
        with pytest.raises(ResourceError, match=f"cannot be listened on.*127.0.0.1:{port}"):
            listen("127.0.0.1", port)
    with pytest.raises(ResourceError, match="cannot be listened on"):
        listen("127.0.0.1", 99_999)
    with pytest.raises(ResourceError, match="cannot be listened on"):
        listen("192.0.2.1", 0)


def test_a_port_of_the_administrator_is_no_port_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(ResourceError, match="choose a port from 1024 on") as caught:
        listen("127.0.0.1", 80)
    assert "stop what uses it" not in caught.value.hint


def test_without_uvicorn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with socket.socket() as opened, pytest.raises(MissingExtraError, match=r"adwright\[service\]"):
        serve(object(), opened)  # type: ignore[arg-type]


def test_the_server_tells_nothing_of_itself_and_trusts_no_proxy() -> None:
    config = uvicorn_config(FastAPI())
    assert (config.server_header, config.proxy_headers, config.access_log) == (False, False, False)
    assert config.lifespan == "on"
