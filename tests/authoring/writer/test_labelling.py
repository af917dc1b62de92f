"""Labels by rows that have one, and by a model's scores."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from adwright.authoring.tasks import AuthoringRequest, Product, task_named
from adwright.authoring.writer import job
from adwright.authoring.writer.asking import OpenedWriter
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.drafts import Drafts
from adwright.authoring.writer.job import WriteReport, run_job
from adwright.authoring.writer.labelling import TrainedLabels, nearest_labels, scored_labels
from adwright.authoring.writer.products import read_products
from adwright.core.errors import DataError, ResourceError, SchemaError
from adwright.lm.engine.generation import LanguageModel, Prompt, Scores

KINDS = {"Teas": ("assam", "oolong", "sencha"), "Cups": ("mug", "beaker", "goblet")}
FIRST = ("fine", "large", "plain", "old", "new")


def shelf(rows: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Titles and their labels."""
    rng = np.random.default_rng(seed)
    labels = [str(one) for one in rng.choice(list(KINDS), rows)]
    return [f"{rng.choice(FIRST)} {rng.choice(KINDS[one])} {rng.integers(99)}" for one in labels], (
        labels
    )


def encode(texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """By whether a tea is named."""
    tea = np.array([any(one in text for one in KINDS["Teas"]) for text in texts], np.float32)
    return np.stack([tea, 1 - tea], 1)


@pytest.mark.parametrize("sentences", [None, encode])
def test_what_rows_teach_is_said_of_others(sentences: Any) -> None:
    found = TrainedLabels.fit(*shelf(60), sentences=sentences)
    texts, labels = shelf(20, seed=1)
    assert found.predict(texts) == labels
    assert found.predict([]) == []
    assert found.choice.told.low <= 1.0 <= found.choice.told.high
    assert set(found.choice.simple) == {"majority", "tf-idf", "nearest"}
    assert ("sentences" in found.choice.values) == (sentences is not None)


def test_labels_that_nothing_tells_are_not_given() -> None:
    texts, labels = shelf(60)
    mixed = [labels[at] for at in np.random.default_rng(2).permutation(len(labels))]
    found = TrainedLabels.fit(texts, mixed)
    assert found.choice.kept is None
    assert found.predict(texts) is None
    assert "nothing here predicts this" in found.choice.sentences("accuracy")[0]


def test_texts_without_a_word_teach_nothing() -> None:
    assert TrainedLabels.fit(["-"] * 12, ["a", "b"] * 6).choice.kept is None
    with pytest.raises(DataError):
        TrainedLabels.fit(["-"], ["a"])


class Likes:
    """Thinks each label as likely as `own` says where a tea is shown, else as `anyway` does."""

    def __init__(self, anyway: dict[str, float], own: dict[str, float]) -> None:
        self.anyway, self.own = anyway, own

    def score(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> Scores:
        shown = [self.own if "First flush" in str(one) else self.anyway for one in prompts]
        pairs = zip(shown, texts, strict=True)
        return Scores(tuple(np.full(len(text.split()), of[text]) for of, text in pairs))


def request(*labels: str) -> AuthoringRequest:
    return AuthoringRequest(task_named("classify"), Product("p", "First flush"), (), labels)


def test_a_label_that_is_likely_anyway_does_not_win() -> None:
    anyway = {"Cups": -1.0, "Black teas of Assam": -5.0}
    model = Likes(anyway, {"Cups": -0.9, "Black teas of Assam": -4.0})
    asked = [request(*anyway), request(*reversed(anyway))]
    assert scored_labels(cast(LanguageModel, model), asked) == ["Black teas of Assam"] * 2


def test_the_label_that_is_nearest_is_taken() -> None:
    def near(texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.array([["flush" in one or "teas" in one, "cups" in one] for one in texts], "f")

    asked = [request("teas", "cups"), request("cups", "teas"), request("mugs", "cups")]
    assert nearest_labels(near, asked) == ["teas", "teas", "mugs"]


def test_a_server_that_tells_no_likelihoods_is_asked_otherwise() -> None:
    class Mute:
        def score(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> Scores:
            raise ResourceError("no likelihoods")

    assert scored_labels(cast(LanguageModel, Mute()), [request("Cups", "Teas")]) is None


def write(folder: Path, texts: Sequence[str], labels: Sequence[str], train: str) -> WriteReport:
    path = folder / "products.csv"
    rows = [
        f"p{at},{one},{kind}\n" for at, (one, kind) in enumerate(zip(texts, labels, strict=True))
    ]
    path.write_text("id,title,shelf\n" + "".join(rows))
    config = WriteConfig(("category",), train=train)
    opened = OpenedWriter(None, "rule", "rule", "", "")
    return run_job(read_products(path), folder / "out", config, opened)


@pytest.fixture(autouse=True)
def no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "sentence_vectors", lambda: None)


def test_a_job_gives_the_labels_that_are_missing(tmp_path: Path) -> None:
    texts, labels = shelf(60)
    # A label that somebody gave stays, also where the others say otherwise.
    report = write(tmp_path, texts, ["Cups", *labels[1:50], *[""] * 10], "shelf")
    assert (report.written, report.failed, report.made) == (60, 0, {"labels, trained": 60})
    assert any("expect accuracy" in line for line in report.said)
    with closing(Drafts.open(tmp_path / "out")) as drafts:
        found = [drafts.text((f"p{at}", "category", 0)) for at in range(60)]
    assert found == ["Cups", *labels[1:]]


def test_a_job_leaves_out_what_nothing_tells(tmp_path: Path) -> None:
    texts, labels = shelf(60)
    mixed = [labels[at] for at in np.random.default_rng(2).permutation(50)]
    report = write(tmp_path, texts, [*mixed, *[""] * 10], "shelf")
    assert (report.written, report.left_out) == (50, {"nothing tells its label": 10})


def test_a_column_that_is_not_there_or_empty_is_said(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="no column 'kind'"):
        write(tmp_path, ["Tea"], ["Teas"], "kind")
    with pytest.raises(DataError, match="no row has a label"):
        write(tmp_path, ["Tea"], [""], "shelf")
