"""The mistakes of a notebook: tables of other libraries, settings misspelt, and an old Python; and
that every mistake of the list has its row."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

import adwright as aw
from adwright.core.errors import AdwrightError, ConfigError, SchemaError
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.log import read_log
from adwright.models.calibration import EmbeddingConfig
from tests.broken.cases import LOG, Shop, contents
from tests.broken.own import test_logs, test_models, test_serving, test_tasks
from tests.broken.own.mistakes import LISTED, OWN, Mistake


class Frame:
    """A table of a library that we do not know, which speaks Arrow's stream protocol; pandas does,
    and may not be installed."""

    def __init__(self, table: pl.DataFrame) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


class Mine(NamedTuple):
    """A call, and what it raises with which words; None where it goes through."""

    number: int
    name: str
    call: Callable[[Shop], object]
    error: type[AdwrightError] | None = None
    says: tuple[str, ...] = ()


ITEMS = pl.DataFrame({"item_id": ["i0", "i1", "i2"]})
#: What a table may be.
FORMS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "another library": Frame,
    "Arrow": pl.DataFrame.to_arrow,
    "a lazy table": pl.DataFrame.lazy,
    "dicts": pl.DataFrame.to_dicts,
}
TABLES = [
    *(
        Mine(
            55, f"scores of {name}", lambda s, of=of: s.ranker.score_rows(of(s.rows), of(s.events))
        )
        for name, of in FORMS.items()
    ),
    *(
        Mine(56, f"events of {name}", lambda _, of=of: read_log(of(LOG)))
        for name, of in FORMS.items()
    ),
    *(
        Mine(56, f"events of {name}, checked", lambda _, of=of: validate_events(of(LOG)))
        for name, of in FORMS.items()
    ),
    Mine(56, "items of another library", lambda _: Catalogue.checked(Frame(ITEMS))),
    Mine(
        55,
        "to train on a table",
        lambda s: aw.train(s.rows),  # type: ignore[arg-type]
        SchemaError,
        ("a ranker is trained on a task, not on DataFrame", "build_ranking_task(read_log(table)"),
    ),
    Mine(
        55,
        "to train on a folder that is none",
        lambda s: aw.train("nowhere"),
        AdwrightError,
        ("nowhere",),
    ),
    Mine(
        55,
        "scores of a path",
        lambda s: s.ranker.score_rows("rows.csv", s.events),  # type: ignore[arg-type]
        SchemaError,
        ("the rows are a table, not a file", "score_file"),
    ),
    Mine(
        55,
        "scores of a list",
        lambda s: s.ranker.score_rows([1, 2], s.events),  # type: ignore[arg-type]
        SchemaError,
        ("no table", "pass a table of polars, pandas or Arrow"),
    ),
    Mine(OWN, "a log of a number", lambda _: read_log(3), SchemaError, ("int is no table",)),  # type: ignore[arg-type]
]
SETTINGS = [
    Mine(
        57,
        "a choice misspelt",
        lambda _: aw.DINConfig(interest="atention"),  # type: ignore[arg-type]
        ConfigError,
        ("interest", "'atention'", "attention"),
    ),
    Mine(
        58,
        "text for k",
        lambda s: s.ranker.recommend(s.events, s.rows, k="3"),  # type: ignore[arg-type]
        ConfigError,
        ("k", "'3'"),
    ),
    Mine(
        59,
        "a keyword of another library",
        lambda _: aw.FitConfig(lr=0.1),  # type: ignore[call-arg]
        ConfigError,
        ("FitConfig takes no 'lr'", "did you mean learning_rate?"),
    ),
    Mine(
        59,
        "a keyword of another call",
        lambda s: aw.train(s.task, epochs=1),  # type: ignore[call-arg]
        ConfigError,
        ("train takes no 'epochs'", "fit=PartialFit(epochs=...)"),
    ),
    Mine(
        OWN,
        "a width of nothing",
        lambda _: EmbeddingConfig(width=0),
        ConfigError,
        ("an embedding is at least 1 wide",),
    ),
]


@pytest.mark.parametrize(
    "mine", [*TABLES, *SETTINGS], ids=lambda m: f"{m.number or 'own'} {m.name}"
)
def test_in_python(mine: Mine, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    if mine.error is None:
        assert mine.call(shop) is not None
    else:
        with pytest.raises(mine.error) as caught:
            mine.call(shop)
        for part in mine.says:
            assert part in str(caught.value)
    assert contents(tmp_path) == before


def test_an_old_python_is_told_in_one_line(tmp_path: Path, root: Path) -> None:
    """54: by make at once, by pip before anything is downloaded."""
    old = tmp_path / "python3.10"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    (tmp_path / "Makefile").write_text((root / "Makefile").read_text())
    (tmp_path / "pyproject.toml").touch()
    found = subprocess.run(
        ["make", "-C", str(tmp_path), "demo", f"PYTHON={old}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 2
    assert "adwright needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" in found.stdout
    assert not (tmp_path / ".venv").exists()
    assert re.search(r'^requires-python = ">=3.11"', (root / "pyproject.toml").read_text(), re.M)


#: Numbers of mistakes that stand in tests of their own.
ALONE = {47, 51, 54}
ROWS: list[Mistake] = [
    *(*test_logs.MISTAKES, *test_logs.ITEMS, *test_logs.TYPES, *test_logs.TIMES, *test_logs.MINE),
    *test_tasks.TASKS,
    *(*test_models.TRAINING, *test_models.DRY, *test_models.RANKERS),
    *(*test_serving.RECOMMENDING, *test_serving.PUBLISHING, *test_serving.SERVING),
    *test_serving.STORES,
]


def test_every_mistake_has_its_row() -> None:
    found = [row.number for row in (*ROWS, *TABLES, *SETTINGS)]
    assert {*found, *ALONE} - {OWN} == {*range(1, LISTED + 1)}
    assert found.count(OWN) >= 40
