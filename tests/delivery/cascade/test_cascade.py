from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.clock import FixedClock
from adwright.delivery.cascade.cascade import Cascade, CascadeConfig, Meter, Pace
from adwright.delivery.decision import Deadline
from adwright.delivery.stages.histories import RequestBatch
from adwright.delivery.stages.protocols import HistoryAlone, Shortlist
from adwright.delivery.stages.sources import RankedSource
from tests.support.delivery.cascade_parts import LATER, deployment, histories, request, task

IDS = task().items.ids
SIZES = CascadeConfig(retrieve=6, past=3, coarse=4, together=2)


class Slow:
    """A scorer by item code that takes a fixed time a request on a clock of the tests."""

    probability = False

    def __init__(self, clock: FixedClock, seconds: float) -> None:
        self.clock, self.seconds, self.calls = clock, seconds, 0

    def score(self, batch: RequestBatch, items: Shortlist) -> np.ndarray[Any, Any]:
        self.clock.advance(self.seconds * len(batch))
        self.calls += 1
        return items.codes.astype(np.float64)


def cascade(**changes: Any) -> Cascade:
    return replace(deployment(), config=replace(SIZES, **changes)).cascade()


def slow(clock: FixedClock, *, coarse: float = 0.0, fine: float = 0.0) -> Cascade:
    whole = cascade()
    return Cascade(
        whole.histories,
        vectors=whole.vectors,
        past=whole.past,
        coarse=Slow(clock, coarse),
        fine=Slow(clock, fine),
        count=whole.count,
        config=SIZES,
        clock=clock,
    )


class Told(Slow, HistoryAlone):
    """A scorer that tells that it reads histories alone."""


def keeping(clock: FixedClock, scorer: type[Slow] = Told, **changes: Any) -> Cascade:
    whole = cascade()
    return Cascade(
        histories(),
        vectors=whole.vectors,
        coarse=scorer(clock, 0.1),
        fine=None,
        count=whole.count,
        config=replace(SIZES, past=0, **changes),
        clock=clock,
    )


def calls(whole: Cascade) -> int:
    assert isinstance(whole.coarse, Slow)
    return whole.coarse.calls


def test_an_answer_is_kept_until_what_it_depends_on_is_another() -> None:
    whole = keeping(FixedClock())
    first = whole.recommend(request("u1"))
    assert whole.recommend(request("u1", request_id="other")) is first
    assert calls(whole) == 1
    both = whole.recommend_many([request("u1"), request("u2")])
    assert both[0] is first
    assert calls(whole) == 2
    # Where two towers read the hour and the user's latest events, so does what is kept.
    later = whole.recommend(request("u1", time=LATER + timedelta(hours=1)))
    assert later is not first
    whole.histories.append("u1", [IDS[0]], [LATER])
    assert whole.recommend(request("u1", time=LATER + timedelta(hours=1))) is not later
    assert calls(whole) == 4


@pytest.mark.parametrize(
    "changes", [{"exclude": frozenset([IDS[3]])}, {"candidates": (IDS[0], IDS[1])}, {"k": 6}]
)
def test_what_a_request_asks_for_beside_is_heeded(changes: dict[str, Any]) -> None:
    whole, plain = keeping(FixedClock()), keeping(FixedClock(), kept=0)
    whole.recommend(request("u1"))
    for _ in range(2):
        found, sought = (one.recommend(request("u1", **changes)) for one in (whole, plain))
        assert found.item_ids == sought.item_ids
        assert (found.score == sought.score).all()


def test_what_is_not_the_best_answer_is_not_kept() -> None:
    clock = FixedClock()
    whole = keeping(clock)
    assert whole.recommend_many([request("u1")], Deadline.after(0, clock))[0].stage == "popularity"
    assert whole.recommend(request("u1")).stage == "coarse"
    # A passed deadline asks for what no model says.
    assert whole.recommend_many([request("u1")], Deadline.after(0, clock))[0].stage == "popularity"
    assert whole.recommend_many([request("u1")], Deadline.after(9, clock))[0].stage == "coarse"
    assert calls(whole) == 1


