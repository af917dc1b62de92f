"""The ends of a model, its thinned middle, and how they come together again."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch

from adwright.core.artifacts import load_artifact
from adwright.core.errors import AdwrightError, ArtifactError, ConfigError, DataError, ResourceError
from adwright.training.offsite import wire
from adwright.training.offsite.sandwich import (
    Sandwich,
    adapter_of,
    distil,
    emulator_of,
    kept_layers,
    own,
    plug_in,
    received_emulator,
    shipped_emulator,
)
from adwright.training.offsite.wire import Channel, Listener, WireMessage, connect
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
    side,
    tokens,
)
from tests.support.training.offsite_side import CONFIG, TOKEN

pytest.importorskip("transformers")


CONFIG_SANDWICH = TuneConfig(epochs=2, batch=4, micro=4, learning_rate=0.01)


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
    tune(tuned, tokens(), CONFIG_SANDWICH)
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
        own(model(), listener.accept(), ends=2, kept=2)
    silent.close()
