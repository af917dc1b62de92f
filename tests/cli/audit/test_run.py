from pathlib import Path

import pytest

pytest.importorskip("openai", reason="the extra lm is not installed")

from adwright.audit.report.audit_report import AuditReport
from tests.support.audit.chats import gullible_chat, kettle_files
from tests.support.audit.shops import KETTLES
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


def test_attacks_write_the_texts_where_none_are_given(tmp_path: Path) -> None:
    shop, _ = kettle_files(tmp_path)
    out = tmp_path / "run"
    usual = ("audit", "run", shop, "--own", "--out", out, "--orders", 2, "--product", "Teapot")
    with gullible_chat() as (url, server):
        said = call(*usual, "--tiers", "T0,T1,control", "--calls", 8, "--url", url, "--model", "m")
        for tier in ("T0", "T1", "control random", "control truthful"):
            assert tier in said
        before = len(server.asked)
        options = ("--tiers", "T0,T1,control", "--calls", 8, "--url", url, "--model", "m")
        call(*usual, *options, "--resume")
        assert len(server.asked) == before
        assert "exists already" in call(*usual, *options, code=2)
        call(*usual, *options, "--force", "--tiers", "control")
    assert not (out / "attacks").exists()
    lines = (out / "texts.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 3
    assert all("not for publication" in line for line in lines)


def test_a_model_of_this_machine_is_attacked_by_gradient_and_defended(
    tmp_path: Path, small: Path
) -> None:
    shop, _ = kettle_files(tmp_path)
    usual = ("audit", "run", shop, "--own", "--orders", 1, "--model", small)
    pushed = ("--product", KETTLES[0])
    said = call(
        *usual, *pushed, "--out", tmp_path / "plain", "--tiers", "T2", "--calls", 4, "--most", 2
    )
    assert "likelihood of the name (sum)" in said
    assert "T2" in said
    options = ("--defend", "--eps", 0.25, "--tiers", "control", "--rule", "mean")
    said = call(*usual, *pushed, "--out", tmp_path / "safe", *options)
    assert "no guard among the defences" in said
    assert "texts within 0.25" in said
    said = call(*usual, *pushed, "--out", tmp_path / "facts", *options, "--typed-facts")
    assert "typed extraction" in said
    alone = call(*usual, "--out", tmp_path / "alone", "--typed-facts", code=2)
    assert "add --defend" in alone


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
        (("--own", "--tiers", "T7"), "unknown tier"),
        (("--own", "--tiers", ""), "no tier"),
        (("--own", "--product", "Pot"), "no such product"),
        ((), "not declared as your own"),
    ],
)
def test_attacks_that_cannot_be(tmp_path: Path, options: tuple[str, ...], what: str) -> None:
    shop, _ = kettle_files(tmp_path)
    said = call("audit", "run", shop, "--out", tmp_path / "run", *options, code=2)
    assert what in said
    told = call("audit", "run", shop, "--own", "--out", tmp_path / "run", "--dry-run")
    assert "T0, control for 6 products, 10 orders" in told
    assert not (tmp_path / "run").exists()


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
