"""?"""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner, Result

from adwright.authoring.writer.drafts import Draft, Drafts
from adwright.cli.app import Root
from adwright.cli.author.write import comma_list, data, describe, pairs_of, read_labels, tune
from adwright.cli.verbs import verb
from adwright.core.draws import drawn
from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from tests.authoring.test_recipe import write_rows
from tests.support.commands import call
from tests.support.lm.tiny_llama import save_tiny
from tests.support.writing import Teller


def test_texts_are_written_and_told(table: Path, tmp_path: Path, teller: Teller) -> None:
    out = tmp_path / "out"
    free = ("--slots", "headline", "--platform", "google-rsa", "--by", "free")
    said = call("author", "write", table, out, *free)
    assert "2 texts, 0 failed, 0 left" in said
    assert "100.0% of the texts before repair" in said
    assert f"next: adwright author review {out}" in said
    assert "at most 30 characters" in teller.prompts[0]
    again = call("author", "write", table, out, *free)
    assert "0 texts, 0 failed" in again
    assert "2 that were there" in again


def test_every_setting_reaches_the_job(table: Path, tmp_path: Path, teller: Teller) -> None:
    out = tmp_path / "out"
    voice = tmp_path / "voice.toml"
    voice.write_text('tone = "calm and plain"\n')
    call(
        *("author", "write", table, out, "--slots", "headline,title", "--voice", voice),
        *("--by", "free"),
        *("--value", "occasion=Easter", "--value-columns", "query=colour"),
        *("--instruction", "headline=Say it.", "--sample", 1, "--seed", 5, "--temperature", 0.5),
        *("--columns", "attributes=Colour", "--locale", "en-GB", "--batch", 1, "--attempts", 1),
        *("--price-prompt", 1, "--price-answer", 2, "--money", "EUR", "--no-repair"),
    )
    headline, title = teller.prompts
    assert "Say it." in headline
    assert "Easter" in headline
    assert "calm and plain" in headline
    assert "Query: " in title
    assert "colour: " in title
    assert teller.calls[0][1].temperature == 0.5
    with closing(Drafts.open(out, reading_only=True)) as drafts:
        product = next(iter(drafts.states()))[0]
    seed = drawn(5, product, "headline", "0", "0", "1") % 2**31
    assert teller.calls[0][1].seeds == (seed,)
    report = json.loads((out / "report.json").read_text())
    assert report["products"] == 1
    assert report["currency"] == "EUR"
    assert report["cost"] > 0


def test_a_dry_run_asks_no_model_and_writes_nothing(
    table: Path, tmp_path: Path, teller: Teller
) -> None:
    said = call(
        *("author", "write", table, tmp_path / "out", "--slots", "headline,title", "--dry-run"),
        *("--price-prompt", 100, "--price-answer", 100),
    )
    assert "2 texts for 2 products" in said
    assert "would fail:" in said
    assert "query" in said
    assert "cost, about:" in said
    assert teller.prompts == []
    assert not (tmp_path / "out").exists()


def test_the_exit_code_tells_how_it_ended(table: Path, tmp_path: Path, teller: Teller) -> None:
    failing = ("author", "write", table, tmp_path / "a", "--slots", "headline,title")
    assert "2 failed" in call(*failing, code=3)
    bounded = ("author", "write", table, tmp_path / "b", "--slots", "headline,description")
    assert "left" in call(*bounded, "--budget-tokens", 1, code=4)
    said = call("author", "write", table, tmp_path / "c", "--slots", "headlines", code=2)
    assert "did you mean headline" in said
    said = call("author", "write", tmp_path / "none.csv", tmp_path / "c", code=2)
    assert "no such file" in said


def test_an_interruption_says_how_to_go_on(table: Path, tmp_path: Path, teller: Teller) -> None:
    def interrupt(prompt: str, call: int) -> str:
        if call > 1:  # the first warms
            raise KeyboardInterrupt
        return "Fresh tea"

    teller.tell = interrupt
    out = tmp_path / "out"
    said = call("author", "write", table, out, "--slots", "headline", code=130)
    assert "the same command, given again, goes on" in said
    assert json.loads((out / "report.json").read_text())["end"] == "stopped"


def test_bad_rows_are_told(tmp_path: Path, teller: Teller) -> None:
    path = tmp_path / "shop.csv"
    path.write_text("id,title\n1,Tea\n1,Cup\n2,\n")
    said = call("author", "write", path, tmp_path / "out", "--slots", "headline")
    assert "row 1 (1): the id stands twice" in said
    assert "row 2 (2): the row has no title" in said
    assert "1 texts, 0 failed" in said


