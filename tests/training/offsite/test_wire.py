"""Messages over TCP, and peers that break."""

from __future__ import annotations

import json
import math
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest
import torch
from safetensors.torch import save

from adwright.core.errors import ConfigError, DataError, ResourceError
from adwright.training.offsite import wire
from adwright.training.offsite.wire import (
    TOKEN,
    VERSION,
    Address,
    Channel,
    Listener,
    Reception,
    WireMessage,
    connect,
    printable,
    read_address,
)

ONE = torch.zeros(1)


@contextmanager
def pair(timeout: float = 5.0, limit: int = 1 << 20) -> Iterator[tuple[Channel, Channel]]:
    listener = Listener()
    one = connect(listener.address, timeout=timeout, limit=limit)
    other = listener.accept(timeout=timeout, limit=limit)
    try:
        yield one, other
    finally:
        one.close()
        other.close()


@contextmanager
def stranger(timeout: float = 5.0) -> Iterator[tuple[socket.socket, Channel]]:
    """A plain socket, and the channel that hears it."""
    listener = Listener()
    with socket.create_connection((listener.host, listener.port)) as raw:
        channel = listener.accept(timeout=timeout, limit=1 << 20)
        yield raw, channel
        channel.close()


def frame(
    head: object, body: bytes = b"", *, version: int = VERSION, magic: bytes = b"ADWOFF"
) -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("!6sHIQ", magic, version, len(text), len(body)) + text + body


def test_a_message_arrives_as_it_was_sent_and_is_counted() -> None:
    tensors = {
        "a": torch.randn(3, 4).T,
        "b": torch.arange(5),
        "c": torch.randn(2).to(torch.bfloat16),
    }
    with pair() as (one, other):
        one.send(WireMessage("first", {"n": 3, "names": ["x"]}, tensors))
        one.send(WireMessage("second"))
        found = other.receive("first")
        assert other.receive("first", "second") == WireMessage("second")
        assert one.sent == other.received
        assert set(one.sent) == {"first", "second"}
        assert one.sent["second"] == len(frame({"kind": "second", "fields": {}}))
    assert found.fields == {"n": 3, "names": ["x"]}
    assert found.number("n") == 3
    for name, value in tensors.items():
        assert torch.equal(found.tensor(name), value)
        assert found.tensor(name).dtype == value.dtype


def test_what_a_message_lacks_is_named() -> None:
    message = WireMessage("x", {"n": "3", "flag": True})
    for name in ("n", "flag", "none"):
        with pytest.raises(DataError, match=f"lacks a number.*x.{name}"):
            message.number(name)
    with pytest.raises(DataError, match=r"lacks a tensor.*x.none"):
        message.tensor("none")


@pytest.mark.parametrize(
    "value", ["1", True, None, math.nan, math.inf, pytest.param(10**400, id="huge")]
)
def test_a_number_has_to_be_finite(value: object) -> None:
    with pytest.raises(DataError, match=r"lacks a finite number.*x\.n"):
        WireMessage("x", {"n": value}).real("n")
    assert WireMessage("x", {"n": 3}).real("n") == 3.0


def test_it_listens_on_the_loopback_to_one_peer() -> None:
    listener = Listener()
    assert listener.host == "127.0.0.1"
    with connect(listener.address) as one, listener.accept():
        assert one.peer == f"127.0.0.1:{listener.port}"
        with pytest.raises(ResourceError, match="cannot connect"):
            connect(listener.address, timeout=1.0)
    listener = Listener()
    with pytest.raises(ResourceError, match="nobody connected"):
        listener.accept(timeout=0.05)
    with pytest.raises(ResourceError, match="cannot listen"):
        Listener("203.0.113.1")


