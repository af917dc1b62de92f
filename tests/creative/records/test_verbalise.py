"""An ad goes into sentences and comes back; of sentences that others wrote, no word is lost."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from dataclasses import astuple, fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adwright.core.errors import (
    AdwrightError,
    ConfigError,
    DataError,
    SchemaError,
    ValueInvalidError,
)
from adwright.creative.records.ad_record import (
    PARTS,
    AdRecord,
    Scene,
    is_verbalised,
    read_verbalised,
    records_table,
    save_described,
    verbalised,
)
from adwright.creative.records.ads_table import read_ads
from adwright.creative.records.cells import (
    LARGEST_COUNT,
    LINKS,
    DecimalSign,
    assign_creatives,
    bare,
    by_distinct,
    check_links,
    check_rows,
    find_decimal,
    is_absent,
    links_of,
    read_number,
)
from adwright.creative.records.delivery import (
    DeliveryNotes,
    NoteTaker,
    Repair,
    check_delivery,
    repair_of,
    say,
    summarise_days,
)
from adwright.data.schema import Check, in_file

FILM = AdRecord(
    kind="video",
    brand="Mill Lane",
    title="Fresh bread, at six.",
    words="Two for 3.\nOpen daily",
    speech="Good morning. It's baked!",
    seconds=16,
    orientation="landscape",
    pace="medium",
    motion="low",
    scenes=(
        Scene(
            caption="a loaf on a table",
            foreground=("dark brown", "cream"),
            background=("white",),
            tone="warm",
            style="product",
            complexity="low",
            emotions=("joy", "best gift"),
            faces=1,
            tags=("bread", "t shirt"),
            words=("38% off", "Baker's dozen"),
            start=0,
            seconds=2.5,
        ),
        Scene(),
        Scene(background=("dark blue",), faces=0),
        Scene(faces=3, words=("MILL",)),
    ),
)
SAID = (
    "The ad is a video. The ad is 16 seconds long. The brand of the ad is 'Mill Lane'. The title "
    "of the ad is 'Fresh bread, at six.'. The text of the ad is 'Two for 3.\nOpen daily'. The ad "
    "is shot in landscape orientation, at a medium pace. The motion in the ad is low. The audio "
    "in the ad says Good morning. It's baked! . Following are the descriptions of each scene: "
    "Scene 1: The scene shows a loaf on a table. The scene begins at 0 seconds. The scene lasts "
    "2.5 seconds. The foreground colors of the scene are Dark_Brown,Cream, and the background "
    "colors are White. The dominant tone of the scene is warm. The photography style of the scene "
    "is product. The scene has Low visual complexity. The emotions shown in the scene are joy, "
    "best gift. There is one prominent face in the scene. This scene is categorized by the tags "
    "bread, t shirt. The text shown in the scene is '38% off', 'Baker's dozen' Scene 2: Scene 3: "
    "The background colors of the scene are Dark_Blue. There is no face in the scene. Scene 4: "
    "There are 3 faces in the scene. The text shown in the scene is 'MILL'"
)


def test_a_sentence_a_field_in_the_order_of_the_paper() -> None:
    assert verbalised(FILM) == SAID
    assert read_verbalised(SAID) == FILM
    assert verbalised(AdRecord()) == "The ad is a text."
    assert verbalised(AdRecord(kind="image", pace="high")) == (
        "The ad is an image. The ad is shot at a high pace."
    )
    # What could not be looked for is not told to a model.
    assert verbalised(replace(FILM, absent=(("faces", "off"),))) == SAID


@pytest.mark.parametrize("part", PARTS)
def test_each_part_can_be_left_out(part: str) -> None:
    text = verbalised(FILM, leave_out=(part,))
    left, name = read_verbalised(text), part.removeprefix("scene.")
    none: dict[str, Any] = {"seconds": None, "faces": None, "start": None, "kind": "video"}
    if "." in part:
        empty: Any = none.get(name, () if isinstance(getattr(Scene(), name), tuple) else "")
        scenes = tuple(replace(scene, **{name: empty}) for scene in FILM.scenes)
        assert left == replace(FILM, scenes=scenes)
    else:
        empty = none.get(name, () if name == "scenes" else "")
        assert left == replace(FILM, **{name: empty})
    assert text != SAID
    assert len(text) < len(SAID)


def test_parts_are_all_fields_and_no_others() -> None:
    named = {one.removeprefix("scene.") for one in PARTS}
    assert named | {"absent"} == {each.name for kind in (AdRecord, Scene) for each in fields(kind)}
    with pytest.raises(ConfigError, match=r"no part 'brnd'.*is it brand"):
        verbalised(FILM, leave_out=("brnd",))
    with pytest.raises(ConfigError, match="no part 'absent'"):
        verbalised(FILM, leave_out=("absent",))


WORDS = ("bread", "Élan", "🥐", "38%", "it's", "t-shirt", "$1.50", "7", "The", "Scene", "dogs'")
plain = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
colours = st.lists(st.sampled_from(["red", "dark blue", "off white"]), max_size=2).map(tuple)
texts = st.lists(plain, max_size=3).map(tuple)
levels = st.sampled_from(["", "low", "medium", "high"])
lengths = st.none() | st.integers(0, 10**6) | st.floats(1e-9, 1e9)
scenes = st.builds(
    Scene,
    caption=st.just("") | plain,
    foreground=colours,
    background=colours,
    tone=st.sampled_from(["", "warm", "cool", "neutral"]),
    style=st.just("") | plain,
    complexity=levels,
    emotions=texts,
    faces=st.none() | st.integers(0, 99),
    tags=texts,
    words=texts,
    start=lengths,
    seconds=lengths,
)
records = st.builds(
    AdRecord,
    kind=st.sampled_from(["text", "image", "video"]),
    brand=st.just("") | plain,
    title=st.just("") | plain,
    words=st.just("") | st.lists(plain, min_size=1, max_size=3).map("\n".join),
    speech=st.just("") | plain,
    seconds=lengths,
    orientation=st.sampled_from(["", "landscape", "portrait", "square"]),
    pace=levels,
    motion=levels,
    scenes=st.lists(scenes, max_size=3).map(tuple),
)


@settings(max_examples=150, deadline=None)
@given(records)
@example(AdRecord(kind="video", seconds=1e-7, scenes=(Scene(start=1e16),)))
def test_there_and_back(record: AdRecord) -> None:
    assert read_verbalised(verbalised(record)) == record


PARTS_OF_TEXT = st.sampled_from(
    [
        *re.split(r"(?<=[.:]) ", SAID),
        *("Scene 1:", "Scene 2:", "Scene 7:", "The scene shows", "The ad is 1.2.3 seconds long."),
        *("The ad is 1e999 seconds long.", "There are 2 faces in the scene that smile.", "'", "."),
        *("The text shown in the scene is 'left', 'right", "The ad is shot in square orientation"),
        *("The motion in the ad is low but rising.", "The scene lasts 3 seconds, no more.", "' ."),
        *("The title of the ad is 'one", "The audio in the ad says", ", at a low pace.", "', '"),
        *("The emotions shown in the scene are , joy, ,. zebra", "The scene has Low zest."),
        *("The ad is a text. crumb", "The ad is a video game. yeast", "oven. butter", "salt"),
    ]
)


def split(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower().replace("_", " "))


#: What FILM holds and no sentence of ours.
VALUES = set(split("Mill Lane fresh bread six open daily good morning loaf table joy gift dozen"))


def words_of(record: AdRecord) -> Counter[str]:
    def told(value: Any) -> list[str]:
        if isinstance(value, tuple):
            return [word for one in value for word in told(one)]
        return [] if value is None else split(str(value))

    return Counter(told(astuple(record)))


@settings(max_examples=200, deadline=None)
@given(st.lists(PARTS_OF_TEXT, max_size=8).map(" ".join))
def test_no_word_of_any_text_is_lost(text: str) -> None:
    record = read_verbalised(text)
    there = set(split(text))
    assert (there - set(split(SAID))) | (there & VALUES) <= {*words_of(record), "1", "2", "7"}
    assert is_verbalised(verbalised(record))


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_any_text_is_some_record(text: str) -> None:
    record = read_verbalised(text)
    kept = "".join(scene.caption for scene in record.scenes) + record.brand
    if not is_verbalised(text) and "Scene" not in text:
        assert (record.kind, kept) == ("text", text.strip() if text.strip(" .\n") else kept)


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ("", AdRecord()),
        ("Freely told.", AdRecord(scenes=(Scene(caption="Freely told."),))),
        (
            "Aired in May. Scene 1: The scene shows a cat. Confetti falls. The dominant tone of "
            "the scene is warm. It rains. Scene 2: Nothing known.",
            AdRecord(
                kind="video",
                scenes=(
                    Scene(caption="Aired in May. a cat. Confetti falls It rains.", tone="warm"),
                    Scene(caption="Nothing known."),
                ),
            ),
        ),
        ("The ad is shot in round orientation.", None),
        ("The ad is 1.2.3 seconds long.", None),
        ("The ad is 1e999 seconds long.", None),
        ("There are 2 faces in the scene.", None),
        ("The ad is 3 seconds long.", AdRecord(kind="video", seconds=3)),
        (
            "Scene 1: There are 2 faces in the scene that smile. The scene has Huge visual "
            "complexity.",
            AdRecord(
                kind="image",
                scenes=(
                    Scene(
                        caption="There are 2 faces in the scene that smile. The scene has Huge "
                        "visual complexity."
                    ),
                ),
            ),
        ),
        (
            "The brand of the ad is Lays. The brand of the ad is 'Dr. Pepper'.",
            AdRecord(brand="Lays", scenes=(Scene(caption="The brand of the ad is 'Dr. Pepper'."),)),
        ),
        (
            "The title of the ad is 'It's a dogs' life'. The ad is a text.",
            AdRecord(title="It's a dogs' life"),
        ),
        (
            "The audio in the ad says Oh . . Scene 1: The text shown in the scene is 'A', 'B'. "
            "The end.",
            AdRecord(
                kind="video", speech="Oh .", scenes=(Scene(caption="The end.", words=("A", "B")),)
            ),
        ),
        (
            "Scene 1: The text shown in the scene is 'up to', '\"Farmer's\"', '', '\"no\"', 'cut",
            AdRecord(kind="image", scenes=(Scene(words=("up to", "Farmer's", '"no"', "cut")),)),
        ),
    ],
)
def test_sentences_that_are_ours_and_others(text: str, record: AdRecord | None) -> None:
    whole = AdRecord(scenes=(Scene(caption=text),))
    assert read_verbalised(text) == (record or whole)


@pytest.mark.parametrize(
    "unit",
    ["'", "\"'", "The scene shows ", ", and the background colors are ", "Scene 1: ", "' ", ". "],
)
def test_a_long_text_takes_no_longer_than_its_length(unit: str) -> None:
    text = "Scene 1: The text shown in the scene is '\"" + unit * (300_000 // len(unit))
    record = read_verbalised(text)
    assert len(record.scenes) == 1
    assert len(verbalised(record)) <= len(text) + 100


@pytest.fixture(scope="module")
def ads(shared_data: Path) -> list[dict[str, Any]]:
    lines = (shared_data / "lambda/ads.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


#: Sentences of LAMBDA that tell nothing, when the marks are out.
EMPTY = (
    "The audio in the ad says (?=Following)|The scene shows (?=The emo)"
    "|The emotions shown in the scene are (?=This)"
    "|This scene is categorized by the tags (?=Scene|The text|$)"
)


def test_what_is_written_of_lambda_is_what_was_read(ads: list[dict[str, Any]]) -> None:
    assert len(ads) == 108
    for ad in ads:
        record = read_verbalised(ad["text"])
        again = verbalised(record, leave_out=("kind",))
        assert read_verbalised(again) == record, ad["id"]
        was, now = (re.sub(r"[\s,.'\"\\]+", " ", text).strip() for text in (ad["text"], again))
        # But for stray marks and sentences that tell nothing, the very same text comes out.
        was, now = (re.sub(EMPTY, "", text + " ").strip() for text in (was, now))
        assert was == now, ad["id"]


def test_all_that_is_to_be_read() -> None:
    scenes = (Scene(words=("38% off", "today")), Scene(caption="a loaf"))
    assert AdRecord(title="Bread", words="At six.", scenes=scenes).text == (
        "Bread\nAt six.\n38% off\ntoday"
    )
    assert AdRecord().text == ""


@pytest.mark.parametrize(
    ("kind", "wrong", "error"),
    [
        (Scene, {"tags": ["bread"]}, ValueInvalidError),
        (Scene, {"faces": -1}, ValueInvalidError),
        (Scene, {"start": float("nan")}, ValueInvalidError),
        (AdRecord, {"seconds": -0.1}, ValueInvalidError),
        (AdRecord, {"scenes": [Scene()]}, ValueInvalidError),
    ],
)
def test_what_is_no_part_of_an_ad(
    kind: type, wrong: dict[str, object], error: type[AdwrightError]
) -> None:
    name = next(iter(wrong))
    with pytest.raises(error, match=name):
        kind(**wrong)


def test_what_no_table_holds() -> None:
    bad = [AdRecord(), AdRecord(title="a\ud800")]
    with pytest.raises(ValueInvalidError, match="cannot be kept") as caught:
        records_table(bad)
    assert (caught.value.row, caught.value.column) == (1, "title")
    with pytest.raises(ValueInvalidError, match="cannot be kept") as caught:
        records_table([AdRecord(scenes=(Scene(faces=2**70),))])
    assert caught.value.column == "scenes"


def test_every_verb_reads_it_back(tmp_path: Path) -> None:
    scenes = (Scene(caption="a loaf", foreground=("brown",), faces=2, words=("38% off",)),)
    records = [
        AdRecord(kind="image", brand="Mill Lane", title="Fresh bread", scenes=scenes),
        AdRecord(title="Blue mug", words="Holds 350 ml."),
    ]
    path = tmp_path / "ads.parquet"
    save_described(path, ["a", "b"], records)
    table = read_ads(path)
    assert table.ids == ("a", "b")
    assert list(table.records) == records
    with pytest.raises(DataError, match="1 ids of 2"):
        save_described(path, ["a"], records)


PLACE = in_file("e.csv")


def read(cell: str, decimal: DecimalSign = ".", *, whole: bool = False) -> float | None:
    frame = pl.DataFrame({"n": [cell]})
    found: float | None = read_number(frame, "n", decimal, PLACE, whole=whole).value.item()
    return found


SPELLINGS = {
    ".": (
        "1234.56=1234.56 1,234.56=1234.56 1'234.56=1234.56 1’234.56=1234.56 12,34,567.5=1234567.5 "
        "1,234,567=1234567 .5=0.5 -3.5=-3.5 \u22123.5=-3.5 (3.50)=-3.5 +3.5=3.5 12.5%=0.125 "
        "1.5E+03=1500 $1,234.50=1234.5 -$3.20=-3.2 $-3.20=-3.2 _7_=7 USD_5=5 5_zł=5"
    ),
    ",": (
        "1.234,56=1234.56 1_234,56=1234.56 1\u00a0234,56=1234.56 1\u202f234,56=1234.56 "
        "1.234.567=1234567 12,5_%=0.125 3,20_€=3.2 R$_1.234,50=1234.5"
    ),
}


@pytest.mark.parametrize("decimal", SPELLINGS)
def test_spellings(decimal: DecimalSign) -> None:
    for one in SPELLINGS[decimal].split(" "):
        cell, value = one.split("=")
        assert read(cell.replace("_", " "), decimal) == pytest.approx(float(value), rel=1e-15), one


@pytest.mark.parametrize("cell", ["", " ", "-", "--", " -- ", "—", "N/A", "null", "(not set)"])
def test_nothing_is_no_zero(cell: str) -> None:
    found = read_number(pl.DataFrame({"n": [cell, "1"]}), "n", ".", PLACE)
    assert found.value.to_list() == [None, 1.0]
    assert found.empty == 1
    assert not found.below.any()
    assert pl.select(is_absent(pl.lit(cell))).item()


@pytest.mark.parametrize("cell", ["< 10", "<10%", "> 90 %", "<0.1"])
def test_less_than_is_no_number(cell: str) -> None:
    found = read_number(pl.DataFrame({"n": [cell]}), "n", ".", PLACE)
    assert found.value.to_list() == [None]
    assert found.below.to_list() == [True]
    assert found.empty == 0


NO_NUMBERS = "1.2.3|1,23.4|12,3456|1,2|lots|1-2|0x10|inf|nan|5 gold|1e999|%"


@pytest.mark.parametrize("cell", NO_NUMBERS.split("|"))
def test_what_is_no_number_is_refused(cell: str) -> None:
    with pytest.raises(ValueInvalidError) as caught:
        read_number(pl.DataFrame({"n": ["1", cell]}), "n", ".", PLACE)
    assert (caught.value.row, caught.value.column, caught.value.value) == (1, "n", cell)
    assert caught.value.hint


def test_counts_are_whole() -> None:
    assert read("1,234", whole=True) == 1234.0
    assert read("12.0", whole=True) == 12.0
    with pytest.raises(ValueInvalidError, match="whole number"):
        read("12.5", whole=True)
    with pytest.raises(ValueInvalidError, match="anybody counts"):
        read("9" * 20, whole=True)
    assert read(str(LARGEST_COUNT), whole=True) == 2.0**53


@pytest.mark.parametrize(
    ("cells", "codes", "vague"),
    [
        (["3 €", "3 EUR", "eur 3", "3"], ["EUR", "EUR", "EUR", None], ()),
        (["US$3", "A$ 3", "£3", "3 Kč"], ["USD", "AUD", "GBP", "CZK"], ()),
        (["$3", "3 kr", "¥3"], [None] * 3, ("$", "kr", "¥")),
    ],
)
def test_currencies_of_cells(
    cells: list[str], codes: list[str | None], vague: tuple[str, ...]
) -> None:
    found = read_number(pl.DataFrame({"n": cells}), "n", ".", PLACE)
    assert found.value.to_list() == [3.0] * len(cells)
    assert found.currency.to_list() == codes
    assert found.vague == vague


def sign(amounts: list[str], counts: list[str] | None = None, *, semicolons: bool = False) -> str:
    counts = counts or ["1"] * len(amounts)
    frame = pl.DataFrame({"spend": amounts, "impressions": counts})
    columns = ["spend", "impressions"]
    return find_decimal(frame, columns, ["impressions"], PLACE, separator_comma=semicolons)[0]


POINTS = "1.5 1,234.5 1,234,567 0.123 1.234 1,234 7 -- 1.5E+03"
COMMAS = "1,5 1.234,5 1.234.567 0,123 1234,567"


@pytest.mark.parametrize("amount", POINTS.split())
def test_a_point_is_before_the_decimals(amount: str) -> None:
    assert sign([amount]) == "."


@pytest.mark.parametrize("amount", COMMAS.split())
def test_a_comma_is_before_the_decimals(amount: str) -> None:
    assert sign([amount]) == ","


def test_where_an_amount_leaves_it_open_counts_and_then_semicolons_decide() -> None:
    assert [sign(["1.234"], ["5.678"]), sign(["1,234"], ["5,678"])] == [",", "."]
    assert [sign([one], semicolons=True) for one in ("1,234", "1.5")] == [",", "."]


def test_mixed_signs_name_the_first_of_the_fewer() -> None:
    with pytest.raises(ValueInvalidError, match="2 different cells can only") as caught:
        sign(["1.5", "2.5", "3,5"])
    assert (caught.value.row, caught.value.column, caught.value.value) == (2, "spend", "3,5")
    with pytest.raises(ValueInvalidError, match="thousands") as caught:
        sign(["1.50", "2.50"], ["1.234", "7"])
    assert (caught.value.row, caught.value.column) == (0, "impressions")


def test_a_cell_that_comes_often_is_read_once() -> None:
    seen = []

    def read(cell: pl.Expr) -> pl.Expr:
        return cell.map_batches(lambda cells: seen.append(len(cells)) or cells.str.len_chars())

    cells = pl.Series("__made", ["aa", None, "b", "aa"])
    assert by_distinct(cells, read).to_list() == [2, None, 1, 2]
    assert by_distinct(cells, read).name == "__made"
    assert max(seen) == 3


def test_blanks_of_all_kinds() -> None:
    cells = pl.Series("c", ["\u00a0a b\u2009", "\ufeffa\u200b b", " a\u00a0b "])
    assert cells.to_frame().select(bare(pl.col("c"))).to_series().to_list() == ["a b"] * 3


def test_rows_are_checked_as_elsewhere() -> None:
    frame = pl.DataFrame({"n": [1, 2, 3]})
    check_rows(frame, [Check("n", pl.col("n") > 3, "too large", "less")], PLACE)
    with pytest.raises(ValueInvalidError, match=r"too large; 2 rows.*row 1.*value 2"):
        check_rows(frame, [Check("n", pl.col("n") > 1, "too large", "less")], PLACE)


def day(number: int) -> date:
    return date(2026, 1, number)


def rows(*cells: tuple[str, str, int, int]) -> pl.DataFrame:
    """Rows of creative_id, ad_id, day of January, days."""
    frame = pl.DataFrame(cells, ["creative_id", "ad_id", "day", "period_days"], orient="row")
    return frame.with_columns(day=pl.date(2026, 1, pl.col("day")))


def test_links_follow_from_the_days() -> None:
    found = links_of(rows(("x", "a", 3, 1), ("y", "a", 3, 1), ("x", "b", 1, 7), ("x", "a", 1, 1)))
    assert found.rows() == [
        ("x", "a", day(1), day(3)),
        ("y", "a", day(3), day(3)),
        ("x", "b", day(1), day(7)),
    ]
    assert found.columns == LINKS.names
    assert check_links(found).equals(found)


def test_days_take_the_creative_that_was_there() -> None:
    links = check_links(
        pl.DataFrame(
            {
                "creative_id": ["x", "y", "z"],
                "ad_id": ["a", "a", "b"],
                "first_day": [day(1), day(4), day(2)],
                "last_day": [day(3), None, day(2)],
            }
        )
    )
    days = rows(
        *(("own", "a", n, 1) for n in (1, 3, 4, 9)), *(("own", "b", n, 1) for n in (1, 2, 3))
    )
    days = days.with_columns(impressions=pl.int_range(pl.len()))
    found = assign_creatives(days, links)
    assert found["creative_id"].to_list() == ["x", "x", "y", "y", "own", "z", "own"]
    assert found.drop("creative_id").equals(days.drop("creative_id"))
    # A week in which both were there is of neither.
    with pytest.raises(ValueInvalidError, match="several creatives") as caught:
        assign_creatives(rows(("own", "a", 5, 1), ("own", "a", 2, 7)), links, in_file("e.csv"))
    assert (caught.value.row, caught.value.file) == (1, "e.csv")


@pytest.mark.parametrize(
    ("changed", "error", "part"),
    [
        ({"first_day": None}, SchemaError, "first_day"),
        ({"from": [day(1)]}, SchemaError, "from"),
        ({"creative_id": [1.5]}, SchemaError, "text"),
        ({"last_day": ["2026-01-02"]}, SchemaError, "a date"),
        ({"ad_id": [" "]}, ValueInvalidError, "ad_id"),
        ({"first_day": [None]}, ValueInvalidError, "first_day"),
        ({"last_day": [date(2025, 1, 1)]}, ValueInvalidError, "before the first"),
    ],
)
def test_other_links_are_refused(
    changed: dict[str, Any], error: type[Exception], part: str
) -> None:
    good = {"creative_id": ["x"], "ad_id": ["a"], "first_day": [day(1)]}
    table = {name: cells for name, cells in (good | changed).items() if cells is not None}
    schema = {"first_day": pl.Date} if table.get("first_day") == [None] else None
    with pytest.raises(error, match=part):
        check_links(pl.DataFrame(table, schema_overrides=schema))
    assert check_links(pl.DataFrame(good)).row(0) == ("x", "a", day(1), None)


DAYS = check_delivery(
    pl.DataFrame(
        {
            "creative_id": ["x", "x", "y"],
            "ad_id": ["a", "b", "b"],
            "day": [date(2026, 1, 1), date(2026, 1, 5), date(2026, 1, 2)],
            "period_days": [1, 7, 1],
            "impressions": [1000, 200, 30],
            "clicks": [4, None, 3],
            "spend": [1.5, 2.25, 3.0],
            "currency": ["EUR", "USD", None],
        }
    )
)
NOTES = DeliveryNotes(
    "meta",
    "e.csv",
    ("Cost is taken as spend",),
    (Repair("rows of totals left out", 4, ("row 9: '5'",)),),
    ("rows may be missing",),
    ("CPM",),
)


def test_counts() -> None:
    found = summarise_days(DAYS, NOTES)
    assert (found.rows, found.weeks, found.ads, found.creatives) == (3, 1, 2, 2)
    assert (found.accounts, found.campaigns) == (0, 0)
    assert (found.first, found.last) == (date(2026, 1, 1), date(2026, 1, 11))
    assert (found.impressions, found.clicks, found.conversions) == (1230, 7, None)
    assert found.spend == {"": 3.0, "EUR": 1.5, "USD": 2.25}
    assert found.conversion_value == {}


def test_all_of_it_is_printed() -> None:
    lines = summarise_days(DAYS, NOTES).text().splitlines()
    plain = [" ".join(line.split()) for line in lines]
    assert "source meta" in plain
    assert "rows 3, 1 of them weeks" in plain
    assert "days 2026-01-01 to 2026-01-11" in plain
    assert "spend 3.00 of no currency, 1.50 EUR, 2.25 USD" in plain
    assert "conversions unknown" in plain
    assert "columns left out CPM" in plain
    assert plain[-3:] == [
        "Cost is taken as spend",
        "Repaired: 4 rows of totals left out (row 9: '5'; ...)",
        "Warning: rows may be missing",
    ]
    empty = summarise_days(DAYS.clear(), DeliveryNotes())
    assert (empty.first, empty.spend) == (None, {})
    assert "days              none" in empty.text()


def test_a_repair_names_the_first_places() -> None:
    assert str(repair_of("rows", [3, 4], ["x", None])) == "2 rows (row 3: 'x'; row 4: None)"
    assert str(repair_of("rows", list(range(9)))) == "9 rows (row 0; row 1; row 2; ...)"
    assert str(Repair("files", 1)) == "1 files"
    assert len(repair_of("rows", [1], ["x" * 500]).first[0]) < 100


def test_notes_are_taken() -> None:
    notes = NoteTaker(["a"], [Repair("b", 1)])
    notes.repair("none", in_file("e"), pl.Series([False, None]))
    notes.repair("some", lambda row: ("e", row + 10), pl.Series([None, True]), pl.Series([1, 2]))
    notes.odd.append("c")
    assert notes.taken("meta", "e", ["d"]) == DeliveryNotes(
        "meta", "e", ("a",), (Repair("b", 1), Repair("some", 1, ("row 11: 2",))), ("c",), ("d",)
    )


def test_repairs_and_doubts_are_warnings(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "adwright"):
        say(NOTES)
    levels = [(one.levelname, one.getMessage()) for one in caplog.records]
    assert levels == [
        ("INFO", "Cost is taken as spend"),
        ("INFO", "left out: the columns CPM"),
        ("WARNING", "repaired: 4 rows of totals left out (row 9: '5'; ...)"),
        ("WARNING", "rows may be missing"),
    ]
