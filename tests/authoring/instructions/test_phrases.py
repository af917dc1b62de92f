from __future__ import annotations

from itertools import combinations

import pytest

from adwright.authoring.instructions.rows import (
    MOST_ALIKE,
    alike,
    load_seeds,
    parts,
    recombined_instructions,
    slots_of,
)
from adwright.authoring.tasks import ALL_TASKS, Task, task_named
from adwright.core.errors import ConfigError
from adwright.metrics.text.agreement import rouge_l


@pytest.mark.parametrize("task", ALL_TASKS, ids=lambda task: task.name)
def test_new_instructions_differ_from_all_that_is_kept(task: Task) -> None:
    seeds = load_seeds(task.name)
    made = recombined_instructions(task, seeds, most=20, seed=7)
    assert len(made) == 20
    assert len({one.id for one in (*seeds, *made)}) == len(seeds) + 20
    every = [*seeds, *made]
    assert max(rouge_l(a.text, b.text) for a, b in combinations(every, 2)) < MOST_ALIKE
    assert {one.task for one in made} == {task.name}


def test_they_follow_from_the_seed() -> None:
    task, seeds = task_named("ads"), load_seeds("ads")
    one, same, other = (recombined_instructions(task, seeds, most=5, seed=n) for n in (1, 1, 2))
    assert one == same != other
    assert recombined_instructions(task, seeds, most=0) == ()
    few = recombined_instructions(task, seeds, most=10**6, seed=1)
    assert few[:5] == one
    with pytest.raises(ConfigError, match="must not be negative"):
        recombined_instructions(task, seeds, most=-1)


def test_a_task_of_ones_own_has_none() -> None:
    own = Task("slogans", "Slogan", (), task_named("ads").wanted, "text", (), ())
    assert recombined_instructions(own, (), most=5) == ()


def test_likeness_is_the_highest_of_all() -> None:
    assert alike("write an ad", []) == 0
    assert alike("write an ad", ["nothing", "write an ad now"]) == rouge_l(
        "write an ad", "write an ad now"
    )


def test_the_parts_are_whole() -> None:
    every = parts()
    known = {
        "title",
        "brand",
        "category",
        "price",
        "name",
        "value",
        "occasion",
        "audience",
        "unknown",
    }
    sentences = every.sentences
    ways = [*sentences.ads, *sentences.openings, *sentences.details, *sentences.closings]
    ways += [one for each in every.questions for one in (each.ask, each.reply)]
    assert {slot for way in ways for slot in slots_of(way)} <= known
    assert all("{title}" in way for way in sentences.ads)
    assert not any(slots_of(each.ask + each.reply) for each in every.general)
    assert len(every.general) >= 20
    assert set(every.phrases) == {task.name for task in ALL_TASKS}
    assert parts() is every
