"""A group whose first verb may be left out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from adwright.cli.verbs import DefaultGroup
from adwright.core.errors import ConfigError

made = typer.Typer(cls=DefaultGroup, help="Make something.")
app = typer.Typer()
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
