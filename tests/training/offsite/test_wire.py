"""Messages over TCP, and peers that break."""

from __future__ import annotations

import json
import math
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from adwright.core.artifacts import load_artifact
from adwright.core.errors import AdwrightError, ArtifactError, ConfigError, DataError, ResourceError
from adwright.training.offsite import wire
from adwright.training.offsite.sandwich import (
    Sandwich,
    adapter_of,
    distil,
    emulator_of,
    kept_layers,
    plug_in,
    received_emulator,
    shipped_emulator,
)
from adwright.training.offsite.wire import TOKEN as wire_TOKEN
from adwright.training.offsite.wire import (
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
from adwright.training.tuning.tune import TuneConfig, answer_nll, tune
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.tuned import Tuned
from tests.support.training.offsite_pair import (
    WORDS,
    Tap,
    finished,
    messages,
    model,
    port_in,
    served,
    side,
    tokens,
)
from tests.support.training.offsite_side import CONFIG, TOKEN

pytest.importorskip("transformers")


QUICK = TuneConfig(epochs=2, batch=4, micro=4, learning_rate=0.01)


@pytest.mark.parametrize(
    ("layers", "ends", "kept", "wanted"),
    [
        (8, 2, 4, (2, 3, 4, 5)),
        (8, 2, 2, (2, 5)),
        (8, 2, 1, (3,)),
        (30, 2, 8, (2, 6, 9, 13, 16, 20, 23, 27)),
    ],
)
def test_kept_layers_are_even(layers: int, ends: int, kept: int, wanted: tuple[int, ...]) -> None:
    assert kept_layers(layers, ends, kept) == wanted


@pytest.mark.parametrize(("ends", "kept"), [(0, 2), (2, 0), (2, 5), (4, 1)])
def test_layers_that_are_not_there_cannot_be_kept(ends: int, kept: int) -> None:
    with pytest.raises(ConfigError, match="8 layers have no such ends"):
        kept_layers(8, ends, kept)


def test_the_emulator_computes_ends_and_kept_layers_alone() -> None:
    whole = model()
    small = emulator_of(whole, 2, 2)
    ids, place = torch.arange(2, 12)[None], torch.arange(10)[None]
    with torch.no_grad():
        hidden = whole.model.embed_tokens(ids)
        angles = whole.model.rotary_emb(hidden, place)
        mask = torch.full((10, 10), -torch.inf).triu(1)[None, None]
        for number in (0, 1, 2, 5, 6, 7):
            layer = whole.model.layers[number]
            hidden = layer(hidden, attention_mask=mask, position_embeddings=angles)
        wanted = whole.lm_head(whole.model.norm(hidden))
        torch.testing.assert_close(small(ids).logits, wanted, rtol=1e-5, atol=1e-6)
    # A copy: what is done to it does not reach the model.
    assert small.model.layers[0].mlp.up_proj.weight is not whole.model.layers[0].mlp.up_proj.weight
    assert small.config.num_hidden_layers == 6
    assert whole.config.num_hidden_layers == 8


@pytest.mark.parametrize("rank", [0, 4])
def test_the_ends_are_trained_and_nothing_else(rank: int) -> None:
    tuned = Tuned(emulator_of(model(), 2, 2), Sandwich(ends=2, rank=rank))
    assert tuned.count() == tuned.method.count(tuned.sizes)
    names = {name for name, _ in tuned.named_parameters()}
    assert {name.split(".")[3] for name in names} == {"0", "1", "4", "5"}
    sent = adapter_of(tuned)
    assert len(sent) == len(names)
    assert {name.rsplit(".", 1)[0].split(".")[1] for name in sent} == {"0", "1"}


@pytest.mark.parametrize("rank", [0, 4])
def test_trained_ends_stand_in_the_whole_model(rank: int) -> None:
    method = Sandwich(ends=2, rank=rank)
    tuned = Tuned(emulator_of(model(), 2, 2), method)
    tune(tuned, tokens(), QUICK)
    sent, whole = adapter_of(tuned), model()
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    after = plug_in(whole, method, sent).merge().state_dict()
    at = {"first.0": 0, "first.1": 1, "last.0": 6, "last.1": 7}
    for name, value in before.items():
        layer = int(name.split(".")[2]) if name.startswith("model.layers.") else -1
        if layer not in at.values():
            assert torch.equal(after[name], value), name
    for where, number in at.items():
        name = "self_attn.q_proj"
        was = before[f"model.layers.{number}.{name}.weight"]
        if rank:
            a, b = sent[f"{where}.{name}.a"], sent[f"{where}.{name}.b"]
            wanted = was + 16.0 / 4 * b @ a
        else:
            wanted = sent[f"{where}.{name}.weight"]
        torch.testing.assert_close(after[f"model.layers.{number}.{name}.weight"], wanted)
        assert not torch.equal(wanted, was)


def test_an_adapter_that_does_not_fit_is_refused() -> None:
    method = Sandwich(ends=2, rank=4)
    sent = adapter_of(Tuned(emulator_of(model(), 2, 2), method))
    name = next(iter(sent))
    for wrong in ("first.2.self_attn.q_proj.a", "middle.0.x", "../x", "first.-1.x"):
        with pytest.raises(DataError, match="not of the ends"):
            plug_in(model(), method, {**sent, wrong: sent[name]})
    with pytest.raises(DataError, match="NaN or infinity"):
        plug_in(model(), method, {**sent, name: sent[name] * torch.nan})
    with pytest.raises(ArtifactError, match=r"is torch\.float32"):
        plug_in(model(), method, {**sent, name: torch.zeros(9, 9)})
    with pytest.raises(ArtifactError, match="are missing"):
        plug_in(model(), method, {name: sent[name]})
    with pytest.raises(ConfigError, match="no middle between ends of 4"):
        Tuned(model(), Sandwich(ends=4))
    with pytest.raises(ConfigError, match="only the ends"):
        adapter_of(Tuned(model(), LoRA(rank=1)))


def test_a_rank_or_an_alpha_that_cannot_be_is_refused() -> None:
    for alpha in (math.nan, math.inf, 0.0, -1.0):
        with pytest.raises(ConfigError, match="alpha must be above 0 and finite"):
            Sandwich(alpha=alpha)
    # k_proj has 16 rows. A rank for which no memory would do is not tried.
    for rank in (17, 10_000_000, 1 << 70):
        with pytest.raises(ConfigError, match="a rank of at most 16"):
            plug_in(model(), Sandwich(ends=2, rank=rank), {})
        with pytest.raises(ConfigError, match="a rank of at most 16"):
            Tuned(model(), Sandwich(ends=2, rank=rank))


def test_distilling_moves_the_kept_layers_towards_the_model() -> None:
    whole, small = model(), emulator_of(model(), 2, 2)
    before = {name: value.clone() for name, value in small.state_dict().items()}
    first, last = distil(small, whole, tokens(), ends=2, steps=60, batch=8, rate=3e-3)
    assert last < 0.7 * first
    for name, value in small.state_dict().items():
        moved = name.startswith(("model.layers.2.", "model.layers.3."))
        assert torch.equal(value, before[name]) != moved, name
    assert not any(parameter.requires_grad for parameter in small.parameters())

    # The first loss, literally: layers 2 and 5 are kept, and stand for 2..4 and 5.
    rows = np.random.default_rng(0).integers(16, size=8)
    fresh, terms = emulator_of(model(), 2, 2), [0.0, 0.0]
    count = 0
    for row in rows:
        data = tokens()
        ids = torch.tensor([[*data.prompts[row], *data.answers[row]]])
        with torch.no_grad():
            given = whole.model(ids, output_hidden_states=True).hidden_states
            made = fresh.model(ids, output_hidden_states=True).hidden_states
        terms[0] += float((made[3] - given[5]).square().sum())
        terms[1] += float((made[4] - given[6]).square().sum())
        count += ids.numel() * 32
    assert first == pytest.approx(sum(terms) / (2 * count), rel=1e-4)


pytest.importorskip("transformers")


@pytest.mark.parametrize("rank", [0, 4])
def test_neither_side_sees_what_is_the_others(tmp_path: Path, rank: int) -> None:
    ours, theirs = tmp_path / "model", tmp_path / "texts"
    ours.mkdir()
    theirs.mkdir()
    with side("own", ours) as owner:
        tap = Tap(port_in(ours / "port", owner))
        with side("train", theirs, tap.port, rank) as trainer:
            finished(trainer)
        finished(owner)
    tap.join()
    up, down = bytes(tap.up), bytes(tap.down)

    # To the model's owner: a greeting, and numbers of the ends. No word, and no run of tokens.
    said = list(messages(up))
    assert [head["kind"] for head, _ in said] == ["hello", "adapter"]
    assert said[0][0]["fields"] == {"token": TOKEN}
    assert said[1][0]["fields"] == {"ends": 2, "rank": rank, "alpha": 16.0}
    assert all(name.startswith(("first.", "last.")) for name in said[1][1])
    assert all(value.is_floating_point() for value in said[1][1].values())
    assert not any(word.encode() in up for word in WORDS)
    for prompt in tokens().prompts:
        assert np.array(prompt, np.int64).tobytes() not in up

    # To the texts' owner: the layers that were kept, and no part of one that was left out.
    whole = model()
    out = set(range(2, 6)) - set(kept_layers(8, 2, 2))
    assert len(out) == 2
    for number, layer in enumerate(whole.model.layers):
        for name, value in layer.named_parameters():
            if "norm" not in name:
                there = value.detach().numpy().tobytes()[:64] in down
                assert there == (number not in out), (number, name)

    # The same as without a wire, and of use in the whole model.
    before = answer_nll(Tuned(model(), Sandwich(ends=2, rank=1)), tokens())
    tuned = Tuned(emulator_of(model(), 2, 2), Sandwich(ends=2, rank=rank), seed=CONFIG.seed)
    tune(tuned, tokens(), CONFIG, valid=tokens(8, seed=1))
    plugged = plug_in(whole, Sandwich(ends=2, rank=rank), adapter_of(tuned))
    assert answer_nll(plugged, tokens()) < before - 0.1
    found = load_artifact(ours / "plugged").tensors
    for name, value in plugged.merge().state_dict().items():
        np.testing.assert_allclose(found[name], value.numpy(), atol=1e-5, err_msg=name)
    report = json.loads((theirs / "report.json").read_text())
    assert report["steps"] == 32


def changed(**config: Any) -> WireMessage:
    sent = shipped_emulator(emulator_of(model(), 2, 2), 2)
    fields = {"ends": 2, "config": {**sent.fields["config"], **config}}
    return WireMessage("emulator", fields, sent.tensors)


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (lambda: changed(model_type="gpt2"), "no known type"),
        (lambda: changed(num_hidden_layers=1_000_000_000), "layers are not those"),
        (lambda: changed(intermediate_size=1_000_000_000), "weights are not those"),
        (lambda: changed(vocab_size="many"), "cannot be built"),
        (lambda: WireMessage("emulator", {"config": 3}), "no known type"),
    ],
)
def test_what_is_no_emulator_is_refused(message: Any, what: str) -> None:
    with pytest.raises(DataError, match=what):
        received_emulator(message())


