"""Who is next."""

from __future__ import annotations

import pytest

from adwright.core.errors import ConfigError
from adwright.programs.program import THROUGHPUT, Objective
from adwright.programs.scheduling.engine import ReadyChain
from adwright.programs.scheduling.order import ChainQueue, OrderTerms, class_of
from tests.support.chains import chain_of


def seconds(chain: ReadyChain, critical: int) -> float:
    """A second for ten tokens of an answer."""
    return max(critical, chain.new_tokens) / 10


def queue_of(terms: OrderTerms | None = None, **weights: float) -> ChainQueue:
    return ChainQueue(terms, cost=seconds, weights=weights)


def drained(queue: ChainQueue, spent: float = 0.0) -> list[str]:
    found = []
    while (head := next(queue.heads(), None)) is not None:
        queue.charge(head, spent)
        found.append(queue.remove(head.chain_id).chain_id)
    return found


def test_the_longest_way_comes_first_inside_a_program() -> None:
    queue = queue_of()
    for name, critical, depth in (("a", 50, 1), ("b", 200, 3), ("c", 50, 1), ("d", 200, 2)):
        queue.push(chain_of(name, program="p", critical=critical, depth=depth), 0.0)
    assert drained(queue) == ["d", "b", "a", "c"]


def test_without_the_critical_path_they_come_as_they_were_ready() -> None:
    queue = queue_of(OrderTerms(critical=False))
    for name, critical in (("a", 50), ("b", 200), ("c", 60)):
        queue.push(chain_of(name, program="p", critical=critical), 0.0)
    assert drained(queue) == ["a", "b", "c"]


def test_what_is_nearly_done_is_finished_first() -> None:
    queue = queue_of()
    queue.push(chain_of("long", critical=500), 0.0)
    queue.push(chain_of("short", critical=60), 0.0)
    assert drained(queue) == ["short", "long"]


def test_a_graph_says_what_is_left() -> None:
    queue = queue_of()
    queue.push(chain_of("wide", program="w", critical=50), 0.0)
    queue.push(chain_of("narrow", program="n", critical=60), 0.0)
    queue.outlook("w", "t", 100.0)
    assert drained(queue) == ["narrow", "wide"]
    queue.forget("w")
    queue.push(chain_of("wide", program="w", critical=50), 0.0)
    queue.push(chain_of("narrow", program="n", critical=60), 0.0)
    assert drained(queue) == ["wide", "narrow"]


def test_programs_by_arrival_and_by_attained_service() -> None:
    arrival = queue_of(OrderTerms("arrival"))
    arrival.push(chain_of("late", critical=50, arrived=2.0), 2.0)
    arrival.push(chain_of("early", critical=500, arrived=1.0), 2.0)
    assert drained(arrival) == ["early", "late"]
    attained = queue_of(OrderTerms("attained"))
    for name in ("a1", "b1", "a2", "b2"):
        attained.push(chain_of(name, program=name[0]), 0.0)
    assert drained(attained, spent=1.0) == ["a1", "b1", "a2", "b2"]
    for name in ("a3", "b3"):
        attained.push(chain_of(name, program=name[0]), 0.0)
    attained.charge(chain_of(program="a"), 5.0)
    assert drained(attained) == ["b3", "a3"]


def test_ageing_bounds_the_wait() -> None:
    """However many short programs arrive, a long one comes after what / ageing seconds."""
    queue = queue_of(OrderTerms(ageing=0.5))
    queue.push(chain_of("long", new=100, arrived=0.0), 0.0)  # ten seconds of work
    served = []
    for at in range(100):
        queue.push(chain_of(f"s{at}", new=10, arrived=float(at)), float(at))
        served.append(queue.remove(next(queue.heads()).chain_id).chain_id)
    assert served.index("long") == 18  # (10 - 1) / 0.5 seconds


def test_tenants_get_their_weights() -> None:
    queue = queue_of(gold=3.0)
    for at in range(400):
        queue.push(chain_of(f"g{at}", tenant="gold"), 0.0)
        queue.push(chain_of(f"b{at}", tenant="base"), 0.0)
    first = []
    for _ in range(400):
        head = next(queue.heads())
        queue.charge(head, 1.0)
        first.append(queue.remove(head.chain_id).tenant)
    assert first.count("gold") == pytest.approx(300, abs=2)


def test_a_fan_out_counts_as_one_and_idling_earns_nothing() -> None:
    queue = queue_of()
    for at in range(50):
        queue.push(chain_of(f"a{at}", tenant="a", program="fan"), 0.0)
    for _ in range(40):
        queue.charge(chain_of(tenant="a"), 1.0)
        queue.remove(next(queue.heads()).chain_id)
    # b was idle all the time: it gets the next places one by one, not forty.
    for at in range(10):
        queue.push(chain_of(f"b{at}", tenant="b"), 40.0)
    order = []
    for _ in range(8):
        head = next(queue.heads())
        queue.charge(head, 1.0)
        order.append(queue.remove(head.chain_id).tenant)
    assert order.count("b") in (4, 5)


def test_without_fairness_tenants_are_one() -> None:
    queue = queue_of(OrderTerms("arrival", fair=False), gold=100.0)
    queue.push(chain_of("b", tenant="base", arrived=0.0), 0.0)
    queue.push(chain_of("g", tenant="gold", arrived=1.0), 1.0)
    queue.charge(chain_of(tenant="base"), 50.0)
    assert drained(queue) == ["b", "g"]


def test_stricter_classes_come_first_until_others_have_waited() -> None:
    timed = Objective("deadline", 5.0)
    assert [class_of(chain_of(objective=each)) for each in (timed, THROUGHPUT)] == [0, 2]
    queue = queue_of(OrderTerms(patience=10.0))
    queue.push(chain_of("whenever", objective=THROUGHPUT), 0.0)
    queue.push(chain_of("soon"), 5.0)
    queue.push(chain_of("timed", objective=timed), 5.0)
    assert [each.chain_id for each in queue.heads()] == ["timed", "soon", "whenever"]
    queue = queue_of(OrderTerms(patience=2.0))
    queue.push(chain_of("whenever", objective=THROUGHPUT), 0.0)
    queue.push(chain_of("soon"), 5.0)
    assert [each.chain_id for each in queue.heads()] == ["whenever", "soon"]


def test_what_waits_is_counted() -> None:
    queue = queue_of()
    queue.push(chain_of("a", tokens=(5, 9), prefix=(1, 2), program="p"), 0.0)
    queue.push(chain_of("b", tokens=(5, 9), prefix=(1, 3), program="p"), 0.0)
    queue.push(chain_of("c", tokens=(7,), prefix=(4,), objective=THROUGHPUT), 0.0)
    assert (len(queue), queue.soon, "a" in queue) == (3, (2, 1), True)
    assert [queue.sharing(each) for each in (1, 2, 4, 9)] == [2, 1, 1, 0]
    queue.remove("a")
    assert (queue.sharing(1), queue.sharing(2), queue.soon) == (1, 0, (1, 1))


def test_a_chain_that_comes_back_is_found_once() -> None:
    queue = queue_of()
    for _ in range(3):
        queue.push(chain_of("a"), 0.0)
        queue.push(chain_of("b"), 0.0)
        assert queue.remove("a").chain_id == "a"
        assert drained(queue) == ["b"]


def test_terms_are_checked() -> None:
    for terms in ({"ageing": 0.0}, {"patience": -1.0}):
        with pytest.raises(ConfigError):
            OrderTerms(**terms)  # type: ignore[arg-type]
