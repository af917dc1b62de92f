"""The fine stage with kept histories: what it keeps, and that it says what the ranker says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.data.batches.jagged import Jagged
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.data.tasks.negatives import popular_share
from adwright.delivery.stages.histories import Histories, RequestBatch
from adwright.delivery.stages.protocols import Shortlist
from adwright.delivery.stages.sequence import FalconRanker
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.models.sequential.mfalcon import Falcon
from tests.support.delivery.cascade_parts import DRAWS, LATER, histories, on_day, request, task
from tests.support.delivery.sequence_parts import hstu, hstu_ranker

PEOPLE = ["u1", "nobody", "u6", "u1"]
EVERY = np.arange(1, 13)


def batch_of(known: Histories) -> RequestBatch:
    days = [9, 9, 4, 3]
    return known.batch([request(u, time=on_day(day)) for u, day in zip(PEOPLE, days, strict=True)])


def items_of(sizes: list[int]) -> Shortlist:
    rng = np.random.default_rng(0)
    return Shortlist.of([rng.choice(EVERY, size, replace=False) for size in sizes])


def literal(batch: RequestBatch, n: int, codes: np.ndarray, limit: int = 39) -> np.ndarray:
    """The logits of one request, read as it is written down."""
    model = hstu_ranker().model
    assert isinstance(model, HSTURanker)
    events = slice(max(batch.offsets[n], batch.offsets[n + 1] - limit), batch.offsets[n + 1])
    item = torch.from_numpy(batch.item[events])
    person = SequenceBatch.serving(
        Jagged(item, torch.tensor([0, len(item)])),
        time=torch.from_numpy(batch.time[events] // 1_000_000),
        action=torch.ones_like(item),
    )
    now = int(batch.at[n] // 1_000_000)
    falcon = Falcon(model, kernel="plain")
    return falcon.score(person, torch.from_numpy(codes), request_time=now)[:, 0].double().numpy()


def test_scores_are_those_of_the_ranker_person_by_person() -> None:
    known = histories()
    batch, items = batch_of(known), items_of([5, 3, 12, 1])
    found = FalconRanker(hstu_ranker(), known).score(batch, items)
    for n, (start, end) in enumerate(items.bounds()):
        logits = literal(batch, n, items.codes[start:end])
        np.testing.assert_allclose(found[start:end], 1 / (1 + np.exp(-logits)), rtol=1e-5)
    assert np.ptp(found) > 0


@pytest.mark.parametrize("longest", [6, 40])
def test_the_draws_are_undone_by_what_the_ranker_reads(longest: int) -> None:
    known = histories()
    batch, items = batch_of(known), items_of([5, 3, 12, 1])
    artifact = hstu_ranker(max_length=longest)
    raw = FalconRanker(artifact, known).score(batch, items)
    undone = FalconRanker(artifact, known, DRAWS).score(batch, items)
    share = popular_share(artifact.count)
    for row, (owner, code) in enumerate(zip(items.owner, items.codes, strict=True)):
        if PEOPLE[owner] == "nobody":
            continue
        first, end = batch.offsets[owner : owner + 2]
        past = set(batch.item[max(first, end - longest + 1) : end].tolist())
        term = DRAWS.log_expected(
            share[[code]],
            items=12,
            had=np.array([int(code) in past]),
            distinct=np.array([len(past)]),
        )[0]
        logit = np.log(raw[row] / (1 - raw[row])) + term
        assert undone[row] == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-5)


def test_of_somebody_unknown_the_training_visits_speak() -> None:
    known = histories()
    batch = known.batch([request("nobody")])
    artifact = hstu_ranker(visits=50)
    found = FalconRanker(artifact, known, DRAWS).score(batch, Shortlist.of([EVERY]))
    np.testing.assert_allclose(found, np.minimum(artifact.count[1:] / 50, 1))
    bare = replace(artifact, files={})
    found = FalconRanker(bare, known, DRAWS).score(batch, Shortlist.of([EVERY]))
    np.testing.assert_allclose(found, artifact.count[1:] / artifact.count.sum())


def test_a_history_is_read_once_and_read_on_after_an_event() -> None:
    artifact, known = hstu_ranker(), histories()
    stage = FalconRanker(artifact, known, DRAWS)
    items = Shortlist.of([EVERY])

    def counts() -> tuple[int, int, int]:
        return stage.falcon.hits, stage.falcon.extended, stage.falcon.misses

    def fresh(batch: RequestBatch) -> np.ndarray:
        return FalconRanker(artifact, known, DRAWS).score(batch, items)

    batch = known.batch([request("u1")])
    first = stage.score(batch, items)
    assert counts() == (0, 0, 1)
    # More candidates of the same request, and a later request: the same reading.
    stage.score(batch, Shortlist.of([EVERY[:3]]))
    later = known.batch([request("u1", time=LATER + timedelta(days=5))])
    np.testing.assert_allclose(stage.score(later, items), fresh(later), rtol=1e-5)
    assert counts() == (2, 0, 1)
    known.append("u1", ["i5", "i7"], [LATER - timedelta(hours=1)] * 2)
    batch = known.batch([request("u1")])
    found = stage.score(batch, items)
    assert counts() == (2, 1, 1)
    np.testing.assert_allclose(found, fresh(batch), rtol=1e-5)
    assert np.abs(found / first - 1).max() > 1e-3
    # An event that arrives late changes the middle: what lies before it stays.
    known.append("u1", ["i2"], [on_day(3) + timedelta(hours=2)])
    batch = known.batch([request("u1")])
    np.testing.assert_allclose(stage.score(batch, items), fresh(batch), rtol=1e-5)
    assert counts() == (2, 2, 1)


def test_a_history_that_is_cut_is_read_anew_after_an_event() -> None:
    artifact, known = hstu_ranker(max_length=6), histories()
    stage, items = FalconRanker(artifact, known, DRAWS), Shortlist.of([EVERY])
    for turn in range(3):
        batch = known.batch([request("u1")])
        stage.score(batch, items)
        found = stage.score(batch, items)
        fresh = FalconRanker(artifact, known, DRAWS).score(batch, items)
        np.testing.assert_allclose(found, fresh, rtol=1e-5)
        assert stage.falcon.hits == 1 + turn
        known.append("u1", [f"i{turn}"], [LATER - timedelta(minutes=9 - turn)])
    assert stage.falcon.misses + stage.falcon.extended == 3
    assert stage.falcon.misses >= 2


def test_people_do_not_touch_each_other_and_capacity_is_kept() -> None:
    known, items = histories(), items_of([5, 3, 12, 1])
    stage = FalconRanker(hstu_ranker(), known, DRAWS, capacity=1)
    batch = batch_of(known)
    together = stage.score(batch, items)
    for n, (start, end) in enumerate(items.bounds()):
        alone = stage.score(batch.some([n]), items.some([n]))
        np.testing.assert_allclose(alone, together[start:end], rtol=1e-5)
    assert len(stage.falcon) == 1
    assert len(stage.score(batch, items_of([0, 2, 0, 1]))) == 3
    assert len(stage.score(batch, items_of([0, 0, 0, 0]))) == 0


def test_many_threads_may_ask() -> None:
    known, items = histories(), items_of([5, 3, 12, 1])
    batch = batch_of(known)
    stage = FalconRanker(hstu_ranker(), known, DRAWS, capacity=2)
    alone = FalconRanker(hstu_ranker(), known, DRAWS).score(batch, items)

    def ask(turn: int) -> bool:
        rows = [turn % 4, (turn + 1) % 4]
        found = stage.score(batch.some(rows), items.some(rows))
        wanted = [alone[slice(*items.bounds()[n])] for n in rows]
        return np.allclose(found, np.concatenate(wanted), rtol=1e-5)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(40)))


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs a ranker"):
        FalconRanker(hstu(), histories())
    other = replace(task().items, ids=tuple(f"x{n}" for n in range(12)))
    with pytest.raises(ConfigError, match="different items"):
        FalconRanker(hstu_ranker(), Histories(other))


def test_cost_grows_with_candidates_history_and_layers() -> None:
    known = histories()
    stage, batch = FalconRanker(hstu_ranker(), known), batch_of(known)
    few, many = (stage.cost(batch, items_of(sizes)) for sizes in ([1] * 4, [5] * 4))
    assert 0 < few.flops < many.flops
    assert 0 < few.bytes < many.bytes + 1
    nobody = known.batch([request("nobody", time=on_day(4)) for _ in range(4)])
    assert stage.cost(nobody, items_of([1] * 4)).flops < few.flops
    deep = FalconRanker(hstu_ranker(blocks=3), known).cost(batch, items_of([5] * 4))
    cut = FalconRanker(hstu_ranker(blocks=3, truncate_after=1, truncate_to=3), known)
    assert many.flops < deep.flops
    assert cut.cost(batch, items_of([5] * 4)).flops < deep.flops
    wide = FalconRanker(hstu_ranker(concat=True), known)
    assert wide.cost(batch, items_of([5] * 4)).flops > many.flops
