"""Both sides from files; as commands they are in tests/cli/tune/test_app.py."""

from __future__ import annotations

import json
import math
import socket
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from adwright.core.errors import (
    AdwrightError,
    ConfigError,
    DataError,
    ResourceError,
    ResumeError,
    ValueInvalidError,
)
from adwright.training.offsite.revive import (
    CloudRun,
    DeviceRun,
    OnDevice,
    run_cloud,
    run_device,
    tune_on_device,
)
from adwright.training.offsite.sandwich import (
    KillRevive,
    Lives,
    OwnerRun,
    TrainerRun,
    run_owner,
    run_trainer,
)
from adwright.training.offsite.wire import WireMessage, connect, read_address
from adwright.training.tuning.texts import PairsConfig, Texts
from adwright.training.tuning.tune import TuneConfig, answer_nll, tune
from adwright.tuning.methods import apply, load_tuned
from adwright.tuning.packing.texts import pack
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.training.offsite_pair import (
    Both,
    Tap,
    finished,
    messages,
    model,
    pairs,
    port_in,
    side,
    tokenizer,
    tokens,
)
from tests.support.training.offsite_side import DEVICE

pytest.importorskip("transformers")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model with its tokeniser."""
    model().save_pretrained(tmp_path / "base")
    tokenizer(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def data(tmp_path: Path) -> PairsConfig:
    """Twenty pairs."""
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": said, "answer": answer} for said, answer in pairs(20)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return PairsConfig(path=file)


def test_the_ends_are_trained_elsewhere(base: Path, data: PairsConfig, tmp_path: Path) -> None:
    out, told = tmp_path / "plugged", Queue[str]()
    asked = OwnerRun(model=str(base), out=out, kept=2, wait=60)
    owner = Thread(target=lambda: run_owner(asked, on_listening=told.put), daemon=True)
    owner.start()
    tune = TuneConfig(epochs=4, batch=4, micro=4, learning_rate=0.02)
    elsewhere = TrainerRun(data, told.get(timeout=60), rank=0, tune=tune, out=tmp_path / "theirs")
    report = run_trainer(elsewhere)
    owner.join(60)
    assert not owner.is_alive()
    assert json.loads((tmp_path / "theirs" / "report.json").read_text())["steps"] == report.steps
    assert (report.texts, report.held, report.steps) == (18, 2, 20)
    from transformers import AutoModelForCausalLM

    before, after = model().state_dict(), AutoModelForCausalLM.from_pretrained(out).state_dict()
    for name, value in before.items():
        if name.endswith("q_proj.weight"):
            layer = int(name.split(".")[2])
            same = torch.allclose(after[name].float(), value, rtol=1e-2, atol=1e-3)
            assert same == (2 <= layer < 6), name


def test_where_nobody_comes_nothing_is_kept(base: Path, tmp_path: Path) -> None:
    asked = OwnerRun(model=str(base), out=tmp_path / "plugged", kept=2, wait=0.05)
    with pytest.raises(ResourceError, match="nobody brought an adapter"):
        run_owner(asked, on_listening=lambda _: None)
    assert not (tmp_path / "plugged").exists()
    with pytest.raises(ConfigError, match="8 layers have no such ends"):
        run_owner(OwnerRun(model=str(base), kept=5), on_listening=lambda _: None)


def test_an_address_has_a_port(data: PairsConfig) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        run_trainer(TrainerRun(data, "here"))
    with pytest.raises(ConfigError, match="lacks the token"):
        run_trainer(TrainerRun(data, "127.0.0.1:9"))
    with pytest.raises(ResourceError, match="cannot connect"):
        run_trainer(TrainerRun(data, "127.0.0.1:9/token"))


def test_a_peer_that_fails_does_not_end_the_owner(
    base: Path, data: PairsConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, told = tmp_path / "plugged", Queue[str]()
    asked = OwnerRun(model=str(base), out=out, kept=2, wait=60)
    owner = Thread(target=lambda: run_owner(asked, on_listening=told.put), daemon=True)
    owner.start()
    address = told.get(timeout=60)
    host, port, _ = read_address(address)
    # A port scan, a browser, six that say nothing, one whose texts fail after the model came.
    for said in (b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"):
        with socket.create_connection((host, port)) as raw:
            raw.sendall(said)
    silent = [socket.create_connection((host, port)) for _ in range(6)]
    tune = TuneConfig(epochs=1, batch=4, micro=4)
    elsewhere = TrainerRun(data, address, rank=4, tune=tune, out=tmp_path / "theirs")
    with pytest.raises(ConfigError, match="a rank of at most 16"):
        run_trainer(replace(elsewhere, rank=99))
    with pytest.raises(ResourceError, match="gave up: DataError"):
        run_trainer(replace(elsewhere, address=f"{address}x", out=tmp_path / "strangers"))
    report = run_trainer(elsewhere)
    owner.join(60)
    for each in silent:
        each.close()
    assert not owner.is_alive()
    assert report.steps == 5
    assert (out / "config.json").exists()
    reasons = [line for line in caplog.messages if line.startswith("a peer was turned away")]
    for wanted in ("gone", "another protocol", "gave up: ConfigError", "not know the token"):
        assert any(wanted in reason for reason in reasons), reasons


def test_an_adapter_that_cannot_be_is_answered_and_the_next_is_taken(
    base: Path, data: PairsConfig, tmp_path: Path
) -> None:
    out, told = tmp_path / "plugged", Queue[str]()
    asked = OwnerRun(model=str(base), out=out, kept=2, wait=60)
    owner = Thread(target=lambda: run_owner(asked, on_listening=told.put), daemon=True)
    owner.start()
    address = told.get(timeout=60)
    # One that trains for ever, and two whose adapters lie: in a name, and in their size.
    stays = connect(read_address(address))
    stays.greet()
    for tensors, kind in (({f"first.{'9' * 5000}.x": torch.zeros(1)}, "DataError"), ({}, "")):
        with connect(read_address(address)) as channel:
            channel.greet()
            channel.receive("emulator")
            large = tensors or {"first.0.x": torch.zeros(10_000_000)}
            fields = {"ends": 2, "rank": 1, "alpha": 16.0}
            with suppress(ResourceError):
                channel.send(WireMessage("adapter", fields, large))
            with pytest.raises(ResourceError, match=kind or "gone|gave up"):
                channel.receive("plugged")
    tune = TuneConfig(epochs=1, batch=4, micro=4)
    run_trainer(TrainerRun(data, address, rank=4, tune=tune, out=tmp_path / "theirs"))
    owner.join(60)
    stays.close()
    assert not owner.is_alive()
    assert (out / "config.json").exists()


def test_what_the_last_peer_failed_of_is_the_reason(base: Path, tmp_path: Path) -> None:
    asked = OwnerRun(model=str(base), out=tmp_path / "plugged", kept=2, wait=1.0)

    def come(address: str) -> None:
        host, port, _ = read_address(address)
        socket.create_connection((host, port)).close()

    with pytest.raises(ResourceError, match="no hello came"):
        run_owner(asked, on_listening=come)
    assert not (tmp_path / "plugged").exists()


def test_what_can_be_known_before_is_refused_before_connecting(
    data: PairsConfig, tmp_path: Path
) -> None:
    """Nobody listens at port 9, which would be another error."""
    asked = TrainerRun(data, "127.0.0.1:9/token", out=tmp_path / "theirs")
    empty, file = tmp_path / "empty.jsonl", tmp_path / "file"
    empty.touch()
    file.touch()
    run = asked.out / "run"

    def refused(kind: type[AdwrightError], what: str, run: TrainerRun, *, resume: bool) -> None:
        with pytest.raises(kind, match=what):
            run_trainer(run, resume=resume)

    for path, what in ((tmp_path / "mistyped", "cannot be read"), (empty, "no texts")):
        refused(DataError, what, replace(asked, data=PairsConfig(path=path)), resume=False)
    other = replace(asked, data=replace(data, group="none"))
    refused(DataError, "lacks a text", other, resume=False)
    refused(ResourceError, "no folder can be", replace(asked, out=file / "x"), resume=False)
    refused(ResumeError, "holds no run", asked, resume=True)
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    refused(ConfigError, "already holds a run", asked, resume=False)
    refused(ResourceError, "cannot connect", asked, resume=True)


def test_the_least_moving_are_killed_and_the_longest_dead_revived() -> None:
    lives = Lives(KillRevive(window=2, alive=0.5, revived=0.25), 4)
    assert [lives.is_due(step) for step in range(4)] == [False, True, False, True]
    assert lives.alive == [0, 1, 2, 3]
    # Nobody is dead yet, so both places go to those that move.
    assert lives.decide({0: 1.0, 1: 4.0, 2: 3.0, 3: 2.0}) == ([0, 3], [])
    assert lives.alive == [1, 2]
    # One place is for who was killed first; of two, the lower number.
    assert lives.decide({1: 1.0, 2: 5.0}) == ([1], [0])
    assert lives.alive == [0, 2]
    assert lives.decide({0: 9.0, 2: 5.0}) == ([2], [3])
    assert lives.alive == [0, 3]
    assert lives.decide({0: 9.0, 3: 5.0}) == ([3], [1])


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 1.0])
def test_each_module_comes_back_in_time(share: float) -> None:
    modules, rng = 21, np.random.default_rng(0)
    rule = KillRevive(window=1, alive=share, revived=0.05)
    lives, dead = Lives(rule, modules), [0] * modules
    room = math.ceil(share * modules)
    turns = min(math.ceil(0.05 * modules), room - 1)
    for _ in range(200):
        killed, revived = lives.decide({number: rng.random() for number in lives.alive})
        assert not set(killed) & set(revived)
        assert len(lives.alive) == room
        assert sorted([*lives.alive, *lives.killed]) == list(range(modules))
        dead = [0 if number in lives.alive else dead[number] + 1 for number in range(modules)]
        assert turns == 0 or max(dead) <= math.ceil(modules / turns)


@pytest.mark.parametrize("wrong", [(-1, 0.5, 0.1), (1, 0.0, 0.1), (1, 1.1, 0.1), (1, 0.5, -0.1)])
def test_settings_out_of_range_are_refused(wrong: tuple[int, float, float]) -> None:
    with pytest.raises(ConfigError):
        KillRevive(*wrong)


pytest.importorskip("transformers")


@pytest.fixture
def asked(tmp_path: Path) -> DeviceRun:
    """Twenty pairs, and a base with two layers."""
    model(2).save_pretrained(tmp_path / "base")
    tokenizer(tmp_path / "base")
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": said, "answer": answer} for said, answer in pairs(20)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return DeviceRun(
        PairsConfig(file),
        "127.0.0.1:9/token",
        model=str(tmp_path / "base"),
        lora=LoRA(rank=2, targets=("q_proj",)),
        rule=KillRevive(window=1, alive=0.5, revived=0.0),
        tune=TuneConfig(epochs=2, batch=6, micro=6, learning_rate=0.02),
        out=tmp_path / "out",
    )


def cloud(asked: CloudRun) -> tuple[Thread, Queue[str], list[object]]:
    """A cloud in a thread, the address that it says, and how it ended."""
    told, ended = Queue[str](), list[object]()

    def serve() -> None:
        try:
            ended.append(run_cloud(asked, on_listening=told.put))
        except AdwrightError as error:
            ended.append(error)

    thread = Thread(target=serve, daemon=True)
    thread.start()
    return thread, told, ended


def test_what_is_saved_is_an_adapter_of_the_base(asked: DeviceRun) -> None:
    thread, told, ended = cloud(CloudRun(asked.model, targets=("q_proj",), wait=60))
    report = run_device(replace(asked, address=told.get(timeout=60)))
    thread.join(60)
    # Six steps and a validation of one batch.
    assert ended == [7]
    assert (report.modules, report.alive) == (2, (2, 1, 1, 1, 1, 1))
    assert report.losses[-1] < report.losses[0]
    stored = json.loads((asked.out / "report.json").read_text())
    assert (stored["texts"], stored["held"], stored["sent"]) == (18, 2, report.sent)
    base = AutoModelForCausalLM.from_pretrained(asked.model)
    tuned = load_tuned(base, asked.out / "tuned")
    assert tuned.count() == asked.lora.count(tuned.sizes)
    # Before anybody is asked.
    with pytest.raises(ResourceError, match="already holds an adapter"):
        run_device(asked)


def test_where_nobody_is_there_it_is_said(asked: DeviceRun) -> None:
    with pytest.raises(ResourceError, match="cannot connect"):
        run_device(asked)
    with pytest.raises(ResourceError, match="nobody connected"):
        run_cloud(CloudRun(asked.model, wait=0.05), on_listening=lambda _: None)


pytest.importorskip("transformers")


TENSORS = {"0.a": torch.zeros(2, 32), "0.b": torch.zeros(32, 2)}


def forward(**changes: torch.Tensor) -> WireMessage:
    tensors = {"x": torch.zeros(3, 32), "places": torch.arange(3), **changes}
    return WireMessage("forward", {"trains": False}, tensors)


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (forward(x=torch.zeros(3, 31)), "states of another size"),
        (forward(places=torch.arange(4)), "states of another size"),
        (WireMessage("killed", {"modules": [99]}), "names no module"),
        (WireMessage("killed", {"modules": "all"}), "names no module"),
        (WireMessage("killed", {"modules": [0], "scale": 1.0}), "lacks a tensor"),
        (WireMessage("killed", {"modules": [0], "scale": "x"}, TENSORS), "lacks a finite number"),
        (
            WireMessage(
                "killed",
                {"modules": [0], "scale": 1.0},
                {"0.a": torch.zeros(2, 31), "0.b": torch.zeros(32, 2)},
            ),
            "another size",
        ),
        (WireMessage("slope_in"), "where forward or killed or revived or bye was due"),
    ],
)
def test_a_device_that_is_out_of_turn_is_refused(message: WireMessage, what: str) -> None:
    both = Both()
    both.ends()
    both.channel.send(message)
    error = both.failed()
    assert isinstance(error, DataError)
    assert what in str(error)


def test_an_update_of_another_size_is_refused() -> None:
    both = Both()
    both.ends()
    both.channel.send(forward())
    assert both.channel.receive("input").number("module") == 0
    both.channel.send(WireMessage("delta", {}, {"delta": torch.zeros(3, 5)}))
    assert "answers with another size" in str(both.failed())


def test_a_cloud_serves_so_many_passes() -> None:
    both = Both(passes=0)
    both.ends()
    both.channel.send(forward())
    assert "too many passes" in str(both.failed())


def test_hidden_states_are_the_models_own_where_modules_add_nothing() -> None:
    both = Both()
    before = [type(module) for module in both.model.modules()]
    table = both.ends().tensor("embedding")
    # Two texts, 4 and 3 tokens, which do not see each other.
    ids, place = torch.tensor([5, 6, 7, 8, 5, 9, 8]), torch.tensor([0, 1, 2, 3, 0, 1, 2])
    both.channel.send(forward(x=table[ids], places=place))
    asked = 0
    while (came := both.channel.receive("input", "hidden")).kind == "input":
        assert came.number("module") == asked
        asked += 1
        rows, columns = len(ids), (32, 16, 16, 32, 48, 48, 32)[came.number("module") % 7]
        both.channel.send(WireMessage("delta", {}, {"delta": torch.zeros(rows, columns)}))
    assert asked == 14
    both.bye()
    # The model is as it was.
    assert not both.error
    assert [type(module) for module in both.model.modules()] == before
    with torch.no_grad():
        apart = [both.model.model(part[None]).last_hidden_state[0] for part in (ids[:4], ids[4:])]
    torch.testing.assert_close(came.tensor("hidden"), torch.cat(apart), rtol=1e-5, atol=1e-6)


def test_a_killed_module_is_computed_by_the_cloud() -> None:
    both = Both(layers=1)
    table = both.ends().tensor("embedding")
    torch.manual_seed(0)
    a, b, ids = torch.randn(2, 32), torch.randn(32, 2), torch.tensor([5, 6, 7])
    tensors = {"0.a": a, "0.b": b}
    both.channel.send(WireMessage("killed", {"modules": [0], "scale": 0.5}, tensors))
    found = list[torch.Tensor]()
    for _ in range(2):
        both.channel.send(forward(x=table[ids], places=torch.arange(3)))
        numbers = []
        while (came := both.channel.receive("input", "hidden")).kind == "input":
            number = came.number("module")
            numbers.append(number)
            # The revived module does nothing here.
            delta = torch.zeros(3, (32, 16, 16, 32, 48, 48, 32)[number])
            both.channel.send(WireMessage("delta", {}, {"delta": delta}))
        assert numbers == list(range(len(found) == 0, 7))
        found.append(came.tensor("hidden"))
        both.channel.send(WireMessage("revived", {"modules": [0]}))
    both.bye()
    query = both.model.model.layers[0].self_attn.q_proj
    with torch.no_grad():
        plain = both.model.model(ids[None]).last_hidden_state[0]
        query.weight += 0.5 * b @ a
        moved = both.model.model(ids[None]).last_hidden_state[0]
    torch.testing.assert_close(found[0], moved, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1], plain, rtol=1e-4, atol=1e-5)


pytest.importorskip("transformers")


LAYERS, MODULES, STEPS = 4, 28, 16
TOKENS = DEVICE.epochs * tokens().tokens
#: r (in + out) of a layer's seven maps, at r = 4.
LAYER = 4 * (2 * 64 + 2 * 48 + 3 * 80)


def run(folder: Path, share: float) -> tuple[dict[str, Any], bytes]:
    """A cloud and a device in processes of their own; the report, and what went up."""
    folder.mkdir()
    with side("cloud", folder) as cloud:
        tap = Tap(port_in(folder / "port", cloud))
        with side("device", folder, tap.port, share) as device:
            finished(device)
        finished(cloud)
    tap.join()
    return json.loads((folder / "report.json").read_text()), bytes(tap.up)


@pytest.fixture(scope="module")
def everyone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], bytes]:
    """A run in which all modules live."""
    folder = tmp_path_factory.mktemp("everyone") / "run"
    return folder, *run(folder, 1.0)


def test_a_device_and_a_cloud_tune_as_one_process_does(
    everyone: tuple[Path, dict[str, Any], bytes],
) -> None:
    folder, report, up = everyone
    one = apply(model(LAYERS), LoRA(rank=4), seed=DEVICE.seed)
    last = tune(one, tokens(), DEVICE).records[-1]["train_loss"]
    # An epoch has four steps, in which all texts have as many answers.
    assert np.mean(report["losses"][-4:]) == pytest.approx(last, rel=1e-4)
    there = load_tuned(model(LAYERS), folder / "lora")
    for name, value in one.state().items():
        assert (there.state()[name] - value).norm() < 1e-2 * value.norm(), name
    assert report["valid"] == pytest.approx(answer_nll(there, tokens(8, seed=1)), rel=1e-4)
    assert report["alive"] == [MODULES] * STEPS
    assert report["operations"] == 6 * TOKENS * LAYERS * LAYER

    # No text goes up: states, updates, slopes; nothing of whole numbers but places.
    for head, tensors in messages(up):
        assert head["kind"] in ("hello", "forward", "delta", "backward", "slope_in", "bye")
        for name, value in tensors.items():
            assert value.is_floating_point() or name == "places"
    for prompt, answer in zip(tokens().prompts, tokens().answers, strict=True):
        assert np.array([*prompt, *answer], np.int64).tobytes() not in up


def test_killing_saves_traffic_and_work(
    everyone: tuple[Path, dict[str, Any], bytes], tmp_path: Path
) -> None:
    _, whole, _ = everyone
    report, up = run(tmp_path / "some", 0.25)
    # Two steps with all, then fourteen with a quarter.
    assert report["alive"] == [MODULES] * 2 + [7] * (STEPS - 2)
    assert report["operations"] < 0.45 * whole["operations"]
    assert report["sent"] < 0.6 * whole["sent"]
    assert report["received"] < 0.6 * whole["received"]
    assert report["valid"] < whole["losses"][0]
    # What the device saved is what was computed: its own modules and the killed ones.
    there = load_tuned(model(LAYERS), tmp_path / "some" / "lora")
    assert report["valid"] == pytest.approx(answer_nll(there, tokens(8, seed=1)), rel=1e-4)
    heads = [head for head, _ in messages(up)]
    killed = [head["fields"]["modules"] for head in heads if head["kind"] == "killed"]
    revived = [head["fields"]["modules"] for head in heads if head["kind"] == "revived"]
    assert [len(each) for each in killed] == [MODULES - 7] + [3] * 7
    assert [len(each) for each in revived] == [3] * 7


def test_what_is_spent_is_reported() -> None:
    both = Both()
    config = TuneConfig(steps=2, batch=4, learning_rate=0.01)
    here, report = tune_on_device(both.channel, tokens(), config, lora=LoRA(rank=2))
    both.thread.join(20)
    assert not both.error
    assert report.modules == len(here.a) == 14
    assert report.valid is None
    # The embedding, which is the head too.
    assert report.once > 64 * 32 * 4


def test_what_a_device_refuses() -> None:
    both = Both()
    ends = both.ends()
    both.channel.close()
    both.thread.join(20)
    with pytest.raises(ConfigError, match="no dropout"):
        OnDevice(ends, LoRA(dropout=0.1), 0)
    with pytest.raises(DataError, match="which maps"):
        OnDevice(WireMessage("ends", {"names": [], "sizes": []}, ends.tensors), LoRA(), 0)
    with pytest.raises(DataError, match="which maps"):
        OnDevice(
            WireMessage("ends", {"names": ["a"], "sizes": [[1 << 40, 1]]}, ends.tensors), LoRA(), 0
        )
    with pytest.raises(ValueInvalidError, match="no texts"):
        tune_on_device(both.channel, Texts((), ()), TuneConfig())
    with pytest.raises(ConfigError, match="other maps than LoRA"):
        OnDevice(ends, LoRA(targets=("q_proj",)), 0)
    here = OnDevice(ends, LoRA(rank=2), 0)
    for number, name in zip(count(), here.names, strict=False):
        assert name.startswith(f"model.layers.{number // 7}.")


class Scripted:
    """A channel whose cloud says what a test wrote down; keeps what it was sent."""

    def __init__(self, *answers: WireMessage) -> None:
        self.answers, self.sent = list(answers), list[WireMessage]()

    def send(self, message: WireMessage) -> None:
        self.sent.append(message)

    def receive(self, *kinds: str, timeout: float | None = None) -> WireMessage:
        answer = self.answers.pop(0)
        assert answer.kind in kinds
        return answer


def device(rank: int = 2) -> OnDevice:
    """One map of 3 inputs and 4 outputs."""
    fields = {"names": ["model.layers.0.self_attn.q_proj"], "sizes": [[3, 4]], "base": "b"}
    ends = WireMessage("ends", fields, {"embedding": torch.randn(8, 3)})
    return OnDevice(ends, LoRA(rank=rank, targets=("q_proj",)), 0)


PACKED = pack([((1, 2), (3,)), ((4,), (5, 6))])


def test_a_module_does_what_its_formulas_say() -> None:
    torch.manual_seed(0)
    here, x, g = device(), torch.randn(6, 3), torch.randn(6, 4)
    with torch.no_grad():
        here.b[0].normal_()
    asked = WireMessage("input", {"module": 0}, {"x": x})
    there: Any = Scripted(asked, WireMessage("hidden", {}, {"hidden": torch.zeros(6, 3)}))
    here.forward(there, PACKED, trains=True)
    forward, delta = there.sent
    assert torch.equal(forward.tensor("x"), here.embedding[PACKED.ids])
    a, b = here.a[0].detach().clone().requires_grad_(), here.b[0].detach().clone().requires_grad_()
    x.requires_grad_()
    wanted = here.lora.scale * (x @ a.T) @ b.T
    torch.testing.assert_close(delta.tensor("delta"), wanted.detach())
    slope = WireMessage("slope", {"module": 0}, {"slope": g})
    there = Scripted(slope, WireMessage("done"))
    here.backward(there, torch.zeros(6, 3))
    wanted.backward(g)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(here.a[0].grad, a.grad)
    torch.testing.assert_close(here.b[0].grad, b.grad)
    torch.testing.assert_close(there.sent[1].tensor("slope"), x.grad)
    # 6 T r (in + out).
    assert here.operations == 6 * 6 * 2 * (3 + 4)


@pytest.mark.parametrize(
    ("module", "size", "message"),
    [(1, 3, "names no module"), (-1, 3, "names no module"), (0, 2, "input of another size")],
)
def test_a_cloud_that_is_wrong_is_refused(module: int, size: int, message: str) -> None:
    asked = WireMessage("input", {"module": module}, {"x": torch.zeros(6, size)})
    with pytest.raises(DataError, match=message):
        device().forward(Scripted(asked), PACKED, trains=True)  # type: ignore[arg-type]


def test_a_token_that_the_cloud_does_not_know_is_named() -> None:
    both = Both()
    with pytest.raises(ConfigError, match="token 64 of 64"):
        tune_on_device(both.channel, Texts(((64,),), ((1,),)), TuneConfig())
    assert "the peer gave up: ConfigError" in str(both.failed())
