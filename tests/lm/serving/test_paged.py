"""?"""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.base import AnswerWriter
from adwright.lm.engine.generation import Chunk, GenerationConfig
from adwright.lm.serving.adapter_cache import BaseMaps, CacheCounts
from adwright.lm.serving.adapter_model import PagedNetwork
from adwright.lm.serving.adapter_ops import RowOps
from adwright.lm.serving.config import PassResult, PoolState, ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.lm.serving.paged_attention import PagedAttention, Sequenced
from adwright.lm.serving.prefixes import PagePool, PageShape
from adwright.lm.serving.scheduler import (
    AnswerRow,
    EmbeddingRow,
    PrefixRow,
    ScoreRow,
    failed_pass,
    sample,
)
from adwright.lm.torch_engine.decode import Grammars
from adwright.lm.torch_engine.network import Network
from adwright.tuning.methods import apply
from adwright.tuning.modules import Sizes
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.adapter_engine import PARTS, models_of, saved_parts
from tests.support.lm.tiny_llama import VOCABULARY, tiny_llama, tiny_tokens

SHAPE = PageShape(layers=3, heads=2, width=4, block=5)


def test_the_shape_of_a_page() -> None:
    assert SHAPE.slice == 2 * 2 * 5 * 4
    assert SHAPE.numbers == 3 * SHAPE.slice
    assert [SHAPE.blocks(tokens) for tokens in (0, 1, 5, 6)] == [0, 1, 1, 2]
    assert PageShape.of(Sizes.of(tiny_llama()), 8) == PageShape(3, 2, 12, 8)
    with pytest.raises(ConfigError, match="at least one token"):
        PageShape.of(Sizes.of(tiny_llama()), 0)


def test_pages_are_had_once_and_given_back() -> None:
    pool = PagePool(SHAPE, 6)
    assert pool.capacity == pool.free == 5
    first = pool.allocate(2, "adapters")
    second = pool.allocate(3, "keys")
    assert first is not None
    assert second is not None
    assert sorted([*first, *second]) == [1, 2, 3, 4, 5]
    assert (pool.used("adapters"), pool.used("keys"), pool.free) == (2, 3, 0)
    assert pool.allocate(1, "keys") is None
    pool.release(second)
    assert pool.allocate(4, "adapters") is None
    assert pool.free == 3
    assert sorted(pool.allocate(3, "adapters") or ()) == sorted(second)


def test_keys_get_pages_without_what_they_held() -> None:
    pool = PagePool(SHAPE, 6)
    kept = pool.allocate(1, "adapters") or []
    pages = pool.allocate(3, "keys") or []
    pool.tensor.fill_(torch.nan)
    pool.release(pages)
    again = pool.allocate(2, "keys") or []
    assert set(again) <= set(pages)
    assert not pool.tensor[again].any()
    # Nothing else is touched: it costs what was asked for.
    assert pool.tensor[kept].isnan().all()
    assert pool.tensor.isnan().all((1, 2)).sum() == 4


def test_what_nobody_has_cannot_be_given_back() -> None:
    pool = PagePool(SHAPE, 6)
    pages = pool.allocate(2, "keys") or []
    for wrong in ([0], [5], [pages[0], pages[0]]):
        with pytest.raises(ConfigError, match="cannot be given back"):
            pool.release(wrong)
    assert pool.free == 3


def test_the_bound_and_the_views() -> None:
    pool = PagePool(SHAPE, 6, torch.bfloat16)
    assert pool.bytes == 6 * pool.page_bytes == 6 * SHAPE.numbers * 2
    pool.tensor.copy_(torch.arange(pool.tensor.numel()).view_as(pool.tensor))
    whole = pool.tensor.view(6, 3, 2, 2, 5, 4)
    # Page 4, layer 1, values, head 1.
    at = ((4 * 3 + 1) * 2 + 1) * 2 + 1
    assert torch.equal(pool.blocks[at].view(5, 4), whole[4, 1, 1, 1])
    assert torch.equal(pool.tokens[at * 5 + 3], whole[4, 1, 1, 1, 3])
    assert torch.equal(pool.grains(8)[:10].flatten(), pool.tensor[0, 0])
    assert pool.grains(8).data_ptr() == pool.tensor.data_ptr()


