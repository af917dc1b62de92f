"""A user's table of ads is read as it is meant, and refused by row where it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import (
    ConfigError,
    DataError,
    FileUnreadableError,
    SchemaError,
    ValueInvalidError,
)
from adwright.creative.records.ad_record import AdRecord, Scene, read_verbalised, verbalised
from adwright.creative.records.ads_table import (
    IMAGES,
    VIDEOS,
    AdColumns,
    AdTable,
    MediaFound,
    find_media,
    media_below,
    media_kind,
    name_ads,
    read_ads,
    usual_parts,
)
from adwright.data.schema import in_file
from adwright.data.sources.bounds import ReadBounds

ROWS: list[dict[str, object]] = [
    {"id": "a", "headline": "Fresh bread", "body": "Baked at six.", "brand": "Mill", "clicks": 3},
    {"id": "b", "headline": "Two for 3", "body": None, "brand": "7", "clicks": 0},
]
RECORDS = (
    AdRecord(title="Fresh bread", words="Baked at six.", brand="Mill"),
    AdRecord(title="Two for 3", brand="7"),
)


def write(folder: Path, kind: str) -> Path:
    path, frame = folder / f"ads.{kind}", pl.DataFrame(ROWS)
    if kind == "parquet":
        frame.write_parquet(path)
    elif kind == "csv":
        frame.write_csv(path)
    elif kind == "tsv":
        frame.write_csv(path, separator="\t")
    else:
        frame.write_ndjson(path)
    return path


def of_csv(folder: Path, text: str, columns: AdColumns | None = None) -> AdTable:
    path = folder / "ads.csv"
    path.write_text(text, "utf-8")
    return read_ads(path, columns)


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "jsonl", "ndjson"])
def test_each_kind_of_file_is_read_alike(tmp_path: Path, kind: str) -> None:
    ads = read_ads(write(tmp_path, kind))
    assert (ads.ids, ads.records, len(ads)) == (("a", "b"), RECORDS, 2)
    assert ads.frame.to_dicts() == [{"clicks": 3}, {"clicks": 0}]
    assert ads.columns == AdColumns("id", "headline", ("body",), "brand", "", "", "", "")
    assert ads.said == ("headline is taken as title", "body is taken as words")
    assert ads.name == str(tmp_path / f"ads.{kind}")
    assert ads.locate(1) == (ads.name, 1)


def test_tables_in_memory() -> None:
    assert read_ads(ROWS).records == read_ads(pl.DataFrame(ROWS)).records == RECORDS
    assert read_ads(pl.DataFrame(ROWS).lazy()).ids == ("a", "b")


def test_a_folder_of_pictures_and_films(tmp_path: Path) -> None:
    for name in ("b.png", "a.mp4"):
        (tmp_path / name).write_bytes(b"")
    ads = read_ads(tmp_path)
    assert ads.ids == ("a.mp4", "b.png")
    assert [one.kind for one in ads.records] == ["video", "image"]
    assert ads.media == (tmp_path / "a.mp4", tmp_path / "b.png")
    assert ads.frame["path"].to_list() == ["a.mp4", "b.png"]
    alone = read_ads(tmp_path / "b.png")
    assert (alone.ids, alone.media) == (("b.png",), (tmp_path / "b.png",))


def test_files_that_a_table_names(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    ads = of_csv(tmp_path, "title,image\nBread,a.png\nMilk,gone.png\nEggs,\n")
    assert ads.media == ((tmp_path / "a.png").resolve(), None, None)
    assert [one.kind for one in ads.records] == ["image", "image", "text"]
    assert ads.records[1].absent == (("image", "there is no such file: gone.png"),)
    assert ads.said[-1] == (
        "1 ads lack a file, the first in row 1: there is no such file: gone.png"
    )
    other = tmp_path / "other"
    other.mkdir()
    assert read_ads(tmp_path / "ads.csv", folder=other).media == (None, None, None)
    frame = pl.DataFrame({"poster": ["a.png"]})
    columns = AdColumns(image="poster")
    assert read_ads(frame, columns, folder=tmp_path).media == ads.media[:1]


def test_ids_that_no_file_is_named_by_are_no_images() -> None:
    ads = read_ads(pl.DataFrame({"title": ["Bread"], "image": ["546d6fa19ad5"]}))
    assert (ads.columns.image, ads.frame["image"].to_list()) == ("", ["546d6fa19ad5"])


def test_what_is_put_right(tmp_path: Path) -> None:
    text = "title,brand,seconds,clicks\n Bread ,🥐,16,1\nMilk,007,,2\n,,,3\n"
    ads = of_csv(tmp_path, text)
    assert ads.records == (
        AdRecord(kind="video", title="Bread", brand="🥐", seconds=16),
        AdRecord(title="Milk", brand="007"),
        AdRecord(),
    )
    assert ads.ids == ("0", "1", "2")
    assert ads.said == (
        "no column holds ids: the numbers of the rows are taken, from 0",
        "1 ads say and show nothing, the first is row 2",
    )
    rows = {"title": [None, "B"], "brand": [7.0, float("nan")], "seconds": [None, float("nan")]}
    told = read_ads(pl.DataFrame(rows), AdColumns(brand="brand"))
    assert told.records == (AdRecord(brand="7"), AdRecord(title="B"))


def test_a_list_of_texts_is_joined() -> None:
    rows: list[dict[str, object]] = [
        {"title": "A", "body": ["one", " ", None, "two"]},
        {"title": "B", "body": []},
    ]
    assert [one.words for one in read_ads(rows).records] == ["one\ntwo", ""]


def test_a_semicolon_brings_a_decimal_comma(tmp_path: Path) -> None:
    ads = of_csv(tmp_path, "title;seconds;rate\nBread;1,5;0,25\n")
    assert ads.records[0].seconds == 1.5
    assert ads.frame["rate"].to_list() == [0.25]


def test_a_megabyte_of_text(tmp_path: Path) -> None:
    ads = of_csv(tmp_path, f"title,body\nBread,{'a b ' * 250_000}\n")
    assert len(ads.records[0].words) == 999_999
    with pytest.raises(FileUnreadableError, match="more than 1,000 bytes"):
        read_ads(tmp_path / "ads.csv", bounds=ReadBounds(cell_bytes=1000))


@pytest.mark.parametrize(
    ("text", "row", "column", "what"),
    [
        ("id,title\na,x\na,y\n", 1, "id", "unique"),
        ("id,title\na,x\n,y\n", 1, "id", "empty or NaN"),
        ("id,title\nnan,x\n", 0, "id", "empty or NaN"),
        ("title,seconds\nx,3\ny,-1\n", 1, "seconds", "0 or more"),
        ("title,seconds\nx,3\ny,inf\n", 1, "seconds", "0 or more"),
        ("title,seconds\nx,3\ny,3O\n", 1, "seconds", "cannot be read as a number"),
        ("title,image\nx,a.png\ny,../b.png\n", 1, "image", "leaves the folder"),
    ],
)
def test_a_row_is_refused_by_its_place(
    tmp_path: Path, text: str, row: int, column: str, what: str
) -> None:
    with pytest.raises(ValueInvalidError, match=what) as caught:
        of_csv(tmp_path, text)
    error = caught.value
    assert (error.file, error.row, error.column) == (str(tmp_path / "ads.csv"), row, column)
    assert error.hint


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column is known to hold a part of an ad") as caught:
        of_csv(tmp_path, "user,item\n1,2\n")
    assert caught.value.file == str(tmp_path / "ads.csv")


def test_a_column_of_another_kind() -> None:
    frame = pl.DataFrame({"title": [{"a": 1}], "brand": ["x"]})
    with pytest.raises(SchemaError, match="not Struct") as caught:
        read_ads(frame, AdColumns(title="title"))
    assert caught.value.column == "title"
    for columns in (AdColumns(id="title"), AdColumns(seconds="title")):
        with pytest.raises(SchemaError, match="not Struct"):
            read_ads(frame, columns)
    # A guess leaves such a column alone.
    ads = read_ads(frame)
    assert (ads.columns.title, ads.frame.columns) == ("", ["title"])
    assert "title is left apart: no part of an ad has such values" in ads.said


def test_guesses_look_at_values() -> None:
    rows = {"id": [1.0, 2.0], "title": ["A", "B"], "brand": [None, None], "file": ["x", "y.PNG"]}
    ads = read_ads(pl.DataFrame({**rows, "duration": ["0:30", "1:00"]}))
    assert ads.columns == AdColumns("id", "title", (), "brand", "", "file", "", "")
    assert ads.ids == ("1", "2")
    assert ads.said[-2] == "duration is left apart: no part of an ad has such values"
    assert ads.frame.columns == ["duration"]
    # One of many that is no number is an error of its row, not a reason to pass over the column.
    with pytest.raises(ValueInvalidError, match="cannot be read as a number"):
        read_ads(pl.DataFrame({"title": ["A", "B", "C"], "duration": ["3", "4", "5s"]}))


def test_other_columns_come_before_what_the_words_tell() -> None:
    text = verbalised(AdRecord(kind="image", brand="A", title="B", words="C", seconds=3))
    row = {"title": "T", "brand": None, "seconds": 9, "body": "D", "text": text}
    ads = read_ads([row, {**row, "title": None, "seconds": None, "text": None}])
    assert ads.records == (
        AdRecord(kind="video", brand="A", title="T", words="D\nC", seconds=9),
        AdRecord(words="D"),
    )
    # A text of no such sentence is one of the ad's words, unless it is told to be one.
    assert read_ads([{"title": "T", "text": "Free"}]).records == (
        AdRecord(title="T", words="Free"),
    )
    told = read_ads([{"title": "T", "text": "Free"}], AdColumns(text="text"))
    assert told.records == (AdRecord(title="T", scenes=(Scene(caption="Free"),)),)


def test_outcomes_are_never_guessed_as_a_part(shared_data: Path) -> None:
    slogans = read_ads(shared_data / "slogans/slogans.csv")
    assert (slogans.columns.title, slogans.columns.brand) == ("slogan", "brand")
    assert slogans.frame["d_prime"].dtype == pl.Float64
    assert len(slogans) == 470
    sentences = read_ads(shared_data / "sentences/sentences.csv")
    assert sentences.records[0].title == '"He didn\'t come home," Diego said.'
    assert sentences.frame.columns == ["hit_rate", "false_alarm_rate", "d_prime", "accuracy"]
    upworthy = read_ads(shared_data / "upworthy/creatives.parquet")
    assert upworthy.columns.words == ("lede", "excerpt")
    assert {"ctr", "clicks", "eyecatcher_id"} <= set(upworthy.frame.columns)
    assert len(upworthy) == upworthy.frame.height == 22_666


def test_ads_in_words(shared_data: Path) -> None:
    path = shared_data / "lambda/ads.jsonl"
    ads = read_ads(path)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert ads.ids == tuple(str(row["id"]) for row in rows)
    assert [one.brand for one in ads.records] == [row["brand"].strip() for row in rows]
    assert [one.seconds for one in ads.records] == [row["seconds"] for row in rows]
    assert (ads.columns.text, ads.columns.words) == ("text", ())
    assert [one.scenes for one in ads.records] == [
        read_verbalised(row["text"]).scenes for row in rows
    ]
    assert ads.frame["score"].to_list() == [row["score"] for row in rows]


def find(folder: Path, videos: list[str], images: list[str]) -> list[MediaFound]:
    columns = {"video": "film", "image": "poster"}
    return find_media(
        {"video": videos, "image": images},
        columns,  # type: ignore[arg-type]
        folder,
        in_file("ads.csv"),
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "ads"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "b.MP4", "sub/c.jpg", ".hidden.png", "notes.txt"):
        (folder / name).write_bytes(b"")
    (tmp_path / "secret.png").write_bytes(b"")
    return folder


def test_kinds_by_ending() -> None:
    assert {media_kind(f"x{ending}") for ending in IMAGES} == {"image"}
    assert {media_kind(f"x{ending}") for ending in VIDEOS} == {"video"}
    assert media_kind("A.JPG") == "image"
    assert media_kind("x.csv") is None
    assert media_kind("png") is None


def test_below_a_folder(place: Path) -> None:
    assert [each.name for each in media_below(place)] == ["a.png", "b.MP4", "c.jpg"]
    assert media_below(place / "a.png") == (place / "a.png",)
    assert media_below(place / "notes.txt") == ()
    assert media_below(place / "absent") == ()
    (place / "part.parquet").write_bytes(b"")
    assert media_below(place) == ()


def test_a_link_out_of_a_folder_is_passed_over(place: Path) -> None:
    (place / "z.png").symlink_to(place.parent / "secret.png")
    assert [each.name for each in media_below(place)] == ["a.png", "b.MP4", "c.jpg"]


def test_a_folder_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match="no image, no video"):
        media_below(tmp_path)


def test_paths_are_read_against_the_folder(place: Path) -> None:
    found = find(place, ["b.MP4", "", "", ""], ["a.png", "sub\\c.jpg", str(place / "a.png"), ""])
    names = [one.file and one.file.name for one in found]
    assert names == ["b.MP4", "c.jpg", "a.png", None]
    assert [one.kind for one in found] == ["video", "image", "image", "text"]
    assert not any(one.absent for one in found)


def test_of_two_files_that_which_is_there(place: Path) -> None:
    found = find(place, ["gone.mp4"], ["a.png"])
    absent = (("video", "there is no such file: gone.mp4"),)
    assert found == [((place / "a.png").resolve(), "image", absent)]


def test_an_ending_tells_more_than_a_column(place: Path) -> None:
    assert find(place, [""], ["b.MP4"])[0].kind == "video"


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("gone.png", "there is no such file: gone.png"),
        ("sub", "there is no such file: sub"),
        ("https://a.example/x.png", "a web address is not fetched: https://a.example/x.png"),
        ("a\0.png", "this is no path: a\0.png"),
        ("x" * 5000, f"this is no path: {'x' * 80}"),
    ],
)
def test_what_cannot_be_looked_at_is_said(place: Path, cell: str, why: str) -> None:
    found = find(place, ["", ""], [cell, "a.png"])
    assert found[0] == (None, "image", (("image", why),))
    assert (found[1].kind, found[1].absent) == ("image", ())


@pytest.mark.parametrize(
    "cell", ["../secret.png", "sub/../../secret.png", "/etc/passwd", "link.png"]
)
def test_a_path_that_leaves_the_folder(place: Path, cell: str) -> None:
    (place / "link.png").symlink_to(place.parent / "secret.png")
    with pytest.raises(ValueInvalidError, match="leaves the folder") as caught:
        find(place, ["", ""], ["a.png", cell])
    assert (caught.value.file, caught.value.row, caught.value.column) == ("ads.csv", 1, "poster")
    assert caught.value.value == cell
    found = find(place.parent, ["", ""], ["ads/a.png", "ads/link.png"])
    assert found[1].file == (place.parent / "secret.png").resolve()


PARTS = ("id", "title", "words", "brand", "seconds", "image", "video", "text")


def named(
    names: list[str], columns: AdColumns | None = None, *, unfit: tuple[str, ...] = ()
) -> tuple[AdColumns, tuple[str, ...]]:
    fit = frozenset(set(names) - set(unfit))
    return name_ads(names, columns or AdColumns(), dict.fromkeys(PARTS, fit), file="ads.csv")


def test_usual_names_are_known_however_they_are_written() -> None:
    found, said = named(
        ["Ad ID", "Headline", "Body", "Description", "BRAND", "clicks", "image_path"]
    )
    assert found == AdColumns(
        "Ad ID", "Headline", ("Body", "Description"), "BRAND", "", "image_path", "", ""
    )
    assert said == (
        "Ad ID is taken as id",
        "Headline is taken as title",
        "image_path is taken as image",
        "Body, Description are taken as words",
    )
    assert usual_parts(["Ad ID", "clicks", "Headline 2", "CTA"]) == ["Ad ID", "Headline 2", "CTA"]


def test_of_two_usual_names_the_other_is_said_too() -> None:
    found, said = named(["title", "headline", "id"])
    assert found.title == "headline"
    assert said == ("headline is taken as title (and not title)",)


@pytest.mark.parametrize("part", PARTS)
def test_what_is_told_is_taken_and_empty_means_none(part: str) -> None:
    names = ["id", "title", "body", "brand", "seconds", "image", "video", "text", "mine"]
    mine: object = ("mine",) if part == "words" else "mine"
    told, _ = named(names, AdColumns(**{part: mine}))  # type: ignore[arg-type]
    assert getattr(told, part) == mine
    none: object = () if part == "words" else ""
    bare, _ = named(names, AdColumns(**{part: none}))  # type: ignore[arg-type]
    assert getattr(bare, part) == none
    guessed, _ = named(names)
    assert getattr(guessed, part) not in (mine, none)


def test_values_that_do_not_fit_are_not_guessed() -> None:
    found, said = named(["headline", "title", "body"], unfit=("headline",))
    assert (found.title, found.words) == ("title", ("body",))
    assert said == (
        "body is taken as words",
        "headline is left apart: no part of an ad has such values",
    )
    # What is told is taken, whatever its values look like.
    told, _ = named(["headline", "body"], AdColumns(title="headline"), unfit=("headline",))
    assert told.title == "headline"


def test_capitals_do_not_count_in_what_is_told() -> None:
    found, said = named(["Claim", "Text 1"], AdColumns(title="claim", words=("text 1",)))
    assert (found.title, found.words, said) == ("Claim", ("Text 1",), ())


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(SchemaError, match=r"'slogn'.*title.*is it 'slogan'"):
        named(["slogan", "brand"], AdColumns(title="slogn"))
    with pytest.raises(SchemaError, match="no column 'x'"):
        named(["slogan", "brand"], AdColumns(words=("x",)))


def test_a_table_of_no_ads() -> None:
    with pytest.raises(
        SchemaError, match=r"no column is known .*user, item, f0.* and 30 more"
    ) as caught:
        named(["user", "item", *(f"f{n}" for n in range(48))][:50])
    assert caught.value.file == "ads.csv"


def test_a_column_is_one_part() -> None:
    with pytest.raises(ConfigError, match="'a' is two parts"):
        AdColumns(title="a", words=("b", "a"))
    with pytest.raises(ConfigError, match="tuple of texts"):
        AdColumns(words="body")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="tuple of texts"):
        AdColumns(words=(3,))  # type: ignore[arg-type]


@pytest.mark.parametrize(("id", "kept"), [("a7", "a7"), ("nan", ""), ("x" * 501, "")])
def test_a_record_is_a_creative_whatever_its_id(id: str, kept: str) -> None:
    record = AdRecord(brand="Mill Lane", title="Bread", words="Baked at six.")
    made = record.creative(id)
    assert made.creative_id == (kept or record.creative("").creative_id)
    assert AdRecord.of(made) == record
