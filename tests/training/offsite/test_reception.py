"""Peers are heard in threads: no one of them keeps the next one waiting."""

from __future__ import annotations

import socket
import struct
import threading
from queue import Queue

import pytest

from adwright.core.errors import ResourceError
from adwright.training.offsite.wire import Channel, Listener, Reception, WireMessage, connect


def _stranger(listener: Listener) -> socket.socket:
    return socket.create_connection((listener.host, listener.port))


def test_a_peer_with_the_token_is_served_while_strangers_are_silent() -> None:
    served = Queue[Channel]()
    with Listener() as listener, Reception(listener, served.put):
        silent = [_stranger(listener) for _ in range(20)]
        with connect(listener.address) as channel:
            channel.greet()
            other = served.get(timeout=5)
            other.send(WireMessage("x"))
            assert channel.receive("x", timeout=5).kind == "x"
            other.close()
        for each in silent:
            each.close()


def test_too_many_strangers_push_out_the_first() -> None:
    with Listener() as listener, Reception(listener, Queue[Channel]().put, at_once=1) as reception:
        silent = [_stranger(listener) for _ in range(6)]
        silent[0].settimeout(5)
        assert silent[0].recv(1 << 12) == b""
        assert reception.served == 0
        for each in silent:
            each.close()


def test_only_so_many_are_served_at_once_and_the_end_interrupts_them() -> None:
    went, end = Queue[str](), threading.Event()

    def serve(channel: Channel) -> None:
        went.put("in")
        try:
            channel.receive("never", timeout=60.0)
        except ResourceError:
            went.put("out")
            raise
        finally:
            end.set()

    with Listener() as listener:
        with Reception(listener, serve, at_once=1) as reception:
            first, second = connect(listener.address), connect(listener.address)
            first.greet()
            assert went.get(timeout=5) == "in"
            assert reception.served == 1
            second.greet()
            with pytest.raises(ResourceError, match="gave up: ResourceError"):
                second.receive("x", timeout=5)
        assert went.get(timeout=5) == "out"
        assert end.wait(5)
        first.close()
        second.close()


@pytest.mark.parametrize("error", [KeyError("a secret"), RecursionError(), ValueError("\x1b[31m")])
def test_whatever_a_peer_causes_is_answered_and_told(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def serve(_: Channel) -> None:
        raise error

    with Listener() as listener, Reception(listener, serve) as reception:
        for _ in range(2):
            with connect(listener.address) as channel:
                channel.greet()
                with pytest.raises(ResourceError, match=f"gave up: {type(error).__name__}") as told:
                    channel.receive("x", timeout=5)
                assert "secret" not in str(told.value)
        assert reception.last is error
        raw = _stranger(listener)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()
    assert all(line.isprintable() for line in caplog.messages)
