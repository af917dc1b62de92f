"""The data path: Parquet to batches, memory on a ten times longer log, group AUC (10 minutes).

    python -m benchmarks.ranking.loader

Three figures: rows per CPU-second from the Parquet files of the whole response task to batches,
one thread, every row kept; peak memory of training the base model on a log and on the same log
ten times over under new user ids; CPU-seconds of group AUC on 10 million rows.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from adwright.data.batches.stream import StreamConfig
from adwright.data.tasks.task import Task
from adwright.models.ranking.din import DIN, DINConfig
from adwright.training.ranking.fit import FitConfig, fit, open_stream
from benchmarks.common.processes import command
from benchmarks.common.result import ROOT, write_result
from benchmarks.ranking._gauc import gauc_10m_cpu_seconds
from benchmarks.ranking._runs import response_task

#: A seventh of the households, so that ten times the log is a log and a half.
HOUSEHOLDS = 0.15
REPEATS = 3
PROTOCOL = (
    "Loader: the training rows of the whole response task, Parquet to Batch, one thread, no "
    "negative dropped, the better of repeated epochs (process CPU time; the machine is shared). "
    "Memory: peak resident size of a process that trains the base model for one epoch on the "
    "response task of 15% of the households, and on ten copies of it under new user ids."
)


def main() -> None:
    """Measure and write benchmarks/results/loader.json."""
    task = response_task()
    rates = [loader_rate(task) for _ in range(REPEATS)]
    once, ten_times = memory()
    seconds = gauc_10m_cpu_seconds()
    write_result(
        "loader",
        protocol=PROTOCOL,
        data=task.data_hash,
        seeds=[0],
        rows=[
            *({"measure": "loader", "rows_per_cpu_second": rate} for rate in rates),
            {"measure": "memory", "times": 1, "peak_gb": once / 1e9},
            {"measure": "memory", "times": 10, "peak_gb": ten_times / 1e9},
            {"measure": "gauc", "rows": 10_000_000, "cpu_seconds": seconds},
        ],
        figures={
            "rows_per_cpu_second": max(rates),
            "rss_growth_at_10x": ten_times / once,
            "gauc_10m_cpu_seconds": seconds,
        },
    )


def loader_rate(task: Task) -> float:
    """Rows per CPU-second of one epoch over the training rows."""
    torch.set_num_threads(1)
    stream = open_stream(task, "train", StreamConfig())
    start, rows = time.process_time(), 0
    for batch, _ in stream.epoch():
        rows += len(batch)
    return rows / (time.process_time() - start)


def memory() -> tuple[int, int]:
    """Peak bytes of training on a log and on ten copies of it."""
    once = response_task(HOUSEHOLDS)
    with tempfile.TemporaryDirectory() as scratch:
        ten = Path(scratch) / "ten"
        repeat(once, ten, 10)
        return _peak(once.folder), _peak(ten)


def _peak(folder: Path) -> int:
    """Peak bytes of a process that trains on this task folder."""
    told = subprocess.check_output(command("benchmarks.ranking.loader", folder), cwd=ROOT)
    return int(told.split()[-1])


def repeat(task: Task, folder: Path, times: int) -> None:
    """The task with `times` copies of its training rows, each under user ids of its own."""
    shutil.copytree(task.folder, folder)
    for path in (task.rows_path("train"), task.events_path("train")):
        source = pq.ParquetFile(path)
        target = folder / path.relative_to(task.folder)
        with pq.ParquetWriter(target, source.schema_arrow, compression="zstd") as writer:
            for copy in range(times):
                for number in range(source.num_row_groups):
                    table = source.read_row_group(number)
                    ids = pl.Series(table["user_id"].to_pylist(), dtype=pl.String) + f"-{copy}"
                    column = pa.array(ids.to_list(), table.schema.field("user_id").type)
                    at = table.schema.get_field_index("user_id")
                    table = table.set_column(at, table.schema.field(at), column)
                    writer.write_table(table, row_group_size=table.num_rows)


def train_once(folder: Path) -> None:
    """One epoch of the base model; prints the peak resident size in bytes."""
    torch.set_num_threads(1)
    task = Task.open(folder)
    model = DIN(DINConfig(interest="sum"), task.spec, task.item_table)
    config = FitConfig(epochs=1, stream=replace(FitConfig().stream, negative_rate=0.2))
    with tempfile.TemporaryDirectory() as run:
        fit(model, task, config, Path(run) / "run")
    # Not ru_maxrss: a child process starts at its parent's peak.
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    print(int(peak.split()[1]) * 1024)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train_once(Path(sys.argv[1]))
    else:
        main()
