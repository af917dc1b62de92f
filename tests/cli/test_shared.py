from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest
import typer

from adwright.authoring.writer.drafts import Draft, Drafts, RowFailure
from adwright.cli.shared import (
    agree_to_journey,
    allowed_to_replace,
    column_pairs,
    config_or_log,
    console,
    fail,
    show_facts,
    show_table,
)
from adwright.core.config import read_toml
from adwright.core.errors import AdwrightError, ConfigError, ResourceError


def test_facts_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    show_facts({"a": "1", "long": "2"})
    assert capsys.readouterr().out == "a:    1\nlong: 2\n"
    show_facts({"a": "1"}, err=True)
    assert capsys.readouterr() == ("", "a: 1\n")


def test_tables_show_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("name",), [("[bold]tea[/bold]",)], title="Shelf")
    out = capsys.readouterr().out
    assert "[bold]tea[/bold]" in out
    assert "Shelf" in out


def test_errors_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    fail(AdwrightError("it broke", where="here", hint="mend it"))
    fail(AdwrightError("it broke"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == ("Error: it broke\n  where: here\n  to do: mend it\nError: it broke\n")


def test_console_writes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("x" * 200)
    assert capsys.readouterr().out == "x" * 200 + "\n"


def test_replacing_needs_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not allowed_to_replace(tmp_path / "new", force=False)
    assert not allowed_to_replace(tmp_path / "new", force=True)
    assert allowed_to_replace(tmp_path, force=True)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(ResourceError, match="--force"):
        allowed_to_replace(tmp_path, force=False)

    class Person(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Person())
    monkeypatch.setattr(typer, "confirm", lambda *_, **__: True)
    assert allowed_to_replace(tmp_path, force=False)

    def refuse(*_: object, abort: bool) -> None:
        assert abort
        raise typer.Abort

    monkeypatch.setattr(typer, "confirm", refuse)
    with pytest.raises(typer.Abort):
        allowed_to_replace(tmp_path, force=False)


def test_a_download_that_nobody_named_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(ConfigError, match=r"nothing named.*adwright train din.*--task.*an hour"):
        agree_to_journey("train din", "an hour", option="--task")
    asked: list[str] = []

    class Person(io.StringIO):
        def isatty(self) -> bool:
            return True

    def answer(question: str, *, abort: bool) -> None:
        assert abort
        asked.append(question)

    monkeypatch.setattr(sys, "stdin", Person())
    monkeypatch.setattr(typer, "confirm", answer)
    agree_to_journey("train din", "an hour", option="--task")
    assert asked == ["Train on Complete Journey?"]
    assert "On Complete Journey: an hour." in capsys.readouterr().err


HOSTILE = "Tea \x1b[31mX\x1b]0;pwn\x07 \u202eabc \x9b1A \U000e0041"
SHOWN = r"Tea \x1b[31mX\x1b]0;pwn\x07 \u202eabc \x9b1A \U000e0041"


def test_no_stranger_commands_the_terminal(tmp_path: Path) -> None:
    """The real command on a real terminal: a name in its error, a cell of a table, a line."""
    with closing(Drafts.open(tmp_path)) as drafts:
        drafts.write([Draft("p1", HOSTILE, 0, "Tea")])
        drafts.fail([RowFailure("p1", "headline", 0, HOSTILE)])
    (tmp_path / "events.csv").write_text(f"{HOSTILE},b\n1,2\n")
    told = ""
    for words in (
        ["author", "status", str(tmp_path)],
        ["data", "describe", str(tmp_path / "events.csv")],
    ):
        ours, theirs = os.openpty()
        job = subprocess.Popen(
            [sys.executable, "-m", "adwright", *words],
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "xterm"},
        )
        os.close(theirs)
        with suppress(OSError):  # the end of a terminal
            while data := os.read(ours, 1 << 16):
                told += data.decode()
        os.close(ours)
        job.wait()
    assert told.count(SHOWN) >= 3, told
    assert "\x07" not in told
    assert "\u202e" not in told
    assert "\x1b]" not in told


@pytest.mark.parametrize("given", ["folder", "log.csv", "log.parquet", "movielens"])
def test_a_log_may_stand_where_a_run_file_may(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    assert config_or_log(Path(given), None, option="--task") == (None, Path(given))
    for config in (None, Path("run.toml"), Path("run")):
        assert config_or_log(config, Path("log"), option="--task") == (config, Path("log"))
    with pytest.raises(ConfigError, match=f"two logs are named.*{given}, --task log"):
        config_or_log(Path(given), Path("log"), option="--task")
    with pytest.raises(ConfigError, match=r"this is a folder.*--log, --events or --task"):
        read_toml("folder")


def test_columns_are_pairs() -> None:
    assert column_pairs(None) == {}
    said = column_pairs("id=Product ID, words=a,words=b,image=", several=("words",))
    assert said == {"id": ["Product ID"], "words": ["a", "b"], "image": []}
    for wrong, why in (("id", "no pair"), ("=x", "no pair"), ("id=a,id=b", "id is one column")):
        with pytest.raises(ConfigError, match=why):
            column_pairs(wrong)
