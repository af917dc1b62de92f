"""adwright tune jobs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.cli import app
from tests.support.lm.tiny_llama import save_tiny

RUN = CliRunner()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two jobs on a tiny model."""
    base = save_tiny(tmp_path / "model")
    jobs = []
    for name in ("tea", "coats"):
        pairs = tmp_path / f"{name}.jsonl"
        rows = [{"prompt": f"{name} {n}", "answer": f"sale {n % 3}"} for n in range(10)]
        pairs.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
        jobs.append({"name": name, "data": {"path": str(pairs)}, "method": {"rank": 2}})
    found = tmp_path / "jobs.json"
    found.write_text(json.dumps({"model": str(base), "jobs": jobs}), "utf-8")
    return found


def test_it_tunes_all_and_compares(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = RUN.invoke(app, ["tune", "jobs", str(file), "--out", str(out)])
    assert found.exit_code == 0, found.output
    assert "coats" in found.output
    assert (out / "tea" / "tuned" / "manifest.json").is_file()
    found = RUN.invoke(app, ["tune", "compare", str(out / "tea"), str(out / "coats")])
    assert found.exit_code == 0, found.output
    assert RUN.invoke(app, ["tune", "jobs", str(file), "--out", str(out)]).exit_code == 2
    found = RUN.invoke(app, ["tune", "jobs", str(file), "--out", str(out), "--resume"])
    assert found.exit_code == 0, found.output


def test_a_dry_run_writes_nothing(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "none"
    found = RUN.invoke(app, ["tune", "jobs", str(file), "--out", str(out), "--dry-run"])
    assert found.exit_code == 0, found.output
    assert [job["name"] for job in json.loads(found.output)["jobs"]] == ["tea", "coats"]
    assert not out.exists()


def test_they_are_tuned_where_the_option_or_the_file_says(file: Path, tmp_path: Path) -> None:
    asked = ["tune", "jobs", str(file), "--out", str(tmp_path / "out")]
    values = json.loads(file.read_text())
    for option, found in (((), "cpu"), (("--device", "cuda"), "cuda")):
        told = RUN.invoke(app, [*asked, *option, "--dry-run"])
        assert json.loads(told.output)["device"] == found
    file.write_text(json.dumps(values | {"device": "no such"}))
    told = RUN.invoke(app, asked)
    assert (told.exit_code, "--device no such" in told.output) == (2, True)
    told = RUN.invoke(app, [*asked, "--device", "cpu"])
    assert told.exit_code == 0, told.output


def test_a_method_that_shares_no_step_is_refused(file: Path, tmp_path: Path) -> None:
    values = json.loads(file.read_text())
    values["jobs"][0]["method"] = {"kind": "IA3"}
    file.write_text(json.dumps(values))
    found = RUN.invoke(app, ["tune", "jobs", str(file), "--out", str(tmp_path / "x")])
    assert found.exit_code == 2
    assert "IA3 cannot share" in found.output