def test_a_pool_of_one_page_is_none() -> None:
    with pytest.raises(ConfigError, match="at least two pages"):
        PagePool(SHAPE, 1)


def test_pages_are_copied() -> None:
    pool = PagePool(PageShape(2, 1, 3, 4), 6)
    own = pool.allocate(4, "keys") or []
    pool.tensor[own[0]], pool.tensor[own[1]] = 1.0, 2.0
    pool.copy(own[:2], own[2:])
    assert [float(pool.tensor[page].mean()) for page in own] == [1.0, 2.0, 1.0, 2.0]
    assert not pool.tensor[0].any()


IDS = torch.randint(400, (11,), generator=torch.Generator().manual_seed(0))


def hidden_of(network: PagedNetwork, model: torch.nn.Module) -> torch.Tensor:
    """Two prompts of 7 and 4 tokens end to end."""
    pool = PagePool(PageShape.of(Sizes.of(model), 4), 5)
    rows = [Sequenced([1, 2], 0, 7), Sequenced([3], 0, 4)]
    positions = torch.cat([torch.arange(7), torch.arange(4)])
    with torch.no_grad():
        return network.hidden(IDS, positions, PagedAttention(pool, rows, 0, 2), None)


def test_is_the_plain_network_and_shares_its_weights() -> None:
    model = tiny_llama()
    network = PagedNetwork(model)
    found = hidden_of(network, model)
    with torch.no_grad():
        first = model.model(IDS[None, :7]).last_hidden_state[0]
        second = model.model(IDS[None, 7:]).last_hidden_state[0]
    assert torch.allclose(found, torch.cat([first, second]), atol=1e-5)
    for name, linear in network.maps.items():
        assert linear.base.weight is model.get_submodule(name).weight


def test_the_model_may_be_tuned_meanwhile() -> None:
    model = tiny_llama()
    base = BaseMaps.of(model)
    network = PagedNetwork(model)
    before = hidden_of(network, tiny_llama())
    tuned = apply(model, LoRA(rank=2), seed=0)
    tuned(IDS[None]).sum().backward()
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.add_(1.0)
    assert torch.equal(hidden_of(network, tiny_llama()), before)
    with pytest.raises(ConfigError, match="not plain"):
        BaseMaps.of(model)
    assert base.base == BaseMaps.of(tiny_llama()).base


def test_a_weight_in_the_place_of_the_bases() -> None:
    model = tiny_llama()
    network = PagedNetwork(model)
    before = hidden_of(network, model)
    own = network.maps["model.layers.1.mlp.up_proj"]
    own.merged = own.base.weight + 0.1
    assert not torch.allclose(hidden_of(network, model), before, atol=1e-3)
    own.merged = None
    assert torch.equal(hidden_of(network, model), before)


def test_windows_are_refused() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=8,
    )
    with pytest.raises(ConfigError, match="cannot be paged"):
        PagedNetwork(MistralForCausalLM(config))


NAMES = ("lora", "ssf")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return saved_parts(tmp_path_factory.mktemp("parts"), {name: PARTS[name] for name in NAMES})


def ops_of(models: AdapterModels) -> RowOps | None:
    return models._passes._ops


def test_the_operations_stay_while_the_rows_do(folders: dict[str, Path]) -> None:
    models = models_of(folders)
    jobs = [models[name].row([5, 6, 7], GenerationConfig(max_tokens=9)) for name in NAMES]
    models.submit(jobs[:1])
    models.step()
    models.step()
    first = ops_of(models)
    models.step()
    assert first is not None
    assert ops_of(models) is first
    models.submit(jobs[1:])
    models.step()
    assert ops_of(models) is not first


def test_rows_of_the_base_alone_have_none(folders: dict[str, Path]) -> None:
    models = models_of(folders)
    models["base"].generate(["tea"], GenerationConfig(max_tokens=3))
    assert ops_of(models) is None


