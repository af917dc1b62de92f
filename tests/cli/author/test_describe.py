"""adwright author evaluate, as it is typed."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from adwright.authoring.writer.drafts import Draft, Drafts
from adwright.cli.author.describe import describe
from adwright.cli.verbs import verb
from adwright.core.errors import ConfigError, ResourceError

APP = typer.Typer()
verb(APP, "describe")(describe)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The arguments, and options that every test has."""
    shades = [f"shade{at}" for at in range(8)]
    files = {
        "products.csv": [
            "id,title,description",
            *(f"p{s},plain cup,{s[-1]} ounces" for s in shades),
        ],
        "queries.csv": ["query_id,query", *(f"q{s},cup in {s}" for s in shades)],
        "judgements.csv": ["query_id,item_id,grade", *(f"q{s},p{s},1" for s in shades)],
        "seen.csv": ["query", "cup in shade1"],
    }
    for name, lines in files.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    with closing(Drafts.open(tmp_path / "out")) as drafts:
        drafts.write([Draft(f"p{s}", "description", 0, f"the cup in {s}") for s in shades])
    tables = [str(tmp_path / name) for name in ("products.csv", "queries.csv", "judgements.csv")]
    options = ["--drafts", tmp_path / "out", "--out", tmp_path / "found", "--rankers", "bm25"]
    return [*tables, *map(str, options), "--draws", "30"]


def typed(words: list[str], *more: str) -> Result:
    return CliRunner().invoke(APP, [*words, *more], catch_exceptions=False)


def report(words: list[str]) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        (Path(words[0]).parent / "found" / "report.json").read_text("utf-8")
    )
    return found


def test_it_judges_and_leaves_figures_and_a_picture(words: list[str]) -> None:
    result = typed(words, "--keep-echoes")
    assert result.exit_code == 0
    assert "NDCG@10" in result.output
    assert "original + written" in result.output
    folder = Path(words[0]).parent / "found"
    assert sorted(one.name for one in folder.iterdir()) == ["leads.svg", "report.json"]
    assert (folder / "leads.svg").read_text("utf-8").startswith("<svg")
    assert str(folder / "report.json") in result.output


def test_a_dry_run_writes_nothing(words: list[str]) -> None:
    result = typed(words, "--dry-run")
    assert "Would write" in result.output
    assert not (Path(words[0]).parent / "found").exists()


def test_what_is_there_is_replaced_when_that_is_said(words: list[str]) -> None:
    typed(words)
    with pytest.raises(ResourceError, match="exists already"):
        typed(words)
    assert typed(words, "--force").exit_code == 0


def test_options_reach_the_judges(words: list[str], tmp_path: Path) -> None:
    more = ["--k", "3", "--gain", "linear", "--k1", "0.5", "--b", "0.1", "--seed", "4"]
    more += ["--echo", "0.9", "--keep-echoes", "--simulate-clicks", "--slot", "description"]
    typed(
        words,
        *more,
        "--training-queries",
        str(tmp_path / "seen.csv"),
        "--variant",
        "0",
        "--offline",
    )
    told = report(words)
    config = told["settings"]["config"]  # type: ignore[index]
    search = config["search"]
    assert (search["k"], search["gain"], search["draws"], search["seed"]) == (3, "linear", 30, 4)
    assert (search["echo"]["share"], search["echoes"]) == (0.9, "keep")
    assert (config["k1"], config["b"], config["offline"]) == (0.5, 0.1, True)
    assert told["simulated_clicks"][0]["simulated"] is True  # type: ignore[index]
    assert told["search"]["seen"] == 1  # type: ignore[index]


def test_rankers_are_named(words: list[str]) -> None:
    at = words.index("bm25")
    with pytest.raises(ConfigError, match="no ranker 'tfidf'"):
        typed([*words[:at], "tfidf", *words[at + 1 :]])
    with pytest.raises(ConfigError, match="each once"):
        typed([*words[:at], ",", *words[at + 1 :]])


def test_what_is_missing_is_told(words: list[str]) -> None:
    assert typed(words[:3]).exit_code == 2
    with pytest.raises(ConfigError, match="arms"):
        typed(words, "--arms", words[1])
