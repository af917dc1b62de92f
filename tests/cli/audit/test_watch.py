import json
from pathlib import Path

import pytest

pytest.importorskip("openai", reason="the extra lm is not installed")

from tests.support.audit.chats import gullible_chat, kettle_files
from tests.support.commands import call


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