@pytest.mark.parametrize(
    ("sent", "what"),
    [
        (lambda: b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "another protocol"),
        (lambda: frame({"kind": "x", "fields": {}}, magic=b"ADWONN"), "another protocol"),
        (lambda: frame(b"no json"), "cannot be read"),
        (lambda: frame([1]), "cannot be read"),
        (lambda: frame(b"[" * 200_000), "cannot be read"),
        (lambda: frame(b'{"kind": "x", "fields": {"n": NaN}}'), "cannot be read"),
        (lambda: frame(b'{"kind": "x", "fields": {"n": -Infinity}}'), "cannot be read"),
        (lambda: frame({"kind": 1, "fields": {}}), "cannot be read"),
        (lambda: frame({"kind": "x", "fields": {}}, b"no tensors at all"), "cannot be read"),
        (lambda: frame({"kind": "y", "fields": {}}), "sent 'y' where x was due"),
        (
            lambda: frame({"kind": "x", "fields": {}}, bytes((1 << 20) + 1)),
            "too many: x has 1,048,",
        ),
        (lambda: frame({"kind": "x", "fields": {}}, save({"\x1b[31m": ONE})), "cannot be shown"),
        (lambda: struct.pack("!6sHIQ", b"ADWOFF", VERSION, 1 << 30, 0), "too many"),
    ],
)
def test_a_peer_that_talks_nonsense_is_refused(sent: Callable[[], bytes], what: str) -> None:
    with stranger() as (raw, channel):
        raw.sendall(sent())
        with pytest.raises(DataError, match=what):
            channel.receive("x")


def test_another_version_is_refused() -> None:
    with stranger() as (raw, channel):
        raw.sendall(frame({"kind": "x", "fields": {}}, version=VERSION + 1))
        with pytest.raises(ConfigError, match=r"speaks version 3, this is version 2"):
            channel.receive("x")


@pytest.mark.parametrize("size", [0, 3, 25])
def test_a_peer_that_hangs_up_is_gone(size: int) -> None:
    with stranger() as (raw, channel):
        raw.sendall(frame({"kind": "x", "fields": {}})[:size])
        raw.close()
        with pytest.raises(ResourceError, match="the peer is gone: no x came"):
            channel.receive("x")


def test_a_silent_peer_is_waited_for_as_long_as_said() -> None:
    with stranger(timeout=0.05) as (raw, channel):
        with pytest.raises(ResourceError, match="the peer is silent"):
            channel.receive("x")
        later = threading.Timer(0.3, raw.sendall, [frame({"kind": "x", "fields": {}})])
        later.start()
        assert channel.receive("x", timeout=5.0).kind == "x"
        later.join()


def test_who_gives_up_says_so_without_details() -> None:
    with pair() as (one, other):
        with pytest.raises(KeyError), one:
            raise KeyError("a secret word")
        with pytest.raises(ResourceError, match="the peer gave up: KeyError") as caught:
            other.receive("x")
        assert "secret" not in str(caught.value)
        large = WireMessage("x", {}, {"a": torch.zeros(10_000_000)})
        with pytest.raises(ResourceError, match="is gone: x could not be sent"):
            other.send(large)


def test_a_listener_goes_on_where_it_is_told() -> None:
    with Listener() as listener:
        for _ in range(2):
            one = connect(listener.address)
            with one, listener.accept(wait=5.0, last=False) as other:
                one.send(WireMessage("x"))
                assert other.receive("x").kind == "x"
        with pytest.raises(ResourceError, match=r"nobody connected.*0\.05 s"):
            listener.accept(wait=0.05, last=False)
    with pytest.raises(ResourceError, match="cannot connect"):
        connect(listener.address, timeout=1.0)


def test_a_slow_reader_gets_a_large_message() -> None:
    """Whole it takes several timeouts, each MiB much less than one."""
    timeout, large = 0.5, WireMessage("x", {}, {"a": torch.zeros(8 << 20)})
    with stranger(timeout) as (raw, channel):

        def read() -> None:
            while raw.recv(1 << 19):
                time.sleep(0.02)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        start = time.monotonic()
        channel.send(large)
        assert time.monotonic() - start > timeout
        channel.close()
        reader.join(10)


