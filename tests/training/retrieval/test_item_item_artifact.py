"""A saved item-item rule comes back, and what does not fit is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import ArtifactError, ValueInvalidError
from adwright.data.sequences.next_log import log_of_sequences
from adwright.models.retrieval.item_item import ItemItemConfig
from adwright.training.retrieval.item_item import KIND, ItemItemArtifact, fit_item_item
from tests.support.data.small_sequences import small_sequences

LOG = log_of_sequences(small_sequences())
RULE = ItemItemArtifact(
    fit_item_item(LOG, ItemItemConfig(recency=0.9, own=0.5)),
    LOG.ids,
    repeats=True,
    name="walks",
    data_hash="h",
    seed=4,
    files={"note.txt": b"kept"},
)


def test_a_saved_one_comes_back(tmp_path: Path) -> None:
    identity = RULE.save(tmp_path / "model")
    for source in (tmp_path / "model", load_artifact(tmp_path / "model")):
        found = ItemItemArtifact.load(source)
        assert (found.ids, found.repeats, found.name) == (LOG.ids, True, "walks")
        assert (found.data_hash, found.seed, found.files) == ("h", 4, RULE.files)
        assert found.model.config == RULE.model.config
        pasts = LOG.pasts(LOG.test)
        assert np.array_equal(found.model.scores(pasts), RULE.model.scores(pasts))
    assert RULE.save(tmp_path / "again") != replace(RULE, seed=5).save(tmp_path / "other")
    assert len(identity) == 64


def test_ids_must_be_of_the_catalogue() -> None:
    for ids in (LOG.ids[1:], (LOG.ids[0], *LOG.ids[:-1])):
        with pytest.raises(ValueInvalidError, match="different id of each"):
            replace(RULE, ids=ids)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    RULE.save(tmp_path / "model")
    whole = load_artifact(tmp_path / "model")
    for change in (
        {"codes": whole.tensors["codes"][1:]},
        {"codes": whole.tensors["codes"] + 100},
        {"score": whole.tensors["score"][:, 1:]},
    ):
        folder = tmp_path / f"wrong-{len(list(tmp_path.iterdir()))}"
        save_artifact(
            folder,
            kind=KIND,
            config=whole.config,
            tensors=whole.tensors | change,
            files=whole.files,
        )
        with pytest.raises(ArtifactError, match="item-item rule does not fit"):
            ItemItemArtifact.load(folder)
