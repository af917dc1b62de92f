"""Logs of people's own, with the mistakes that people make: what each command says of them.

A row names what is wrong, the file, the words that must be said, and what follows
`adwright data import FILE out`; `reads` are imported all the same. See `tests.broken.own.mistakes`.
"""

from __future__ import annotations

import gzip
import json
import zlib
from datetime import datetime
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from tests.broken.own.mistakes import OWN, Mistake, check, title, written

HEAD = "event_id,time,request_id,user_id,kind,item_id"
ROWS = [
    f"e{n},2024-01-0{n % 9 + 1}T10:00:0{n % 9}Z,r{n},u{n % 7},purchase,i{n % 5}" for n in range(40)
]


def table(*rows: str, head: str = HEAD) -> str:
    return "\n".join([head, *(rows or ROWS)]) + "\n"


def with_column(name: str, *values: str) -> str:
    """The log with another column, whose last value stands in the rest of the rows."""
    cells = [*values, *[values[-1]] * len(ROWS)]
    rows = (f"{row},{cell}" for row, cell in zip(ROWS, cells, strict=False))
    return table(*rows, head=f"{HEAD},{name}")


def reads(
    number: int, name: str, data: str | bytes, *words: str, file: str = "log.csv", do: str = ""
) -> Mistake:
    command = f"data import {file} out {do}"
    return Mistake(number, name, command, words, 0, {file: data}, ("out/events.parquet",))


def refuses(
    number: int, name: str, data: str | bytes, *words: str, file: str = "log.csv", do: str = ""
) -> Mistake:
    return Mistake(number, name, f"data import {file} out {do}", words, 2, {file: data})


TWICE, CHECKINS = table(*ROWS, ROWS[0]), table().replace("purchase", "checkin")
UNTIMED = [row.split(",", 2) for row in ROWS]
US_DATES = table(*(f"{a},03/04/2024,{b}" for a, _, b in UNTIMED))
BY_DAYS = table(*(row.replace("2024-01-0", "08/06/2023 1") for row in ROWS))
MILLISECONDS = table(*(f"{a},168625625900{n % 10},{b}" for n, (a, _, b) in enumerate(UNTIMED)))
OFFSETS = table(
    *(
        f"{a},2024-01-01T10:00:00{'+05:30' if n < 9 else ''},{b}"
        for n, (a, _, b) in enumerate(UNTIMED)
    )
)
LINES = "".join(
    f'{{"user_id": {n}, "item_id": "i{n}", "time": 170000000{n}, "kind": "click"}}\n'
    for n in range(9)
)

