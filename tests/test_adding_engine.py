"""Adding an engine of language models touches its own file and one more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.common.adding.engine import add_engine, copied, edit

SOURCE = Path(__file__).resolve().parent.parent / "src"
USE = """
import sys
from contextlib import closing
import adwright
from adwright.lm.open_model import local_config, open_model

assert adwright.__file__.startswith(sys.argv[1]), adwright.__file__
with closing(open_model(local_config("reversing", "backwards"))) as model:
    assert model.generate(["abc"]).texts == ["cba"]

from typer.testing import CliRunner
from adwright.cli import app

told = CliRunner().invoke(
    app, ["lm", "generate", "stressed", "--raw", "--engine", "reversing", "--model", "backwards"]
)
assert told.output == "desserts\\n", told.output
assert "reversing" in CliRunner().invoke(app, ["lm", "models"]).output
assert "reversing" in CliRunner().invoke(app, ["lm", "serve", "--engine", "none"]).output

from fastapi.testclient import TestClient
from adwright.service.lm.app import create_lm_app
from adwright.service.lm.config import LmServiceConfig

with TestClient(create_lm_app(LmServiceConfig(), {"backwards": model})) as client:
    (one,) = client.get("/v1/models").json()["data"]
    assert one["engine"] == "reversing"
    body = {"model": "backwards", "prompt": "abc"}
    (choice,) = client.post("/v1/completions", json=body).json()["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("cba", "stop")
    body = {"model": "backwards", "messages": [{"role": "user", "content": "abc"}]}
    (choice,) = client.post("/v1/chat/completions", json=body).json()["choices"]
    assert "cba" in choice["message"]["content"]
    body = {"model": "backwards", "input": "abc"}
    assert client.post("/v1/embeddings", json=body).status_code == 422
"""


def test_two_files_are_touched() -> None:
    assert add_engine(SOURCE) <= 2


def test_the_added_engine_is_opened_named_and_served() -> None:
    pytest.importorskip("fastapi", reason="the extra service is not installed")
    with copied(SOURCE) as copy:
        edit(copy)
        subprocess.run(
            [sys.executable, "-W", "error", "-c", USE, str(copy)],
            check=True,
            cwd=copy,
            env=os.environ | {"PYTHONPATH": str(copy)},
        )


def test_a_place_that_is_not_the_only_one_is_told() -> None:
    with copied(SOURCE) as copy:
        with (copy / "adwright/lm/open_model.py").open("a", encoding="utf-8") as file:
            file.write("    match config:\n")
        with pytest.raises(ValueError, match="2 times"):
            edit(copy)
