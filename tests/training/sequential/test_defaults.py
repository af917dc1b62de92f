"""Defaults of the sequence models that follow from the sequences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.models.sequential.sasrec import SASRecConfig
from adwright.models.sequential.union import default_config
from adwright.training.search import Defaults
from adwright.training.sequential.defaults import sequence_defaults, sequence_search
from adwright.training.sequential.fit import SequentialConfig
from tests.support.data.small_sequences import small_sequences


def sequences_of(people: int, each: int, items: int = 50) -> ItemSequences:
    """`people` of `each` events, without times."""
    rng = np.random.default_rng(0)
    return ItemSequences(
        name="s",
        protocol="p",
        data_hash="h",
        users=tuple(map(str, range(people))),
        ids=tuple(map(str, range(items))),
        item=rng.integers(1, items + 1, people * each),
        offsets=np.arange(people + 1) * each,
    )


@pytest.mark.parametrize(
    ("people", "each", "items", "found"),
    [
        # longest, width, batch, epochs, dropout
        (30, 10, 50, (20, 32, 16, 200, 0.4)),
        (3_000, 40, 50, (64, 64, 32, 88, 0.2)),
        (20_000, 12, 30_000, (20, 64, 128, 50, 0.4)),
        (20, 5_002, 50, (1024, 64, 16, 100, 0.2)),
    ],
)
def test_sizes_follow_from_the_sequences(
    people: int, each: int, items: int, found: tuple[float, ...]
) -> None:
    made = sequence_defaults(sequences_of(people, each, items))
    model, fit = made.model, made.fit
    sizes = (model.max_length, model.width, fit.batch, fit.epochs, model.dropout)
    assert sizes == found
    assert f"the latest {model.max_length:,} events" in made.why[0]
    assert (fit.patience, fit.all_windows) == (3, True)


def test_what_the_data_lack_is_not_read() -> None:
    timed = small_sequences()
    assert sequence_defaults(timed).model.reads_time
    assert not sequence_defaults(replace(timed, time=None)).model.reads_time
    once = sequence_defaults(timed, repeats=False)
    assert not once.model.repeats
    assert once.fit.exclude_seen
    assert not sequence_defaults(timed).fit.exclude_seen
    assert isinstance(sequence_defaults(timed, "sasrec").model, SASRecConfig)
    with pytest.raises(ConfigError, match="no sequence model"):
        sequence_defaults(timed, "gru")


def test_a_large_catalogue_is_learned_from_some_positions() -> None:
    assert sequence_defaults(sequences_of(100, 10, 60_000)).model.loss.positions == 512
    assert sequence_defaults(sequences_of(100, 10, 600)).model.loss.positions == 0


def test_what_is_not_left_to_the_data_stays() -> None:
    some, fit = sequences_of(3_000, 40), SequentialConfig(epochs=5, batch=7, patience=9)
    asked = default_config("hstu").resized(width=12, max_length=9)
    found = sequence_defaults(some, model=asked, fit=fit, chosen=("fit.batch", "model.dropout"))
    assert found.model == replace(asked, dropout=0.2, time=False)
    # Each history of 38 training events is read in windows of 9.
    assert found.fit == replace(fit, batch=128, exclude_seen=False)
    text = " ".join(found.why)
    assert "the latest 9 events" in text
    assert "width 12, dropout 0.2" in text
    assert "batches of 128 of 15,000 sequences, at most 5 epochs, fewer when 9" in text
    assert "for 512 positions a step" in text
    whole = sequence_defaults(some, model=asked, fit=fit)
    assert (whole.model, whole.fit) == (
        *(sequence_defaults(some).model, sequence_defaults(some).fit),
    )
    once = sequence_defaults(some, model=replace(asked, repeats=False))
    assert not once.model.repeats
    heads = replace(default_config("sasrec"), heads=3, width=9)
    assert sequence_defaults(some, "sasrec", model=heads).model.width == 66


def test_a_search_changes_the_defaults(tmp_path: Path) -> None:
    walks = small_sequences()
    before = sequence_defaults(walks)
    small = before.model.resized(width=8, max_length=20, blocks=1)
    quick = Defaults(small, SequentialConfig(epochs=1, batch=8), before.why)
    found, result = sequence_search(walks, quick, trials=2, folder=tmp_path)
    assert result.goal == "ndcg@10"
    assert len(result.trials) == 2
    assert found.why[:-1] == before.why
    assert (tmp_path / "trials.json").exists()

    asked: list[str] = []

    def validate(model: object) -> object:
        asked.append(type(model).__name__)
        return lambda: (0.5, {})

    sequence_search(walks, quick, trials=1, folder=tmp_path / "b", validate=validate)  # type: ignore[arg-type]
    assert asked == ["HSTU"]