MISTAKES = [
    reads(1, "another name", table(head=HEAD.replace("user_id", "customer_id")), "customer_id is"),
    refuses(
        1,
        "a name nobody knows",
        table(head=HEAD.replace("user_id", "kundennummer")),
        *("needed columns are missing: user_id", "--columns user_id=", "kundennummer"),
    ),
    reads(2, "capitals", table(head=HEAD.upper()), "all rows are valid"),
    reads(4, "semicolons", table().replace(",", ";"), "all rows are valid"),
    refuses(6, "dates by days", BY_DAYS, "read as a time", "--time-format"),
    refuses(8, "US dates", US_DATES, "03/04/2024", '--time-format "%d/%m/%Y" or "%m/%d/%Y"'),
    reads(8, "US dates, told", US_DATES, "all rows", do="--time-format %m/%d/%Y"),
    reads(9, "milliseconds", MILLISECONDS, "read as milliseconds since 1970", "2023-06-08"),
    reads(10, "two zones", OFFSETS, "Warning: time: 31 times name no zone", "9 name theirs"),
    refuses(14, "an event twice", TWICE, "event_id must be unique", "--drop-repeated"),
    reads(14, "twice, dropped", TWICE, "1 rows whose event", do="--drop-repeated"),
    reads(
        15,
        "no ids",
        table(*(r.split(",", 1)[1] for r in ROWS), head=HEAD.split(",", 1)[1]),
        "event_id is made of a hash of the row",
    ),
    reads(16, "a column more", with_column("store", "1"), "columns left out: store (--context"),
    reads(
        16, "a column kept", with_column("store", "1", "2"), "store: category", do="--context store"
    ),
    refuses(16, "a column that is not there", table(), "no column 'store'", do="--context store"),
    refuses(
        17,
        "a kind nobody knows",
        CHECKINS,
        *("kind is not one that adwright knows", "--kinds checkin=purchase"),
    ),
    reads(17, "a kind, told", CHECKINS, "view 40", do="--kinds checkin=view"),
    reads(17, "a kind by its name", table().replace("purchase", "order"), "purchase 40"),
    reads(18, "a kind in capitals", table().replace("purchase", "PURCHASE"), "purchase 40"),
    refuses(19, "nothing", "", "the file is empty"),
    refuses(20, "a header alone", HEAD + "\n", "the log holds no event"),
    reads(21, "gzip", gzip.compress(table().encode()), "all rows are valid", file="log.csv.gz"),
    refuses(21, "half a gzip", gzip.compress(table().encode())[:99], "damaged", file="log.csv.gz"),
    refuses(22, "a spreadsheet", b"PK\x03\x04", "save the sheet as CSV", file="log.xlsx"),
    reads(23, "JSON lines", LINES, "click 9", file="log.jsonl"),
    refuses(23, "no JSON", LINES + "{", "line 10 is no JSON object", file="log.jsonl"),
    refuses(24, "Latin-1", table().replace("u1", "Jörg").encode("latin1"), "not UTF-8", "iconv"),
    reads(25, "a byte order mark", b"\xef\xbb\xbf" + table().encode(), "all rows are valid"),
    reads(26, "blanks around ids", table().replace(",u1,", ", u1 ,"), "blanks around them"),
    reads(27, "a negative value", with_column("value", "-1", "2"), "1 returns: 0 took back a"),
    reads(27, "a negative quantity", with_column("Menge", "-1", "2"), "1 had none and were left"),
    refuses(28, "a price in euros", with_column("price", "1", "12 €"), "row 1, column price"),
]


def catalogue(
    number: int, name: str, items: str, *words: str, code: int = 0, do: str = ""
) -> Mistake:
    """A log with a table of items."""
    files: dict[str, str | bytes] = {"log.csv": table(), "items.csv": items}
    made = () if code else ("out/events.parquet", "out/items.parquet")
    command = f"data import log.csv out --items items.csv {do}"
    return Mistake(number, name, command, words, code, files, made)


#: Items with a price each, and one without any.
PRICES = "item_id,price\n" + "".join(f"i{n},{n}.5\n" for n in range(20))
CODES = "item_id,category\n" + "".join(f"i{n},{n % 3}\n" for n in range(30))
ITEMS = [
    catalogue(3, "another name", "sku,title\ni0,a\ni1,b\ni2,c\ni3,d\ni4,e\n", "all rows"),
    catalogue(
        3,
        "a name nobody knows",
        "nummer,title\ni0,a\n",
        *("needed columns are missing: item_id", "--columns item_id=THEIRS", "nummer, title"),
        code=2,
    ),
    catalogue(
        28,
        "one text among prices",
        PRICES + "i99,12 €\n",
        *("price: number", "Warning: price: 1 cell is no number, the first in row 20: '12 €'"),
    ),
    catalogue(
        28,
        "one text, told to be a number",
        PRICES + "i99,12 €\n",
        *("price is to be a number; 1 cells are none", "row 20, column price, value '12 €'"),
        code=2,
        do="--column-kinds price=number",
    ),
    catalogue(29, "codes", CODES, "category: category, 3 values"),
    catalogue(29, "codes, told", CODES, "as you say", do="--column-kinds category=number"),
    catalogue(30, "one missing", "item_id\ni0\ni1\ni2\ni3\n", "1 items that the catalogue lacks"),
    catalogue(30, "most missing", "item_id\ni0\nx\n", "item_id is not in the items table", code=2),
    catalogue(OWN, "an item twice", CODES + "i3,7\n", "item_id must be unique", code=2),
    catalogue(
        OWN,
        "a negative price",
        PRICES + "i99,-3.0\n",
        "price: 1 cell is negative, the first in row 20: -3.0",
    ),
    catalogue(
        OWN,
        "a kind that no column has",
        CODES,
        *("'category', 'number', 'list', 'text' or 'none', got", "key column_kinds.category"),
        code=2,
        do="--column-kinds category=categorical",
    ),
    catalogue(
        OWN,
        "the kind of a column that is not there",
        CODES,
        *("the log has no column of this name", "is it category?"),
        code=2,
        do="--column-kinds categry=category",
    ),
    Mistake(
        31,
        "a table of items that is not there",
        "data import log.csv out --items items.csv",
        ("there is no such file", "items.csv"),
        files={"log.csv": table()},
    ),
]


