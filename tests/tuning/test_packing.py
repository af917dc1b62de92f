"""Attention of packed texts in blocks, against each text by itself."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.tuning.efficient import LoRAFA
from adwright.tuning.methods import Method, apply, load_tuned
from adwright.tuning.modules import head_logits
from adwright.tuning.packing import joint_lora as jobs_module
from adwright.tuning.packing import texts as packed_attention
from adwright.tuning.packing.joint_lora import JointJobs, joined, share_base
from adwright.tuning.packing.texts import (
    Blocks,
    Packed,
    answer_loss,
    answer_losses,
    attends_apart,
    attends_in_blocks,
    between_layers,
    block_attention,
    pack,
)
from adwright.tuning.reparameterised.lora import DoRA, LoRA
from tests.support.lm.families import FAMILIES, tiny_of
from tests.support.lm.packed_hidden import packed_hidden
from tests.support.lm.tiny_llama import tiny_llama
from tests.support.lm.tuning_methods import OURS, shake

transformers = pytest.importorskip("transformers")


H, G, WIDTH = 6, 2, 4


def literal(query: Tensor, key: Tensor, value: Tensor, lengths: list[int], scale: float) -> Tensor:
    """Head by head, token by token."""
    found = torch.zeros_like(query)
    start = 0
    for length in lengths:
        for head in range(query.shape[1]):
            group = head * key.shape[1] // query.shape[1]
            for t in range(start, start + length):
                scores = torch.stack(
                    [
                        scale * (query[0, head, t] * key[0, group, u]).sum()
                        for u in range(start, t + 1)
                    ]
                )
                share = scores.exp() / scores.exp().sum()
                found[0, head, t] = (share[:, None] * value[0, group, start : t + 1]).sum(0)
        start += length
    return found


def drawn(lengths: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """query, key, value in float64, and offsets."""
    torch.manual_seed(0)
    total = sum(lengths)
    query = torch.randn(1, H, total, WIDTH, dtype=torch.float64, requires_grad=True)
    key, value = (
        torch.randn(1, G, total, WIDTH, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    return query, key, value, torch.tensor([0, *lengths]).cumsum(0)


@pytest.mark.parametrize(
    "lengths", [[3], [4, 4, 4], [5, 3, 4], [1, 12, 2, 11, 3], [2, 0, 3]], ids=str
)
def test_each_text_attends_to_itself(lengths: list[int]) -> None:
    query, key, value, offsets = drawn(lengths)
    blocks = Blocks.of(offsets, H, G)
    found = block_attention(query, key, value, blocks, 0.5)
    wanted = literal(query, key, value, lengths, 0.5)
    torch.testing.assert_close(found, wanted)
    up = torch.randn_like(found)
    mine = torch.autograd.grad(found, (query, key, value), up)
    theirs = torch.autograd.grad(wanted, (query, key, value), up)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_long_texts_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value, offsets = drawn([40, 30])
    blocks = Blocks.of(offsets, H, G)
    assert blocks.blocks[0].longest > 2 * WIDTH
    found = block_attention(query, key, value, blocks, 0.3)
    monkeypatch.setattr(packed_attention, "LONG", 1)
    other = block_attention(query, key, value, Blocks.of(offsets, H, G), 0.3)
    up = torch.randn_like(found)
    for one, two in zip(
        torch.autograd.grad(found, (query, key, value), up),
        torch.autograd.grad(other, (query, key, value), up),
        strict=True,
    ):
        torch.testing.assert_close(one, two)


def test_blocks_hold_texts_of_like_length_and_not_too_many() -> None:
    lengths = [10] * 5 + [100] * 3
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    assert [(b.texts, b.longest) for b in Blocks.of(offsets, H, G).blocks] == [(3, 100), (5, 10)]
    room = math.floor(packed_attention._SCORES / (H * 500**2))
    many = torch.arange(0, 500 * 8, 500)
    assert max(block.texts for block in Blocks.of(many, H, G).blocks) == room


def test_a_decoder_attends_by_it() -> None:
    model = tiny_llama()
    lengths = [7, 4, 9]
    ids = torch.randint(2, 300, (20,), generator=torch.Generator().manual_seed(1))
    places = torch.cat([torch.arange(n) for n in lengths])
    before = model.config._attn_implementation
    with torch.no_grad(), attends_in_blocks(model):
        found = model.get_decoder()(
            input_ids=ids[None],
            position_ids=places[None],
            use_cache=False,
            blocks=Blocks.of(torch.tensor([0, 7, 11, 20]), 4, 2),
        ).last_hidden_state[0]
    assert model.config._attn_implementation == before
    with torch.no_grad():
        wanted = [
            model.get_decoder()(input_ids=part[None]).last_hidden_state[0]
            for part in ids.split(lengths)
        ]
    torch.testing.assert_close(found, torch.cat(wanted), rtol=1e-4, atol=1e-5)


pytest.importorskip("transformers", reason="the extra lm is not installed")


#: One is shorter than a window, two are longer.
TEXTS = [
    ([5, 9, 11, 3, 8, 21, 40], [7, 3, 33, 12]),
    ([6], [4, 44]),
    (list(range(3, 23)), [9, 10, 50]),
]


def literal_families(model: Any, packed: Packed) -> torch.Tensor:
    """Sum the answers' losses by transformers' own logits of each text alone."""
    total = torch.zeros(())
    for start, end in pairwise(packed.offsets.tolist()):
        ids, answer = packed.ids[start:end], packed.answer[start:end]
        logits = model(ids[None], use_cache=False).logits[0].float()
        rows = answer.nonzero()[:, 0]
        total = total + functional.cross_entropy(logits[rows - 1], ids[rows], reduction="sum")
    return total


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_equals_alone(family: str) -> None:
    model, packed = tiny_of(family), pack(TEXTS)
    before = model.config._attn_implementation
    with torch.no_grad():
        found = packed_hidden(model, packed)
        for start, end in pairwise(packed.offsets.tolist()):
            alone = model.model(packed.ids[None, start:end]).last_hidden_state[0]
            torch.testing.assert_close(found[start:end], alone, rtol=1e-5, atol=1e-5)
    assert model.config._attn_implementation == before


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_slopes_are_those_of_transformers(family: str, frozen: bool) -> None:
    model, packed = tiny_of(family), pack(TEXTS)
    tuned = apply(model, LoRA(rank=2))
    shake(tuned)
    if not frozen:
        model.lm_head.weight.requires_grad_()
    matrix = next(iter(tuned.state().values()))
    with attends_apart(model):
        hidden = tuned(packed.ids[None], position_ids=packed.places()[None])[0]
        found = answer_loss(hidden, model.lm_head, packed, head_logits(model.config))
        (slope,) = torch.autograd.grad(found, matrix)
    wanted = literal_families(model, packed)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(slope, torch.autograd.grad(wanted, matrix)[0], rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        logits = tuned.logits(tuned(packed.ids[None, :8]))
        torch.testing.assert_close(logits, model(packed.ids[None, :8]).logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_jobs_together_have_the_losses_of_transformers(family: str) -> None:
    parts = {"first": pack(TEXTS[:2]), "second": pack(TEXTS[2:])}
    jobs = JointJobs(tiny_of(family), dict.fromkeys(parts, (LoRA(rank=2), 0)))
    for seed, tuned in enumerate(jobs.tuned.values()):
        shake(tuned, seed)
    found = jobs.losses(parts)
    for name, packed in parts.items():
        wanted = literal_families(jobs.tuned[name].causal, packed)
        torch.testing.assert_close(found[name], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["prefix", "prompt", "unipelt", "ladder"])
@pytest.mark.parametrize("family", ["gemma2", "gemma3", "mistral", "cohere2"])
def test_methods_that_touch_the_mask_keep_texts_apart(family: str, method: str) -> None:
    packed, own = pack(TEXTS), OURS[method]
    tuned = attached(family, own)
    with torch.no_grad(), attends_apart(tuned.causal):
        together = tuned(packed.ids[None], position_ids=packed.places()[None])[0]
        for start, end in pairwise(packed.offsets.tolist()):
            places = torch.arange(end - start)[None]
            alone = tuned(packed.ids[None, start:end], position_ids=places)[0]
            torch.testing.assert_close(together[start:end], alone, rtol=1e-4, atol=1e-4)


def attached(family: str, method: Method) -> Any:
    tuned = apply(tiny_of(family), method)
    shake(tuned)
    return tuned.eval()


def test_an_attention_that_is_told_of_a_window_is_refused() -> None:
    model = tiny_of("mistral")
    # As a family would be whose config does not say what its attention does.
    model.config.layer_types = ["full_attention", "full_attention"]
    with pytest.raises(ConfigError, match="sliding_window"):
        packed_hidden(model, pack(TEXTS))


pytest.importorskip("transformers")


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


pytest.importorskip("transformers")


def test_it_is_asked_before_each_layer_and_back() -> None:
    tuned = apply(tiny_llama(), LoRA(rank=2))
    packed = pack([((3, 4, 5), (6, 1)), ((7, 8), (9, 1))])
    seen: list[tuple[str, bool, bool]] = []

    def call(place: str) -> None:
        seen.append((place, torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")))

    def step() -> torch.Tensor:
        tuned.zero_grad()
        with attends_apart(tuned.causal):
            with torch.autocast("cpu", torch.bfloat16):
                hidden = tuned(packed.ids[None], position_ids=packed.places()[None])[0]
                loss = answer_loss(hidden, tuned.causal.lm_head, packed)
            loss.backward()
        return loss.detach()

    with between_layers(tuned.causal, call):
        loss = step()
    assert [place for place, *_ in seen] == [
        "forward 0",
        "forward 1",
        "forward 2",
        "head",
        "backward head",
        "backward 2",
        "backward 1",
        "backward 0",
    ]
    assert not any(grad or autocast for _, grad, autocast in seen)
    wanted = [parameter.grad.clone() for parameter in tuned.parameters()]
    seen.clear()
    assert torch.equal(step(), loss)
    assert not seen
    assert all(torch.equal(p.grad, w) for p, w in zip(tuned.parameters(), wanted, strict=True))


def test_without_gradients_only_the_way_there() -> None:
    model, seen = tiny_llama(), list[str]()
    with torch.no_grad(), between_layers(model, seen.append):
        model(input_ids=torch.tensor([[1, 2, 3]]))
    assert seen == ["forward 0", "forward 1", "forward 2", "head"]


def test_another_kind_of_model_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match="Llama-type"),
        between_layers(torch.nn.Linear(2, 2), lambda place: None),
    ):
        pass


PACKED_TEXTS = [([1, 5, 9], [7, 3]), ([2], [4, 4, 6, 8]), ([1, 2, 3, 4, 5, 6, 7], [9])]


def tiny() -> transformers.LlamaForCausalLM:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
    )
    return transformers.LlamaForCausalLM(config).eval()


def _loss(model: transformers.LlamaForCausalLM, packed: Packed) -> torch.Tensor:
    return answer_loss(packed_hidden(model, packed), model.lm_head, packed)


def test_each_text_gives_what_it_gives_alone() -> None:
    model, packed = tiny(), pack(PACKED_TEXTS)
    with torch.no_grad():
        found = packed_hidden(model, packed)
        for start, end in pairwise(packed.offsets.tolist()):
            alone = model.model(packed.ids[None, start:end]).last_hidden_state[0]
            torch.testing.assert_close(found[start:end], alone, rtol=1e-5, atol=1e-5)
    assert model.config._attn_implementation != "adwright_packed"


@pytest.mark.parametrize("frozen", [True, False])
def test_the_loss_and_its_slope_are_those_of_all_logits(frozen: bool) -> None:
    model, packed = tiny().double(), pack(PACKED_TEXTS)
    # A head that is tied to the embeddings stands still with them.
    model.requires_grad_(not frozen)
    layer = model.model.layers[0].mlp.down_proj.weight.requires_grad_()
    (found,) = torch.autograd.grad(_loss(model, packed), layer)
    literal = torch.zeros((), dtype=torch.float64)
    for start, end in pairwise(packed.offsets.tolist()):
        ids, answer = packed.ids[start:end], packed.answer[start:end]
        logits = model(ids[None]).logits[0]
        for place in answer.nonzero()[:, 0].tolist():
            literal = literal - functional.log_softmax(logits[place - 1], 0)[ids[place]]
    torch.testing.assert_close(_loss(model, packed).double(), literal, rtol=1e-6, atol=1e-6)
    (wanted,) = torch.autograd.grad(literal, layer)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-8)


def test_places_begin_anew() -> None:
    packed = pack(PACKED_TEXTS[:2])
    assert packed.places().tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    assert packed.answers == 6
    assert len(packed) == 2
    assert [one.ids.tolist() for one in packed.alone()] == [[1, 5, 9, 7, 3], [2, 4, 4, 6, 8]]
    assert [one.answers for one in packed.alone()] == [2, 4]


def test_twice_is_all_texts_and_all_of_them_again() -> None:
    packed = pack([([1, 2], [3]), ([4], [5, 6])])
    wanted = pack([([1, 2], [3]), ([4], [5, 6])] * 2)
    twice = packed.twice()
    for name in ("ids", "offsets", "answer"):
        assert torch.equal(getattr(twice, name), getattr(wanted, name))


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(ValueInvalidError, match="empty"):
        pack([([], [1])])
    ids = torch.tensor([1, 2])
    with pytest.raises(ValueInvalidError, match="offset"):
        Packed(ids, torch.tensor([0, 3]), torch.tensor([False, True]))
    with pytest.raises(ValueInvalidError, match="first token"):
        Packed(ids, torch.tensor([0, 2]), torch.tensor([True, False]))


@pytest.mark.parametrize("frozen", [True, False])
def test_the_losses_of_each_answer_add_up(frozen: bool) -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 50, bias=False).requires_grad_(not frozen)
    # More answers than there are in a chunk.
    packed = pack([([1], list(range(40)) * 30)])
    hidden = torch.randn(len(packed.ids), 8)
    each, whole = answer_losses(hidden, head, packed), answer_loss(hidden, head, packed)
    literal = functional.cross_entropy(head(hidden[:-1]), packed.ids[1:], reduction="none")
    torch.testing.assert_close(each, literal)
    torch.testing.assert_close(whole, literal.sum())


def test_a_hook_is_called_within_the_work_of_the_head() -> None:
    head = torch.nn.Linear(8, 50, bias=False).requires_grad_(False)
    packed = pack([([1], list(range(40)) * 3)])
    hidden = torch.randn(len(packed.ids), 8)
    called: list[str] = []
    found = answer_losses(hidden, head, packed, called.append)
    assert called == ["head 1", "head 2", "head 3"]
    torch.testing.assert_close(found, answer_losses(hidden, head, packed))