def test_a_prompt_hands_out_nothing_before_its_end(folders: dict[str, Path]) -> None:
    models = models_of(folders)
    job = models["lora"].row(list(range(5, 15)), GenerationConfig(max_tokens=2))
    models.submit([job])
    assert models.step(prompt_tokens=6).prompted == 6
    assert (job.done, job.left) == (6, 4)
    step = models.step(prompt_tokens=6)
    assert (step.prompted, job.done, len(job.tokens)) == (4, 10, 11)
    assert models.step().written == 1
    assert job.over


def test_the_least_that_is_allowed() -> None:
    least = ServingConfig(pool_bytes=1, host_bytes=0, block=1, rows=1, prompt_tokens=1)
    assert least.host_bytes == 0


def test_a_pass_counts_as_done_where_it_took_tokens() -> None:
    assert PassResult(written=1, prompted=0, live=1, waiting=0)
    assert PassResult(written=0, prompted=3, live=1, waiting=0)
    assert not PassResult(written=0, prompted=0, live=4, waiting=2)


def test_without_a_merge_policy_nothing_is_folded() -> None:
    state = PoolState(9, 2, 3, 900, 0, 0, CacheCounts())
    assert (state.merged, state.merges, state.merged_bytes) == (None, 0, 0)


NETWORK = Network(tiny_llama())


def writing(
    config: GenerationConfig,
    row: int = 0,
    chunks: SimpleQueue[Chunk | None] | None = None,
    grammars: Grammars | None = None,
) -> AnswerRow:
    answer = AnswerWriter(tiny_tokens(), [5, 9], config)
    constraint = None if grammars is None else grammars.constraint(config, 1)
    return AnswerRow(
        None, answer, config, row, 20, vocabulary=VOCABULARY, constraint=constraint, chunks=chunks
    )


def test_a_row_that_writes() -> None:
    job = writing(GenerationConfig(max_tokens=2))
    assert (job.left, job.writes) == (2, False)
    job.done = 2
    job.add(40, None)
    assert (job.left, job.writes, job.over) == (1, True, False)
    job.done = 3
    job.add(41, None)
    assert job.over
    assert job.answer.completion().token_ids == (40, 41)


def test_pieces_of_an_answer() -> None:
    chunks: SimpleQueue[Chunk | None] = SimpleQueue()
    job = writing(GenerationConfig(max_tokens=2), chunks=chunks)
    job.add(40, None)
    job.add(41, None)
    found = [chunks.get_nowait() for _ in range(3)]
    assert [chunk.token_ids for chunk in found if chunk is not None][:2] == [(40,), (41,)]
    assert found[1] is not None
    assert found[1].finish_reason == "length"
    assert found[2] is None
    broken = writing(GenerationConfig(), chunks=chunks)
    broken.fail(ResourceError("full"))
    assert chunks.get_nowait() is None
    assert broken.over


def test_each_row_is_sampled_as_it_asks() -> None:
    logits = torch.randn(4, VOCABULARY, generator=torch.Generator().manual_seed(0))
    drawn = GenerationConfig(temperature=1.0, seed=3)
    grammars = Grammars(tiny_tokens().tokenizer, VOCABULARY, tiny_tokens().end_ids)
    jobs = [
        writing(GenerationConfig(logprobs=True)),
        writing(drawn, row=1),
        writing(GenerationConfig(repetition_penalty=1e6)),
        writing(GenerationConfig(grammar='root ::= "x"'), grammars=grammars),
    ]
    logits[2, 5] = 50.0  # occurred in the prompt
    sample(jobs, logits)
    assert jobs[0].tokens[-1] == int(logits[0].argmax())
    wanted = torch.log_softmax(logits[0], 0).max()
    assert jobs[0].answer.completion().logprobs == pytest.approx((float(wanted),), abs=1e-5)
    probabilities = torch.softmax(logits[1], 0)
    random = torch.Generator().manual_seed(4)
    assert jobs[1].tokens[-1] == int(torch.multinomial(probabilities, 1, generator=random))
    assert jobs[2].tokens[-1] != 5
    assert jobs[3].answer.completion().text == "x"
    assert jobs[3].over


