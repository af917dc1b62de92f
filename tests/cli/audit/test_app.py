"""?"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from adwright.audit.catalogue import ShopCatalogue, ShopListing
from adwright.audit.report.audit_report import AuditReport, AuditRunConfig, run_audit
from adwright.cli.audit import show_report
from adwright.cli.audit_options import DefenceChoice, TargetChoice, language_model, open_shop
from adwright.core.errors import ConfigError
from tests.support.audit.chats import gullible_chat, kettle_files
from tests.support.audit.scripted_targets import gullible
from tests.support.audit.shops import KETTLES, kettles
from tests.support.audit.texts import praise, quiet
from tests.support.chat_server import chatting
from tests.support.commands import call


def test_the_group_teaches() -> None:
    said = call("audit", "--help")
    assert "push a product up a model's list" in said
    for verb in ("run", "report", "ask"):
        assert verb in said


def test_an_assistant_names_products_of_the_shop(tmp_path: Path, small: Path) -> None:
    shop, _ = kettle_files(tmp_path)
    said = call("audit", "ask", shop, "glass", "-k", 2, "--model", small, "--facts-alone")
    lines = [line for line in said.splitlines() if line[:2] in ("1.", "2.")]
    assert len(lines) == 2
    assert all(line[3:].partition(":")[0] in KETTLES for line in lines)
    assert "Price: $" in lines[0]


def test_a_server_ranks_for_an_assistant(tmp_path: Path) -> None:
    shop, _ = kettle_files(tmp_path)
    with chatting(lambda asked: "\n".join(f"{at}. {one}" for at, one in enumerate(KETTLES, 1))) as (
        url,
        server,
    ):
        options = ("--server", url, "--served-model", "served", "--facts-alone")
        said = call("audit", "ask", shop, "glass", "-k", 2, *options)
    assert {one["model"] for one in server.asked} == {"served"}
    assert any(line[3:].partition(":")[0] in KETTLES for line in said.splitlines())


def test_reasons_of_a_model_of_no_sense_are_the_facts_or_harmless(
    tmp_path: Path, small: Path
) -> None:
    shop, _ = kettle_files(tmp_path)
    options = ("-k", 1, "--model", small, "--rule", "mean", "--average", 2, "--shown", 3)
    said = call("audit", "ask", shop, "glass", *options)
    (line,) = [one for one in said.splitlines() if one.startswith("1. ")]
    assert line[3:].partition(":")[0] in KETTLES


pytest.importorskip("cryptography", reason="the extra audit is not installed")


def test_a_certificate_is_signed_and_checked(tmp_path: Path, small: Path) -> None:
    shop, _ = kettle_files(tmp_path)
    out, key = tmp_path / "certificate.json", tmp_path / "audit.pem"
    usual = ("audit", "certify", shop, "--model", small, "--key", key, "--out", out)
    said = call(*usual, "--facts-by", "Rating", "--eps", 0.05, "--colluders", 3)
    assert "a text moves a score by at most 0.05" in said
    assert "column Rating, and texts within 0.05" in said
    public = said.rpartition("signed by ")[2].strip()
    made = json.loads(out.read_text("utf-8"))
    products = made["certificate"]["products"]
    assert [one["name"] for one in products] == list(KETTLES)
    # Ratings are a tenth apart, and texts move a score by half of that: a tie is the attacker's.
    assert all(abs(one["rank"] - one["best"]) <= 1 for one in products)
    assert "every bound follows" in call("audit", "verify", out, "--public-key", public)
    assert "another key" in call("audit", "verify", out, "--public-key", "00" * 32, code=2)
    assert "exists already" in call(*usual, "--facts-by", "Rating", code=2)
    again = call(*usual, "--facts-by", "Rating", "--force")
    assert public in again
    spread = np.std([one["facts"] for one in products])
    assert json.loads(out.read_text("utf-8"))["certificate"]["eps"] == pytest.approx(spread / 4)
    out.write_text(out.read_text("utf-8").replace("Teapot", "Potion"), "utf-8")
    assert "does not hold" in call("audit", "verify", out, code=2)


def test_the_script_checks_without_adwright(tmp_path: Path, small: Path) -> None:
    shop, _ = kettle_files(tmp_path)
    out = tmp_path / "certificate.json"
    call("audit", "certify", shop, "--model", small, "--key", tmp_path / "k.pem", "--out", out)
    script = tmp_path / "verify.py"
    script.write_text(call("audit", "verify", out, "--script"), "utf-8")
    assert "adwright" not in script.read_text("utf-8").replace("adwright-rank-certificate", "")
    done = subprocess.run([sys.executable, str(script), str(out)], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_texts_are_certified_as_the_defences_leave_them(tmp_path: Path, small: Path) -> None:
    shop, _ = kettle_files(tmp_path)
    out = tmp_path / "certificate.json"
    usual = ("audit", "certify", shop, "--model", small, "--key", tmp_path / "k.pem", "--out", out)
    call(*usual, "--facts-by", "Rating", "--defend", "--typed-facts")
    made = json.loads(out.read_text("utf-8"))["certificate"]
    assert made["ranker"].endswith("behind certainties, normalisation, typed extraction")
    plain = call(*usual, "--facts-by", "Rating", "--typed-facts", "--force", code=2)
    assert "add --defend" in plain


def test_other_bounds_are_shown_beside_what_they_cost(tmp_path: Path, small: Path) -> None:
    shop, _ = kettle_files(tmp_path)
    usual = ("audit", "certify", shop, "--model", small, "--key", tmp_path / "audit.pem")
    out, curve = tmp_path / "c.json", tmp_path / "curve"
    said = call(*usual, "--out", out, "--eps", 0.07, "--grades", "Rating", "--curve", curve)
    assert "0.07*" in said
    assert "NDCG" in said
    assert {one.name for one in curve.iterdir()} == {"curve.svg", "curve.json"}
    points = json.loads((curve / "curve.json").read_text("utf-8"))
    assert points["chosen"] == 0.07
    assert points["points"][0]["eps"] == 0
    wrong = call(*usual, "--out", tmp_path / "d.json", "--grades", "Price", code=2)
    assert "--grades Price" in wrong


def test_facts_that_cannot_rank(tmp_path: Path) -> None:
    shop, _ = kettle_files(tmp_path)
    said = call("audit", "certify", shop, "--facts-by", "Price", "--out", tmp_path / "c", code=2)
    assert "column of numbers" in said
    said = call("audit", "certify", shop, "--facts-by", "Weight", "--out", tmp_path / "c", code=2)
    assert "Weight" in said
    assert list(tmp_path.glob("*.pem")) == []
    assert "no signed certificate" in call("audit", "verify", shop, code=2)


pytest.importorskip("openai", reason="the extra lm is not installed")


def test_options_choose_columns_and_rows(tmp_path: Path) -> None:
    file, _ = kettle_files(tmp_path)
    columns = "name=Name,facts=Price,texts=Ideal For,texts=Rating"
    with pytest.raises(Exception, match="1 of 1 rows"):
        open_shop(file, "A pot?", columns, where="Rating=4.5")
    found = open_shop(file, "A pot?", "texts=Rating", most=3, own=True)
    assert (len(found), found.own, found.request) == (3, True, "A pot?")
    assert list(found.listings[0].texts) == ["Rating"]
    pairs = "name=NAME,facts=price,texts=ideal_for,texts=rating"
    told = open_shop(file, "A pot?", pairs).listings[0]
    assert (list(told.attributes), list(told.texts)) == (["Price"], ["Ideal For", "Rating"])
    with pytest.raises(ConfigError, match=r"a product has no column 'fact'.*closest is facts"):
        open_shop(file, "A pot?", "fact=Price")


def test_options_choose_who_ranks() -> None:
    url = "http://127.0.0.1:9/v1"
    with_mean = TargetChoice(url=url, model="m", average=3).open(seed=2)
    assert with_mean.name == "m, free answer (temperature 0), mean of 3 orders"
    with_mean.close()
    with pytest.raises(ConfigError, match="asked for a list"):
        TargetChoice("likelihood", url=url, model="m").open()
    assert language_model("").engine == "torch"
    assert language_model("a+engine=paged").engine == "paged"
    with pytest.raises(ConfigError, match="which model"):
        language_model("", url)


def test_a_guard_that_cannot_alarm_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    listings = tuple(
        ShopListing(f"Kettle {row}", {}, {"For": f"boils {row} cups of water in a minute"})
        for row in range(60)
    )
    DefenceChoice(defend=True, eps=0.5, typed_facts=False).stack(
        ShopCatalogue("kettles", "A kettle?", listings)
    )
    assert "cannot alarm: it needs 100 honest texts" in capsys.readouterr().err


def test_typed_facts_need_defences_and_facts() -> None:
    with pytest.raises(ConfigError, match="no defences"):
        DefenceChoice(defend=False, eps=0.5, typed_facts=True)
    listings = tuple(ShopListing(name, {}, {"For": "tea"}) for name in ("Kettle", "Pot"))
    bare = ShopCatalogue("kettles", "A kettle?", listings)
    with pytest.raises(ConfigError, match="no listing has an attribute") as caught:
        DefenceChoice(defend=True, eps=0.5, typed_facts=True).check(bare)
    assert caught.value.where == "--typed-facts"


def test_a_report_is_read_again_and_judged(tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = AuditRunConfig(orders=3, draws=50)
    run_audit(kettles(), gullible(), [praise("Steel Kettle")], config, out=run)
    said = call("audit", "report", run)
    assert "Ranked by gullible" in said
    assert "100.0 (100.0 to 100.0)" in said
    assert "within the bound" in call("audit", "report", run / "report.json", "--fail-above", 100)
    page = tmp_path / "page.html"
    failed = call("audit", "report", run, "--fail-above", 20, "--surely", "--out", page, code=1)
    assert "low end" in failed
    assert "Gate: failed" in page.read_text("utf-8")
    assert "exists already" in call("audit", "report", run, "--out", page, code=2)
    call("audit", "report", run, "--out", page, "--force")
    assert "Gate" not in page.read_text("utf-8")


def test_what_is_no_report(tmp_path: Path) -> None:
    assert "no report that can be read" in call("audit", "report", tmp_path, code=2)
    (tmp_path / "report.json").write_text("{}", "utf-8")
    assert "no report of an audit" in call("audit", "report", tmp_path, code=2)
    assert "percentage points" in call("audit", "report", tmp_path, "--fail-above", 300, code=2)


pytest.importorskip("openai", reason="the extra lm is not installed")


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


def test_a_tier_is_a_line_that_no_name_can_break(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = dataclasses.replace(praise("Steel Kettle"), tier="T0\n\x1b[31mnet 0.0")
    run = run_audit(kettles(), gullible(), [hostile], AuditRunConfig(orders=1, draws=20))
    show_report(run.report)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "\\n\\x1b[31mnet 0.0" in lines[-1]
    assert "100.0 (100.0 to 100.0)" in lines[-1]


pytest.importorskip("openai", reason="the extra lm is not installed")


def test_a_change_that_moves_a_rank_is_told(tmp_path: Path) -> None:
    shop, _ = kettle_files(tmp_path)
    state, out = tmp_path / "state.json", tmp_path / "changes.json"
    with gullible_chat() as (url, server):
        usual = ("audit", "watch", shop, "--state", state, "--url", url, "--model", "m")
        first = call(*usual, "--orders", 2)
        assert "6 texts seen for the first time, 0 suspicious" in first
        assert "0 texts changed" in call(*usual, "--orders", 2)
        changed = shop.read_text("utf-8").replace("drink 1 cups", "want the best")
        shop.write_text(changed, "utf-8")
        said = call(*usual, "--orders", 2, "--least-gain", 1, "--out", out, "--fail", code=1)
        asked = len(server.asked)
        again = call(*usual, "--texts-alone", "--fail")
        assert len(server.asked) == asked
    assert "1 texts changed, 1 suspicious" in said
    assert "rank 6.0 before, 1.0 with it" in said
    assert "0 texts changed" in again
    (text,) = json.loads(out.read_text("utf-8"))["texts"]
    assert (text["name"], text["rank_after"]) == ("Steel Kettle", 1.0)


def test_what_is_no_state(tmp_path: Path) -> None:
    shop, texts = kettle_files(tmp_path)
    usual = ("audit", "watch", shop, "--texts-alone")
    assert "no state of a watch" in call(*usual, "--state", texts, code=2)
    state = tmp_path / "state.json"
    said = call(*usual, "--state", state, "--honest", shop)
    assert "no guard among the defences" in said
    other = tmp_path / "pots.jsonl"
    other.write_text(shop.read_text("utf-8"), "utf-8")
    assert "of the catalogue" in call(*usual[:2], other, *usual[3:], "--state", state, code=2)
    assert "least_gain" in call(*usual, "--state", state, "--least-gain", 0, code=2)
