from __future__ import annotations

import json
from dataclasses import replace

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.audit.attacks.attack import AttackStep, SpendingMeter
from adwright.audit.attacks.gradient import GradientAttack, GradientConfig, spread_orders
from adwright.audit.attacks.gradient_reading import SuffixReader
from adwright.audit.catalogue import ShopListing
from adwright.audit.targets.likelihood import answer_ids, prompt_tokens
from adwright.audit.targets.target import Ask
from adwright.core.errors import ResumeError
from tests.support.audit.attacked import meter, tea_goal, tiny_network
from tests.support.audit.literal_gcg import LiteralPrompt, literal_loss, literal_prompt
from tests.support.lm.tiny_llama import tiny_tokens

CONFIG = GradientConfig(tokens=6, start="x", steps=5, candidates=12, top_k=40, order_count=2)


def attack(
    config: GradientConfig = CONFIG, *, seed: int = 0, spending: SpendingMeter | None = None
) -> GradientAttack:
    reader = SuffixReader(tiny_network(), fluent=config.fluency > 0)
    spending = meter() if spending is None else spending
    return GradientAttack(
        tea_goal(), reader, tiny_tokens(), spending, model="tiny", config=config, seed=seed
    )


def run(config: GradientConfig = CONFIG, *, seed: int = 0) -> list[AttackStep]:
    return list(attack(config, seed=seed).steps())


def test_the_loss_falls_and_is_that_of_the_text() -> None:
    one = attack()
    steps = list(one.steps())
    assert len(steps) == CONFIG.steps + 1
    assert steps[-1].value < steps[0].value
    assert [step.value for step in steps] == sorted((step.value for step in steps), reverse=True)
    losses = [
        literal_loss(
            tiny_network(), literal_prompt(tea_goal(), tiny_tokens(), steps[-1].text, order)
        )
        for order in one.orders
    ]
    assert steps[-1].value == pytest.approx(sum(losses) / len(losses), abs=1e-5)


@pytest.mark.parametrize("orders", ["fixed", "shuffled"])
def test_it_goes_on_behind_a_step_as_if_it_had_not_stopped(orders: str) -> None:
    config = replace(CONFIG, orders=orders, buffer=2)  # type: ignore[arg-type]
    whole = run(config)
    state = json.loads(json.dumps(whole[2].state))
    rest = list(attack(config).steps(state))
    assert [one.text for one in rest] == [one.text for one in whole[3:]]
    assert [one.value for one in rest] == pytest.approx([one.value for one in whole[3:]], abs=1e-5)


def test_a_job_that_goes_on_does_not_pay_twice() -> None:
    before, first, then = meter(), meter(), meter()
    whole = list(attack(spending=before).steps())
    part = attack(spending=first).steps()
    state = [next(part) for _ in range(3)][-1].state
    rest = list(attack(spending=then).steps(json.loads(json.dumps(state))))
    assert [one.text for one in rest] == [one.text for one in whole[3:]]
    assert first.spent.calls + then.spent.calls == pytest.approx(before.spent.calls)
    begun = next(attack().steps()).state
    assert "as it begins" not in [one.note for one in attack().steps(begun)]


def test_shuffled_orders_take_the_best_of_each_step_even_if_it_is_worse() -> None:
    config = replace(CONFIG, orders="shuffled", steps=8, candidates=3)
    steps = run(config)
    assert attack(config).orders == ()
    assert len({step.text for step in steps}) == len(steps)
    values = [step.value for step in steps]
    assert values != sorted(values, reverse=True)


def test_a_buffer_keeps_more_than_the_best() -> None:
    steps = run(replace(CONFIG, buffer=3))
    kept = steps[-1].state["buffer"]
    assert len(kept) == 3
    assert [value for value, _ in kept] == sorted(value for value, _ in kept)
    assert steps[-1].value == kept[0][0]


def test_seeds_and_settings_lead_elsewhere() -> None:
    texts = {run()[-1].text, run(seed=1)[-1].text}
    texts |= {run(replace(CONFIG, **{name: value}))[-1].text for name, value in _OTHERS}
    assert len(texts) == 2 + len(_OTHERS)


_OTHERS: list[tuple[str, int]] = [("candidates", 5), ("top_k", 3), ("order_count", 1), ("steps", 2)]


def test_the_budget_ends_it() -> None:
    spending = meter(calls=4)
    steps = list(attack(spending=spending).steps())
    assert len(steps) < CONFIG.steps + 1
    assert 2 < spending.spent.calls < 6
    assert spending.spent.trials > 0


def test_tiers() -> None:
    assert attack().tier == "T2"
    assert attack(replace(CONFIG, fluency=1.0)).tier == "T3"
    minding = GradientAttack(
        tea_goal(), SuffixReader(tiny_network()), tiny_tokens(), meter(),
        model="tiny", config=CONFIG, passes=lambda text: "x x x" in text,
    )  # fmt: skip
    assert minding.tier == "T4"
    assert all("x x x" in step.text for step in minding.steps())


class Keeps:
    name = "keeps"

    def clean(self, listing: ShopListing) -> ShopListing:
        return listing


def test_through_a_defence_the_loss_is_that_of_the_record_alone() -> None:
    found = []
    for options in ({"alone": True}, {"cleaner": Keeps()}):
        one = GradientAttack(
            tea_goal(),
            SuffixReader(tiny_network()),
            tiny_tokens(),
            meter(),
            model="tiny",
            config=CONFIG,
            **options,  # type: ignore[arg-type]
        )
        assert one.tier == "T4"
        found.append((one, list(one.steps())[-1]))
    (alone, last), (all_of_them, other) = found
    assert (len(alone.orders), len(all_of_them.orders)) == (1, 2)
    own = tea_goal()
    ask = Ask((own.attacked(last.text),), own.catalogue.request, (0,))
    ids = [*prompt_tokens(tiny_tokens(), ask), *answer_ids(tiny_tokens(), own.name)]
    prompt = LiteralPrompt(ids, len(literal_answer(own.name)))
    assert last.value == pytest.approx(literal_loss(tiny_network(), prompt), abs=1e-5)
    assert other.value != last.value


def literal_answer(name: str) -> list[int]:
    start = tiny_tokens().encode("1.", special=False)
    return [*start, *tiny_tokens().encode(f" {name}", special=False)]


def test_the_product_stands_in_places_that_are_spread() -> None:
    orders = spread_orders(10, 4, 3, seed=0)
    assert [order.index(4) for order in orders] == [9, 6, 3]
    assert len(set(spread_orders(3, 0, 5, seed=0))) == 5
    assert spread_orders(10, 4, 3, seed=1) != orders


@pytest.mark.parametrize(
    "state", [{"step": 1}, {"step": 1, "buffer": [], "rng": {}}, {"step": 1, "buffer": [[1, [2]]]}]
)
def test_another_state_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(ResumeError):
        next(attack().steps(state))
