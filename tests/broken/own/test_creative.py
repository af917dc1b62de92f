"""Describing and judging ads of one's own, with the mistakes that people make there.

The words are typed in a folder that holds ads.csv, clicks.csv (creatives that were shown),
recall.csv (slogans that were remembered) and files that are no pictures. See
`tests.broken.own.mistakes`.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

pytest.importorskip("PIL", reason="the extra creative is not installed")

from tests.broken.own.mistakes import OWN, Mistake, check, title, written

CLICKS = "id,headline,impressions,clicks\n"
RECALL = "slogan,brand,recalled,tries\n" + "".join(
    f"Taste of number {at},b{at},{at % 7},9\n" for at in range(50)
)


def _huge() -> bytes:
    """A PNG that says it has 100 megapixels."""
    size = (10_000).to_bytes(4, "big") * 2
    head = b"IHDR" + size + b"\x08\x02\0\0\0"
    chunk = (13).to_bytes(4, "big") + head + zlib.crc32(head).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + chunk


FILES: dict[str, str | bytes] = {
    "ads.csv": "id,headline,brand,image\na,Fresh bread,Mill,\nb,Tea,Leaf,\n",
    "twice.csv": "id,headline\na,Bread\na,Tea\n",
    "long.csv": "id,headline,seconds\na,Bread,-3\n",
    "away.csv": "id,headline,image\na,Bread,../../secret.png\n",
    "empty.csv": "",
    "header.csv": "headline,brand\n",
    "nothing.csv": "size,colour\n3,4\n",
    "clicks.csv": CLICKS + "a,Bread,100,3\nb,Tea,100,5\n",
    "more.csv": CLICKS + "a,Bread,100,300\nb,Tea,100,5\n",
    "minus.csv": CLICKS + "a,Bread,-100,3\nb,Tea,100,5\n",
    "half.csv": CLICKS + "a,Bread,100.5,3\nb,Tea,100,5\n",
    "gap.csv": CLICKS + "a,Bread,100,\nb,Tea,100,5\n",
    "unseen.csv": CLICKS + "a,Bread,0,0\nb,Tea,0,0\n",
    "recall.csv": RECALL,
    "few.csv": "slogan,recalled,tries\nTaste,3,9\n",
    "over.csv": "slogan,recalled,tries\nTaste,30,9\n",
    "words.csv": "slogan,score\nTaste,good\n",
    "pages/doc.jpg": "%PDF-1.7\n",
    "pages/bomb.svg": "<svg/>",
    "pages/huge.png": _huge(),
    "pages/cut.png": b"\x89PNG\r\n\x1a\n",
    "pages/none.mp4": b"",
    "text.txt": "Fresh bread",
    "run/notes.txt": "no model",
}


def told(name: str, command: str, *says: str, code: int = 2) -> Mistake:
    return Mistake(OWN, name, f"creative {command}", says, code)


def clicks(name: str, table: str, *says: str, words: str = "") -> Mistake:
    return told(name, f"train clicks {table} --out new --dry-run {words}", *says)


def recall(name: str, table: str, *says: str, words: str = "") -> Mistake:
    return told(name, f"train recall {table} --out new --dry-run {words}", *says)


TABLES = [
    told("no table", "describe nowhere.csv", "nowhere.csv"),
    told("a text as a table", "describe text.txt", "text.txt"),
    told("an empty table", "describe empty.csv", "empty.csv"),
    told("a table without rows", "describe header.csv", "no rows"),
    told("nothing that is an ad", "describe nothing.csv", "column"),
    told("one id twice", "describe twice.csv", "row 1", "a"),
    told("a length below 0", "describe long.csv", "row 0", "seconds"),
    told("a picture outside", "describe away.csv", "row 0", "secret.png"),
    told("a column that is not there", "describe ads.csv --title slogan", "slogan", "headline"),
    told("a column as two parts", "describe ads.csv --title brand --brand brand", "two parts"),
    told("records as CSV", "describe ads.csv --out ads2.csv", "Parquet"),
    told("a sense that nobody has", "describe ads.csv --look-for smell", "smell", "colours"),
    told("a file as the table to write", "describe ads.csv --out text.txt", "Parquet"),
]
FOLDERS = [
    told("files that are no pictures", "describe pages", "PDF", "4 of 4 files", code=0),
]
OUTCOMES = [
    clicks("more clicks than impressions", "more.csv", "row 0", "clicks"),
    clicks("impressions below 0", "minus.csv", "row 0", "impressions"),
    clicks("half an impression", "half.csv", "row 0", "impressions"),
    clicks("clicks that are missing", "gap.csv", "row 0", "clicks"),
    clicks("nothing was ever shown", "unseen.csv", "ever shown"),
    clicks("no column of clicks", "ads.csv", "impressions"),
    clicks("clicks as words", "clicks.csv", "clicks", words="--words clicks"),
    told("two creatives", "train clicks clicks.csv --out new", "stories"),
    recall("no column of scores", "ads.csv", "score"),
    recall("more successes than tries", "over.csv", "row 0", words="--score recalled --of tries"),
    recall("a score that is no number", "words.csv", "score"),
    recall("tries without successes", "recall.csv", "tries", words="--of tries"),
    told("one slogan", "train recall few.csv --score recalled --of tries --out new", "too few"),
]
MODELS = [
    told("no model", "score ads.csv --model nowhere", "nowhere"),
    told("a folder without a model", "score ads.csv --model run", "run"),
    told("a model to explain by", "explain ads.csv --model run", "run"),
    told("answers as a sheet", "score ads.csv --model run --out a.xlsx", "CSV or Parquet"),
    told("a writer that is none", "improve ads.csv --model run", "no writer"),
    told("no option --model", "score ads.csv", "--model"),
    told("a kind that nobody writes", "train writer recall.csv --kind poem", "poem"),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("creative")
    written(folder, FILES)
    return folder


@pytest.mark.parametrize("mistake", [*TABLES, *FOLDERS, *OUTCOMES, *MODELS], ids=title)
def test_a_mistake_is_answered_and_leaves_nothing_behind(
    mistake: Mistake, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(mistake, here, monkeypatch)
