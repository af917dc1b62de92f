import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="the extra audit is not installed")

from tests.support.audit.chats import kettle_files
from tests.support.audit.shops import KETTLES
from tests.support.commands import call


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
    assert made["ranker"].endswith("behind normalisation, typed extraction")
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