def test_other_settings_ask_anew() -> None:
    whole = keeping(FixedClock())
    whole.recommend(request("u1"))
    whole.config = replace(whole.config, unseen=True)
    had = {IDS[code - 1] for code in whole.histories.batch([request("u1")]).item}
    assert not had & set(whole.recommend(request("u1")).item_ids)
    assert calls(whole) == 2


def test_who_was_cut_short_is_answered_when_nothing_waits() -> None:
    clock = FixedClock()
    whole = keeping(clock)
    whole.recommend(request("u9"))  # 0.1 s
    users = ["u1", "u2", "u3"]
    asked = [request(user) for user in users]
    short = whole.recommend_many(asked, Deadline.after(0.05, clock))
    assert {one.stage for one in short} == {"popularity"}
    whole.catch_up(lambda: False)
    assert calls(whole) == 1
    whole.catch_up(lambda: calls(whole) < 2)
    assert calls(whole) == 2  # two of them
    whole.catch_up(lambda: True)
    assert calls(whole) == 3
    again = whole.recommend_many(asked, Deadline.after(0.05, clock))
    assert {one.stage for one in again} == {"coarse"}
    assert calls(whole) == 3


def test_what_does_not_tell_what_it_reads_is_asked_each_time() -> None:
    whole = keeping(FixedClock(), Slow)
    whole.recommend(request("u1"))
    whole.recommend(request("u1"))
    assert calls(whole) == 2


def test_the_fine_order_of_what_the_coarse_stage_lets_through() -> None:
    whole = cascade()
    batch = whole.histories.batch([request("u1", k=2)])
    found = whole.retrieve(batch)
    score = whole.coarse.score(batch, found)
    through = found.codes[np.lexsort((found.codes, -score))[:4]]
    assert whole.fine is not None
    fine = whole.fine.score(batch, Shortlist.of([through]))
    order = np.lexsort((through, -fine))
    answer = whole.recommend(request("u1", k=2))
    assert answer.item_ids == tuple(IDS[c - 1] for c in through[order])
    np.testing.assert_allclose(answer.score, fine[order], rtol=1e-5)
    assert (answer.stage, answer.probability) == ("fine", True)


def test_both_sources_are_heard_and_can_be_left_out() -> None:
    whole = cascade(retrieve=1)
    batch = whole.histories.batch([request("u1")])
    near = set(whole.vectors.find(batch, 1).codes.tolist())
    assert whole.past is not None
    past = set(whole.past.find(batch, 3).codes.tolist())
    assert set(whole.retrieve(batch).codes.tolist()) == near | past
    assert set(cascade(retrieve=1, past=0).retrieve(batch).codes.tolist()) == near


def test_any_number_of_sources_is_heard_in_place_of_the_two() -> None:
    whole = cascade()
    assert whole.past is not None
    popular = RankedSource(whole.count)
    sources = [(popular, 2), (whole.past, 3), (whole.vectors, 1)]
    wide = Cascade(
        whole.histories,
        vectors=whole.vectors,
        coarse=whole.coarse,
        fine=None,
        count=whole.count,
        sources=sources,
    )
    batch = whole.histories.batch([request("u1"), request("nobody")])
    for n, codes in enumerate(wide.retrieve(batch).lists()):
        asked = batch.some([n])
        lists = [source.find(asked, k).codes for source, k in sources]
        assert codes.tolist() == np.unique(np.concatenate(lists)).tolist()
    assert wide.item_vectors is not None


@pytest.mark.parametrize("stage", ["coarse", "popularity"])
def test_what_a_user_had_is_not_offered_where_nothing_is_taken_twice(stage: str) -> None:
    whole, clock = cascade(unseen=True, retrieve=3), FixedClock()
    asked = request("u1", k=2)
    had = {IDS[code - 1] for code in whole.histories.batch([asked]).item}
    assert had
    deadline = Deadline.after(-1, clock) if stage == "popularity" else None
    whole = Cascade(
        whole.histories,
        vectors=whole.vectors,
        past=whole.past,
        coarse=whole.coarse,
        fine=None,
        count=whole.count,
        config=whole.config,
        clock=clock,
    )
    (answer,) = whole.recommend_many([asked], deadline)
    assert answer.stage == stage
    assert not set(answer.item_ids) & had
    assert len(answer) == min(3 if stage == "coarse" else 4, len(set(IDS) - had))
    # A request that names its candidates gets them.
    named = replace(asked, candidates=tuple(sorted(had)))
    (answer,) = whole.recommend_many([named], deadline)
    assert set(answer.item_ids) <= had
    assert answer.item_ids


