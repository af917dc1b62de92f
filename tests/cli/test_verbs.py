"""From a function to a command."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from typer.testing import CliRunner, Result

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
from adwright.cli.verbs import DefaultGroup, verb
from adwright.core.config import Count, Ge, Help, Le, Natural, read_toml, settings
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


@settings
class Brew:
    """How tea is made.

    Options:
        leaves (--tea): Which leaves.
    """

    leaves: str = "oolong"
    share: Annotated[float, Ge(0), Le(1), Help("How full the cup is.")] = 0.5
    offline: bool = False


app = typer.Typer()


@app.callback()
def root() -> None:
    """Of the house."""


@verb(app, "serve", once="pour", was={"--guests": "--people"}, by_place="out")
def serve(
    table: str,
    *,
    out: Path,
    brew: Brew,
    people: Count = 1,
    sugar: Natural | None = None,
    warm: bool = True,
    kind: Literal["cup", "bowl"] = "cup",
    as_json: bool = False,
    seed: Natural = 0,
) -> None:
    """Serve tea.

    To the last.

    Options:
        table ([TABLE]): Where they
            sit.
        out: Where it is put.
        people: How many there are.
        as_json (--json): Print JSON.
    """
    typer.echo(f"{table} {out} {brew} {people} {sugar} {warm} {kind} {as_json} {seed}")


def typed(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), catch_exceptions=False)


def test_options_are_those_of_the_signature() -> None:
    words = "--people 2 --sugar 0 --no-warm --kind bowl --json --seed 3 --tea green --share 1"
    found = typed("serve", "hall", "--out", "a", *words.split(), "--offline")
    brew = "Brew(leaves='green', share=1.0, offline=True)"
    assert found.stdout == f"hall a {brew} 2 0 False bowl True 3\n"
    assert "note" not in found.output
    assert typed("serve", "hall", "--out", "a").stdout.endswith(" 1 None True cup False 0\n")


@pytest.mark.parametrize("words", ["--people 0", "--sugar -1", "--share 1.5", "--kind mug"])
def test_bounds_and_choices_are_checked(words: str) -> None:
    found = typed("serve", "hall", "--out", "a", *words.split())
    assert found.exit_code == 2
    assert words.split(maxsplit=1)[0] in found.output


def test_the_help_is_the_docstring() -> None:
    told = " ".join(typed("serve", "--help").output.split())
    for text in ("Serve tea. To the last.", "[TABLE]", "Where they sit.", "How many there are."):
        assert text in told
    for text in ("--tea", "Which leaves.", "How full the cup is.", "The same seed gives"):
        assert text in told
    assert "Never download" in told
    assert "Options:" not in told
    assert "by_place" not in told
    assert "pour" not in typed("--help").output


def test_forms_of_before_are_taken_with_a_note() -> None:
    found = typed("pour", "hall", "a", "--guests=2")
    assert found.stdout.startswith("hall a Brew(")
    assert " 2 None" in found.stdout
    for note in (
        "--guests is now --people",
        "a without a name is now --out a",
        "pour is now serve",
    ):
        assert note in found.stderr


def test_a_destination_is_needed_once() -> None:
    with pytest.raises(ConfigError, match="no destination"):
        typed("serve", "hall")
    # What is named wins.
    assert typed("serve", "hall", "b", "--out", "a").stdout.startswith("hall a ")


def test_a_line_that_says_no_option_is_refused() -> None:
    def odd(*, out: Path) -> None:
        """Do.

        Options:
            out without a colon
        """

    with pytest.raises(TypeError, match="no option is 'out without"):
        verb(app, "odd")(odd)


made = typer.Typer(cls=DefaultGroup, help="Make something.")
app.add_typer(made, name="make")


@made.command("tea")
def tea(
    leaf: Annotated[str, typer.Argument()] = "green",
    cups: Annotated[int, typer.Option("--cups", help="How many.")] = 1,
) -> None:
    """Make tea."""
    typer.echo(f"{cups} {leaf}")


@made.command("coffee")
def coffee(bean: Annotated[str, typer.Argument()] = "robusta") -> None:
    """Make coffee."""
    typer.echo(f"coffee of {bean}")


@app.command("drink")
def drink() -> None:
    """Drink."""


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "1 green"),
        (["black"], "1 black"),
        (["--cups", "2"], "2 green"),
        (["black", "--cups", "2"], "2 black"),
        (["tea", "black", "--cups", "2"], "2 black"),
        (["tea", "coffee"], "1 coffee"),
        (["coffee"], "coffee of robusta"),
        (["coffee", "arabica"], "coffee of arabica"),
    ],
)
def test_words_that_begin_with_no_verb_are_for_the_first(words: list[str], said: str) -> None:
    assert run("make", *words) == f"{said}\n"


def test_the_help_tells_of_all_verbs_and_of_the_options_of_the_first() -> None:
    text = run("make", "--help")
    for word in ("Make something", "tea", "coffee", "Make coffee", "--cups", "How many"):
        assert word in text
    assert "--cups" not in run("make", "coffee", "--help")
    assert "Make something" not in run("make", "black", "--help")


def test_a_mistake_is_the_verbs() -> None:
    assert "--nonsense" in run("make", "--nonsense", code=2)


def test_a_word_that_is_nearly_a_verb_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["make", "tee"])
    assert isinstance(result.exception, ConfigError)
    assert "did you mean tea? The verbs are tea, coffee" in str(result.exception)
    (tmp_path / "tee").touch()
    assert run("make", "tee") == "1 tee\n"
