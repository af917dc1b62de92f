"""A cloud and a device: two processes that tune one LoRA."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError, DataError, ValueInvalidError

pytest.importorskip("transformers")

from adwright.training.offsite.device import OnDevice, tune_on_device
from adwright.training.offsite.wire import WireMessage
from adwright.training.tuning.texts import Texts
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
    port_in,
    side,
    tokens,
)
from tests.support.training.offsite_side import DEVICE

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


def test_a_pass_that_does_not_train_costs_no_operations() -> None:
    here = device()
    asked = WireMessage("input", {"module": 0}, {"x": torch.zeros(6, 3)})
    hidden = WireMessage("hidden", {}, {"hidden": torch.zeros(6, 3)})
    there: Any = Scripted(asked, hidden)
    assert torch.equal(here.forward(there, PACKED, trains=False), hidden.tensor("hidden"))
    assert here.operations == 0
    # Nothing was kept of it, so nothing can be sent back.
    slope = WireMessage("slope", {"module": 0}, {"slope": torch.zeros(6, 4)})
    with pytest.raises(DataError, match="slope of another size"):
        here.backward(Scripted(slope), torch.zeros(6, 3))  # type: ignore[arg-type]


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
