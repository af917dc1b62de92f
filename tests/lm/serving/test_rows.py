from __future__ import annotations

from queue import SimpleQueue

import numpy as np
import pytest
import torch

from adwright.core.errors import ResourceError, ValueInvalidError
from adwright.lm.engine.base import AnswerWriter
from adwright.lm.engine.generation import Chunk, GenerationConfig
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
from tests.support.lm.tiny_llama import VOCABULARY, tiny_llama, tiny_tokens

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
