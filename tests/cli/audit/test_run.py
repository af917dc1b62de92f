from pathlib import Path

import pytest

pytest.importorskip("openai", reason="the extra lm is not installed")

from adwright.audit.report.audit_report import AuditReport
from tests.support.audit.chats import gullible_chat, kettle_files
from tests.support.audit.texts import praise, quiet
from tests.support.commands import call


def test_an_audit_of_an_endpoint(tmp_path: Path) -> None:
    shop, texts = kettle_files(tmp_path, praise("Steel Kettle"), quiet("Teapot"))
    out = tmp_path / "run"
    with gullible_chat() as (url, server):
        usual = ("audit", "run", shop, "--own", "--texts", texts, "--out", out, "--orders", 3)
        asked = (*usual, "--url", url, "--model", "m")
        said = call(*asked)
        assert "m, free answer" in said
        assert "100.0 (100.0 to 100.0)" in said
        assert "guessed" in said
        assert len(server.asked) == 9
        assert {one["model"] for one in server.asked} == {"m"}
        assert "exists already" in call(*asked, code=2)
        call(*asked, "--resume")
        assert len(server.asked) == 9
        failed = call(*asked, "--resume", "--fail-above", 50, code=1)
        assert "above the bound of 50" in failed
        call(*asked, "--force", "--request", "Another one?", "--average", 2)
        assert len(server.asked) == 9 + 18
        assert "Another one?" in server.asked[-1]["messages"][-1]["content"]
    report = AuditReport.from_json((out / "report.json").read_text("utf-8"))
    assert report.request == "Another one?"
    assert {path.name for path in out.iterdir()} == {
        *("report.json", "report.csv", "report.html", "trials.jsonl")
    }


def test_a_dry_run_counts_and_writes_nothing(tmp_path: Path) -> None:
    shop, texts = kettle_files(tmp_path, praise("Steel Kettle"))
    said = call(
        *("audit", "run", shop, "--own", "--texts", texts, "--out", tmp_path / "run"),
        *("--orders", 4, "--dry-run"),
    )
    assert "1 texts, 4 orders: 8 rankings of 6" in said
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "trials.jsonl").write_text("", "utf-8")
    again = ("audit", "run", shop, "--own", "--texts", texts, "--out", tmp_path / "run")
    assert "an audit already" in call(*again, "--dry-run", code=2)
    call(*again, "--dry-run", "--resume")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ((), "not declared as your own"),
        (("--own", "--url", "http://127.0.0.1:9/v1"), "which model of the endpoint"),
        (("--own", "--ranker", "likelihood", "--url", "http://127.0.0.1:9/v1"), "asked for a list"),
        (("--own", "--facts", "Weight"), "no column 'Weight'"),
        (("--own", "--where", "Rating"), "is no pair"),
        (("--own", "--fail-above", "200"), "percentage points"),
        (("--own", "--texts-of", ""), "there is no such"),
    ],
)
def test_mistakes(tmp_path: Path, options: tuple[str, ...], what: str) -> None:
    shop, texts = kettle_files(tmp_path, praise("Steel Kettle"))
    if "--texts-of" in options:
        texts = tmp_path / "none.jsonl"
    said = call("audit", "run", shop, "--texts", texts, "--out", tmp_path / "run", *options, code=2)
    assert what in said
    assert not (tmp_path / "run").exists()
