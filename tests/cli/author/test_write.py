from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from adwright.authoring.instructions.rows import drawn
from adwright.authoring.writer.drafts import Drafts
from tests.support.commands import call
from tests.support.writing import Teller


def test_texts_are_written_and_told(table: Path, tmp_path: Path, teller: Teller) -> None:
    out = tmp_path / "out"
    said = call("author", "write", table, out, "--slots", "headline", "--platform", "google-rsa")
    assert "2 texts, 0 failed, 0 left" in said
    assert "100.0% of the texts before repair" in said
    assert f"next: adwright author review {out}" in said
    assert "at most 30 characters" in teller.prompts[0]
    again = call("author", "write", table, out, "--slots", "headline", "--platform", "google-rsa")
    assert "0 texts, 0 failed" in again
    assert "2 that were there" in again


def test_every_setting_reaches_the_job(table: Path, tmp_path: Path, teller: Teller) -> None:
    out = tmp_path / "out"
    voice = tmp_path / "voice.toml"
    voice.write_text('tone = "calm and plain"\n')
    call(
        *("author", "write", table, out, "--slots", "headline,title", "--voice", voice),
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