def test_a_peer_that_drips_is_not_waited_for() -> None:
    with stranger(timeout=0.3) as (raw, channel):

        def drip() -> None:
            try:
                for byte in frame({"kind": "x", "fields": {"text": "a" * 100}}):
                    raw.sendall(bytes([byte]))
                    time.sleep(0.02)
            except OSError:
                pass

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        with pytest.raises(ResourceError, match="silent or too slow: no x came"):
            channel.receive("x", timeout=10.0)
        channel.close()
        thread.join(10)


def test_a_greeting_gets_little_time_and_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with stranger(timeout=60.0) as (raw, channel):
        raw.sendall(frame({"kind": "hello", "fields": {}})[:-1])
        raw.sendall(b"}" + struct.pack("!6sHIQ", b"ADWOFF", VERSION, 2, 1 << 13))
        with pytest.raises(DataError, match="does not know the token"):
            channel.receive_hello()
    with stranger(timeout=60.0) as (raw, channel):
        raw.sendall(struct.pack("!6sHIQ", b"ADWOFF", VERSION, 1 << 13, 0))
        with pytest.raises(DataError, match="a head of 8,192 bytes, too many"):
            channel.receive_hello()
    monkeypatch.setattr(wire, "_HELLO", 0.05)
    silent = pytest.raises(ResourceError, match="silent or too slow: no hello came")
    with stranger(timeout=60.0) as (_, channel), silent:
        channel.receive_hello()


@pytest.mark.parametrize("said", ["", "wrong", None, 3, ["a"], "ü"])
def test_a_hello_must_carry_the_token(said: object) -> None:
    with Listener(token="the-token") as listener:
        with connect(listener.address) as one, listener.accept(last=False) as other:
            one.greet()
            other.receive_hello()
            other.receive_hello()  # it has come
        with connect(listener.address) as one, listener.accept(last=False) as other:
            one.send(WireMessage("hello", {"token": said}))
            with pytest.raises(DataError, match="does not know the token") as refused:
                other.receive_hello()
            assert "the-token" not in str(refused.value)


def test_tokens_are_drawn_or_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with Listener() as one, Listener() as other:
        assert len(one.token) >= 20
        assert one.token != other.token
        assert read_address(str(one.address)) == one.address
    monkeypatch.setenv(TOKEN, "of both")
    with Listener() as one:
        assert one.token == "of both"
        assert read_address(f"{one.host}:{one.port}") == one.address


def test_the_limit_of_a_body_may_follow_from_its_head() -> None:
    def limit(head: WireMessage) -> int:
        return 100 * head.number("n")

    message = WireMessage("x", {"n": 1}, {"a": torch.zeros(4)})
    with pair() as (one, other):
        one.send(message)
        assert len(other.receive("x", limit=limit).tensor("a")) == 4
        one.send(WireMessage("x", {"n": 1}, {"a": torch.zeros(40)}))
        with pytest.raises(DataError, match="232 bytes, too many: x has 100"):
            other.receive("x", limit=limit)


def test_words_of_a_peer_colour_no_terminal() -> None:
    assert printable("a\x1b[31mb\n\u202ec") == "a?[31mb??c"
    assert printable("x" * 500) == "x" * 200 + "..."
    with pair() as (one, other):
        one.send(WireMessage("failed", {"what": "\x1b[2J" + "y" * 1000}))
        with pytest.raises(ResourceError, match=r"gave up: \?\[2Jy{196}\.\.\.") as caught:
            other.receive("x")
        assert str(caught.value).isprintable()


def test_an_address_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "address").write_text("localhost:7000/abc/d\nmore\n")
    assert read_address(f"@{tmp_path / 'address'}") == Address("localhost", 7000, "abc/d")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_address(f"@{tmp_path / 'none'}")


@pytest.mark.parametrize("text", ["", "7000", "a:", "a:x", "a:0", "a:99999", "a:\u0663", "/t"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="an address is HOST:PORT/TOKEN"):
        read_address(text)


def test_an_address_of_the_old_spelling_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    for text in ("127.0.0.1:7000", "127.0.0.1:7000/"):
        with pytest.raises(ConfigError, match=r"lacks the token .*HOST:PORT/TOKEN as the other"):
            read_address(text)


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
