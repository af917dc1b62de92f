"""Logs of people's own, with the mistakes that people make: what each command says of them.

A row names what is wrong, the file, what follows `adwright data import FILE out`, the words that
must be said, and whether the log is read all the same. What is refused leaves nothing behind.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from adwright.cli import app
from tests.broken.cases import contents

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


class Mistake(NamedTuple):
    """number: in the review's table. reads: whether the log is imported with these words."""

    number: int
    name: str
    file: str
    data: str | bytes
    options: tuple[str, ...]
    words: tuple[str, ...]
    reads: bool


def reads(
    number: int, name: str, data: str | bytes, *words: str, file: str = "log.csv", do: str = ""
) -> Mistake:
    return Mistake(number, name, file, data, tuple(do.split()), words, True)


def refuses(
    number: int, name: str, data: str | bytes, *words: str, file: str = "log.csv", do: str = ""
) -> Mistake:
    return Mistake(number, name, file, data, tuple(do.split()), words, False)


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
FAR = table(
    *(
        f"{a},{'1970-01-01' if n == 3 else '2099-01-01' if n == 4 else '2024-01-01'},{b}"
        for n, (a, _, b) in enumerate(UNTIMED * 10)
    )
).replace("\ne", "\nf")
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
    reads(2, "capitals", table(head=HEAD.upper()), "USER_ID is taken as user_id"),
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
    reads(16, "a column more", with_column("store", "1"), "columns left out:   store (--context"),
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
    reads(27, "negative values", with_column("value", "-1", "2"), "value: 1 events have"),
    refuses(28, "a price in euros", with_column("price", "1", "12 €"), "row 1, column price"),
    refuses(5, "no such file", table(), "there is no such log", file="other.csv"),
]


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: f"{case.number} {case.name}")
def test_own_logs(case: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / case.file).write_bytes(
        case.data if isinstance(case.data, bytes) else case.data.encode()
    )
    name = "log.csv" if case.file == "other.csv" else case.file
    before = contents(tmp_path)
    result = CliRunner().invoke(app, ["data", "import", name, "out", *case.options])
    assert result.exit_code == (0 if case.reads else 2), result.output
    for words in case.words:
        assert words in result.output
    assert "polars" not in result.output.lower()
    if case.reads:
        assert (tmp_path / "out" / "events.parquet").is_file()
    else:
        assert contents(tmp_path) == before


def test_times_far_from_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [row.split(",", 1)[1] for row in FAR.splitlines()]
    (tmp_path / "log.csv").write_text("\n".join(rows).replace("event_id,", "") + "\n")
    result = CliRunner().invoke(app, ["data", "describe", "log.csv"])
    assert result.exit_code == 0, result.output
    assert "lie far from the others, from 1970-01-01 to 2099-01-01" in result.output


ITEMS: list[tuple[int, str, str, tuple[str, ...], bool]] = [
    (3, "another name", "sku,title\n" + "i0,a\ni1,b\ni2,c\ni3,d\ni4,e\n", ("all rows",), True),
    (
        3,
        "a name nobody knows",
        "nummer,title\ni0,a\n",
        ("the needed column item_id is missing", "--columns item_id=THEIRS", "nummer, title"),
        False,
    ),
    (
        28,
        "one text among prices",
        "item_id,price\n" + "".join(f"i{n},{n}.5\n" for n in range(20)) + "i99,12 €\n",
        ("price: number", "Warning: price: 1 cell is no number, the first in row 20: '12 €'"),
        True,
    ),
    (
        29,
        "codes",
        "item_id,category\n" + "".join(f"i{n},{n % 3}\n" for n in range(30)),
        ("category: category, 3 values",),
        True,
    ),
    (30, "one missing", "item_id\ni0\ni1\ni2\ni3\n", ("1 items that the catalogue lacks",), True),
    (30, "most missing", "item_id\ni0\nx\n", ("item_id is not in the items table",), False),
]


@pytest.mark.parametrize("case", ITEMS, ids=lambda case: f"{case[0]} {case[1]}")
def test_catalogues(
    case: tuple[int, str, str, tuple[str, ...], bool],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    _, _, text, words, good = case
    (tmp_path / "log.csv").write_text(table())
    (tmp_path / "items.csv").write_text(text)
    arguments = ["data", "import", "log.csv", "out", "--items", "items.csv"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == (0 if good else 2), result.output
    for one in words:
        assert one in result.output
    assert (tmp_path / "out").exists() == good


def test_sequences_are_read_by_the_same_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mistakes 7 and 8: what `train hstu --events` says of dates."""
    monkeypatch.chdir(tmp_path)
    for dates in (US_DATES, US_DATES.replace("03/04/2024", "08/06/2023 10:00")):
        (tmp_path / "log.csv").write_text(dates)
        arguments = ["train", "hstu", "--events", "log.csv", "--out", "run"]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2, result.output
        assert "time cannot be read as a time" in result.output
        assert "--time-format" in result.output
        assert "polars" not in result.output.lower()
        assert not (tmp_path / "run" / "model").exists()
