"""A sequence model is added by its own file and one union, and is then trained and loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl

from adwright.metrics.reports.sequence_comparison import RankingComparison
from benchmarks.common.adding.copied import copied
from benchmarks.common.adding.sequence_model import add_sequence_model, put_sequence_model
from tests.support.data.small_sequences import small_sequences

SRC = Path(__file__).resolve().parent.parent / "src"
RUN = """seed = 3
draws = 20
threads = 1
[data]
kind = "events"
path = "events.csv"
[model]
width = 8
max_length = 16
[fit]
epochs = 1
learning_rate = 0.01
"""
LOADED = """
from adwright.core.errors import ConfigError
from adwright.data.sequences.from_events import read_event_file
from adwright.models.sequential.mean import MeanSequence
from adwright.training.sequential.artifact import SequenceArtifact
from adwright.training.sequential.export import export_sequence
from adwright.training.sequential.ranks import rank_next
artifact = SequenceArtifact.load("runs/mean/model")
assert type(artifact.model) is MeanSequence
unseen = artifact.report.protocol.seen_items == "removed"
ranks = rank_next(artifact.model, read_event_file("events.csv"), "test", unseen=unseen).ranks
assert len(ranks.ranks) == artifact.report.rows
assert artifact.vectors.shape == (len(artifact.ids) + 1, 8)
try:
    export_sequence(artifact, "onnx")
except ConfigError as error:
    assert "no network to export" in str(error)
else:
    raise SystemExit("it was exported")
"""


def test_adding_a_sequence_model_touches_its_own_file_and_the_union() -> None:
    assert add_sequence_model(SRC) == 2


def test_the_added_model_is_trained_saved_loaded_and_measured(tmp_path: Path) -> None:
    walks = small_sequences()
    person = [walks.users[u] for u in range(len(walks)) for _ in range(*walks.offsets[u : u + 2])]
    items = [walks.ids[code - 1] for code in walks.item]
    table = pl.DataFrame({"user_id": person, "item_id": items, "time": walks.time})
    table.write_csv(tmp_path / "events.csv")
    (tmp_path / "run.toml").write_text(RUN)
    with copied(SRC) as copy:
        put_sequence_model(copy)

        def run(*arguments: str) -> str:
            found = subprocess.run(
                [sys.executable, *arguments],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(copy.src), "COLUMNS": "200"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert found.returncode == 0, found.stdout + found.stderr
            return found.stdout

        verb = ("-c", "from adwright.cli import main; main()")
        told = run(*verb, "train", "sequence", "run.toml", "--model", "mean")
        assert "Saved in runs/mean/model as" in told
        report = RankingComparison.from_json((tmp_path / "runs/mean/report.json").read_text())
        assert list(report.reports) == ["Mean", "Popularity", "Personal frequency"]
        run("-c", LOADED)
