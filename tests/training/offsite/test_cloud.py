"""A frozen base that computes for a device. How both tune together is in test_device.py."""

from __future__ import annotations

import pytest
import torch

from adwright.core.errors import DataError
from adwright.training.offsite.wire import WireMessage
from tests.support.training.offsite_pair import Both

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