def test_code_of_a_stranger_is_not_looked_for() -> None:
    back, _ = received_emulator(changed(auto_map={"AutoModelForCausalLM": "evil--model.Evil"}))
    assert type(back).__module__.startswith("transformers.")


def owned(*fields: tuple[str, Any]) -> Tuned:
    """What the owner makes of an adapter whose fields are these."""
    method = Sandwich(ends=2, rank=4)
    sent = adapter_of(Tuned(emulator_of(model(), 2, 2), method))
    listener = Listener()

    def peer() -> None:
        with connect(listener.address) as channel:
            channel.greet()
            channel.receive("emulator")
            asked = {"ends": 2, "rank": 4, "alpha": 16.0, **dict(fields)}
            channel.send(WireMessage("adapter", asked, sent))
            # Whatever the owner says, it is read: a reset could overtake the adapter.
            with suppress(AdwrightError):
                channel.receive("plugged")

    thread = Thread(target=peer, daemon=True)
    thread.start()
    try:
        return served(model(), listener.accept())
    finally:
        thread.join(20)


@pytest.mark.parametrize(
    ("field", "value", "kind", "what"),
    [
        ("alpha", float("nan"), DataError, "cannot be read"),
        pytest.param("alpha", 10**400, DataError, "lacks a finite number", id="huge"),
        ("alpha", True, DataError, "lacks a finite number"),
        ("alpha", -1.0, ConfigError, "alpha must be above 0 and finite"),
        ("rank", 10_000_000, ConfigError, "a rank of at most 16"),
        ("rank", -1, ConfigError, "rank must not be negative"),
        ("ends", 1, DataError, "of other ends"),
    ],
)
def test_what_an_adapter_says_of_itself_is_not_believed(
    field: str, value: Any, kind: type[AdwrightError], what: str
) -> None:
    with pytest.raises(kind, match=what):
        owned((field, value))


def test_an_adapter_is_kept_where_its_owner_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    send = Channel.send

    def failing(channel: Channel, message: WireMessage) -> None:
        if message.kind == "plugged":
            raise ResourceError("the peer is gone")
        send(channel, message)

    monkeypatch.setattr(Channel, "send", failing)
    assert owned().count() == 4 * 4 * (2 * 64 + 2 * 48 + 3 * 80)


def test_a_peer_without_a_greeting_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_HELLO", 0.05)
    listener = Listener()
    silent = connect(listener.address)
    with pytest.raises(ResourceError, match="no hello came"):
        served(model(), listener.accept())
    silent.close()


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
    monkeypatch.setenv(wire_TOKEN, "of both")
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
    monkeypatch.delenv(wire_TOKEN, raising=False)
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
