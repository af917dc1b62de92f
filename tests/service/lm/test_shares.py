from __future__ import annotations

from adwright.lm.engine.generation import Message, TokenPrompt
from adwright.service.lm.work import Asked, LmShares, prompt_tokens


def filled(shares: LmShares[str], *jobs: str, answers: int = 1, tokens: int = 0) -> list[str]:
    """Put jobs, each named by its tenant and a number; return those that begin."""
    for job in jobs:
        shares.put(job, Asked(job[0], answers, tokens))
    return begun(shares)


def begun(shares: LmShares[str]) -> list[str]:
    found = []
    while (job := shares.take()) is not None:
        found.append(job)
    return found


def test_who_asks_for_a_model() -> None:
    shares: LmShares[str] = LmShares(running=1, waiting=9)
    for job, model in (("a", "tea"), ("b", "coffee")):
        shares.put(job, Asked(model=model))
    assert (shares.take(), shares.asks("tea"), shares.asks("coffee")) == ("a", True, True)
    shares.leave("a")
    assert (shares.asks("tea"), shares.asks("coffee")) == (False, True)


def many(**bounds: int) -> LmShares[str]:
    defaults = {"running": 3, "waiting": 6, "tenant_waiting": 4, "tenant_tokens": 100}
    return LmShares(several=True, **(defaults | bounds))  # type: ignore[arg-type]


def test_one_tenant_has_all() -> None:
    shares: LmShares[str] = LmShares(running=2, waiting=1)
    assert filled(shares, "a1", "a2", "a3", "a4", answers=5, tokens=10**9) == ["a1", "a2"]
    assert shares.over() == ["a4"]
    assert (shares.waiting, shares.working) == (1, ("a1", "a2"))
    shares.leave("a1")
    assert begun(shares) == ["a3"]


def test_the_last_place_is_kept_for_another() -> None:
    shares = many()
    assert filled(shares, "a1", "a2", "a3", "a4") == ["a1", "a2"]
    assert filled(shares, "b1", "b2") == ["b1"]
    shares.leave("a1")
    assert begun(shares) == []  # the free one is the last again
    shares.leave("a2")
    assert begun(shares) == ["a3"]


def test_turns_go_round() -> None:
    shares = many(running=1, waiting=99, tenant_waiting=99)
    order = filled(shares, "a1", "a2", "a3", "b1", "b2", "c1")
    while shares.working:
        shares.leave(shares.working[0])
        order += begun(shares)
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_a_large_one_is_not_passed_by_for_ever() -> None:
    shares = many(running=3)
    assert filled(shares, "a1", "a2") == ["a1", "a2"]
    assert filled(shares, "b1", answers=64) == []
    assert filled(shares, "c1", "a3") == []
    shares.leave("a1")
    shares.leave("a2")
    assert begun(shares) == ["b1", "c1"]


def test_tokens_in_work_are_bounded() -> None:
    shares = many(running=9)
    assert filled(shares, "a1", "a2", "a3", tokens=60) == ["a1"]
    assert filled(shares, "b1", tokens=1000) == ["b1"]
    shares.leave("a1")
    assert begun(shares) == ["a2"]


def test_who_floods_is_refused() -> None:
    shares = many(running=1, waiting=4, tenant_waiting=3)
    assert filled(shares, "x1") == ["x1"]
    filled(shares, *(f"a{n}" for n in range(6)))
    assert shares.over() == ["a5", "a4", "a3"]
    filled(shares, "b1", "b2")
    assert shares.over() == ["a2"]
    assert shares.drop() is not None
    shares.leave("b1")
    assert shares.waiting == 2


def test_about_how_many_tokens() -> None:
    assert prompt_tokens([TokenPrompt((1, 2, 3))]) == 3
    assert prompt_tokens(["a" * 40, (Message("user", "b" * 20),)]) == 11 + 6
