"""Read ads: a user's table of any kind, or a folder of pictures and films, as records.

    ads = read_ads(Path("slogans.csv"))
    ads.records[0].title, ads.ids[0], ads.frame["recalled"][0]      # of the first row
    read_ads(Path("posters"))                                       # a record an image or video

Everything that is no part of the ad stays in `frame`, where outcomes lie. A file that the table
names is not opened here: its place is in `media`, and it lies inside one folder.

Which column of a user's table of ads is which: as he says, else by its usual name.

    AdColumns(title="Slogan", image="")     # the title is told, there is no image, the rest guessed

What is guessed is said in `AdTable.said`, never silent. Only columns of text are taken, so that no
outcome (clicks, recalled, a rate) becomes a part of the ad.

Where the pictures and films of ads lie: paths of a table, or all files below a folder.

A table may come from anybody, so each path that it names must lie inside one folder, links
followed. Nothing is opened here, and nothing fetched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import polars as pl

from adwright.core.errors import ConfigError, FileUnreadableError, SchemaError, ValueInvalidError
from adwright.creative.records.ad_record import AdKind, AdRecord, is_verbalised, read_verbalised
from adwright.data.schema import (
    NOT_IDS,
    Check,
    Locate,
    check_unique,
    in_file,
    is_category,
    run_checks,
)
from adwright.data.sources.bounds import PARQUET_ENDINGS, USUAL_BOUNDS, ReadBounds, reading
from adwright.data.sources.csvfile import parse_columns
from adwright.data.sources.frames import Tabular, as_frame, id_text
from adwright.data.table_door import TableSpec, bare_name, find_column, listed, table_specs

#: Texts beside the title, in the order of the table.
_WORDS = re.compile(
    r"(link|ad|primary|long)?(description|body|text|copy|message)\d*|lede|excerpt|subtitle|subhead"
    r"|subheadline|caption|calltoaction(text)?|cta|headline([2-9]|1\d)|longheadline"
)
_ONE = ("id", "title", "brand", "seconds", "image", "video", "text")


@dataclass(frozen=True)
class AdColumns:
    """Which column holds which part of an ad. None: guess by usual names. Empty: there is none.

    id: of the ad. title: its headline. words: its other texts, joined in this order. brand: whose
    it is. seconds: its length. image, video: paths of files. text: the ad in words as
    `verbalised` writes them.

    Raises ConfigError where one column is two parts.
    """

    id: str | None = None
    title: str | None = None
    words: tuple[str, ...] | None = None
    brand: str | None = None
    seconds: str | None = None
    image: str | None = None
    video: str | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.words, str) or any(not isinstance(one, str) for one in self.told):
            raise ConfigError(
                "a column is named by a text, and the words by a tuple of texts",
                where="AdColumns",
                hint='write them as AdColumns(title="headline", words=("body",))',
            )
        for name in self.told:
            if self.told.count(name) > 1:
                raise ConfigError(
                    f"the column {name!r} is two parts of the ad",
                    where="AdColumns",
                    hint="name it once",
                )

    @property
    def told(self) -> tuple[str, ...]:
        """All columns that are named, in the order of the fields."""
        one = [getattr(self, each.name) for each in fields(self) if each.name != "words"]
        return tuple(name for name in (*one[:2], *(self.words or ()), *one[2:]) if name)


def usual_parts(names: Sequence[str]) -> list[str]:
    """Those of `names` that could be a part of an ad by their names."""
    spec = _spec()
    known = {name for part in _ONE for name in spec.guesses(part, names)}
    return [name for name in names if name in known or _is_words(name)]


def name_ads(
    names: Sequence[str],
    columns: AdColumns,
    fit: dict[str, frozenset[str]],
    *,
    file: str,
    bare: bool = False,
) -> tuple[AdColumns, tuple[str, ...]]:
    """The columns with nothing left open, and what was guessed, a sentence each.

    names: of the table. fit: of each guessed part, the columns whose values can be such a part.
    Raises SchemaError for a column that is told and not there, and where no part of an ad is
    found.
    """
    spec, words = _spec(), columns.words
    if words is not None:
        words = tuple(find_column(name, names, "words", file=file) for name in words)
    unfit = set[str]()

    def fits(part: str, name: str) -> bool:
        if part != "id":
            unfit.update({name} - fit[part])
        return name in fit[part]

    told = {part: one for part in _ONE if (one := getattr(columns, part)) is not None}
    parts, found = spec.name(names, told, fits=fits, taken=words or (), file=file)
    said, taken = list(found), {*parts.values()}
    if words is None:
        free = [name for name in names if name not in taken and name in fit["words"]]
        words = tuple(name for name in free if _is_words(name))
        if words:
            said.append(f"{', '.join(words)} {'are' if words[1:] else 'is'} taken as words")
    made = AdColumns(words=words, **{part: parts.get(part, "") for part in _ONE})
    apart = [name for name in names if name in unfit and name not in made.told]
    said += [f"{name} is left apart: no part of an ad has such values" for name in apart]
    if not bare and not set(made.told) - {made.id, made.seconds}:
        raise SchemaError(
            "no column is known to hold a part of an ad: a title, words, a brand, an image, a "
            "video or a text",
            file=file,
            hint=f"say which one does, --columns title=THEIRS; the table has {listed(names)}",
        )
    return made, tuple(said)


def _spec() -> TableSpec:
    return table_specs("ads")["ad"]


def _is_words(name: str) -> bool:
    return _WORDS.fullmatch(bare_name(name)) is not None


#: Endings of files, in lower case.
IMAGES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})
VIDEOS = frozenset({".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".mpg", ".mpeg"})


class MediaFound(NamedTuple):
    """Of an ad: its file, if it is there; its kind; (part, why it cannot be looked at)."""

    file: Path | None
    kind: AdKind
    absent: tuple[tuple[str, str], ...]


def media_kind(path: str | Path) -> AdKind | None:
    """What a file is by its ending; None for neither an image nor a video."""
    ending = Path(path).suffix.lower()
    if ending in IMAGES:
        return "image"
    return "video" if ending in VIDEOS else None


def media_below(path: Path) -> tuple[Path, ...]:
    """The file itself where it is an image or a video; of a folder without tables all images and
    videos below it, sorted; else nothing. Hidden files are passed over.

    Raises FileUnreadableError for a folder that holds neither media nor Parquet.
    """
    if path.is_file():
        return (path,) if media_kind(path) else ()
    if not path.is_dir():
        return ()
    below = sorted(
        each
        for each in path.rglob("*")
        if not any(part.startswith(".") for part in each.relative_to(path).parts)
    )
    if any(each.suffix in PARQUET_ENDINGS for each in below):
        return ()
    found = tuple(each for each in below if media_kind(each) and each.is_file())
    home = path.resolve()
    found = tuple(each for each in found if each.resolve().is_relative_to(home))
    if not found:
        raise FileUnreadableError(
            "the folder holds no image, no video and no Parquet file",
            file=str(path),
            hint=f"images and videos end in {', '.join(sorted(IMAGES | VIDEOS))}",
        )
    return found


def find_media(
    cells: Mapping[AdKind, Sequence[str]],
    columns: Mapping[AdKind, str],
    folder: Path,
    locate: Locate,
) -> list[MediaFound]:
    """The files that N rows name.

    cells: paths in the columns of videos and of images, "" for none. Of two files of one ad that
    are there, the first is taken. columns: names of these columns. folder: in which all must lie.
    Raises ValueInvalidError, naming the row, for a path that leaves `folder`.
    """
    home, found = folder.resolve(), []
    for row, paths in enumerate(zip(*cells.values(), strict=True)):
        there: list[tuple[Path, AdKind]] = []
        named: list[AdKind] = []
        absent: list[tuple[str, str]] = []
        for part, cell in zip(cells, paths, strict=True):
            if not cell:
                continue
            kind = media_kind(cell) or part
            named.append(kind)
            file = _placed(cell, home)
            if file is None:
                name, at = locate(row)
                raise ValueInvalidError(
                    f"the path leaves the folder {folder} in which the files of this table lie",
                    file=name,
                    row=at,
                    column=columns[part],
                    value=cell,
                    hint="move the file below it, or name a folder above both: "
                    "read_ads(..., folder=...)",
                )
            if isinstance(file, str):
                absent.append((kind, file))
            else:
                there.append((file, kind))
        kind = there[0][1] if there else named[0] if named else "text"
        found.append(MediaFound(there[0][0] if there else None, kind, tuple(absent)))
    return found


def _placed(cell: str, home: Path) -> Path | str | None:
    """The file that a cell names, or why there is none; None for one that lies elsewhere."""
    if "://" in cell:
        return f"a web address is not fetched: {cell:.80}"
    # Tables of Windows part folders by \.
    for name in (cell, cell.replace("\\", "/")):
        try:
            file = (home / name).resolve()
            inside, there = file.is_relative_to(home), file.is_file()
        except (OSError, ValueError, RuntimeError):
            return f"this is no path: {cell:.80}"
        if not inside:
            return None
        if there:
            return file
    return f"there is no such file: {cell:.80}"


_LISTS = (pl.List(pl.String), pl.List(pl.Null))
#: Filled cells of a column that a guess looks at.
_LOOKED = 200


@dataclass(frozen=True, eq=False)
class AdTable:
    """N ads of a table, in its order.

    ids: of each, no two alike. records: what each says and shows, as far as the table tells.
    media: of each, its file, which is there; None where it has none. frame: all other columns, N
    rows. columns: which column was which; nothing of it is None. said: what was guessed or put
    right, a sentence each. locate: file and row of each, for errors. name: of the file.
    """

    ids: tuple[str, ...]
    records: tuple[AdRecord, ...]
    media: tuple[Path | None, ...]
    frame: pl.DataFrame
    columns: AdColumns
    said: tuple[str, ...]
    locate: Locate
    name: str

    def __len__(self) -> int:
        """N."""
        return len(self.ids)


def read_ads(
    source: Tabular,
    columns: AdColumns | None = None,
    *,
    folder: Path | None = None,
    bounds: ReadBounds = USUAL_BOUNDS,
    bare: bool = False,
) -> AdTable:
    """The ads of a CSV, TSV, JSON lines or Parquet file, a table in memory, a folder of images
    and videos, or one such file.

    columns: which is which; what is None there is guessed. Without a column of ids, they are the
    numbers of the rows (of a folder, the paths in it). An empty cell, null and NaN are an absent
    part; blanks around a text go; a number as a brand is read as its text; a list of texts is
    joined, a text a line. An ad in words is read by `read_verbalised`; the title, brand and length
    of other columns come before those that it tells, and its words after theirs. folder: in which
    all files that the table names lie, and against which their paths are read; by default the
    folder of the table, of a table in memory the working folder. A file that is not there, or a
    web address, is written into the record's `absent`. bare: a table without any part of an ad is
    read too.

    Raises FileUnreadableError, SchemaError and ValueInvalidError as `as_frame`; SchemaError for a
    column that is not there or whose values cannot be that part; ValueInvalidError, naming the
    row, for an id that is empty or comes twice, for seconds that are no number of 0 or more, and
    for a path that leaves the folder.
    """
    wanted = AdColumns() if columns is None else columns
    if isinstance(source, str | Path) and (files := media_below(Path(source))):
        return _of_media(Path(source), files)
    told = {bare_name(name) for name in wanted.told}
    table = as_frame(
        source,
        text=lambda names: [
            one for one in names if bare_name(one) in told or one in usual_parts(names)
        ],
        whole=True,
        bounds=bounds,
    )
    frame = reading(Path(table.name), table.frame.collect)
    if not frame.height:
        raise FileUnreadableError(
            "the table has a header and no rows", file=table.name, hint="write a row an ad"
        )
    named, said = name_ads(frame.columns, wanted, _fitting(frame), file=table.name, bare=bare)
    ids = _ids(frame, named.id or "", table.locate)
    seconds = _seconds(frame, named.seconds or "", table.locate, comma=table.decimal_comma)
    slots = [_texts(frame, name, table.name) for name in named.words or ()]
    words = ["\n".join(filter(None, each)) for each in zip(*slots, strict=True)]
    base = folder or (Path(source).parent if isinstance(source, str | Path) else Path())
    parts: dict[AdKind, str] = {"video": named.video or "", "image": named.image or ""}
    cells = {part: _texts(frame, name, table.name) for part, name in parts.items()}
    media = find_media(cells, parts, base, table.locate)
    titles, brands, texts = (
        _texts(frame, name or "", table.name) for name in (named.title, named.brand, named.text)
    )
    rows = zip(titles, brands, words or [""] * len(ids), seconds, media, texts, strict=True)
    records = []
    for title, brand, slots, length, file, text in rows:
        read = read_verbalised(text) if text else AdRecord()
        # What has a length is a film, whether or not there is a file of it.
        seen = "video" if length is not None else read.kind
        records.append(
            replace(
                read,
                kind=seen if file.kind == "text" else file.kind,
                title=title or read.title,
                brand=brand or read.brand,
                words="\n".join(filter(None, [slots, read.words])),
                seconds=read.seconds if length is None else length,
                absent=file.absent,
            )
        )
    rest = frame.drop(named.told)
    said = (*said, *_said_of(records, media, named))
    paths = tuple(one.file for one in media)
    return AdTable(ids, tuple(records), paths, rest, named, said, table.locate, table.name)


def _of_media(source: Path, files: Sequence[Path]) -> AdTable:
    """An ad each image or video; its id is its path in the folder."""
    home = source if source.is_dir() else source.parent
    ids = tuple(file.relative_to(home).as_posix() for file in files)
    records = tuple(AdRecord(kind=media_kind(file) or "image") for file in files)
    named = AdColumns("", "", (), "", "", "", "", "")
    frame = pl.DataFrame({"path": ids})
    return AdTable(ids, records, tuple(files), frame, named, (), in_file(str(source)), str(source))


def _said_of(
    records: Sequence[AdRecord], media: Sequence[MediaFound], named: AdColumns
) -> tuple[str, ...]:
    """What a reader should know of the rows, a sentence each."""
    said = []
    if not named.id:
        said.append("no column holds ids: the numbers of the rows are taken, from 0")
    lost = [(row, one.absent[0][1]) for row, one in enumerate(media) if one.absent]
    if lost:
        said.append(f"{len(lost):,} ads lack a file, the first in row {lost[0][0]}: {lost[0][1]}")
    bare = [
        row
        for row, (one, file) in enumerate(zip(records, media, strict=True))
        if not (one.title or one.words or one.brand or one.scenes or one.speech or file.file)
    ]
    if bare:
        said.append(f"{len(bare):,} ads say and show nothing, the first is row {bare[0]}")
    return tuple(said)


def _fitting(frame: pl.DataFrame) -> dict[str, frozenset[str]]:
    """Of each part the columns whose values can be such a part, where it has to be guessed. One of
    nothing but nulls can be any."""
    types = frame.schema.items()
    null = frozenset(name for name, dtype in types if dtype == pl.Null)
    texts = frozenset(name for name, dtype in types if _is_text(dtype)) | null
    numeric = frozenset(name for name, dtype in types if dtype.is_numeric()) | null
    lists = frozenset(name for name, dtype in types if dtype == pl.List(pl.String))
    filled = {
        name: frame[name].cast(pl.String).str.strip_chars().replace("", None).drop_nulls()
        for name in texts & set(usual_parts(frame.columns))
    }
    media = rf"(?i)({'|'.join(map(re.escape, sorted(IMAGES | VIDEOS)))})$"
    files = frozenset(name for name, cells in filled.items() if cells.str.contains(media).any())
    looked = {name: cells.head(_LOOKED) for name, cells in filled.items()}
    numbers = frozenset(name for name, cells in looked.items() if _mostly_numbers(cells))
    told = frozenset(name for name, cells in looked.items() if _mostly_verbalised(cells))
    return {
        # Of the ad; of its product where no two rows have the same.
        "id": frozenset(
            name
            for name in texts | numeric
            if bare_name(name) in ("id", "adid", "creativeid", "recordid", "key")
            or (frame[name].null_count() == 0 and frame[name].is_unique().all())
        ),
        "title": texts,
        "words": texts | lists,
        "brand": texts,
        "seconds": numeric | numbers,
        "image": files,
        "video": files,
        "text": told,
    }


def _is_text(dtype: pl.DataType) -> bool:
    return dtype == pl.String or is_category(dtype)


def _mostly_numbers(cells: pl.Series) -> bool:
    """Half of the cells, so that an error names the others."""
    read = cells.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    return bool(len(cells)) and read.is_not_null().sum() * 2 >= len(cells)


def _mostly_verbalised(cells: pl.Series) -> bool:
    return bool(len(cells)) and sum(map(is_verbalised, cells.to_list())) * 2 >= len(cells)


def _ids(frame: pl.DataFrame, name: str, locate: Locate) -> tuple[str, ...]:
    if not name:
        return tuple(str(row) for row in range(frame.height))
    _refuse_type(frame, name, locate(0)[0])
    lazy = frame.lazy()
    cells = lazy.select(id_text(lazy, name).cast(pl.String).alias(name))
    blank = pl.col(name).is_null() | (pl.col(name).str.strip_chars() == "")
    blank |= pl.col(name).is_in(NOT_IDS)
    rows = 'or take the numbers of the rows: AdColumns(id="")'
    what = "the id of an ad must not be empty or NaN"
    run_checks(cells, [Check(name, blank, what, f"fill it in, {rows}")], locate)
    what = "the id of an ad must be unique"
    check_unique(cells, name, what, f"keep a row an ad, {rows}", locate)
    return tuple(cells.collect()[name])


def _seconds(frame: pl.DataFrame, name: str, locate: Locate, *, comma: bool) -> list[float | None]:
    if not name:
        return [None] * frame.height
    _refuse_type(frame, name, locate(0)[0])
    cells = frame.lazy().select(name)
    if _is_text(frame.schema[name]):
        text = pl.col(name).cast(pl.String).str.strip_chars().replace("", None)
        text = text.str.replace(",", ".", literal=True) if comma else text
        cells = parse_columns(cells.with_columns(text), (), {name: pl.Float64()}, locate)
    cells = cells.select(pl.col(name).cast(pl.Float64).fill_nan(None))
    bad = (pl.col(name) < 0) | pl.col(name).is_infinite()
    hint = "correct it, or leave it empty where nobody knows"
    run_checks(cells, [Check(name, bad, "seconds must be a number of 0 or more", hint)], locate)
    return cells.collect()[name].to_list()


def _texts(frame: pl.DataFrame, name: str, file: str) -> list[str]:
    """The cells of a column as texts, "" for none; of no column (an empty name) all are none."""
    if not name:
        return [""] * frame.height
    dtype = frame.schema[name]
    if dtype in _LISTS:
        lists = ([one.strip() for one in cell or () if one] for cell in frame[name].to_list())
        return ["\n".join(filter(None, each)) for each in lists]
    _refuse_type(frame, name, file)
    lazy = frame.lazy()
    cells = lazy.select(id_text(lazy, name).alias(name)).collect()[name]
    if cells.dtype.is_float():
        cells = cells.fill_nan(None)
    return cells.cast(pl.String).str.strip_chars().fill_null("").to_list()


def _refuse_type(frame: pl.DataFrame, name: str, file: str) -> None:
    """Raise SchemaError for a column that holds neither texts nor numbers."""
    dtype = frame.schema[name]
    if not (_is_text(dtype) or dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        raise SchemaError(
            f"a part of an ad is a text or a number, not {dtype}",
            file=file,
            column=name,
            hint="name another column, or cast this one to text",
        )
