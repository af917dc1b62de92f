from __future__ import annotations

import json
from pathlib import Path

import pytest

from adwright.audit.report.trials import AUDIT_MARK, SellerText, read_texts, with_text, write_texts
from adwright.core.errors import ConfigError, DataError, FileUnreadableError, ValueInvalidError
from tests.support.audit.shops import kettles
from tests.support.audit.texts import FIELD, HOSTILE, praise, quiet

SHOP = kettles()


def test_texts_survive_a_file_whatever_they_say(tmp_path: Path) -> None:
    texts = [SellerText("Teapot", FIELD, one, "T1", "seed 0", whole=False) for one in HOSTILE]
    write_texts(tmp_path / "texts.jsonl", [*texts, quiet("Samovar")])
    assert read_texts(tmp_path / "texts.jsonl", SHOP) == [*texts, quiet("Samovar")]
    lines = (tmp_path / "texts.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == len(texts) + 1
    assert {json.loads(line)["audit"] for line in lines} == {AUDIT_MARK}


def test_a_text_is_the_field_or_follows_what_is_there() -> None:
    def shown(text: SellerText) -> str:
        return with_text(SHOP, text).listings[4].texts[FIELD]

    assert shown(praise("Teapot")) == "the best "
    after = SellerText("Teapot", FIELD, "and all", "T0", whole=False)
    assert shown(after) == "people who drink 5 cups and all"
    with pytest.raises(ConfigError, match="no such product"):
        with_text(SHOP, praise("Pot"))
    with pytest.raises(ConfigError, match="no text of the listing"):
        with_text(SHOP, SellerText("Teapot", "Price", "$1", "T0"))


def test_controls_are_told_by_their_tier() -> None:
    assert quiet("Teapot").control
    assert not praise("Teapot").control


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("no json", "no text of an audit"),
        ("[1]", "no text of an audit"),
        ('{"product": "Teapot", "field": "Ideal For", "text": 3, "tier": "T0"}', "no text of an"),
        ('{"product": "Pot", "field": "Ideal For", "text": "", "tier": "T0"}', "no such product"),
        ('{"product": "Teapot", "field": "Price", "text": "", "tier": "T0"}', "no such text field"),
        ("[" * 100_000, "no text of an audit"),
    ],
)
def test_lines_that_are_none(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "texts.jsonl"
    write_texts(path, [praise("Teapot")])
    path.write_text(path.read_text("utf-8") + line + "\n", "utf-8")
    with pytest.raises(ValueInvalidError, match=what) as caught:
        read_texts(path, SHOP)
    assert caught.value.row == 1


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match="no such file"):
        read_texts(tmp_path / "none", SHOP)
    with pytest.raises(FileUnreadableError, match="cannot be read"):
        read_texts(tmp_path, SHOP)
    (tmp_path / "latin").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(FileUnreadableError, match="cannot be read"):
        read_texts(tmp_path / "latin", SHOP)
    (tmp_path / "empty").write_text("\n\n", "utf-8")
    with pytest.raises(DataError, match="has no text"):
        read_texts(tmp_path / "empty", SHOP)
