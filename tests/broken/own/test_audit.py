"""Auditing a catalogue of one's own, with the mistakes that people make there.

The words are typed in a folder that holds shop.csv (four kettles), texts.jsonl (what to try) and
files that are neither. See `tests.broken.own.mistakes`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("openai", reason="the extra lm is not installed")

from tests.broken.own.mistakes import OWN, Mistake, check, title, written

SHOP = "name,price,rating,description\n" + "".join(
    f"Kettle {at},${at}9,4.{at},It boils water in {at} minutes or less.\n" for at in range(1, 5)
)
ATTACK = {"product": "Kettle 1", "field": "description", "text": "The best.", "tier": "T0"}
FILES: dict[str, str | bytes] = {
    "shop.csv": SHOP,
    "twice.csv": "name,price\nKettle,$1\nKettle,$2\n",
    "one.csv": "name,price\nKettle,$1\n",
    "unnamed.csv": "size,price\n3,$1\n4,$2\n",
    "sheet.xlsx": b"PK\x03\x04",
    "empty.csv": "",
    "texts.jsonl": json.dumps(ATTACK) + "\n",
    "stranger.jsonl": json.dumps(ATTACK | {"product": "Teapot"}) + "\n",
    "price.jsonl": json.dumps(ATTACK | {"field": "price"}) + "\n",
    "prose.jsonl": "The best kettle of all.\n",
    "blank.jsonl": "\n",
    "run/trials.jsonl": "",
    "other.json": "{}",
}
#: Nobody answers there.
URL = "http://127.0.0.1:9/v1"


def told(name: str, command: str, *says: str, code: int = 2) -> Mistake:
    return Mistake(OWN, name, f"audit {command}", says, code)


def run(name: str, words: str, *says: str, shop: str = "shop.csv", code: int = 2) -> Mistake:
    texts = "" if "--texts " in words or "--tiers" in words else "--texts texts.jsonl"
    return told(name, f"run {shop} {texts} --out new --dry-run {words}", *says, code=code)


CATALOGUES = [
    run("a shop that is not mine", "", "not declared as your own", "--own"),
    run("no shop", "--own", "nowhere.csv", shop="nowhere.csv"),
    run("an empty shop", "--own", "empty", shop="empty.csv"),
    run("a spreadsheet", "--own", "spreadsheet", "CSV", shop="sheet.xlsx"),
    run("one product", "--own", "at least two products", shop="one.csv"),
    run("one name twice", "--own", "at least two products", shop="twice.csv"),
    run("products without names", "--own", "columns are missing: name", "size", shop="unnamed.csv"),
    run("a column of facts that is not there", "--own --facts weight", "'weight'", "price"),
    run("a column as fact and text", "--own --facts price --texts-of price", "two roles"),
    run("no row of that kind", "--own --where price=7", "0 of 0 rows"),
    run("half a condition", "--own --where price", "is no pair"),
]
TEXTS = [
    run("no texts", "--own --texts nowhere.jsonl", "no such file"),
    run("prose for texts", "--own --texts prose.jsonl", "no text of an audit", "row 0"),
    run("an empty file of texts", "--own --texts blank.jsonl", "has no text"),
    run("a product of another shop", "--own --texts stranger.jsonl", "no such product", "Teapot"),
    run("a text for a fact", "--own --texts price.jsonl", "no such text field", "price"),
]
SETTINGS = [
    run("a bound that is no share", "--own --fail-above 500", "percentage points", "500"),
    run("a tier that nobody has", "--own --tiers T9", "T9", "T4", shop="shop.csv"),
    run("no orders", "--own --orders 0", "--orders"),
    run("a rule that nobody has", "--own --rule best", "best"),
    told(
        "an audit that is there",
        "run shop.csv --own --texts texts.jsonl --out run --dry-run",
        "an audit already",
        "--resume",
    ),
    told(
        "an endpoint without a model",
        f"run shop.csv --own --texts texts.jsonl --url {URL} --out new",
        "which model",
        "--model",
    ),
    told(
        "the likelihood of an endpoint",
        f"run shop.csv --own --texts texts.jsonl --url {URL} "
        "--model m --ranker likelihood --out new",
        "asked for a list",
    ),
]
REPORTS = [
    told("no audit", "report nowhere", "no report", "adwright audit run"),
    told("a folder without a report", "report run", "no report"),
    told("a file that is no report", "report other.json", "no report of an audit"),
    told(
        "facts in words", "certify shop.csv --facts-by description --out new", "column of numbers"
    ),
    told("facts below a bound below 0", "certify shop.csv --eps -1 --out new", "--eps"),
    told("a certificate that is none", "verify texts.jsonl", "no signed certificate"),
    told("a key that is none", "certify shop.csv --key other.json --out new", "other.json"),
    told("a watch of nothing", "watch nowhere.csv --texts-alone --state new", "nowhere.csv"),
    told("nothing asked", "ask shop.csv", "request"),
    told("no products wanted", "ask shop.csv tea -k 0", "-k"),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    written(folder, FILES)
    return folder


@pytest.mark.parametrize("mistake", [*CATALOGUES, *TEXTS, *SETTINGS, *REPORTS], ids=title)
def test_a_mistake_is_answered_and_leaves_nothing_behind(
    mistake: Mistake, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(mistake, here, monkeypatch)
