"""Tables that nobody should send: each is read right, or refused by file with what is wrong.

A row of a table below is a name, what is written, and what must come of it: a number of rows, or
words of the refusal.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from adwright.data.sources.bounds import ReadBounds
from adwright.data.sources.tables import read_items
from tests.attacks.attack import Area, Attack
from tests.attacks.files.parquet_tables import ODD_FILES, flipped_parquet
from tests.attacks.files.reading import Wanted, items_of, odd_file

HEAD = "event_id,time,request_id,user_id,kind,item_id"
GOOD = "e1,2024-01-01T10:00:00Z,r1,ann,click,tea"
WIDE = ",position,propensity,value,context"


def csv(label: str, text: str | bytes, wanted: Wanted) -> Attack:
    """A CSV file of events."""
    return odd_file(f"CSV, {label}", "log.csv", text, wanted)


def rows(*lines: str, head: str = HEAD) -> str:
    return "\n".join([head, *lines]) + "\n"


FORMS: list[tuple[str, str | bytes, Wanted]] = [
    ("nothing in it", "", ("the file is empty",)),
    ("a header alone", HEAD + "\n", ("holds no event",)),
    ("blanks alone", "   \n", ("header is missing",)),
    ("blank lines alone", "\n\n\n", ("header is missing",)),
    ("a byte order mark", b"\xef\xbb\xbf" + rows(GOOD).encode(), 1),
    ("UTF-16", rows(GOOD).encode("utf-16"), ("line 1 is not UTF-8",)),
    ("latin1", rows(GOOD.replace("ann", "Jos\u00e9")).encode("latin1"), ("line 2 is not UTF-8",)),
    ("Windows line ends", rows(GOOD).replace("\n", "\r\n"), 1),
    ("Macintosh line ends", rows(GOOD).replace("\n", "\r"), ("is not CSV",)),
    ("blank lines between", rows("", GOOD, "", "", GOOD.replace("e1", "e2"), ""), 2),
    ("no line end", rows(GOOD).rstrip(), 1),
    ("a quote never closed", rows(GOOD, '"e2,2024'), ("line", "double quote")),
    ("a quote inside a field", rows(GOOD.replace("tea", 't"ea')), ("damaged",)),
    ("a line break in quotes", rows(GOOD.replace("tea", '"te\na"')), 1),
    ("a comma in quotes", rows(GOOD.replace("tea", '"t,ea"')), 1),
    ("text after a closing quote", rows(GOOD.replace("tea", '"te"a')), ("item_id",)),
    ("too few fields", rows(GOOD, "e2,2024-01-01,r"), ("line 3 has 3 fields",)),
    ("too many fields", rows(GOOD + ",x"), ("line 2 has 7 fields",)),
    ("commas alone in a row", rows(GOOD, ",,,,,"), 1),
    ("a name twice", rows(GOOD + ",x", head=HEAD + ",time"), ("names a column twice", "time")),
    ("no header", GOOD + "\n", ("header is missing",)),
    ("a column nobody knows", rows(GOOD + ",x", head=HEAD + ",x"), 1),
    ("a column without a name", rows(GOOD + ",x", head=HEAD + ","), 1),
    ("names in capitals", rows(GOOD, head=HEAD.upper()), 1),
    ("blanks around names", rows(GOOD, head=HEAD.replace(",", " , ")), 1),
    ("tabs", rows(GOOD).replace(",", "\t"), 1),
    ("semicolons", rows(GOOD).replace(",", ";"), 1),
    ("a needed column missing", "event_id,time\ne1,2024-01-01\n", ("missing: user_id",)),
    ("NUL in an id", rows(GOOD.replace("tea", "t\0a")), 1),
    ("NUL throughout", b"\0" * 5000, ("more than 1,000 bytes",)),
    ("a picture", b"\x89PNG\r\n\x1a\n" + bytes(100), ("not UTF-8",)),
    ("packed by gzip", gzip.compress(rows(GOOD).encode()), 1),
    ("half of a gzip", gzip.compress(rows(GOOD).encode())[:40], ("gzip file is damaged",)),
    ("a page", "<!doctype html><html><body>404</body></html>", ("header is missing",)),
    ("JSON", '{"event_id": "e1"}\n', ("header is missing",)),
    ("Parquet inside", b"PAR1" + bytes(50) + b"PAR1", ("header is missing",)),
    ("an id twice", rows(GOOD, GOOD), ("row 1", "unique")),
    ("a lone surrogate", rows(GOOD).encode() + b"\xed\xa0\x80", ("line 3 is not UTF-8",)),
    ("an overlong dot", rows(GOOD).encode() + b"\xc0\xae", ("line 3 is not UTF-8",)),
]
TIMES: list[tuple[str, Wanted]] = [
    ("2024-01-01", 1),
    ("2024-02-29T23:59:59.999999Z", 1),
    ("2023-02-29", ("row 0", "cannot be read as a time")),
    ("2024-13-01", ("cannot be read as a time",)),
    ("2024-01-01T24:00:00Z", ("cannot be read as a time",)),
    ("2016-12-31T23:59:60Z", 1),
    ("2024-01-01T10:00:00+14:00", 1),
    ("2024-01-01T10:00:00+99:00", ("cannot be read as a time",)),
    ("noon", ("cannot be read as a time",)),
    ("", ("time must not be empty",)),
    ("0", 1),
    ("-1", 1),
    ("1e9", 1),
    ("1704100000000", 1),
    ("170410000000", ("cannot be read as a time",)),
    ("20240101", ("dates as one number",)),
    ("03/04/2024", ("say which is the day",)),
    ("1e400", ("cannot be read as a time",)),
    ("nan", ("cannot be read as a time",)),
    ("inf", ("cannot be read as a time",)),
    ("0x10", ("cannot be read as a time",)),
    ("0001-01-01", 1),
    ("0000-12-31", ("years 1 to 9999", "row 0", "column time")),
    ("9999-12-31T23:59:59.999999Z", 1),
    ("10000-01-01", ("cannot be read as a time",)),
    ("-62135596801", ("years 1 to 9999", "-62135596801000000")),
    ("-99999999999", ("years 1 to 9999",)),
    ("99999999999", 1),
]
IDS: list[tuple[str, str, Wanted]] = [
    ("of nothing", "", ("user_id must not be empty",)),
    ("of blanks", "   ", ("user_id must not be empty",)),
    ("nan", "nan", ("user_id must not be empty or NaN",)),
    ("None", "None", ("user_id must not be empty or NaN",)),
    ("with zeros in front", "007", 1),
    ("of 10,000 signs", "x" * 10_000, 1),
    ("of emoji", "\U0001f600" * 129, 1),
    ("from right to left", "\u202eann", 1),
    ("that is a formula", "=cmd|' /C calc'!A0", 1),
    ("that is a path", "../../etc/passwd", 1),
    ("that is SQL", "'; drop table events; --", 1),
]
NUMBERS: list[tuple[str, str, Wanted]] = [
    ("position", "-1", ("row 0", "column position")),
    ("position", "2147483648", ("column position",)),
    ("position", "1.5", ("column position",)),
    ("position", "one", ("cannot be read as a number",)),
    ("position", "9" * 400, ("column position",)),
    ("propensity", "0", ("column propensity",)),
    ("propensity", "1.0000001", ("column propensity",)),
    ("propensity", "nan", ("column propensity",)),
    ("propensity", "5e-324", 1),
    ("propensity", "0,5", ("has 11 fields",)),
    ("value", "inf", ("column value",)),
    ("value", "-1e308", 1),
    ("value", "1e309", ("column value",)),
    ("value", "1_000", ("cannot be read as a number",)),
    ("value", "\u0663", ("cannot be read as a number",)),
    ("value", "", 1),
]
CONTEXTS: list[tuple[str, str, Wanted]] = [
    ("an object", '{"a": 1}', 1),
    ("a list", "[1]", ("context must be a JSON object",)),
    ("a text", '"a"', ("context must be a JSON object",)),
    ("half an object", '{"a": ', ("context must be a JSON object",)),
    ("no JSON", "store 3", ("context must be a JSON object",)),
    ("100,000 lists deep", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}", ("context must be a",)),
    ("50,000 objects deep", '{"a":' * 50_000 + "1" + "}" * 50_000, ("context must be a JSON",)),
    ("a number of 5,000 digits", '{"a": ' + "9" * 5000 + "}", ("context must be a JSON object",)),
    ("a key twice", '{"a": 1, "a": 2}', 1),
    ("50,000 keys", "{" + ",".join(f'"{n}": 1' for n in range(50_000)) + "}", 1),
]


def quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def _cells() -> Iterator[Attack]:
    for text, wanted in TIMES:
        yield csv(f"a time {text!r}", rows(GOOD.replace("2024-01-01T10:00:00Z", text)), wanted)
    for label, text, wanted in IDS:
        yield csv(f"an id {label}", rows(GOOD.replace("ann", quoted(text))), wanted)
    names = WIDE.strip(",").split(",")
    for name, text, wanted in NUMBERS:
        cells = ",".join(text if name == column else "" for column in names)
        yield csv(f"a {name} {text[:20]!r}", rows(f"{GOOD},{cells}", head=HEAD + WIDE), wanted)
    for label, text, wanted in CONTEXTS:
        line = f"{GOOD},,,,{quoted(text)}"
        yield csv(f"a context of {label}", rows(line, head=HEAD + WIDE), wanted)
    for kind, wanted in (("glance", ("column kind",)), ("CLICK", 1), (" click", 1)):
        yield csv(f"a kind {kind!r}", rows(GOOD.replace("click", kind)), wanted)


def _wide_csv(columns: int, path: Path) -> None:
    names = ",".join(["item_id", *(f"c{number}" for number in range(columns - 1))])
    path.write_text(f"{names}\n{'1,' * (columns - 1)}1\n")


def _large(path: Path, *, before: str, size: int, after: str) -> None:
    path.write_text(before + "x" * size + after)


def _sizes() -> Iterator[Attack]:
    """What is far larger than anybody means."""
    beyond = ("columns, the bound is 4,000", "column c3999")
    widths: list[tuple[int, Wanted]] = [(2_000, 1), (4_000, 1), (5_000, beyond), (100_000, beyond)]
    for columns, wanted in widths:
        name = f"CSV of {columns:,} columns"
        yield odd_file(name, "wide.csv", partial(_wide_csv, columns), wanted, items_of)
    yield odd_file(
        "CSV of 20,000 columns, allowed",
        "wide.csv",
        partial(_wide_csv, 20_000),
        1,
        lambda path: read_items(path, bounds=ReadBounds(columns=20_000)).height,
    )
    field, line = GOOD.rpartition(",")[0] + ",", "has more than 4,194,304 bytes"
    for size, found in ((3_000_000, 1), (5_000_000, (line,)), (20_000_000, (line,))):
        made = partial(_large, before=f"{HEAD}\n{field}", size=size, after="\n")
        yield odd_file(f"CSV, a field of {size:,} bytes", "long.csv", made, found)
    for size, words in ((2_000, ("more than 1,000 bytes",)), (5_000_000, (line,))):
        made = partial(_large, before=f"{HEAD},", size=size, after=f"\n{GOOD},1\n")
        yield odd_file(f"CSV, a name of {size:,} bytes", "name.csv", made, words)
    one = partial(_large, before="", size=60_000_000, after="")
    yield odd_file("CSV, one line of 60 MB", "line.csv", one, (line,))


#: One in seven is quick enough, and kind enough, to be tried at each change.
ALL = [*(csv(*form) for form in FORMS), *_cells(), *_sizes(), *ODD_FILES]
AREAS = [
    Area("odd tables", [replace(a, quick=a.quick and n % 7 == 0) for n, a in enumerate(ALL)]),
    Area("Parquet with flipped bits", flipped_parquet()),
]