def test_a_row_that_cannot_be_drawn_ends_alone() -> None:
    logits = torch.randn(6, VOCABULARY, generator=torch.Generator().manual_seed(0))
    drawn = GenerationConfig(temperature=1.0)
    grammars = Grammars(tiny_tokens().tokenizer, VOCABULARY, tiny_tokens().end_ids)
    config = GenerationConfig(grammar='root ::= "x"', temperature=1.0)
    jobs = [
        writing(drawn),
        writing(drawn),
        writing(GenerationConfig()),
        writing(config, grammars=grammars),
        writing(GenerationConfig(temperature=1e-6)),
        writing(GenerationConfig()),
    ]
    logits[0, 3], logits[2, 4], logits[3, 7] = torch.nan, torch.nan, torch.inf
    logits[1, 5] = -torch.inf  # a token that is never taken is no fault
    logits[4] *= 1e35  # finite, until the temperature divides it
    sample(jobs, logits)
    assert [job.error is None for job in jobs] == [False, True, False, False, False, True]
    assert all(job.over == (job.error is not None) for job in jobs)
    for at in (0, 2, 3):
        assert "logits are not finite [the base]" in str(jobs[at].error)
    assert "no token can be drawn" in str(jobs[4].error)
    assert jobs[5].tokens[-1] == int(logits[5].argmax())


def test_a_row_that_breaks_ends_alone() -> None:
    class Broken:
        def apply(self, *_: object) -> None:
            raise IndexError("out of range")

    jobs = [writing(GenerationConfig()) for _ in range(3)]
    jobs[1].rules = Broken()  # type: ignore[assignment]
    sample(jobs, torch.randn(3, VOCABULARY, generator=torch.Generator().manual_seed(0)))
    assert [job.error is None for job in jobs] == [True, False, True]
    assert isinstance(jobs[1].error, ResourceError)
    assert "the pass failed: out of range" in str(jobs[1].error)
    own = ValueInvalidError("wrong")
    assert failed_pass(own) is own


def test_half_a_score_and_half_a_mean_are_none() -> None:
    score, text = ScoreRow(None, [1, 2], [3, 4]), EmbeddingRow(None, [1, 2])
    for job in (score, text):
        job.end("cancelled")
        assert job.over
        assert isinstance(job.error, ResourceError)
    whole = ScoreRow(None, [1, 2], [3, 4])
    whole.end("stop")
    assert whole.error is None


@pytest.mark.parametrize("pieces", [(6,), (2, 4), (1, 1, 4), (5, 1)])
def test_scores_from_pieces(pieces: tuple[int, ...]) -> None:
    before, after = [5, 9, 11], [20, 21, 22, 23]
    ids = torch.tensor([*before, *after])
    with torch.no_grad():
        hidden = NETWORK.hidden(ids[None], positions=torch.arange(7)[None])[0]
        logprobs = torch.log_softmax(NETWORK.logits(hidden), -1)
        job = ScoreRow(None, before, after)
        # What was taken before the row had to begin again does not count.
        for taken in ((3,), pieces):
            job.begin(0)
            for n in taken:
                first, job.done = job.done, job.done + n
                job.take(hidden[first : job.done], first, NETWORK)
    assert job.over
    wanted = [float(logprobs[2 + at, token]) for at, token in enumerate(after)]
    np.testing.assert_allclose(job.logprobs, wanted, atol=1e-5)


def test_a_beginning_is_over_once_it_is_read() -> None:
    job = PrefixRow(None, [1, 2, 3, 4, 5])
    assert (job.cached, job.writes, job.shareable, job.max_tokens) == (None, False, 4, 5)
    for behind in (2, 0):  # and again, where it had to make room
        job.begin(behind)
        while not job.over and job.left > 1:
            first, job.done = job.done, job.done + 1
            job.take(torch.zeros(1, 8), first, NETWORK)
    assert not job.over
    first, job.done = job.done, job.done + 1
    job.take(torch.zeros(1, 8), first, NETWORK)
    assert job.over
    assert job.cached == 2


def test_an_embedding_from_pieces() -> None:
    hidden = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    job = EmbeddingRow(None, [1, 2, 3, 4, 5])
    for taken in ((3,), (2, 3)):
        job.begin(0)
        for n in taken:
            first, job.done = job.done, job.done + n
            job.take(hidden[first : job.done], first, NETWORK)
    assert job.over
    mean = hidden.mean(0)
    np.testing.assert_allclose(job.vector, mean / mean.norm(), atol=1e-6)
