"""Attacks that see the weights, against the plain algorithm."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from adwright.audit.attacks.attack import AttackStep, SpendingMeter
from adwright.audit.attacks.gradient import (
    ChosenSuffix,
    GradientAttack,
    GradientConfig,
    SuffixSearch,
    best_tokens,
    draw_candidates,
    fluent_config,
    spread_orders,
)
from adwright.audit.attacks.gradient_reading import (
    Branches,
    ReadPrompt,
    SuffixPlace,
    SuffixReader,
    allowed_tokens,
    attends_in_branches,
    branch_attention,
)
from adwright.audit.catalogue import ShopListing
from adwright.audit.targets.likelihood import answer_ids, prompt_tokens
from adwright.audit.targets.target import Ask
from adwright.core.errors import ConfigError, ResumeError
from tests.support.audit.attacked import ORDERS, meter, tea_goal, tiny_network
from tests.support.audit.literal_gcg import (
    LiteralPrompt,
    literal_gradient,
    literal_loss,
    literal_prompt,
    literal_step,
)
from tests.support.lm.tiny_llama import VOCABULARY, tiny_tokens

pytest.importorskip("transformers", reason="the extra lm is not installed")


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
    config = replace(CONFIG, orders=orders)  # type: ignore[arg-type]
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
        model="tiny", config=CONFIG, cleaner=Keeps(),
    )  # fmt: skip
    assert minding.tier == "T4"


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


L, V = 5, 40


def anything(suffix: object) -> bool:
    return True


@given(st.integers(0, 50), st.integers(1, 12))
def test_the_best_tokens_have_the_lowest_gradients_of_those_allowed(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    gradient = rng.normal(size=(L, V)).astype(np.float32)
    allowed = rng.random(V) < 0.6
    allowed[:3] = True
    found = best_tokens(gradient, allowed, k)
    for row, tokens in zip(gradient, found, strict=True):
        usable = sorted(np.flatnonzero(allowed), key=lambda token: (row[token], token))
        assert tokens.tolist() == [int(one) for one in usable[:k]]


def test_positions_may_have_tokens_of_their_own() -> None:
    gradient = np.zeros((2, V), np.float32)
    allowed = np.zeros((2, V), np.bool_)
    allowed[0, 3], allowed[1, 7] = True, True
    assert best_tokens(gradient, allowed, 9).tolist() == [[3], [7]]


@given(st.integers(0, 50), st.integers(1, 3), st.integers(1, 30))
def test_candidates_differ_in_so_many_places_and_from_each_other(
    seed: int, swaps: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    best = rng.integers(10, V, size=(L, 8))
    found = draw_candidates((0,) * L, best, count, rng, swaps=swaps, keeps=anything)
    assert 0 < len(found) <= count
    assert ((found != 0).sum(1) == swaps).all()
    assert len({tuple(row) for row in found.tolist()}) == len(found)
    rows, places = np.nonzero(found)
    assert all(found[row, at] in best[at] for row, at in zip(rows, places, strict=True))


def test_those_that_do_not_survive_are_drawn_again() -> None:
    best = np.arange(20).repeat(L).reshape(20, L).T + 10
    even = draw_candidates(
        (0,) * L, best, 20, np.random.default_rng(0), keeps=lambda one: sum(one) % 2 == 0
    )
    assert len(even) == 20
    assert (even.sum(1) % 2 == 0).all()
    none = draw_candidates((0,) * L, best, 20, np.random.default_rng(0), keeps=lambda one: False)
    assert none.shape == (0, L)


def test_the_start_is_stars_letters_or_words() -> None:
    assert GradientConfig(tokens=3, start="x").start_text == " x x x"
    assert GradientConfig(tokens=2).start_text == " * *"
    words = GradientConfig(tokens=21, start="words").start_text.split()
    assert words[:3] == words[18:] == ["and", "it", "is"]


def test_a_fluent_attack_begins_as_words_and_minds_how_they_read() -> None:
    fluent = fluent_config(GradientConfig(tokens=3, steps=7))
    assert (fluent.tokens, fluent.steps, fluent.start_text) == (3, 7, " and it is")
    assert fluent.fluency > 0


def test_a_candidate_changes_no_more_tokens_than_there_are() -> None:
    with pytest.raises(ConfigError, match="swaps"):
        GradientConfig(swaps=21)


TOKENS = tiny_tokens()
START = " x" * 6


def ids_of(text: str) -> tuple[int, ...]:
    return tuple(TOKENS.encode(text, special=False))


def test_the_suffix_and_the_answer_lie_where_they_are_said_to() -> None:
    place = SuffixPlace(tea_goal(), TOKENS, START)
    for order in ORDERS:
        prompt = place.prompt(order)
        literal = literal_prompt(tea_goal(), TOKENS, START, order)
        assert list(prompt.ids) == literal.ids
        assert prompt.ids[prompt.start : prompt.end] == place.first == ids_of(START)
        assert TOKENS.decode(prompt.ids[prompt.answer :]) == "1. Black Tea"
        assert TOKENS.decode(prompt.ids[: prompt.start]).endswith("the morning")


def test_tokens_that_become_others_do_not_survive() -> None:
    place = SuffixPlace(tea_goal(), TOKENS, START)
    tea, halves = ids_of(" tea"), [TOKENS.encode(part, special=False) for part in (" te", "a")]
    assert len(tea) == 1
    split = (*halves[0], *halves[1], *place.first)[: len(place.first)]
    assert not place.survives(split)
    assert place.survives((*tea, *place.first[1:]))
    assert place.survives(place.first)


@given(st.lists(st.integers(2, VOCABULARY - 1), min_size=6, max_size=6))
def test_what_survives_is_read_back_token_by_token(suffix: list[int]) -> None:
    place = SuffixPlace(tea_goal(), TOKENS, START)
    suffix = suffix[: len(place.first)] + list(place.first[len(suffix) :])
    again = literal_prompt(tea_goal(), TOKENS, TOKENS.decode(suffix), (0, 1, 2)).ids
    assert place.survives(suffix) == (again == list(place.prompt((0, 1, 2)).with_suffix(suffix)))


class Shouts:
    """Makes a text capital, and takes out one with a word."""

    name = "shouts"

    def clean(self, listing: ShopListing) -> ShopListing:
        text = listing.texts["For"]
        return listing.with_text("For", "" if "bad" in text else text.replace("y", "i"))


def test_the_record_is_read_as_the_defence_leaves_it_and_alone() -> None:
    place = SuffixPlace(tea_goal(), TOKENS, START, cleaner=Shouts(), alone=True)
    read = TOKENS.decode(place.prompt((2, 0, 1)).ids)
    assert place.prompt((2, 0, 1)) == place.prompt((0, 1, 2))
    assert "Black Tea" in read
    assert "Green Tea" not in read
    assert "the morning" in read
    other = SuffixPlace(tea_goal(), TOKENS, START, cleaner=Shouts())
    assert "Green Tea" in TOKENS.decode(other.prompt((0, 1, 2)).ids)


def test_what_the_defence_changes_does_not_survive() -> None:
    place = SuffixPlace(tea_goal(), TOKENS, START, cleaner=Shouts())
    assert place.survives(place.first)
    assert not place.survives((*ids_of(" y"), *place.first[1:]))
    with pytest.raises(ConfigError, match="exactly once"):
        SuffixPlace(tea_goal(), TOKENS, f"{START} bad", cleaner=Shouts())


@pytest.mark.parametrize("start", [" tea", ""])
def test_a_start_that_cannot_be_found_is_refused(start: Sequence[str]) -> None:
    with pytest.raises(ConfigError, match="exactly once"):
        SuffixPlace(tea_goal(), TOKENS, str(start))


PLACE = SuffixPlace(tea_goal(), tiny_tokens(), " x" * 6)


def read(
    order: tuple[int, ...] = ORDERS[1], *, fluent: bool = False
) -> tuple[SuffixReader, ReadPrompt]:
    reader = SuffixReader(tiny_network(), fluent=fluent)
    return reader, reader.read(PLACE.prompt(order), PLACE.first)


def drawn(count: int, swaps: int = 1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = np.tile(np.array(PLACE.first), (count, 1))
    for row in found:
        row[rng.permutation(len(row))[:swaps]] = rng.integers(2, VOCABULARY, swaps)
    return found


def literal(base: ReadPrompt, suffix: np.ndarray) -> LiteralPrompt:
    ids = list(base.prompt.with_suffix([int(one) for one in suffix]))
    return LiteralPrompt(ids, len(ids) - base.prompt.answer)


def test_the_loss_of_what_was_read_is_that_of_the_whole_prompt() -> None:
    for order in ORDERS:
        _, base = read(order)
        assert base.loss == pytest.approx(
            literal_loss(tiny_network(), literal(base, np.array(base.suffix))), abs=1e-5
        )


def test_the_gradient_is_that_of_one_hot_rows() -> None:
    reader, base = read()
    prompt = literal(base, np.array(base.suffix))
    expected = literal_gradient(tiny_network(), prompt, base.prompt.start, base.prompt.end)
    found = reader.gradient(base)
    assert found.shape == (len(PLACE.first), VOCABULARY)
    np.testing.assert_allclose(found, expected, atol=1e-5 * float(np.abs(expected).max()))


@pytest.mark.parametrize("swaps", [1, 3])
def test_candidates_have_the_losses_of_their_whole_prompts(swaps: int) -> None:
    reader, base = read()
    suffixes = drawn(24, swaps)
    expected = [literal_loss(tiny_network(), literal(base, one)) for one in suffixes]
    np.testing.assert_allclose(reader.losses(base, suffixes).answer, expected, atol=1e-5)


def test_a_suffix_can_be_read_behind_what_is_known() -> None:
    reader, base = read()
    (suffix,) = drawn(1, 4)
    before = reader.tokens_read
    again = reader.read(base.prompt, suffix, base)
    assert reader.tokens_read - before < len(base.prompt.ids)
    assert again.loss == pytest.approx(
        literal_loss(tiny_network(), literal(base, suffix)), abs=1e-5
    )
    whole = reader.read(base.prompt, suffix)
    for (keys, values), (other, others) in zip(again.layers, whole.layers, strict=True):
        np.testing.assert_allclose(keys, other, atol=1e-5)
        np.testing.assert_allclose(values, others, atol=1e-5)


def test_a_look_reads_less_and_comes_near() -> None:
    # The first order, in which two products follow the suffix.
    reader, base = read(ORDERS[2])
    suffixes = drawn(40)
    exact = reader.losses(base, suffixes).answer
    before = reader.tokens_read
    quick = reader.losses(base, suffixes, quick=True).answer
    assert reader.tokens_read - before < 40 * 40
    assert np.abs(quick - exact).max() > 1e-6
    assert np.corrcoef(quick, exact)[0, 1] > 0.6


def test_a_look_is_exact_where_nothing_but_the_answer_follows() -> None:
    # What follows the suffix of the last product is read again but for the request.
    reader, base = read(ORDERS[0])
    prompt = base.prompt
    shortened = ReadPrompt(
        type(prompt)(prompt.ids[: prompt.end] + prompt.ids[prompt.answer :], prompt.start,
                     prompt.end, prompt.end),
        base.suffix, base.layers, base.loss,
    )  # fmt: skip
    again = reader.read(shortened.prompt, shortened.suffix)
    suffixes = drawn(8, 2)
    np.testing.assert_allclose(
        reader.losses(again, suffixes, quick=True).answer,
        reader.losses(again, suffixes).answer,
        atol=1e-5,
    )


def test_how_odd_a_suffix_reads_is_its_own_mean_loss() -> None:
    reader, base = read(fluent=True)
    suffixes = drawn(12, 2)
    found = reader.losses(base, suffixes)
    quick = reader.losses(base, suffixes, quick=True)
    for suffix, own in zip(suffixes, found.own, strict=True):
        ids = list(base.prompt.with_suffix([int(one) for one in suffix]))[: base.prompt.end]
        expected = literal_loss(tiny_network(), LiteralPrompt(ids, len(suffix)))
        assert own == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(quick.own, found.own, atol=1e-5)
    ids = list(base.prompt.with_suffix(base.suffix))[: base.prompt.end]
    assert base.own == pytest.approx(
        literal_loss(tiny_network(), LiteralPrompt(ids, len(base.suffix))), abs=1e-5
    )
    plain, bare = read()
    assert bare.own == 0
    assert not plain.losses(bare, suffixes).own.any()


def test_a_model_with_windows_is_refused() -> None:
    config = SimpleNamespace(layer_types=["sliding_attention"], model_type="windowed")
    model = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: config, model_type="w"))
    with pytest.raises(ConfigError, match="whole prompt"):
        SuffixReader(model)


B, H, G, D, K = 3, 6, 2, 8, 11


def shared_attention_drawn(R: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(seed)
    shapes = [(B, H, R, D), (B, G, R, D), (B, G, R, D), (G, K, D), (G, K, D)]
    return tuple(torch.randn(shape) for shape in shapes)


def plainly(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, kept: tuple[torch.Tensor, torch.Tensor],
    hidden: torch.Tensor, scale: float,
) -> torch.Tensor:  # fmt: skip
    R = q.shape[2]
    rows = []
    for b in range(B):
        heads = []
        for h in range(H):
            g = h // (H // G)
            keys, values = torch.cat([kept[0][g], k[b, g]]), torch.cat([kept[1][g], v[b, g]])
            scores = q[b, h] @ keys.T * scale
            scores[:, :K] += hidden
            scores[:, K:] += torch.full((R, R), float("-inf")).triu(1)
            heads.append(functional.softmax(scores, -1) @ values)
        rows.append(torch.stack(heads, 1))
    return torch.stack(rows)  # [B, R, H, D]


@pytest.mark.parametrize("R", [1, 5, 70])
@pytest.mark.parametrize("hides", [False, True])
def test_it_is_attention_to_kept_and_own_tokens(R: int, *, hides: bool) -> None:
    q, k, v, kept, values = shared_attention_drawn(R)
    hidden = torch.zeros(R, K)
    if hides:
        hidden[: (R + 1) // 2, 4:] = float("-inf")
    found = branch_attention(q, k, v, 0.3, (kept, values), hidden if hides else None)
    expected = plainly(q, k, v, (kept, values), hidden, 0.3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_without_kept_tokens_it_is_causal_attention() -> None:
    q, k, v, *_ = shared_attention_drawn(6)
    found = branch_attention(q, k, v, 0.5)
    wide = [one.repeat_interleave(H // G, 1) for one in (k, v)]
    expected = functional.scaled_dot_product_attention(q, *wide, is_causal=True, scale=0.5)
    torch.testing.assert_close(found, expected.transpose(1, 2), atol=1e-5, rtol=1e-4)


def test_a_decoder_takes_branches_within_the_context_and_is_itself_after_it() -> None:
    model = tiny_network()
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    decoder = model.get_decoder()
    with torch.no_grad():
        whole = decoder(input_ids=ids, use_cache=False)[0]
        cache = decoder(input_ids=ids[:, :3], use_cache=True)[1]
        layers = [(layer.keys[0], layer.values[0]) for layer in cache.layers]
        with attends_in_branches(model):
            rest = decoder(
                input_ids=ids[:, 3:].expand(2, -1),
                position_ids=torch.tensor([[3, 4]]).expand(2, -1),
                use_cache=False,
                branches=Branches(layers),
            )[0]
            bare = decoder(input_ids=ids, use_cache=False)[0]
        again = decoder(input_ids=ids, use_cache=False)[0]
    torch.testing.assert_close(rest, whole[:, 3:].expand(2, -1, -1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(bare, whole, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(again, whole)


ALLOWED = allowed_tokens(TOKENS, VOCABULARY)
EXACT = GradientConfig(
    tokens=6, start="x", candidates=20, top_k=30, order_count=1, reading="exact", abandon=1.0
)


def stepped(config: GradientConfig, *, orders: int = 1, seed: int = 0) -> ChosenSuffix:
    place = SuffixPlace(tea_goal(), TOKENS, config.start_text)
    reader = SuffixReader(tiny_network(), fluent=config.fluency > 0)
    search = SuffixSearch(place, reader, config, ALLOWED)
    bases = search.read([place.prompt(order) for order in ORDERS[:orders]], place.first)
    chosen = search.step(bases, 0, np.random.default_rng(seed))
    assert chosen is not None
    return chosen


@pytest.mark.parametrize("seed", [0, 1])
def test_a_step_is_that_of_the_plain_algorithm(seed: int) -> None:
    suffix = TOKENS.encode(EXACT.start_text, special=False)
    expected, loss = literal_step(
        tiny_network(), tea_goal(), TOKENS, suffix, ORDERS[0],
        allowed=ALLOWED, top_k=30, count=20, rng=np.random.default_rng(seed),
    )  # fmt: skip
    chosen = stepped(EXACT, seed=seed)
    assert chosen.suffix == expected
    assert chosen.value == pytest.approx(loss, abs=1e-5)
    assert chosen.trials == 20


def test_looks_and_giving_up_lead_to_a_text_that_is_read_exactly() -> None:
    config = replace(EXACT, order_count=3, reading="look", abandon=0.25)
    chosen = stepped(config, orders=3)
    assert chosen.trials == 20 + 5 + 2
    best = stepped(replace(EXACT, order_count=3), orders=3)
    assert best.value <= chosen.value + 1e-6
    text = TOKENS.decode(chosen.suffix)
    prompt = literal_prompt(tea_goal(), TOKENS, text, ORDERS[0])
    assert chosen.bases[0].loss == pytest.approx(literal_loss(tiny_network(), prompt), abs=1e-5)


def test_fluency_asks_for_text_that_the_model_expects() -> None:
    plain = stepped(EXACT)
    fluent = stepped(replace(EXACT, fluency=5.0, pool=12))
    assert fluent.suffix != plain.suffix
    own = [base.own for base in fluent.bases]
    assert fluent.value == pytest.approx(
        float(np.mean([base.loss + 5.0 * base.own for base in fluent.bases]))
    )
    assert own[0] > 0
    wide = stepped(replace(EXACT, fluency=5.0, pool=400))
    assert wide.suffix != fluent.suffix


def test_without_a_candidate_there_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    place = SuffixPlace(tea_goal(), TOKENS, EXACT.start_text)
    monkeypatch.setattr(place, "survives", lambda suffix: False)
    search = SuffixSearch(place, SuffixReader(tiny_network()), EXACT, ALLOWED)
    bases = search.read([place.prompt(ORDERS[0])], place.first)
    assert search.step(bases, 0, np.random.default_rng(0)) is None


def test_allowed_tokens_are_plain_text_that_json_shows_as_it_is() -> None:
    tokens = tiny_tokens()
    allowed = allowed_tokens(tokens, VOCABULARY)
    texts = [tokens.decode([token]) for token in np.flatnonzero(allowed)]
    assert " tea" in texts
    assert all(text.isascii() and text.isprintable() and text.strip() for text in texts)
    assert not any(char in text for text in texts for char in '"\\\n')
    forbidden = {tokens.decode([token]) for token in np.flatnonzero(~allowed)}
    assert {"", '"', "\\", "\n", "\ufffd"} <= forbidden


def test_special_tokens_are_forbidden() -> None:
    tokens = tiny_tokens()
    allowed = allowed_tokens(tokens, VOCABULARY)
    assert not allowed[tokens.tokenizer.bos_token_id]
    assert not allowed[tokens.tokenizer.eos_token_id]


def test_a_model_without_plain_tokens_is_refused() -> None:
    with pytest.raises(ConfigError, match="no token"):
        allowed_tokens(tiny_tokens(), 2)  # the special ones alone
