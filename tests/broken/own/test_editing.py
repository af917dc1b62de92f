"""Editing ads of one's own, with the mistakes that people make there.

The words are typed in a folder with ads, two judges of pictures and one of words. See
`tests.broken.own.mistakes`.
"""

from __future__ import annotations

import io
from pathlib import Path

import pytest

pytest.importorskip("PIL", reason="the extra creative is not installed")

from PIL import Image

from adwright.creative.response.fit import ClickRateConfig, train_clicks
from adwright.creative.response.inputs import encoded_texts
from tests.broken.own.mistakes import OWN, Mistake, check, title, written
from tests.support.data.judged_pictures import Brightness, picture_judges
from tests.support.data.small_creatives import small_creatives

BOXES = "ad,left,top,right,bottom,what\n"


def _png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "steelblue").save(out, "PNG")
    return out.getvalue()


FILES: dict[str, str | bytes] = {
    "ads.csv": "id,headline,image\na,Fresh bread,shop/a.png\nb,Vote for Ada,shop/a.png\n",
    "texts.csv": "id,headline\na,Fresh bread\n",
    "shop/a.png": _png(),
    "pages/a.png": _png(),
    "sprig.csv": BOXES + "sprig,1,2,5,4,logo\n",
    "hat.csv": BOXES + "a,1,2,5,4,hat\n",
    "turned.csv": BOXES + "a,9,2,5,4,logo\n",
    "outside.csv": BOXES + "a,1,2,500,4,logo\n",
    "boxes.csv": "ad,left\na,1\n",
    "masks/sprig.png": _png(),
    "full/notes.txt": "mine",
    "faces/notes.txt": "no model",
    "directions.toml": "rows = [1]\n",
    "consent.toml": '[[entries]]\nkind = "release"\n',
    "key.pem": "-----BEGIN PRIVATE KEY-----",
}


def told(name: str, words: str, *says: str, code: int = 2, ads: str = "ads.csv") -> Mistake:
    usual = f"creative edit {ads} --look-for nothing --out new --dry-run"
    return Mistake(OWN, name, f"{usual} {words}", says, code)


def by_a(name: str, words: str, *says: str, code: int = 2, ads: str = "ads.csv") -> Mistake:
    return told(name, f"--judge runs/a --approver Ada {words}", *says, code=code, ads=ads)


MISTAKES = [
    told("no judge", "--approver Ada", "--judge"),
    told("no approver", "--judge runs/a", "--approver"),
    told("a blank approver", "--judge runs/a --approver ' '", "nobody approves"),
    told("a judge that is none", "--judge shop --approver Ada", "no judge", "shop"),
    told("a judge of words", "--judge runs/words --approver Ada", "does not look at pictures"),
    by_a("one judge twice", "--judge runs/a", "twice"),
    by_a("the second judge is searched", "--second runs/a/model", "one of those"),
    by_a("pareto with one judge", "--method pareto", "pareto takes"),
    by_a("an edit that nobody knows", "--edits exposure,smell", "smell", "crop"),
    by_a("no edit", "--edits ,", "no edit"),
    by_a("text without a line", "--edits text", "go together"),
    by_a("a line without text", "--line Fresh", "go together"),
    by_a("faces without a model", "--edits faces", "consent manifest"),
    by_a("a model without consent", "--edits faces --faces faces", "consent manifest"),
    by_a(
        "a folder that is no model of faces",
        "--edits faces --faces faces --directions directions.toml --consent consent.toml",
        "'faces'",
    ),
    by_a("a protected ad that is none", "--protect sprig.csv", "row 0", "sprig"),
    by_a("a mask of no ad", "--protect masks", "mask"),
    by_a("a kind of box that is none", "--protect hat.csv", "row 0", "hat"),
    by_a("a box that is turned", "--protect turned.csv", "row 0", "left < right"),
    by_a("boxes without edges", "--protect boxes.csv", "column"),
    by_a("boxes that are not there", "--protect nowhere.csv", "nowhere.csv"),
    by_a("a box outside is told of its ad", "--protect outside.csv", "outside", code=0),
    by_a("politics are told of their ad", "", "political", "1 ads would be searched", code=0),
    by_a("a key without its certificate", "--private-key key.pem", "go together"),
    by_a("too few calls", "--calls 3", "--calls"),
    by_a("ads without pictures", "", "no ad has a picture", ads="texts.csv"),
    by_a("a table that is not there", "", "nowhere.csv", ads="nowhere.csv"),
    Mistake(
        OWN,
        "a folder that holds something else",
        "creative edit ads.csv --look-for nothing --judge runs/a --approver Ada --out full",
        ("no job",),
    ),
    Mistake(
        OWN,
        "edits among the ads",
        "creative edit pages --look-for nothing --judge runs/a --approver Ada --out pages/new",
        ("among the ads",),
    ),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("editing")
    written(folder, FILES)
    picture_judges(folder / "runs", ("a",), encoder=Brightness())
    config, texts = ClickRateConfig(network=None), encoded_texts("hashed")
    train_clicks(small_creatives(), folder / "runs" / "words", config, texts=texts)
    return folder


@pytest.mark.parametrize("mistake", MISTAKES, ids=title)
def test_a_mistake_is_answered_and_leaves_nothing_behind(
    mistake: Mistake, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(mistake, here, monkeypatch)
