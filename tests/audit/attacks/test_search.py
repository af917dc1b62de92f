from __future__ import annotations

import json

import pytest

from adwright.audit.attacks.search import RankSearchConfig, SearchAttack
from adwright.core.errors import ConfigError, ResumeError
from tests.support.audit.attacked import praise_feedback


def found(config: RankSearchConfig, *, calls: float = 1000.0, seed: int = 0) -> list[str]:
    attack = SearchAttack(praise_feedback(calls), config, model="m", seed=seed)
    return [one.text for one in attack.steps()]


@pytest.mark.parametrize("strategy", ["beam", "tree"])
def test_ranks_alone_lead_to_the_word_that_counts(strategy: str) -> None:
    config = RankSearchConfig(strategy=strategy, branch=12, steps=6)  # type: ignore[arg-type]
    attack = SearchAttack(praise_feedback(), config, model="m")
    steps = list(attack.steps())
    assert steps[-1].value == 1
    assert "best" in steps[-1].text
    assert attack.tier == "T1"
    assert [one.value for one in steps] == sorted((one.value for one in steps), reverse=True)


@pytest.mark.parametrize("strategy", ["beam", "tree"])
def test_it_goes_on_behind_a_step_as_if_it_had_not_stopped(strategy: str) -> None:
    # Words of one piece: so few that those that were given up would be drawn again.
    config = RankSearchConfig(strategy=strategy, branch=6, steps=9, longest=1, pieces="phrases")  # type: ignore[arg-type]
    before = praise_feedback()
    whole = list(SearchAttack(before, config, model="m").steps())
    for at in range(len(whole) - 1):
        feedback = praise_feedback()
        part = SearchAttack(feedback, config, model="m").steps()
        state = [next(part) for _ in range(at + 1)][-1].state
        after = praise_feedback()
        again = SearchAttack(after, config, model="m").steps(json.loads(json.dumps(state)))
        states = [json.dumps(one.state) for one in again]
        assert states == [json.dumps(one.state) for one in whole[at + 1 :]]
        calls = feedback.meter.spent.calls + after.meter.spent.calls
        assert calls == before.meter.spent.calls


def test_each_setting_changes_what_is_tried() -> None:
    base = RankSearchConfig(branch=6, steps=4, pieces="words")
    others = [
        RankSearchConfig(branch=6, steps=4, pieces="phrases"),
        RankSearchConfig(branch=9, steps=4, pieces="words"),
        RankSearchConfig(branch=6, steps=3, pieces="words"),
        RankSearchConfig(branch=6, steps=4, pieces="words", width=1),
        RankSearchConfig(branch=6, steps=4, pieces="words", strategy="tree"),
        RankSearchConfig(branch=6, steps=4, pieces="words", longest=1),
        RankSearchConfig(branch=6, steps=4, pieces="words", abandon=1.0),
    ]

    def states(config: RankSearchConfig) -> list[str]:
        attack = SearchAttack(praise_feedback(row=2), config, model="m")
        return [json.dumps(one.state) for one in attack.steps()]

    assert all(states(one) != states(base) for one in others)
    assert found(base, seed=1) != found(base, seed=2) or states(base)


def test_seeds_differ() -> None:
    config = RankSearchConfig(branch=4, steps=1)
    first = list(SearchAttack(praise_feedback(), config, model="m", seed=1).steps())
    second = list(SearchAttack(praise_feedback(), config, model="m", seed=2).steps())
    assert first[0].state != second[0].state


@pytest.mark.parametrize("calls", [4, 5, 9, 23])
def test_the_last_step_is_as_small_as_the_budget_asks_for(calls: int) -> None:
    feedback = praise_feedback(calls=calls)
    steps = list(SearchAttack(feedback, RankSearchConfig(branch=16), model="m").steps())
    assert steps
    assert calls - 2 <= feedback.meter.spent.calls <= calls
    none = praise_feedback(calls=3)
    assert list(SearchAttack(none, RankSearchConfig(branch=16), model="m").steps()) == []
    assert none.meter.spent.calls == 0


def test_it_keeps_to_its_budget() -> None:
    feedback = praise_feedback(calls=40)
    list(SearchAttack(feedback, RankSearchConfig(branch=10, steps=50), model="m").steps())
    assert 10 <= feedback.meter.spent.calls <= 40


def test_texts_that_are_refused_are_never_asked() -> None:
    feedback = praise_feedback()
    config = RankSearchConfig(branch=8, steps=3)
    attack = SearchAttack(feedback, config, model="m", passes=lambda text: "best" not in text)
    steps = list(attack.steps())
    assert attack.tier == "T4"
    assert all("best" not in one.text for one in steps)
    refusing = SearchAttack(praise_feedback(), config, model="m", passes=lambda text: False)
    assert list(refusing.steps()) == []


@pytest.mark.parametrize(
    "setting", [{"width": 0}, {"branch": 0}, {"longest": 0}, {"steps": 0}, {"abandon": 0.0}]
)
def test_wrong_settings_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        RankSearchConfig(**setting)
    with pytest.raises(ConfigError, match="strategy"):
        RankSearchConfig(strategy="depth")  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["nodes", "grown", "dropped", "rng", "step"])
def test_another_state_is_refused(key: str) -> None:
    attack = SearchAttack(praise_feedback(), RankSearchConfig(branch=4, steps=2), model="m")
    state = dict(next(iter(attack.steps())).state)
    state[key] = [[[9999], 1.0]] if key == "nodes" else None
    with pytest.raises(ResumeError):
        next(iter(attack.steps(state)))
