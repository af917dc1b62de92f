"""What networks read: scaled by training, found by text, and missing where it is not known."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError, SchemaError
from adwright.creative.lifetime.hazards.inputs import (
    InputSpec,
    KnownValues,
    NumberScale,
    SpellInputs,
)
from tests.support.data.small_spells import small_spells

TABLE = small_spells(300)
IMAGE = np.random.default_rng(1).normal(3, 2, (300, 4)).astype(np.float32)
IMAGE[::7] = np.nan
VECTORS = {"image": IMAGE}


def _same(a: SpellInputs, b: SpellInputs) -> bool:
    pairs = [(a.numbers, b.numbers), (a.codes, b.codes), (a.bins, b.bins)]
    pairs += [(a.words.values, b.words.values), (a.words.offsets, b.words.offsets)]
    pairs += list(zip(a.vectors, b.vectors, strict=True))
    return all(torch.equal(x.nan_to_num(-9), y.nan_to_num(-9)) for x, y in pairs)


def test_numbers_are_scaled_by_training() -> None:
    spec = InputSpec.fit(TABLE)
    price, sales = spec.numbers
    known = TABLE.numbers[np.isfinite(TABLE.numbers[:, 0]), 0]
    assert not price.log
    assert price.mean == pytest.approx(known.mean(), rel=1e-4)
    assert price.std == pytest.approx(known.std(), rel=1e-4)
    assert sales.log  # Of a long tail.
    logs = np.log1p(TABLE.numbers[:, 1].astype(np.float64))
    wanted = (logs - logs.mean()) / logs.std()
    found = spec.encode(TABLE).numbers.numpy()
    np.testing.assert_allclose(found[:, 1], np.clip(wanted, -8, 8), rtol=1e-3, atol=1e-4)
    assert np.isnan(found[::10, 0]).all()


def test_numbers_of_any_size_become_near_ones_or_missing() -> None:
    scale = NumberScale.of("x", np.array([0, 1, 2, 3], np.float32), 0)
    found = scale(np.array([1e30, -1e30, np.inf, np.nan], np.float32))
    np.testing.assert_array_equal(found, np.array([8, -8, np.nan, np.nan], np.float32))
    for same in (np.full(5, 2.0, np.float32), np.full(5, np.nan, np.float32)):
        assert np.isfinite(NumberScale.of("x", same, 4)(np.array([2.0], np.float32))).all()


def test_bins_of_numbers_lie_between_quantiles() -> None:
    spec = InputSpec.fit(TABLE, bins=4)
    bins = spec.encode(TABLE).bins.numpy() - np.array(spec.bin_offsets[:-1])
    assert spec.bin_offsets == (0, 5, 10)
    price = TABLE.numbers[:, 0]
    cuts = np.nanquantile(price, [0.25, 0.5, 0.75])
    for row in range(len(TABLE)):
        wanted = 0 if np.isnan(price[row]) else 1 + sum(price[row] > cut for cut in cuts)
        assert bins[row, 0] == wanted
    assert InputSpec.fit(TABLE).encode(TABLE).bins.shape == (300, 0)


def test_values_are_found_by_their_texts() -> None:
    """Another table may list other values, in another order."""
    spec = InputSpec.fit(TABLE)
    before = spec.encode(TABLE)
    order = np.array([2, 0, 3, 1])
    values = TABLE.category_values[0]
    moved = replace(
        TABLE,
        categories=np.where(TABLE.categories >= 0, np.argsort(order)[TABLE.categories], -1).astype(
            np.int32
        ),
        category_values=(tuple(values[i] for i in order),),
    )
    assert torch.equal(spec.encode(moved).codes, before.codes)
    words = np.array([4, 2, 0, 1, 3])
    renamed = replace(
        TABLE,
        words=np.argsort(words)[TABLE.words].astype(np.int32),
        vocabulary=tuple(TABLE.vocabulary[i] for i in words),
    )
    assert _same(spec.encode(renamed), before)


def test_what_is_missing_rare_or_new_has_the_default_code() -> None:
    known = KnownValues("colour", ("red", "blue"))
    column = np.array([0, 1, 2, -1], np.int32)
    np.testing.assert_array_equal(known.codes(column, ("blue", "red", "pink")), [2, 1, 0, 0])
    rare = replace(TABLE, categories=np.where(np.arange(300) < 4, 3, 0)[:, None].astype(np.int32))
    assert InputSpec.fit(rare, min_count=5).categories[0].values == ("red",)
    assert InputSpec.fit(rare, min_count=4).categories[0].values == ("red", "grey")


def test_unknown_words_are_passed_over() -> None:
    spec = replace(InputSpec.fit(TABLE), words=("fresh", "sale"))
    found = spec.encode(TABLE).words
    for row in range(len(TABLE)):
        mine = TABLE.words[TABLE.offsets[row] : TABLE.offsets[row + 1]]
        wanted = [{2: 0, 0: 1}[w] for w in mine.tolist() if w in (0, 2)]
        ends = found.offsets[row], found.offsets[row + 1]
        assert found.values[ends[0] : ends[1]].tolist() == wanted


def test_vectors_are_scaled_and_may_be_missing() -> None:
    spec = InputSpec.fit(TABLE, VECTORS)
    (vector,) = spec.encode(TABLE, VECTORS).vectors
    known = vector[~vector.isnan().any(1)]
    assert float(known.mean()) == pytest.approx(0, abs=1e-4)
    assert float(known.std()) == pytest.approx(1, abs=1e-2)
    assert bool(vector[::7].isnan().all())


def test_what_a_table_lacks_is_missing_and_said(caplog: pytest.LogCaptureFixture) -> None:
    spec = InputSpec.fit(TABLE, VECTORS, bins=3)
    bare = replace(
        TABLE,
        numbers=TABLE.numbers[:, :1],
        number_names=("price",),
        categories=TABLE.categories[:, :0],
        category_names=(),
        category_values=(),
        words=TABLE.words[:0],
        offsets=np.zeros(301, np.int64),
        vocabulary=(),
    )
    with caplog.at_level(logging.WARNING, "adwright"):
        found = spec.encode(bare)
    for name in ("sales_before", "colour", "image"):
        assert name in caplog.text
    assert bool(found.numbers[:, 1].isnan().all())
    assert bool((found.bins[:, 1] == spec.bin_offsets[1]).all())
    assert bool((found.codes == 0).all())
    assert found.words.values.numel() == 0
    assert bool(found.vectors[0].isnan().all())


@pytest.mark.parametrize(
    ("out", "left"),
    [
        ("numbers", (0, 1, 5, 1)),
        ("price", (1, 1, 5, 1)),
        ("categories", (2, 0, 5, 1)),
        ("colour", (2, 0, 5, 1)),
        ("words", (2, 1, 0, 1)),
        ("image", (2, 1, 5, 0)),
    ],
)
def test_inputs_can_be_left_out(out: str, left: tuple[int, ...]) -> None:
    spec = InputSpec.fit(TABLE, VECTORS, leave_out=(out,))
    parts = (spec.numbers, spec.categories, spec.words, spec.vectors)
    assert tuple(map(len, parts)) == left


def test_rows_can_be_taken() -> None:
    whole = InputSpec.fit(TABLE, VECTORS, bins=3).encode(TABLE, VECTORS)
    assert len(whole) == 300
    rows = torch.arange(20, 90)
    assert _same(whole.take(rows), whole.between(slice(20, 90)))
    assert _same(whole.between(slice(290, 400)), whole.take(torch.arange(290, 300)))
    two = whole.take(torch.tensor([5, 5]))
    assert _same(two.between(slice(0, 1)), two.between(slice(1, 2)))


def test_a_spec_goes_through_plain_values() -> None:
    spec = InputSpec.fit(TABLE, VECTORS, bins=4)
    assert from_jsonable(InputSpec, to_jsonable(spec)) == spec


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'colour'"):
        InputSpec.fit(TABLE, leave_out=("color",))
    with pytest.raises(SchemaError, match="one a unit of 300"):
        InputSpec.fit(TABLE, {"image": IMAGE[:5]})
    spec = InputSpec.fit(TABLE, VECTORS)
    with pytest.raises(SchemaError, match="4"):
        spec.encode(TABLE, {"image": IMAGE[:, :3]})