def test_many_at_once_are_answered_as_one_by_one() -> None:
    whole = cascade()
    asked = [
        request(user, k=k) for user, k in (("u1", 3), ("x", 1), ("u7", 7), ("u2", 2), ("u3", 5))
    ]
    together = whole.recommend_many(asked)
    for one, many in zip(map(whole.recommend, asked), together, strict=True):
        assert one.item_ids == many.item_ids
        np.testing.assert_allclose(one.score, many.score, rtol=1e-5)
    # A request for more places than the coarse stage lets through gets as many.
    assert [len(answer) for answer in together][:3] == [4, 4, 7]
    assert whole.recommend_many([]) == []


@settings(max_examples=40)
@given(
    st.frozensets(st.sampled_from([*IDS, "lost"]), max_size=13),
    st.none() | st.lists(st.sampled_from([*IDS, "lost", "gone"]), unique=True, max_size=8),
    st.sampled_from(["u1", "nobody"]),
    st.sampled_from(["fine", "coarse", "popularity"]),
)
def test_what_a_request_forbids_is_never_offered(
    exclude: frozenset[str], candidates: list[str] | None, user: str, stage: str
) -> None:
    clock = FixedClock()
    whole = slow(clock)
    if stage == "coarse":
        whole = Cascade(
            whole.histories,
            vectors=whole.vectors,
            coarse=whole.coarse,
            fine=None,
            count=whole.count,
        )
    deadline = Deadline.after(0, clock) if stage == "popularity" else None
    allowed = None if candidates is None else tuple(candidates)
    asked = request(user, exclude=exclude, candidates=allowed)
    (answer,) = whole.recommend_many([asked], deadline)
    assert answer.stage == stage
    assert not set(answer.item_ids) & exclude
    if candidates is None:
        assert set(answer.item_ids) <= set(IDS)
        assert len(answer) >= min(4, len(set(IDS) - exclude))
    else:
        # All of them, those of the catalogue first.
        wanted = [i for i in candidates if i not in exclude]
        known = [i for i in wanted if i in IDS]
        assert set(answer.item_ids[: len(known)]) == set(known)
        assert set(answer.item_ids) == set(wanted)


def test_somebody_unknown_is_answered_by_all_stages() -> None:
    answer = cascade().recommend(request("nobody", k=2))
    assert answer.stage == "fine"
    assert len(answer) == 4
    empty = replace(deployment(), histories=None).cascade().recommend(request("u1"))
    assert empty.stage == "fine"


def test_without_time_the_most_popular_items() -> None:
    clock = FixedClock()
    whole = slow(clock)
    (answer,) = whole.recommend_many([request()], Deadline.after(0, clock))
    count = task().count
    order = [int(c) for c in np.argsort(-count[1:], kind="stable")]
    # As many as the coarse stage would let through, at least the places asked for.
    assert answer.item_ids == tuple(IDS[n] for n in order[:10])
    np.testing.assert_allclose(answer.score, count[1:][order[:10]] / count.sum())
    assert (answer.stage, answer.probability) == ("popularity", False)


