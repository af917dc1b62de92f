from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.audit.attacks.gradient_reading import ReadPrompt, SuffixPlace, SuffixReader
from adwright.core.errors import ConfigError
from tests.support.audit.attacked import ORDERS, tea_goal, tiny_network
from tests.support.audit.literal_gcg import (
    LiteralPrompt,
    literal_gradient,
    literal_loss,
)
from tests.support.lm.tiny_llama import VOCABULARY, tiny_tokens

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


def test_the_current_suffix_is_a_candidate_too() -> None:
    reader, base = read()
    found = reader.losses(base, np.array([base.suffix])).answer
    assert found[0] == pytest.approx(base.loss, abs=1e-5)


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


def test_many_candidates_are_read_in_batches() -> None:
    reader, base = read()
    suffixes = drawn(30)
    whole = reader.losses(base, suffixes).answer
    one_by_one = [float(reader.losses(base, suffix[None]).answer[0]) for suffix in suffixes]
    np.testing.assert_allclose(whole, one_by_one, atol=1e-5)


def test_a_model_with_windows_is_refused() -> None:
    config = SimpleNamespace(layer_types=["sliding_attention"], model_type="windowed")
    model = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: config, model_type="w"))
    with pytest.raises(ConfigError, match="whole prompt"):
        SuffixReader(model)
