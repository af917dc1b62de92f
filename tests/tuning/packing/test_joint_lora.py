"""LoRA jobs that share a step, against each of them alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.tuning.packing.texts import Packed, pack

pytest.importorskip("transformers")

from adwright.tuning.efficient.memory import LoRAFA
from adwright.tuning.methods import Method, apply, load_tuned
from adwright.tuning.packing import joint_lora as jobs_module
from adwright.tuning.packing.joint_lora import JointJobs, joined, share_base
from adwright.tuning.packing.texts import answer_loss, attends_apart
from adwright.tuning.reparameterised.lora import DoRA, LoRA
from tests.support.lm.tiny_llama import tiny_llama

METHODS: dict[str, tuple[Method, int]] = {
    "plain": (LoRA(rank=4), 0),
    "attention": (LoRA(rank=2, alpha=3.0, targets=("q_proj", "o_proj")), 1),
    "stable": (LoRA(rank=8, rank_stabilised=True, targets=("q_proj", "up_proj")), 2),
    "frozen": (LoRAFA(rank=3), 3),
}


def texts(seed: int, number: int = 3) -> Packed:
    """Random ones."""
    random = torch.Generator().manual_seed(seed)

    def some(least: int) -> list[int]:
        length = int(torch.randint(least, 9, (), generator=random))
        return torch.randint(2, 300, (length,), generator=random).tolist()

    return pack([(some(2), some(1)) for _ in range(number)])


def joint(methods: dict[str, tuple[Method, int]] | None = None) -> JointJobs:
    """Jobs whose B is not zero any more."""
    found = JointJobs(tiny_llama(), METHODS if methods is None else methods)
    for number, tuned in enumerate(found.tuned.values()):
        random = torch.Generator().manual_seed(100 + number)
        for name, parameter in tuned.named_parameters():
            if name.endswith(".b"):
                nn.init.normal_(parameter, std=0.1, generator=random)
    return found


def alone(found: JointJobs, name: str, packed: Packed) -> tuple[float, dict[str, Tensor]]:
    """The loss of one job and its gradients, by `lm.packing` on the job's own model."""
    tuned = found.tuned[name].train()
    tuned.zero_grad()
    with attends_apart(tuned.causal):
        hidden = tuned(packed.ids[None], position_ids=packed.places()[None])[0]
        loss = answer_loss(hidden, tuned.causal.lm_head, packed)
    loss.backward()
    return float(loss.detach()), gradients(found, name)


def gradients(found: JointJobs, name: str) -> dict[str, Tensor]:
    """Of one job, as they are now."""
    parts = found.tuned[name].named_parameters()
    return {at: p.grad.clone() for at, p in parts if p.grad is not None}


@pytest.mark.parametrize("together", [1, 10**9], ids=["each by itself", "all in one product"])
def test_each_job_has_the_loss_and_gradients_that_it_has_alone(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "CALL_COST", together)
    found = joint()
    packed = {name: texts(seed) for seed, name in enumerate(METHODS)}
    losses = found.losses(packed)
    torch.stack(list(losses.values())).sum().backward()
    mine = {name: gradients(found, name) for name in METHODS}
    for name in METHODS:
        loss, wanted = alone(found, name, packed[name])
        assert float(losses[name].detach()) == pytest.approx(loss, rel=1e-5)
        assert mine[name].keys() == wanted.keys()
        assert wanted
        for at, value in wanted.items():
            torch.testing.assert_close(mine[name][at], value, rtol=1e-3, atol=1e-4)


def test_a_job_that_is_left_out_gets_no_gradient_and_changes_nothing() -> None:
    found = joint()
    packed = {name: texts(seed) for seed, name in enumerate(METHODS)}
    whole = found.losses(packed)
    del packed["attention"]
    fewer = found.losses(packed)
    torch.stack(list(fewer.values())).sum().backward()
    assert not gradients(found, "attention")
    for name, loss in fewer.items():
        assert float(loss.detach()) == pytest.approx(float(whole[name].detach()), rel=1e-5)


