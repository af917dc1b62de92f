"""A small OpenAI-compatible server of another make: one answer in two pieces, with usage."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ChatServer:
    """What it was asked, the logins, and how many requests were there at a time."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.logins: list[str] = []
        self.most = self.now = 0
        self.lock = threading.Lock()

    def enter(self, asked: dict[str, Any]) -> None:
        with self.lock:
            self.asked.append(asked)
            self.now += 1
            self.most = max(self.most, self.now)

    def leave(self) -> None:
        with self.lock:
            self.now -= 1


@contextmanager
def chatting(
    tell: Callable[[str], str], refuse: Callable[[dict[str, Any]], str] = lambda _: ""
) -> Iterator[tuple[str, ChatServer]]:
    """(URL, server), while the block runs. tell: the answer to the last turn; "" for status 500.
    refuse: why a body gets status 400; "" where it does not."""
    server = ChatServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.enter(asked)
            server.logins.append(self.headers["Authorization"])
            try:
                if why := refuse(asked):
                    self.send_response(400)
                    self.send_header("Content-Type", "application/json")
                    self.end_headers()
                    self.wfile.write(json.dumps({"error": {"message": why}}).encode())
                    return
                time.sleep(0.01)
                text = tell(asked["messages"][-1]["content"])
                self.send_response(200 if text else 500)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                for event in _events(text) if text else ():
                    self.wfile.write(f"data: {event}\n\n".encode())
            finally:
                server.leave()

        def log_message(self, *arguments: object) -> None:
            """Silent."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1", server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def _events(text: str) -> Iterator[str]:
    common = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    for piece in (text[:3], text[3:]):
        delta = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
        yield json.dumps(common | {"choices": [delta]})
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    yield json.dumps(common | {"choices": [end]})
    usage = {"prompt_tokens": 40, "completion_tokens": 5, "total_tokens": 45}
    yield json.dumps(common | {"choices": [], "usage": usage})
    yield "[DONE]"
