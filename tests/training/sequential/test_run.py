"""From a run file to a saved sequential model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError, ResourceError, ResumeError
from adwright.data.sequences.datasets import sequences_of_task
from adwright.metrics.ranking import ndcg
from adwright.metrics.reports.report import RankingComparison
from adwright.models.retrieval.rules import TITLES
from adwright.models.sequential.hstu import HSTU, HSTUConfig, SASRec, SASRecConfig
from adwright.training.loop.trainee import Callback, StepDone
from adwright.training.retrieval.fit import retrieved_ranks
from adwright.training.search import TrainedRun
from adwright.training.sequential import run as module
from adwright.training.sequential.artifact import SequenceArtifact
from adwright.training.sequential.fit import SequentialConfig
from adwright.training.sequential.ranks import rank_next, visit_scorer
from adwright.training.sequential.run import decided_run, run_sequence
from adwright.training.sequential.runfile import (
    FROM_DATA,
    SequenceData,
    SequenceRun,
    default_run,
    sequence_defaults,
)
from tests.broken.cases import contents
from tests.support.data.small_next_basket import small_task
from tests.support.data.small_sequences import small_sequences

# As many items as a list of a visit has places.
TASK = small_task(people=12, days=9)
VISITS = SequenceData(sequences_of_task(TASK, split="task"), TASK, True)
WALKS = SequenceData(small_sequences(), None, False)
SIZES: dict[str, Any] = {"width": 8, "max_length": 32, "blocks": 1, "heads": 2}
FIT = SequentialConfig(epochs=2, batch=8, learning_rate=0.01, all_windows=True)
HSTU_RUN = SequenceRun(
    fit=FIT,
    draws=20,
    seed=5,
    threads=1,
    model=HSTUConfig(
        **SIZES, qk_width=4, v_width=4, kernel="bucketed", popularity=True, repeats=True
    ),
)
SASREC_RUN = SequenceRun(
    fit=FIT, draws=20, seed=5, threads=1, model=SASRecConfig(**SIZES, repeats=True)
)


@pytest.fixture(autouse=True)
def _shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEPTH", 12)


def run(config: Any, data: SequenceData, out: Path, **more: Any) -> TrainedRun[SequenceArtifact]:
    return run_sequence(replace(config, out=out), data=data, **more)


def records(out: Path) -> list[dict[str, Any]]:
    """The validations of a run, as its folder has them."""
    return [json.loads(line) for line in (out / "run" / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("config", [HSTU_RUN, SASREC_RUN], ids=["hstu", "sasrec"])
def test_a_split_by_time_is_asked_by_visits(config: Any, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    result = run(config, VISITS, tmp_path / "out")
    assert torch.equal(state, torch.get_rng_state())
    name = "HSTU" if config is HSTU_RUN else "SASRec"
    assert list(result.comparison.reports) == [name, *TITLES.values()]
    assert set(result.comparison.differences) == {*TITLES.values()}
    assert result.comparison.verdict()
    model = result.artifact.model
    assert isinstance(model, HSTU if name == "HSTU" else SASRec)
    found = retrieved_ranks(visit_scorer(model, TASK), TASK, TASK.visits("test"), depth=12)
    report = result.comparison.reports[name]
    assert report.metrics["ndcg@10"].value == pytest.approx(ndcg(found.ranks(), 10))
    assert (report.rows, report.users, report.seed) == (12, 12, 5)
    assert (report.protocol.seen_items, report.data_hash) == (
        *("not removed", VISITS.sequences.data_hash),
    )
    assert set(records(result.folder)[0]) >= {"valid_recall@12", "valid_ndcg@10"}


def test_what_is_saved(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(HSTU_RUN, VISITS, out)
    assert json.loads((out / "config.json").read_text()) == to_jsonable(replace(HSTU_RUN, out=out))
    told = RankingComparison.from_json((out / "report.json").read_text())
    assert told == result.comparison
    saved = SequenceArtifact.load(out / "model")
    assert saved.report == told.reports["HSTU"]
    assert RankingComparison.from_json(saved.files["comparison.json"].decode()) == told
    assert (saved.seed, saved.by_moment, saved.ids) == (5, True, VISITS.sequences.ids)
    for one, other in zip(
        saved.model.state_dict().values(), result.artifact.model.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)
    assert (out / "run" / "metrics.jsonl").is_file()
    assert set(result.stages) == {"train HSTU", "measure", "save"}


def test_what_is_left_open_follows_from_the_data(tmp_path: Path) -> None:
    told: list[str] = []
    asked = default_run(own=True)
    asked = replace(asked, draws=20, threads=1, fit=replace(asked.fit, epochs=1))
    found = run(asked, WALKS, tmp_path / "out", tell=told.append)
    expected = sequence_defaults(
        WALKS.sequences, repeats=False, fit=asked.fit, chosen=set(FROM_DATA) - {"fit.epochs"}
    )
    assert tuple(told) == found.why == expected.why
    assert found.artifact.model.config == expected.model
    assert (tmp_path / "out" / "defaults.txt").read_text().splitlines() == told
    config = json.loads((tmp_path / "out" / "run" / "config.json").read_text())["fit"]
    assert (config["epochs"], config["batch"]) == (1, expected.fit.batch)
    # The same, said whole: nothing follows, and nothing is told.
    plain, why = decided_run(asked, WALKS)
    assert why == expected.why
    assert decided_run(plain, WALKS) == (plain, ())
    again = run(plain, WALKS, tmp_path / "again")
    assert again.comparison == found.comparison
    assert again.why == ()
    assert not (tmp_path / "again" / "defaults.txt").exists()


def test_the_last_event_is_asked_where_nothing_else_is_known(tmp_path: Path) -> None:
    result = run(HSTU_RUN, WALKS, tmp_path / "out")
    model = result.artifact.model
    assert isinstance(model, HSTU)
    # Nobody takes an item again, so there are no own items to score.
    assert not model.config.repeats
    found = rank_next(model, WALKS.sequences, "test", unseen=True)
    report = result.comparison.reports["HSTU"]
    assert report.metrics["ndcg@10"].value == pytest.approx(ndcg(found.ranks, 10))
    assert report.rows == len(found.people)
    assert report.protocol.seen_items == "removed"
    # Without own items it would be popularity a second time.
    assert "Personal frequency" not in result.comparison.reports
    again = run(HSTU_RUN, replace(WALKS, allow_repeats=True), tmp_path / "again")
    assert again.artifact.model.config.repeats  # type: ignore[union-attr]
    assert again.comparison.reports["HSTU"].rows == len(WALKS.sequences)
    other = again.comparison.reports
    assert other["Personal frequency"].metrics != other["Popularity"].metrics


def test_a_run_is_taken_up_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    run(HSTU_RUN, VISITS, tmp_path / "whole")
    short = replace(HSTU_RUN, fit=replace(FIT, epochs=1))
    run(short, VISITS, tmp_path / "cut")
    # As if the process had been killed before the second epoch of the same run.
    folder = tmp_path / "cut" / "run"
    asked = json.loads((folder / "config.json").read_text())
    asked["fit"]["epochs"] = 2
    (folder / "config.json").write_text(json.dumps(asked))
    run(HSTU_RUN, VISITS, tmp_path / "cut", resume=True, overwrite=True)
    one, other = (SequenceArtifact.load(tmp_path / name / "model") for name in ("whole", "cut"))
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run(SASREC_RUN, VISITS, out)
    with pytest.raises(ResourceError, match="already holds a model"):
        run(SASREC_RUN, VISITS, out)
    second = run(replace(SASREC_RUN, seed=6), VISITS, out, overwrite=True)
    assert second.id != first.id
    (out / "model").rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="already holds a run"):
        run(SASREC_RUN, VISITS, out)


def test_few_households_validate(tmp_path: Path) -> None:
    few = replace(FIT, validation_people=2)
    measured = [
        records(run(replace(HSTU_RUN, fit=fit), VISITS, tmp_path / name).folder)[0]
        for name, fit in (("few", few), ("all", FIT))
    ]
    assert measured[0]["train_loss"] == measured[1]["train_loss"]
    assert measured[0]["valid_ndcg@10"] != measured[1]["valid_ndcg@10"]
    final = replace(HSTU_RUN, fit=replace(FIT, train_on_validation=True))
    assert not records(run(final, VISITS, tmp_path / "final").folder)


class Stop(Callback):
    """Stops a run after so many steps, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, step: StepDone) -> None:
        if step.step == self.step:
            raise KeyboardInterrupt


