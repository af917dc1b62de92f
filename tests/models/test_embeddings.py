"""Items and rows from their tables."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adwright.core.errors import ConfigError
from adwright.data.batches.jagged import Jagged
from adwright.data.features import Feature
from adwright.models.calibration import EmbeddingConfig, ItemEmbedding, RowEmbedding, embed_lists
from tests.support.models.small_batch import small_batch, small_spec

CONFIG = EmbeddingConfig(width=3, widths=(("item_id", 5),))


def _item() -> ItemEmbedding:
    torch.manual_seed(0)
    spec, items = small_spec()
    return ItemEmbedding(spec, items, CONFIG)


def test_an_item_is_its_features_one_after_another() -> None:
    spec, items = small_spec()
    embedding = _item()
    ids, types, words = (table.weight for table in embedding.tables)
    for item in range(len(items)):
        codes, offsets = items.multi["words"]
        values = codes[offsets[item] : offsets[item + 1]]
        mean = words[values].mean(0) if len(values) else torch.zeros(3)
        expected = torch.cat(
            [
                ids[items.categorical["item_id"][item]],
                types[items.categorical["type"][item]],
                mean,
                torch.from_numpy(items.numeric[item]),
            ]
        )
        torch.testing.assert_close(embedding(torch.tensor([item]))[0], expected)
    assert embedding.width == 5 + 3 + 3 + 1
    assert spec.of("item", kinds=("numeric",))[0].name == "weight"


def test_items_that_training_never_showed_share_one_embedding_of_their_own_id() -> None:
    vectors = _item()(torch.tensor([11, 12, 0]))[:, :5]
    torch.testing.assert_close(vectors[0], vectors[1])
    torch.testing.assert_close(vectors[0], vectors[2])


def test_gradients_touch_the_rows_that_occur_and_no_others() -> None:
    embedding = _item()
    embedding(torch.tensor([1, 4])).sum().backward()
    gradient = embedding.tables[0].weight.grad
    assert gradient is not None
    assert gradient.is_sparse
    _, items = small_spec()
    expected = set(items.categorical["item_id"][[1, 4]].tolist())
    assert set(gradient.coalesce().indices()[0].tolist()) == expected


def test_occurrences_equal_a_count_one_by_one() -> None:
    embedding, (_, items) = _item(), small_spec()
    shown, times = torch.tensor([1, 2, 2, 6]), torch.tensor([1.0, 2.0, 0.5, 3.0])
    for (_, counts), name in zip(
        embedding.occurrences(shown, times), ("item_id", "type", "words"), strict=True
    ):
        literal = torch.zeros_like(counts)
        for item, number in zip(shown.tolist(), times.tolist(), strict=True):
            if name == "words":
                codes, offsets = items.multi[name]
                rows = codes[offsets[item] : offsets[item + 1]].tolist()
            else:
                rows = [int(items.categorical[name][item])]
            for row in rows:
                literal[row] += number
        torch.testing.assert_close(counts, literal)


def test_row_features_keep_their_order_and_empty_lists_are_zero() -> None:
    torch.manual_seed(0)
    spec, _ = small_spec()
    batch = small_batch()
    embedding = RowEmbedding((*spec.coded_rows, *spec.multi_rows), CONFIG)
    users, tags = (table.weight for table in embedding.tables)
    rows = embedding(batch)
    torch.testing.assert_close(rows[:, :3], users[batch.categorical["user_id"]])
    torch.testing.assert_close(rows[2, 3:], (tags[2] + tags[1]) / 2)
    assert not rows[1, 3:].any()


def test_the_mean_of_a_list_counts_repeats() -> None:
    table = nn.Embedding(4, 2)
    lists = Jagged(torch.tensor([1, 1, 3]), torch.tensor([0, 3]))
    expected = (2 * table.weight[1] + table.weight[3]) / 3
    torch.testing.assert_close(embed_lists(table, lists)[0], expected)


def test_widths_and_scale_are_those_of_the_config() -> None:
    feature = Feature("type", "categorical", "item", tuple("abcdefgh"))
    assert EmbeddingConfig(width=6, widths=()).of(feature) == 6
    assert EmbeddingConfig(width=6, widths=(("type", 2),)).of(feature) == 2
    assert EmbeddingConfig(width=60, widths=()).of(feature) == feature.cardinality
    torch.manual_seed(0)
    wide = EmbeddingConfig(width=8, scale=2.0).table(feature).weight.std()
    torch.manual_seed(0)
    narrow = EmbeddingConfig(width=8, scale=0.5).table(feature).weight.std()
    torch.testing.assert_close(wide, 4 * narrow)


def test_a_width_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1 wide"):
        EmbeddingConfig(width=0)


@pytest.mark.parametrize("keep", [0.0, 0.5, 1.0])
def test_values_of_lists_are_kept_by_chance(keep: float) -> None:
    embedding, items = _item(), torch.arange(12)
    torch.manual_seed(3)
    whole, some = embedding.parts(items), embedding.parts(items, keep=keep)
    assert all(torch.equal(a, b) for a, b in zip(whole[:-1], some[:-1], strict=True))
    if keep == 0:
        assert not some[-1].any()
    else:
        assert torch.equal(whole[-1], some[-1]) == (keep == 1)


def test_parts_and_numbers_make_the_item() -> None:
    embedding, items = _item(), torch.tensor([3, 1, 0, 3])
    parts = embedding.parts(items)
    assert [part.shape[1] for part in parts] == embedding.widths
    found = embedding(items)
    assert torch.equal(found[:, : sum(embedding.widths)], torch.cat(parts, 1))
    assert found.shape[1] == embedding.width
    assert torch.equal(found[0], found[3])