def test_a_stage_that_would_be_late_is_left_out() -> None:
    clock = FixedClock()
    whole = slow(clock, coarse=0.01, fine=0.1)
    asked = [request(f"u{n}") for n in range(6)]
    # The first time nothing is known of the pace, and every stage is tried.
    first = whole.recommend_many(asked, Deadline.after(0.15, clock))
    assert {answer.stage for answer in first} == {"fine", "coarse"}
    stages = [
        [a.stage for a in whole.recommend_many(asked, Deadline.after(seconds, clock))]
        for seconds in (10, 0.5, 0.1, 0.05)
    ]
    assert stages[0] == ["fine"] * 6
    # Two requests a call of the fine stage: some in time, the rest by the coarse order.
    assert stages[1] == ["fine"] * 2 + ["coarse"] * 4
    assert stages[2] == ["coarse"] * 6
    assert stages[3] == ["popularity"] * 6
    assert [a.stage for a in whole.recommend_many(asked, None)] == ["fine"] * 6


def test_safety_leaves_a_stage_out_earlier() -> None:
    found = []
    for safety in (1.0, 9.0):
        clock = FixedClock()
        whole = slow(clock, fine=0.1)
        whole = Cascade(
            whole.histories,
            vectors=whole.vectors,
            coarse=whole.coarse,
            fine=whole.fine,
            count=whole.count,
            config=replace(SIZES, safety=safety),
            clock=clock,
        )
        whole.recommend(request())
        (answer,) = whole.recommend_many([request()], Deadline.after(0.5, clock))
        found.append(answer.stage)
    assert found == ["fine", "coarse"]


def test_warming_up_teaches_the_pace() -> None:
    clock = FixedClock()
    whole = slow(clock, coarse=0.01, fine=0.1)
    whole.warm_up(people=4)
    (answer,) = whole.recommend_many([request()], Deadline.after(0.1, clock))
    assert answer.stage == "coarse"
    replace(deployment(), histories=None).cascade().warm_up()


def test_a_meter_takes_what_each_stage_costs() -> None:
    whole, meter = cascade(), Meter()
    whole.recommend_many([request(f"u{n}", k=3) for n in (1, 2, 3)], meter=meter)
    lines = {line.stage: line for line in meter.report()}
    assert list(lines) == ["retrieve", "coarse", "fine"]
    assert all(line.requests == 3 for line in lines.values())
    assert lines["fine"].items == 4
    assert lines["retrieve"].items == lines["coarse"].items <= 9


def test_similar_items() -> None:
    whole = cascade()
    artifact = whole.vectors.queries.artifact
    codes, cosine = artifact.similar(3, 2)
    found = whole.similar("i2", 2)
    assert found is not None
    assert [item for item, _ in found] == [IDS[c - 1] for c in codes]
    np.testing.assert_allclose([score for _, score in found], cosine)
    assert whole.similar("lost") is None


def test_what_was_had_is_not_offered_again_unless_it_is_named() -> None:
    known = {IDS[code - 1] for code in cascade().histories.batch([request("u1")]).item}
    assert known & set(cascade(coarse=12, retrieve=12).recommend(request("u1", k=12)).item_ids)
    new = cascade(unseen=True, coarse=12, retrieve=12)
    assert set(new.recommend(request("u1", k=12)).item_ids) == set(IDS) - known
    named = tuple(sorted(known))
    assert set(new.recommend(request("u1", candidates=named)).item_ids) == known
    late = new.recommend_many([request("u1", k=3)], Deadline.after(0, FixedClock()))[0]
    assert late.stage == "popularity"
    assert late.item_ids
    assert not known & set(late.item_ids)


def run(pace: Pace, clock: FixedClock, requests: int, seconds: float) -> None:
    with pace.measured("fine", requests):
        clock.advance(seconds)


def fitted(points: list[tuple[int, float]], asked: int) -> float:
    """The line by hand, at `asked`."""
    n, t = np.array(points, dtype=np.float64).T
    weight = 0.9 ** np.arange(len(n))[::-1]
    mean_n, mean_t = np.average(n, weights=weight), np.average(t, weights=weight)
    variance = np.average((n - mean_n) ** 2, weights=weight)
    slope = mean_t / mean_n
    if variance > 1e-3 * mean_n**2:
        covariance = np.average((n - mean_n) * (t - mean_t), weights=weight)
        slope = min(slope, max(0.0, covariance / variance))
    return float(mean_t + slope * (asked - mean_n))