def test_dropout_is_that_of_the_job_alone() -> None:
    methods: dict[str, tuple[Method, int]] = {
        "dry": (LoRA(rank=2), 0),
        "wet": (LoRA(rank=4, dropout=0.4), 1),
        "last": (LoRA(rank=2), 2),
    }
    found = joint(methods)
    packed = {name: texts(seed) for seed, name in enumerate(methods)}
    with pytest.raises(ValueInvalidError, match="generator"):
        found.losses(packed)
    losses = found.losses(packed, random={"wet": torch.Generator().manual_seed(5)})
    torch.stack(list(losses.values())).sum().backward()
    mine = gradients(found, "wet")
    torch.manual_seed(5)
    loss, wanted = alone(found, "wet", packed["wet"])
    assert float(losses["wet"].detach()) == pytest.approx(loss, rel=1e-5)
    for at, value in wanted.items():
        torch.testing.assert_close(mine[at], value, rtol=1e-3, atol=1e-4)


def test_the_base_is_there_once_and_is_left_as_it_was() -> None:
    model = tiny_llama()
    modules = [type(module) for module in model.modules()]
    copy = share_base(model)
    for one, other in zip(model.parameters(), copy.parameters(), strict=True):
        assert one is other
    assert all(
        one.data_ptr() == other.data_ptr()
        for one, other in zip(model.buffers(), copy.buffers(), strict=True)
    )
    assert copy.config is not model.config
    found = JointJobs(model, METHODS)
    assert [type(module) for module in model.modules()] == modules
    places = {parameter.data_ptr() for parameter in model.parameters()}
    for tuned in (*found.tuned.values(), found):
        causal = tuned.causal
        base = [p for name, p in causal.named_parameters() if not name.endswith((".a", ".b"))]
        assert {p.data_ptr() for p in base} == places


def test_a_job_draws_and_saves_as_it_does_alone(tmp_path: Path) -> None:
    found = JointJobs(tiny_llama(), METHODS)
    single = apply(tiny_llama(), *METHODS["plain"][:1], seed=METHODS["plain"][1])
    for name, value in single.state().items():
        assert torch.equal(found.tuned["plain"].state()[name], value)
    found.tuned["plain"].save(tmp_path / "part")
    again = load_tuned(tiny_llama(), tmp_path / "part")
    assert again.method == METHODS["plain"][0]


def test_a_head_with_a_bias_is_asked_in_the_plain_way() -> None:
    model = tiny_llama(tied=False)
    model.lm_head = nn.Linear(48, 400)
    found = JointJobs(model, {"one": (LoRA(rank=2), 0)})
    packed = texts(0)
    loss, _ = alone(found, "one", packed)
    assert float(found.losses({"one": packed})["one"].detach()) == pytest.approx(loss, rel=1e-5)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="no jobs"):
        JointJobs(tiny_llama(), {})
    with pytest.raises(ConfigError, match="DoRA cannot share"):
        JointJobs(tiny_llama(), {"one": (DoRA(), 0)})
    found = joint()
    with pytest.raises(ValueInvalidError, match="no job takes part"):
        found.losses({})
    with pytest.raises(ValueInvalidError, match="no job has this name"):
        found.losses({"other": texts(0)})
    with pytest.raises(ValueInvalidError, match="no tokens"):
        found.losses({"plain": pack([])})


def test_texts_are_joined_in_order() -> None:
    packed = {name: texts(seed) for seed, name in enumerate(METHODS)}
    whole = joined(packed, known=packed)
    for name, (start, end) in whole.rows.items():
        assert torch.equal(whole.texts.ids[start:end], packed[name].ids)
        assert torch.equal(whole.texts.places()[start:end], packed[name].places())
        assert torch.equal(whole.texts.answer[start:end], packed[name].answer)
