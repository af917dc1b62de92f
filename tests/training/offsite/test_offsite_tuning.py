"""Offsite-tuning: two processes, and what crosses between them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch

from adwright.core.artifacts import load_artifact
from adwright.core.errors import AdwrightError, ConfigError, DataError, ResourceError

pytest.importorskip("transformers")

from adwright.training.offsite import wire
from adwright.training.offsite.sandwich import (
    Sandwich,
    adapter_of,
    emulator_of,
    kept_layers,
    own,
    plug_in,
    received_emulator,
    shipped_emulator,
)
from adwright.training.offsite.wire import Channel, Listener, WireMessage, connect
from adwright.training.tuning.tune import answer_nll, tune
from adwright.tuning.tuned import Tuned
from tests.support.training.offsite_pair import (
    WORDS,
    Tap,
    finished,
    messages,
    model,
    port_in,
    side,
    tokens,
)
from tests.support.training.offsite_side import CONFIG, TOKEN


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


@pytest.mark.parametrize("tied", [True, False])
def test_an_emulator_arrives_as_it_was_sent(tied: bool) -> None:
    small = emulator_of(model(tied=tied), 2, 2)
    sent = shipped_emulator(small, 2)
    assert ("weight:lm_head.weight" in sent.tensors) != tied
    assert "_name_or_path" not in sent.fields["config"]
    back, read = received_emulator(sent)
    assert read is None
    ids = torch.arange(2, 12)[None]
    with torch.no_grad():
        assert torch.equal(back(ids).logits, small(ids).logits)


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
    """What `own` makes of an adapter whose fields are these."""
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
        return own(model(), listener.accept(), ends=2, kept=2, wait=20)
    finally:
        thread.join(20)


@pytest.mark.parametrize(
    ("field", "value", "kind", "what"),
    [
        ("alpha", float("nan"), DataError, "cannot be read"),
        pytest.param("alpha", 10**400, DataError, "lacks a finite number", id="huge"),
        ("alpha", True, DataError, "lacks a finite number"),
        ("alpha", -1.0, ConfigError, "alpha is a finite number above 0"),
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
        own(model(), listener.accept(), ends=2, kept=2)
    silent.close()