@given(
    st.lists(st.tuples(st.integers(1, 64), st.floats(1e-3, 1)), min_size=1, max_size=20),
    st.integers(1, 64),
)
def test_it_is_the_weighted_least_squares_line_within_its_bounds(
    points: list[tuple[int, float]], asked: int
) -> None:
    clock = FixedClock()
    pace = Pace(clock, 1.0)
    seen: list[tuple[int, float]] = []
    for requests, seconds in points:
        expected = fitted(seen, requests) if seen else 0.0
        if seconds < expected / 2:
            seen = [(n, t * seconds / expected) for n, t in seen]
        seen.append((requests, seconds))
        run(pace, clock, requests, seconds)
    assert pace.expected("fine", asked) == pytest.approx(fitted(seen, asked), rel=1e-4, abs=1e-6)
    assert pace.expected("fine", asked) >= 0


def test_what_took_much_less_than_expected_is_believed_at_once(clock: FixedClock) -> None:
    pace = Pace(clock, 1.0)
    for requests in (1, 2, 4, 8):
        run(pace, clock, requests, 0.07 + 0.025 * requests)
    run(pace, clock, 2, 0.012)
    for requests in (1, 2, 8):
        expected = 0.007 + 0.0025 * requests
        assert pace.expected("fine", requests) == pytest.approx(expected)


def test_a_stage_fits_where_its_duration_is_left_with_safety(clock: FixedClock) -> None:
    pace = Pace(clock, 2.0)
    assert pace.fits("fine", 4, Deadline.after(0.001, clock)), "it never ran"
    assert not pace.fits("fine", 4, Deadline.after(0, clock))
    run(pace, clock, 4, 0.01)
    assert pace.fits("fine", 4, None)
    assert pace.fits("fine", 4, Deadline.after(0.021, clock))
    assert not pace.fits("fine", 4, Deadline.after(0.019, clock))


def test_one_slow_moment_does_not_rule_a_stage_out_for_good(clock: FixedClock) -> None:
    pace = Pace(clock, 1.5)
    run(pace, clock, 1, 10.0)
    tries = 0
    for _ in range(2000):
        if pace.fits("fine", 1, Deadline.after(0.04, clock)):
            tries += 1
            run(pace, clock, 1, 0.01)
    assert tries > 1500

    slow = Pace(clock, 1.5)
    run(slow, clock, 1, 0.2)
    tries = 0
    for _ in range(1000):
        if slow.fits("fine", 1, Deadline.after(0.04, clock)):
            tries += 1
            run(slow, clock, 1, 0.2)
    assert 10 < tries < 60, "what stays slow is tried now and then"


def test_a_deadline_that_has_passed_teaches_nothing(clock: FixedClock) -> None:
    pace = Pace(clock, 1.0)
    run(pace, clock, 1, 1.0)
    for _ in range(1000):
        assert not pace.fits("fine", 1, Deadline.after(-1, clock))
    assert not pace.fits("fine", 1, Deadline.after(0.9, clock))


def test_a_stage_that_fails_is_not_measured(clock: FixedClock) -> None:
    pace = Pace(clock, 1.0)
    with pytest.raises(ZeroDivisionError), pace.measured("fine", 1):
        raise ZeroDivisionError
    assert pace.expected("fine", 1) == 0


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_time_and_work_are_a_request() -> None:
    meter = Meter()
    for _ in range(2):
        with meter.stage("coarse"):
            spin(0.01)
        meter.work("coarse", 5, 500)
    with meter.stage("fine"):
        pass
    coarse, fine = meter.report()
    assert (coarse.stage, coarse.requests, coarse.items) == ("coarse", 10, 100)
    assert 2 <= coarse.cpu_ms < 20
    assert (fine.stage, fine.requests, fine.items) == ("fine", 0, 0)


def test_a_stage_that_fails_is_measured_too() -> None:
    meter = Meter()

    def fail() -> None:
        with meter.stage("coarse"):
            raise ValueError(sum(range(200_000)))

    with pytest.raises(ValueError, match="19999900000"):
        fail()
    (line,) = meter.report()
    assert line.cpu_ms > 0
    # Time without any work noted is of one request.
    assert line.requests == 0
