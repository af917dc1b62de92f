"""A fine ranker is added by its own file and one union, and is then trained, saved and served."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.common.adding.copied import copied
from benchmarks.common.adding.ranker import add_ranker, put_ranker
from tests.support.data.ranking_task import shop_task

SRC = Path(__file__).resolve().parent.parent / "src"
RUN = """seed = 3
draws = 20
out = "out"
[task]
kind = "folder"
folder = "task"
[model]
kind = "mean"
mlp_hidden = [8]
[model.embedding]
width = 4
[fit]
epochs = 1
learning_rate = 0.01
"""
SERVED = """
from adwright.data.tasks.negatives import Draws
from adwright.delivery.cascade.build import BuildConfig
from adwright.core.config import from_jsonable, to_jsonable
from adwright.models.ranking.mean import MeanConfig
asked = BuildConfig(fine=MeanConfig())
assert from_jsonable(BuildConfig, to_jsonable(asked)) == asked
"""


def test_adding_a_fine_ranker_touches_its_own_file_and_the_union() -> None:
    assert add_ranker(SRC) == 2


def test_the_added_ranker_is_trained_saved_loaded_and_measured(tmp_path: Path) -> None:
    shop_task(tmp_path / "task", users=10)
    (tmp_path / "run.toml").write_text(RUN)
    with copied(SRC) as copy:
        put_ranker(copy)
        environment = {**os.environ, "PYTHONPATH": str(copy.src), "COLUMNS": "200"}

        def run(*arguments: str, code: int = 0) -> str:
            found = subprocess.run(
                [sys.executable, *arguments],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert found.returncode == code, found.stdout + found.stderr
            return found.stdout + found.stderr

        verb = ("-c", "from adwright.cli import main; main()", "--quiet")
        told = run(*verb, "train", "run.toml")
        assert all(name in told for name in ("Mean", "Base", "popularity"))
        config = json.loads((tmp_path / "out" / "ranker" / "manifest.json").read_text())["config"]
        assert config["model"]["kind"] == "mean"
        assert "gauc" in run(*verb, "evaluate", "out/ranker", "--task", "task")
        assert "only DIN" in run(*verb, "export", "out/ranker", "onnx", code=2)
        run("-c", SERVED)