def test_labels_are_chosen_from_a_file(table: Path, tmp_path: Path, teller: Teller) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("Fresh tea\nFresh cup\n")
    out = tmp_path / "out"
    call("author", "write", table, out, "--slots", "category", "--labels", labels)
    assert '"Fresh cup"' in (teller.calls[1][1].grammar or "")


RUN = CliRunner()
app = typer.Typer(cls=Root)
verb(
    app,
    "data",
    by_place="out",
    was={"--attribute-columns": "--columns attributes=,"},
    gone={"--folder": "name --catalogue"},
)(data)
app.command("other")(lambda: None)


def said(*words: str, code: int = 0) -> Result:
    found = RUN.invoke(app, ["data", *words])
    assert found.exit_code == code, found.output
    return found


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A table of sixty products."""
    count = 60
    pl.DataFrame(
        {
            "sku": [f"s{n}" for n in range(count)],
            "name": [
                f"fine {(n + 1) * 104729:x} kettle {(n + 1) * 15485863:x}" for n in range(count)
            ],
            "kind": ["home" if n % 2 else "garden" for n in range(count)],
            "size": [f"{n + 10} cm" for n in range(count)],
        }
    ).write_csv(tmp_path / "shop.csv")
    return tmp_path / "shop.csv"


OWN = (
    "--columns",
    "id=sku,title=name,category=kind",
    "--attribute-columns",
    "size",
    "--tasks",
    "ads,classify",
)


def test_a_catalogue_becomes_instruction_data(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows"
    told = said(str(out), "--catalogue", str(shop), *OWN, "--most", "20", "--valid", "0.2").output
    assert "ungrounded, left out" in told
    assert "teacher:" in told
    assert "plan" in told
    report = json.loads((out / "report.json").read_text())
    assert sum(side.get("ads", 0) for side in report["kept"].values()) == 20
    row = json.loads((out / "train.jsonl").read_text().splitlines()[0])
    assert row["product"]["attributes"][0][0] == "size"
    assert row["source"] == "shop"


def test_a_voice_is_told_to_the_model(shop: Path, tmp_path: Path) -> None:
    voice = tmp_path / "voice.toml"
    voice.write_text('tone = "calm and plain"\n')
    said(
        str(tmp_path / "rows"), "--catalogue", str(shop), *OWN, "--most", "5", "--voice", str(voice)
    )
    row = json.loads((tmp_path / "rows" / "train.jsonl").read_text().splitlines()[0])
    assert "Tone: calm and plain." in row["messages"][0]["content"]


def test_a_folder_is_replaced_only_with_force(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows"
    words = (str(out), "--catalogue", str(shop), *OWN, "--most", "10")
    said(*words)
    assert "exists already" in said(*words, code=2).output
    said(*words, "--force", "--seed", "1")
    assert json.loads((out / "report.json").read_text())["seed"] == 1


def test_a_dry_run_counts_and_writes_nothing(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows"
    told = said(str(out), "--catalogue", str(shop), *OWN, "--dry-run").output
    assert "Nothing was written." in told
    assert "34" in told, "seeds"
    assert "60" in told
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ((), "Missing option"),
        (("--folder", "{tmp}"), "--folder is gone"),
        (("--catalogue", "{shop}", "--columns", "sku=id"), "sku"),
        (("--catalogue", "{shop}", "--columns", "id=nr"), "'nr'"),
        (("--catalogue", "{shop}", "--columns", "id=sku,title=name,query=nr"), "'nr'"),
        (("--catalogue", "{tmp}/absent.csv"), "no such file"),
        (("--catalogue", "{shop}", *OWN, "--tasks", "poems"), "no task 'poems'"),
        (("--catalogue", "{shop}", *OWN, "--held-out", "titles"), "held_out are some of them"),
        (("--catalogue", "{shop}", *OWN, "--valid", "1"), "out of range"),
        (("--catalogue", "{shop}", *OWN, "--teacher", "x", "--server", "http://y"), "one teacher"),
        (("--catalogue", "{shop}", *OWN, "--server", "http://y"), "go together"),
        (("--catalogue", "{shop}", *OWN, "--voice", "{shop}"), "TOML"),
        (("--catalogue", "{shop}", *OWN, "--voice", "{tmp}/voice"), "does not exist"),
    ],
)
def test_mistakes_are_told_in_words(
    shop: Path, tmp_path: Path, words: tuple[str, ...], what: str
) -> None:
    given = [word.format(tmp=tmp_path, shop=shop) for word in words]
    found = said(str(tmp_path / "rows"), *given, code=2)
    assert what in " ".join(found.output.split())
    assert not (tmp_path / "rows").exists()


def test_a_teacher_is_opened_and_closed(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, closed = [], []

    class Model(ScriptedModel):
        def close(self) -> None:
            closed.append(self)

    def opening(config: object) -> ScriptedModel:
        opened.append(config)
        return Model(ScriptedConfig(("A fine kettle.",), name="wise"))

    monkeypatch.setattr("adwright.lm.open_model.open_model", opening)
    words = ("--catalogue", str(shop), *OWN, "--most", "10")
    told = said(
        str(tmp_path / "one"), *words, "--server", "http://x/v1", "--served-model", "m"
    ).output
    assert "wise" in told
    said(str(tmp_path / "two"), *words, "--teacher", "smollm2-135m-instruct", "--offline")
    assert [type(one).__name__ for one in opened] == ["HttpConfig", type(opened[1]).__name__]
    assert len(closed) == 2


def test_help_teaches() -> None:
    told = said("--help").output
    assert "adwright author data --out rows --catalogue shop.csv" in " ".join(told.split())


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
    more += ["--echo", "0.9", "--keep-echoes", "--slot", "description"]
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
    assert told["search"]["seen"] == 1  # type: ignore[index]


def test_rankers_are_named(words: list[str]) -> None:
    at = words.index("bm25")
    with pytest.raises(ConfigError, match="no ranker 'tfidf'"):
        typed([*words[:at], "tfidf", *words[at + 1 :]])
    with pytest.raises(ConfigError, match="each once"):
        typed([*words[:at], ",", *words[at + 1 :]])


def test_what_is_missing_is_told(words: list[str]) -> None:
    assert typed(words[:3]).exit_code == 2


def test_lists_and_pairs_are_read() -> None:
    assert comma_list(" a, b,,c ") == ("a", "b", "c")
    assert comma_list(None) == ()
    assert pairs_of("--value", ["occasion=Easter = spring"]) == (("occasion", "Easter = spring"),)
    assert pairs_of("--value", None) == ()
    with pytest.raises(ConfigError, match="no pair"):
        pairs_of("--value", ["occasion"])


def test_labels_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("Tea\n\n Cups \nTea\n", "utf-8-sig")
    assert read_labels(path) == ("Tea", "Cups")
    assert read_labels(None) == ()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_labels(tmp_path / "none.txt")


pytest.importorskip("transformers", reason="the extra lm is not installed")


verb(app, "tune")(tune)
app.command("other")(lambda: None)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as a Hugging Face folder."""
    return save_tiny(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A folder of rows of two tasks."""
    return write_rows(tmp_path / "rows")


def tune_said(*words: str, code: int = 0) -> str:
    found = RUN.invoke(app, ["tune", *words])
    assert found.exit_code == code, found.output
    return found.output


def test_it_tunes_and_is_resumed(base: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = (
        str(rows),
        "--model",
        str(base),
        "--out",
        str(out),
        "--steps",
        "2",
        "--batch",
        "4",
        "--valid",
        "0.3",
    )
    told = tune_said(*words, "--task", "ads", "--set", "rank=2", "--rate", "0.01")
    assert "held-out answers, nats per token" in told
    assert "LoRA" in told
    assert (out / "tuned" / "manifest.json").is_file()
    assert "exists already" in tune_said(*words, "--task", "ads", code=2)
    tune_said(*words, "--task", "ads", "--set", "rank=2", "--rate", "0.01", "--resume")
    tune_said(*words, "--task", "descriptions", "--method", "ia3", "--force")
    assert json.loads((out / "report.json").read_text())["method"] == "IA3"


def test_a_dry_run_shows_the_tuning(rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    told = json.loads(
        tune_said(
            str(rows),
            "--out",
            str(out),
            "--profile",
            "7b-gpu",
            "--epochs",
            "2",
            "--max-length",
            "99",
            "--device",
            "cuda:1",
            "--seed",
            "4",
            "--dry-run",
        )
    )
    assert told["model"] == "meta-llama/Llama-2-7b-hf"
    assert told["method"]["class"] == "LoRA"
    assert (told["quantise"], told["device"], told["seed"]) == ("nf4", "cuda:1", 4)
    assert (told["tune"]["epochs"], told["data"]["max_length"]) == (2, 99)
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--task", "poems"), "no task 'poems'"),
        (("--task", "titles"), "no rows to tune on"),
        (("--method", "LoRAA"), "LoRA"),
        (("--set", "rank"), "a setting is NAME=VALUE"),
    ],
)
def test_tune_mistakes_are_told_in_words(
    rows: Path, tmp_path: Path, words: tuple[str, ...], what: str
) -> None:
    told = tune_said(str(rows), "--out", str(tmp_path / "run"), *words, code=2)
    assert what in " ".join(told.split())
    assert not (tmp_path / "run").exists()