def test_a_run_is_closed_with_what_it_has_or_goes_on(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="no run to close"):
        run(SASREC_RUN, WALKS, tmp_path / "cut", stop_now=True)
    with pytest.raises(KeyboardInterrupt):
        run(SASREC_RUN, WALKS, tmp_path / "cut", callbacks=[Stop(2)])
    run(SASREC_RUN, WALKS, tmp_path / "cut", stop_now=True)
    assert [line["steps"] for line in records(tmp_path / "cut")] == [2]
    assert SequenceArtifact.load(tmp_path / "cut" / "model").report is not None
    longer = replace(SASREC_RUN, fit=replace(FIT, epochs=3))
    before = len(records(run(SASREC_RUN, WALKS, tmp_path / "run").folder))
    on = run(longer, WALKS, tmp_path / "run", resume=True, overwrite=True)
    whole = run(longer, WALKS, tmp_path / "whole")
    assert records(on.folder) == records(whole.folder)
    assert len(records(whole.folder)) > before
    assert np.array_equal(on.artifact.vectors, whole.artifact.vectors)


def test_a_refused_run_leaves_the_settings_of_the_one_that_is_there(tmp_path: Path) -> None:
    run(SASREC_RUN, WALKS, tmp_path / "run")
    (tmp_path / "run" / "model").rename(tmp_path / "moved")
    before = contents(tmp_path)
    other = replace(SASREC_RUN, fit=replace(FIT, learning_rate=0.5, batch=4))
    with pytest.raises(ResumeError, match=r"fit.batch was 8 and is now 4; fit.learning_rate was"):
        run(other, WALKS, tmp_path / "run", resume=True)
    with pytest.raises(ConfigError, match="already holds a run"):
        run(other, WALKS, tmp_path / "run")
    assert contents(tmp_path) == before
