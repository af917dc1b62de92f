from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner, Result

from adwright.cli.app import Root
from adwright.cli.author.data import data
from adwright.cli.verbs import verb
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel

RUN = CliRunner()
app = typer.Typer(cls=Root)
verb(app, "data", by_place="out")(data)
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
    assert "recombination" in told
    assert "customer never written" in told
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
    told = said(str(out), "--catalogue", str(shop), *OWN, "--phrasings", "3", "--dry-run").output
    assert "Nothing was written." in told
    assert "37" in told, "34 seeds and three new ones"
    assert "60" in told
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ((), "nothing named to build from"),
        (("--folder", "{tmp}"), "no data set that is known"),
        (("--catalogue", "{shop}", "--columns", "sku=id"), "a product has no sku"),
        (("--catalogue", "{shop}", "--columns", "id=nr"), "has no column 'nr'"),
        (("--catalogue", "{tmp}/absent.csv"), "no such file"),
        (("--catalogue", "{shop}", *OWN, "--tasks", "poems"), "no task 'poems'"),
        (("--catalogue", "{shop}", *OWN, "--held-out", "titles"), "held_out are some of them"),
        (("--catalogue", "{shop}", *OWN, "--valid", "1"), "out of range"),
        (("--catalogue", "{shop}", *OWN, "--teacher", "x", "--server", "http://y"), "one teacher"),
        (("--catalogue", "{shop}", *OWN, "--server", "http://y"), "go together"),
        (("--intention", "{shop}"), "no JSON"),
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
    words = ("--catalogue", str(shop), *OWN, "--most", "10", "--phrasings", "2")
    told = said(
        str(tmp_path / "one"), *words, "--server", "http://x/v1", "--served-model", "m"
    ).output
    assert "wise" in told
    said(str(tmp_path / "two"), *words, "--teacher", "smollm2-135m-instruct", "--offline")
    assert [type(one).__name__ for one in opened] == ["HttpConfig", type(opened[1]).__name__]
    assert len(closed) == 2


def test_public_sets_are_found_in_a_folder(shared_data: Path, tmp_path: Path) -> None:
    words = (
        "--folder",
        str(shared_data),
        "--tasks",
        "intent",
        "--most",
        "30",
        "--complete-journey",
    )
    said(str(tmp_path / "rows"), *words)
    report = json.loads((tmp_path / "rows" / "report.json").read_text())
    assert report["seen"] == {"intention": 2217}
    assert sum(side["intent"] for side in report["kept"].values()) <= 30


def test_help_teaches() -> None:
    told = said("--help").output
    assert "adwright author data --out rows --folder data" in " ".join(told.split())
