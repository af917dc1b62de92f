"""The command line: exit code 2, and three lines."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adwright.cli import app
from adwright.core.artifacts import load_artifact, save_artifact
from tests.broken.cases import (
    CSV_HEAD,
    Call,
    Make,
    Shop,
    artifact,
    contents,
    flip,
    forge,
    log,
    raw,
    run_file,
    scored,
)


def adapter(here: Path, _: Shop) -> Call:
    """An artifact of a kind that is neither served nor asked."""
    save_artifact(here / "adapter", kind="adapter", config={})
    return lambda: load_artifact(here / "adapter", kind="ranker")


CLI: list[tuple[str, Make, tuple[str, ...], tuple[str, ...]]] = [
    (
        "unknown key",
        run_file("[fit]\nepoch = 1\n"),
        ("train", "run.toml", "--out", "out"),
        ("unknown key", "run.toml, key fit.epoch", "remove it"),
    ),
    (
        "wrong type",
        run_file('seed = "3"\n'),
        ("train", "run.toml", "--out", "out"),
        ("valid integer", "run.toml, key seed", "correct the value"),
    ),
    (
        "no task",
        run_file("base = false\n"),
        ("train", "run.toml", "--task", "nowhere", "--out", "out"),
        ("no readable task", "nowhere/task.json", "adwright data import"),
    ),
    (
        "policy of an agent",
        raw("shop.policy.toml", '[reach]\norigins = ["http://h"]\n[confirm]\nasks = []\n'),
        ("agent", "policy", "shop.policy.toml"),
        ("unknown key", "shop.policy.toml, key confirm.asks", "did you mean ask?"),
    ),
    (
        "document of an agent",
        raw("shop.txt", 'app "shop"\nstat offers\n'),
        ("agent", "do", "Count the offers", "--document", "shop.txt"),
        ("begins no line here", "shop.txt", "did you mean state?"),
    ),
    (
        "run of an agent",
        raw("run.json", "[]"),
        ("agent", "report", "."),
        ("changed after it ended", "run.json", "do not rely on it"),
    ),
    (
        "bad row",
        log(kind=["click", "glance", "click"]),
        ("data", "import", "log.parquet", "out"),
        ("kind is not one", "log.parquet, row 1, column kind, value 'glance'", "use one of"),
    ),
    (
        "text named .parquet",
        raw("log.parquet", CSV_HEAD),
        ("data", "describe", "log.parquet"),
        ("not a Parquet file", "log.parquet", "rename it"),
    ),
    (
        "output below a file",
        log(),
        ("data", "import", "log.parquet", "log.parquet/out"),
        ("not a folder", "log.parquet/out", "choose another path"),
    ),
    (
        "scored without a column",
        scored(lambda rows: rows.drop("price")),
        ("score", "{ranker}", "rows.parquet", "--events", "events.parquet", "--out", "s.parquet"),
        ("trained on: price", "rows.parquet, column price", "add them"),
    ),
    (
        "flipped byte",
        artifact(lambda f: flip(f / "tensors.safetensors")),
        ("evaluate", "ranker", "--task", "{task}", "--out", "report.json"),
        ("SHA-256 differs", "ranker/tensors.safetensors", "copy or make"),
    ),
    (
        "pickle",
        artifact(lambda f: forge(f, "tensors.safetensors", pickle.dumps({"a": 1}))),
        ("explain", "ranker", "i0", "--user", "u0", "--events", "none.parquet"),
        ("is a pickle", "ranker", "store arrays as tensors"),
    ),
    (
        "published adapter",
        adapter,
        ("publish", "adapter", "--tenant", "shop"),
        ("'adapter' cannot be served", "adapter", "publish one of kind"),
    ),
    (
        "published damage",
        artifact(lambda f: flip(f / "tensors.safetensors")),
        ("publish", "ranker", "--tenant", "shop"),
        ("SHA-256 differs", "ranker/tensors.safetensors", "copy or make"),
    ),
    (
        "published folder of nothing",
        adapter,
        ("publish", "nowhere", "--tenant", "shop"),
        ("no model here", "nowhere", "manifest.json"),
    ),
    (
        "asked adapter",
        adapter,
        ("recommend", "adapter", "--out", "recs.parquet"),
        ("recommends nothing", "adapter", "those of kind"),
    ),
    (
        "model without a log",
        artifact(lambda f: None),
        ("recommend", "ranker", "--out", "recs.parquet"),
        ("no log is known", "ranker", "--events"),
    ),
    (
        "log without the model's kinds",
        log(kind=["impression", "impression", "impression"]),
        ("recommend", "{ranker}", "--events", "log.parquet", "--out", "recs.parquet"),
        ("no event is history", "log.parquet, column kind", "of these kinds"),
    ),
    (
        "store with a typo",
        adapter,
        ("store", "show", "--store", "sqlite:///sub/typo.db"),
        ("no such store", "typo.db", "check --store"),
    ),
    (
        "keys of a store with a typo",
        adapter,
        ("key", "shop", "--list", "--store", "sqlite:///typo.db"),
        ("no such store", "typo.db", "check --store"),
    ),
    (
        "retrained on nothing new",
        log(),
        ("retrain", "{ranker}", "--log", "log.parquet", "--served", "log.parquet", "--out", "new"),
        ("wrote nothing", "column event_id", "compacted into"),
    ),
]


@pytest.mark.parametrize(
    ("make", "command", "parts"), [c[1:] for c in CLI], ids=[c[0] for c in CLI]
)
def test_command_line(
    make: Make,
    command: tuple[str, ...],
    parts: tuple[str, str, str],
    tmp_path: Path,
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 2, and three lines: what, where, and what to do."""
    make(tmp_path, shop)
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    places = {"ranker": shop.folder / "ranker", "task": shop.folder / "task"}
    result = CliRunner().invoke(app, [word.format(**places) for word in command])
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    for start, part in zip(("Error: ", "  where: ", "  to do: "), parts, strict=True):
        line = next(line for line in result.output.splitlines() if line.startswith(start))
        assert part in line
    assert contents(tmp_path) == before