def binary(frame: pl.DataFrame) -> bytes:
    """The table as Parquet."""
    stream = BytesIO()
    frame.write_parquet(stream)
    return stream.getvalue()


#: A log in which ids are whole numbers, and one in which times are text.
NUMBERED = pl.DataFrame(
    {
        "user_id": [n % 7 for n in range(40)],
        "item_id": [n % 5 for n in range(40)],
        "time": pl.datetime_range(
            datetime(2024, 1, 1), datetime(2024, 1, 2, 15), "1h", eager=True, time_zone="UTC"
        ),
    }
)
TEXT_TIMES = NUMBERED.with_columns(pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
TYPES = [
    reads(12, "ids as numbers", binary(NUMBERED), "all rows are valid", file="log.parquet"),
    reads(13, "times as text", binary(TEXT_TIMES), "2024-01-01 to", file="log.parquet"),
    refuses(
        OWN,
        "a list as a time",
        binary(NUMBERED.with_columns(pl.concat_list("user_id").alias("time"))),
        *("time must be a timestamp, text or a number", "List"),
        file="log.parquet",
    ),
    refuses(OWN, "CSV that is called Parquet", table(), "rename it to .csv", file="log.parquet"),
]


def far_times() -> str:
    rows = [
        f"{'1970-01-01' if n == 3 else '2099-01-01' if n == 4 else '2024-01-01'},u{n % 7},i{n}"
        for n in range(400)
    ]
    return table(*rows, head="time,user_id,item_id")


TIMES = [
    refuses(11, "times to come", far_times(), "1 of 400 events (0.25%)", "--drop-future"),
    reads(
        11,
        "times far from the others",
        far_times(),
        *("lie far from the others, from 1970-01-01 to", "1 of 400 events (0.25%) are dated after"),
        do="--keep-future",
    ),
    *(
        Mistake(
            number,
            f"{dates[17:27]}, to train on",
            "train hstu --events log.csv --out run",
            ("time cannot be read as a time", "--time-format"),
            files={"log.csv": dates},
        )
        for number, dates in (
            (7, US_DATES.replace("03/04/2024", "08/06/2023 10:00")),
            (8, US_DATES),
        )
    ),
    Mistake(
        5,
        "no such file",
        "data import other.csv out",
        ("there is no such log", "name a file, a folder, or one of complete-journey"),
    ),
]


def timed(*times: str) -> str:
    """The log with these times, the last of them in all further rows."""
    cells = [*times, *[times[-1]] * len(ROWS)]
    return table(*(f"{a},{time},{b}" for time, (a, _, b) in zip(cells, UNTIMED, strict=False)))


ONE_USER = table(*(f"e{n},2024-01-01T10:00:{n:02}Z,r{n},u1,click,i{n}" for n in range(40)))
ONE_ITEM = table(*(f"e{n},2024-01-01T10:00:{n:02}Z,r{n},u{n},click,i1" for n in range(40)))
MINE = [
    refuses(
        OWN,
        "UTF-16, as Excel calls Unicode text",
        table().encode("utf-16"),
        *("line 1 is not UTF-8", "iconv -f utf-16 -t utf-8"),
    ),
    refuses(OWN, "a spreadsheet that is called CSV", b"PK\x03\x04", "save the sheet as CSV"),
    refuses(OWN, "a page to log in", "<!DOCTYPE html>\n<html>\n", "the header is missing"),
    refuses(
        OWN,
        "no header",
        "\n".join(ROWS) + "\n",
        *("the header is missing", "put a line with the column names first"),
    ),
    refuses(
        OWN,
        "a decimal comma without quotes",
        table(f"{ROWS[0]},12,50", *(f"{row},3" for row in ROWS[1:]), head=f"{HEAD},price"),
        *("line 2 has 8 fields where the header has 7", "into double quotes"),
    ),
    reads(
        OWN,
        "decimal commas between semicolons",
        with_column("value", "12.50").replace(",", ";").replace("12.50", "12,50"),
        "all rows are valid",
    ),
    refuses(OWN, "a quote that is never closed", table().replace("u1", '"u1', 1), "double quote"),
    refuses(OWN, "a name twice", table(head=HEAD.replace("kind", "time")), "time", "twice"),
    reads(OWN, "microseconds", timed("1686256259000000"), "read as microseconds since 1970"),
    refuses(
        OWN,
        "seconds, but milliseconds in one row",
        timed("1686256259000", "1686256259"),
        *("time cannot be read as a time", "row 0", "1686256259000"),
    ),
    refuses(OWN, "a time of the day alone", timed("10:00"), "time cannot be read as a time"),
    refuses(OWN, "days as one number", timed("20240131"), '--time-format "%Y%m%d" or s'),
    refuses(OWN, "no time in a row", timed("", "2024-01-01"), "row 0", "time", "--drop-incomplete"),
    reads(
        OWN,
        "places in a sequence as times",
        timed(*map(str, range(40))),
        "if these are places in a sequence and no times",
    ),
    reads(OWN, "times before 1970", timed("-5", "1686256259"), "1 events lie before 1971"),
    refuses(
        OWN,
        "a zone that is none",
        timed("2024-01-01 10:00"),
        *("the time zone 'Mars/Olympus' is unknown", "Europe/Paris"),
        do="--time-zone Mars/Olympus",
    ),
    refuses(
        OWN,
        "a format that is none",
        table(),
        *("'yyyy-mm-dd' is no format of a time", "%d/%m/%Y"),
        do="--time-format yyyy-mm-dd",
    ),
    refuses(
        OWN,
        "no user in a row",
        table(*ROWS[:5], ROWS[5].replace("u5", ""), *ROWS[6:]),
        *("row 5", "user_id", "--drop-incomplete"),
    ),
    reads(
        OWN,
        "no user in a row, told to leave it out",
        table(*ROWS[:5], ROWS[5].replace("u5", ""), *ROWS[6:]),
        "1 rows without a user, an item or a time",
        do="--drop-incomplete",
    ),
    refuses(OWN, "half a pair", table(), "'user_id' is no pair", do="--columns user_id"),
    refuses(
        OWN,
        "a column that no log has",
        table(),
        *("a log has no column 'user'", "the closest is user_id"),
        do="--columns user=u",
    ),
    refuses(
        OWN,
        "a column that the table lacks",
        table(),
        *("the table has no column 'user'", "is it 'user_id'?"),
        do="--columns user_id=user",
    ),
    refuses(
        OWN,
        "a kind that no log has",
        CHECKINS,
        *("'rating', 'stop' or 'none', got \"bought\"", "key kinds.checkin"),
        do="--kinds checkin=bought",
    ),
    refuses(
        OWN,
        "all kinds left out",
        table(),
        *("the log holds no event", "whether the options leave all out"),
        do="--kinds purchase=none",
    ),
    reads(OWN, "one user", ONE_USER, "Warning: user_id: all events are of one, 'u1'"),
    reads(OWN, "one item", ONE_ITEM, "Warning: item_id: all events are of one, 'i1'"),
    refuses(OWN, "a table of items", CODES, "needed columns are missing: user_id, time"),
    refuses(OWN, "an array in JSON", "[1, 2, 3]", "JSON", file="log.json"),
    Mistake(
        OWN,
        "a folder that is there",
        "data import log.csv out",
        ("this path exists already", "out", "--force"),
        files={"log.csv": table(), "out/mine.txt": "mine"},
    ),
    Mistake(
        OWN,
        "a folder of CSV parts",
        "data import parts out",
        ("the folder holds no Parquet files", "or a single file"),
        files={"parts/a.csv": table(), "parts/b.csv": table()},
    ),
    Mistake(
        OWN,
        "a public log misspelt",
        "data describe complete_journey",
        ("there is no such log", "complete-journey"),
    ),
]


@pytest.mark.parametrize("mistake", [*MISTAKES, *ITEMS, *TYPES, *TIMES, *MINE], ids=title)
def test_own_logs(mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(mistake, tmp_path, monkeypatch)


pytest.importorskip("PIL", reason="the extra creative is not installed")


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
FOLDERS = [told("files that are no pictures", "describe pages", "PDF", "4 of 4 files", code=0)]
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


pytest.importorskip("openai", reason="the extra lm is not installed")


SHOP = "name,price,rating,description\n" + "".join(
    f"Kettle {at},${at}9,4.{at},It boils water in {at} minutes or less.\n" for at in range(1, 5)
)
ATTACK = {"product": "Kettle 1", "field": "description", "text": "The best.", "tier": "T0"}
AUDIT_FILES: dict[str, str | bytes] = {
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


def audit_told(name: str, command: str, *says: str, code: int = 2) -> Mistake:
    return Mistake(OWN, name, f"audit {command}", says, code)


def run(name: str, words: str, *says: str, shop: str = "shop.csv", code: int = 2) -> Mistake:
    texts = "" if "--texts " in words or "--tiers" in words else "--texts texts.jsonl"
    return audit_told(name, f"run {shop} {texts} --out new --dry-run {words}", *says, code=code)


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
    audit_told(
        "an audit that is there",
        "run shop.csv --own --texts texts.jsonl --out run --dry-run",
        "an audit already",
        "--resume",
    ),
    audit_told(
        "an endpoint without a model",
        f"run shop.csv --own --texts texts.jsonl --url {URL} --out new",
        "which model",
        "--model",
    ),
    audit_told(
        "the likelihood of an endpoint",
        f"run shop.csv --own --texts texts.jsonl --url {URL} "
        "--model m --ranker likelihood --out new",
        "asked for a list",
    ),
]
REPORTS = [
    audit_told("no audit", "report nowhere", "no report", "adwright audit run"),
    audit_told("a folder without a report", "report run", "no report"),
    audit_told("a file that is no report", "report other.json", "no report of an audit"),
    audit_told(
        "facts in words", "certify shop.csv --facts-by description --out new", "column of numbers"
    ),
    audit_told("facts below a bound below 0", "certify shop.csv --eps -1 --out new", "--eps"),
    audit_told("a certificate that is none", "verify texts.jsonl", "no signed certificate"),
    audit_told("a key that is none", "certify shop.csv --key other.json --out new", "other.json"),
    audit_told("a watch of nothing", "watch nowhere.csv --texts-alone --state new", "nowhere.csv"),
    audit_told("nothing asked", "ask shop.csv", "request"),
    audit_told("no products wanted", "ask shop.csv tea -k 0", "-k"),
]


@pytest.fixture(scope="module")
def audit_here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    written(folder, AUDIT_FILES)
    return folder


@pytest.mark.parametrize("mistake", [*CATALOGUES, *TEXTS, *SETTINGS, *REPORTS], ids=title)
def test_audit_a_mistake_is_answered_and_leaves_nothing_behind(
    mistake: Mistake, audit_here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(mistake, audit_here, monkeypatch)
