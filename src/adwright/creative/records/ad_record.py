"""What an ad says and shows, in fields: one record for all that judges ads.

    record = AdRecord(brand="Mill Lane", title="Fresh bread", words="Baked at six. Two for 3.")
    film = AdRecord(brand="Mill Lane", kind="video", seconds=16, scenes=(Scene(caption="a loaf"),))

A record is what a person could write down of the ad, after Harini S I et al., WACV 2025: brand,
title, length, what is said, and of each scene its colours, tone, words and faces. Empty means
that there is none or that nobody looked; `absent` tells the two apart: it names each part that
could not be looked for, and why, so that nothing is guessed.

An ad in plain sentences, for models that read, and such sentences back into fields.

    text = verbalised(record)           # "The ad is a video. The ad is 16 seconds long. The ..."
    read_verbalised(text) == record     # but for what no sentence tells, see there
    verbalised(record, leave_out=("brand", "scene.faces"))

Order and wording follow the verbalisation of Harini S I et al. (WACV 2025, arXiv 2309.00378), in
which LAMBDA's ads are written: length, brand, title, orientation, pace, what is said, then scene
by scene caption, colours, tone, style, complexity, emotions, faces, tags, text. So a model that is
tuned on one reads the other. The sentences that LAMBDA lacks (kind, length, brand, title, text,
motion, times of a scene) are our choice.

Records of ads as one table, a column a field, scenes as a list of structs.

records_table(records)      # an Arrow table of RECORDS

Records of ads as a file that every verb reads back: ids, sentences and fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow as pa

from adwright.core.config import closest_name, settings
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.data.creatives import Creative
from adwright.data.ids import why_no_id
from adwright.data.schema import from_arrow
from adwright.data.sources.tables import write_table

AdKind = Literal["text", "image", "video"]
Orientation = Literal["", "landscape", "portrait", "square"]
#: Of pace, motion and visual complexity.
Level = Literal["", "low", "medium", "high"]


@settings
class Scene:
    """What one scene of a video shows, or a picture. Empty: none, or nobody looked.

    caption: a sentence. foreground, background: names of colours, the largest first. tone: warm,
    cool or neutral. style: of photography. complexity: how much there is to see. emotions, tags:
    words. faces: how many can be seen, None where nobody counted. words: text on the screen, a
    line each. start, seconds: where it lies in the video. Raises as `AdRecord`.
    """

    caption: str = ""
    foreground: tuple[str, ...] = ()
    background: tuple[str, ...] = ()
    tone: str = ""
    style: str = ""
    complexity: Level = ""
    emotions: tuple[str, ...] = ()
    faces: int | None = None
    tags: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    start: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        _check_tuples(self)
        _check_number("faces", self.faces)
        _check_number("start", self.start)
        _check_number("seconds", self.seconds)


@settings
class AdRecord:
    """What an ad says and shows. Empty: none, or nobody looked, see `absent`.

    kind: what was looked at. brand: whose ad it is. title: its headline. words: its other text,
    a paragraph a slot. speech: what is said in it. seconds: length of a video. orientation: of
    the picture. pace: cuts in a minute, as a level. motion: how much moves, as a level. scenes:
    of a video in their order, of a picture one. absent: (part, why it could not be looked for).

    Raises ConfigError for a field of another type and an unknown choice, ValueInvalidError for what
    should be a tuple and for a number below 0.
    """

    kind: AdKind = "text"
    brand: str = ""
    title: str = ""
    words: str = ""
    speech: str = ""
    seconds: float | None = None
    orientation: Orientation = ""
    pace: Level = ""
    motion: Level = ""
    scenes: tuple[Scene, ...] = ()
    absent: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        _check_tuples(self)
        _check_number("seconds", self.seconds)

    @property
    def text(self) -> str:
        """All that is to be read in it, a part a line: title, words, text on the screen."""
        shown = [line for scene in self.scenes for line in scene.words]
        return "\n".join(part for part in (self.title, self.words, *shown) if part)

    @classmethod
    def of(cls, creative: Creative) -> AdRecord:
        """What a creative says; nobody has looked at its picture."""
        slots = (creative.description, creative.body, creative.call_to_action)
        kind: AdKind = "image" if creative.image_hash else "text"
        return cls(kind, creative.brand, creative.headline, "\n".join(filter(None, slots)))

    def creative(self, id: str, image_hash: str = "") -> Creative:
        """The ad as a creative of that id, or of its content's where a catalogue would not take
        that id: title and words as headline and body."""
        return Creative(
            headline=self.title,
            body=self.words,
            brand=self.brand,
            image_hash=image_hash,
            creative_id="" if why_no_id(id) else id,
        )


def _check_tuples(record: Scene | AdRecord) -> None:
    """What holds several values is a tuple, so that equal records have equal hashes."""
    for field in fields(record):
        value = getattr(record, field.name)
        if str(field.type).startswith("tuple") and not isinstance(value, tuple):
            raise _refused(field.name, value, "pass a tuple")


def _check_number(name: str, value: float | None) -> None:
    if value is not None and not 0 <= value < float("inf"):
        raise _refused(name, value, "pass a number of 0 or more, or None")


def _refused(name: str, value: object, hint: str) -> ValueInvalidError:
    return ValueInvalidError("this is no part of an ad", column=name, value=value, hint=hint)


#: What `leave_out` may name: fields of a record, and after "scene." those of each of its scenes.
PARTS = (
    *(each.name for each in fields(AdRecord) if each.name != "absent"),
    *(f"scene.{each.name}" for each in fields(Scene)),
)
_SCENES = "Following are the descriptions of each scene:"
_LEVEL = "(?:[Ll]ow|[Mm]edium|[Hh]igh)"
#: Ends a sentence: what goes on is another one.
_STOP = r"\.(?!\S)"
_LENGTH = r"[0-9]{1,17}(?:\.[0-9]{1,25})?(?:e[+-]?[0-9]{1,2})? seconds?"


def _begins(sentences: Mapping[str, str]) -> re.Pattern[str]:
    """Where one of these sentences begins: after a blank, or (in two cases) a comma."""
    parts = (f"(?P<{name}>{start})" for name, start in sentences.items())
    # All of them begin with one of two signs: the others are passed over quickly.
    return re.compile(f"(?=[T,])(?:{'|'.join(parts)})")


#: How the sentence of each field begins. Where its value has a form, the beginning looks ahead at
#: all of it: a sentence that only begins so is none of ours.
_OF_AD = _begins(
    {
        "kind": rf"(?<!\S)The ad is an? (?=(?:text|image|video){_STOP})",
        "seconds": rf"(?<!\S)The ad is (?={_LENGTH} long{_STOP})",
        "brand": r"(?<!\S)The brand of the ad is ",
        "title": r"(?<!\S)The title of the ad is ",
        "words": r"(?<!\S)The text of the ad is ",
        "orientation": r"(?<!\S)The ad is shot in (?=(?:landscape|portrait|square) orientation"
        rf"(?:, at a {_LEVEL} pace)?{_STOP})",
        "pace": rf"(?:(?<!\S)The ad is shot|(?<=orientation),) at a (?={_LEVEL} pace{_STOP})",
        "motion": rf"(?<!\S)The motion in the ad is (?={_LEVEL}{_STOP})",
        "speech": r"(?<!\S)The audio in the ad says ",
    }
)
_OF_SCENE = _begins(
    {
        "caption": r"(?<!\S)The scene shows ",
        "foreground": r"(?<!\S)The foreground colors of the scene are ",
        "background": r"(?:(?<!\S)The background colors of the scene|, and the background colors)"
        " are ",
        "tone": r"(?<!\S)The dominant tone of the scene is ",
        "style": r"(?<!\S)The photography style of the scene is ",
        "complexity": rf"(?<!\S)The scene has (?={_LEVEL} visual complexity{_STOP})",
        "emotions": r"(?<!\S)The emotions shown in the scene are ",
        "faces": r"(?<!\S)There (?:is|are) (?=(?:no|one|[0-9]{1,9}) (?:prominent )?faces?"
        rf" in the scene{_STOP})",
        "tags": r"(?<!\S)This scene is categorized by the tags ",
        "words": r"(?<!\S)The text shown in the scene is ",
        "start": rf"(?<!\S)The scene begins at (?={_LENGTH}{_STOP})",
        "seconds": rf"(?<!\S)The scene lasts (?={_LENGTH}{_STOP})",
    }
)
_SCENE = re.compile(r"(?<!\S)Scene ([0-9]{1,9}):")
_END = re.compile(_STOP)


def verbalised(record: AdRecord, *, leave_out: Sequence[str] = ()) -> str:
    """The ad in sentences, one a field, in the order of the module's head; what is empty is left
    out. What could not be looked for (`absent`) is not told.

    leave_out: names of `PARTS` that are left out too. Raises ConfigError for another name.
    """
    for name in leave_out:
        if name not in PARTS:
            close = closest_name(name, PARTS)
            raise ConfigError(
                f"an ad has no part {name!r}",
                where="leave_out",
                hint=f"use one of {', '.join(PARTS)}" + (f"; is it {close}?" if close else ""),
            )
    shown = {each.name: getattr(record, each.name) for each in fields(record)}
    shown.update({name: None for name in leave_out if "." not in name})
    said = [_of_ad(shown)]
    if shown["scenes"]:
        said.append(_SCENES)
    hidden = [name.removeprefix("scene.") for name in leave_out if "." in name]
    for number, scene in enumerate(shown["scenes"] or (), start=1):
        seen = {each.name: getattr(scene, each.name) for each in fields(scene)}
        seen.update(dict.fromkeys(hidden))
        said.append(f"Scene {number}: {_of_scene(seen)}".strip())
    return " ".join(part for part in said if part)


def read_verbalised(text: str) -> AdRecord:
    """The record of an ad in sentences, as `verbalised` or LAMBDA writes them.

    A sentence that is not understood stays in the caption of its scene, one before all scenes in
    that of the first, so that no word is lost; a second sentence of one field counts as such. The
    kind, where no sentence tells it, follows from the rest: what has a length, a pace, speech or
    several scenes is a video, what has an orientation or a scene an image.

    `read_verbalised(verbalised(r)) == r`, if `r.absent` is empty, lengths lie between 1e-99 and
    1e99, no text begins or ends with a blank or holds how a sentence begins, colours are in lower
    case, and no colour, emotion, tag, tone or style holds a comma, an underscore or a full stop.
    Of text on the screen, double quotation marks around a line with an apostrophe go, which LAMBDA
    puts there.
    """
    head, *scenes = _parted(text)
    found, left = _fields(head.replace(_SCENES, " ", 1), _OF_AD, _READ_AD)
    seen = []
    for part in scenes:
        values, unknown = _fields(part, _OF_SCENE, _READ_SCENE)
        caption = " ".join([*filter(None, [values.pop("caption", "")]), *unknown])
        seen.append(Scene(caption=caption, **values))
    found.setdefault("kind", _kind_of(found, len(seen)))
    if left:
        first = seen[0] if seen else Scene()
        caption = " ".join([*left, *filter(None, [first.caption])])
        seen[:1] = [replace(first, caption=caption)]
    return AdRecord(scenes=tuple(seen), **found)


def is_verbalised(text: str) -> bool:
    """Whether a sentence of `verbalised` or of LAMBDA stands in the text."""
    return bool(_OF_AD.search(text) or _OF_SCENE.search(text))


def _of_ad(shown: Mapping[str, Any]) -> str:
    said = []
    if kind := shown["kind"]:
        said.append(f"The ad is {'an' if kind == 'image' else 'a'} {kind}.")
    if shown["seconds"] is not None:
        said.append(f"The ad is {_number(shown['seconds'])} long.")
    for name, called in (("brand", "brand"), ("title", "title"), ("words", "text")):
        if shown[name]:
            said.append(f"The {called} of the ad is '{shown[name]}'.")
    orientation, pace = shown["orientation"], shown["pace"]
    if orientation or pace:
        how = f" in {orientation} orientation" if orientation else ""
        comma = "," if orientation and pace else ""
        said.append(f"The ad is shot{how}{comma}" + (f" at a {pace} pace." if pace else "."))
    if shown["motion"]:
        said.append(f"The motion in the ad is {shown['motion']}.")
    if shown["speech"]:
        said.append(f"The audio in the ad says {shown['speech']} .")
    return " ".join(said)


def _of_scene(seen: Mapping[str, Any]) -> str:
    said = [f"The scene shows {seen['caption']}."] if seen["caption"] else []
    if seen["start"] is not None:
        said.append(f"The scene begins at {_number(seen['start'])}.")
    if seen["seconds"] is not None:
        said.append(f"The scene lasts {_number(seen['seconds'])}.")
    front, back = _colours(seen["foreground"]), _colours(seen["background"])
    if front:
        more = f", and the background colors are {back}" if back else ""
        said.append(f"The foreground colors of the scene are {front}{more}.")
    elif back:
        said.append(f"The background colors of the scene are {back}.")
    if seen["tone"]:
        said.append(f"The dominant tone of the scene is {seen['tone']}.")
    if seen["style"]:
        said.append(f"The photography style of the scene is {seen['style']}.")
    if seen["complexity"]:
        said.append(f"The scene has {seen['complexity'].capitalize()} visual complexity.")
    if seen["emotions"]:
        said.append(f"The emotions shown in the scene are {', '.join(seen['emotions'])}.")
    if (faces := seen["faces"]) is not None:
        few = {0: "is no face", 1: "is one prominent face"}
        said.append(f"There {few.get(faces, f'are {faces} faces')} in the scene.")
    if seen["tags"]:
        said.append(f"This scene is categorized by the tags {', '.join(seen['tags'])}.")
    if seen["words"]:
        lines = ", ".join(f"'{line}'" for line in seen["words"])
        said.append(f"The text shown in the scene is {lines}")
    return " ".join(said)


def _number(seconds: float) -> str:
    whole = int(seconds) == seconds and seconds < 1e15
    return f"{int(seconds) if whole else repr(float(seconds))} second{'s' * (seconds != 1)}"


def _colours(names: Sequence[str] | None) -> str:
    """As LAMBDA writes them: dark brown is Dark_Brown."""
    return ",".join("_".join(map(str.capitalize, name.split(" "))) for name in names or ())


def _parted(text: str) -> list[str]:
    """What stands before the scenes, and each scene: they are counted from 1 on."""
    cuts, number = [], 1
    for mark in _SCENE.finditer(text):
        if int(mark[1]) == number:
            cuts.append(mark)
            number += 1
    ends = [*(mark.start() for mark in cuts), len(text)]
    starts = [0, *(mark.end() for mark in cuts)]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def _fields(
    text: str, begins: re.Pattern[str], read: Mapping[str, Callable[[str], tuple[Any, str]]]
) -> tuple[dict[str, Any], list[str]]:
    """The fields that sentences of `text` tell, and what is not understood."""
    marks = list(begins.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)]
    found: dict[str, Any] = {}
    left = [text[: ends[0]].strip()]
    for mark, end in zip(marks, ends[1:], strict=True):
        name = mark.lastgroup or ""
        if name in found:
            left.append(text[mark.start() : end].strip(" ,"))
            continue
        found[name], rest = read[name](text[mark.end() : end].strip())
        left.append(rest.strip())
    # A full stop of a sentence that is not there, as LAMBDA has them.
    return found, [part for part in left if part.strip(" .")]


def _sentence(content: str) -> tuple[str, str]:
    """Up to the first full stop before a blank, and what comes after it."""
    end = _END.search(content)
    return (content[: end.start()], content[end.end() :]) if end else (content, "")


def _first_word(content: str) -> tuple[str, str]:
    said, rest = _sentence(content)
    return said.split(" ")[0].lower(), rest


def _seconds(content: str) -> tuple[float, str]:
    word, rest = _first_word(content)
    return float(word), rest


def _faces(content: str) -> tuple[int, str]:
    word, rest = _first_word(content)
    return (0 if word == "no" else 1 if word == "one" else int(word)), rest


def _listed(content: str) -> tuple[tuple[str, ...], str]:
    said, rest = _sentence(content)
    return tuple(one.strip() for one in said.split(",") if one.strip()), rest


def _named_colours(content: str) -> tuple[tuple[str, ...], str]:
    names, rest = _listed(content)
    return tuple(name.replace("_", " ").lower() for name in names), rest


def _all(content: str) -> tuple[str, str]:
    """A caption: everything but the full stop of the sentence."""
    return content.removesuffix(" .").removesuffix(".").strip(), ""


def _quoted(content: str) -> tuple[str, str]:
    end = content.rfind("'.")
    if content.startswith("'") and end > 0:
        return content[1:end].strip(), content[end + 2 :]
    return _sentence(content)


def _spoken(content: str) -> tuple[str, str]:
    """Up to the last full stop that stands alone, which ends what is said."""
    said, stop, rest = f" {content} ".rpartition(" . ")
    return (said.strip(), rest) if stop else (content, "")


def _shown_lines(content: str) -> tuple[tuple[str, ...], str]:
    """'A', 'B' as the lines A and B; the list may be cut off anywhere."""
    closed = re.match(r"'.*'(?=\s|\.|$)(?!\s*,)", content, re.DOTALL)
    listed, rest = content.rstrip(" ,"), ""
    if closed and "', '" not in content[closed.end() - 1 :]:
        listed, rest = closed[0], content[closed.end() :].removeprefix(".")
    lines = [line.replace("\\'", "'").strip() for line in _bare(listed).split("', '")]
    lines = [line[1:-1] if _marked(line) else line for line in lines]
    return tuple(line for line in lines if line), rest


def _marked(line: str) -> bool:
    """Whether it stands in double quotation marks for its apostrophe, as Python writes it."""
    return len(line) > 2 and line[0] == line[-1] == '"' and "'" in line


def _bare(listed: str) -> str:
    return listed.removeprefix("'").removesuffix("'")


def _kind_of(found: Mapping[str, Any], scenes: int) -> AdKind:
    if scenes > 1 or any(found.get(name) for name in ("seconds", "pace", "motion", "speech")):
        return "video"
    return "image" if scenes or found.get("orientation") else "text"


_READ_AD: Mapping[str, Callable[[str], tuple[Any, str]]] = {
    "kind": _first_word,
    "seconds": _seconds,
    "brand": _quoted,
    "title": _quoted,
    "words": _quoted,
    "orientation": _first_word,
    "pace": _first_word,
    "motion": _first_word,
    "speech": _spoken,
}
_READ_SCENE: Mapping[str, Callable[[str], tuple[Any, str]]] = {
    "caption": _all,
    "foreground": _named_colours,
    "background": _named_colours,
    "tone": _sentence,
    "style": _sentence,
    "complexity": _first_word,
    "emotions": _listed,
    "faces": _faces,
    "tags": _listed,
    "words": _shown_lines,
    "start": _seconds,
    "seconds": _seconds,
}


_TYPES: dict[str, pa.DataType] = {
    "str": pa.string(),
    "int | None": pa.int64(),
    "float | None": pa.float64(),
    "tuple[str, ...]": pa.list_(pa.string()),
    "tuple[tuple[str, str], ...]": pa.list_(
        pa.struct([pa.field("part", pa.string()), pa.field("why", pa.string())])
    ),
}


def _columns(kind: type[AdRecord] | type[Scene]) -> list[pa.Field]:
    """A column a field; what is chosen among words (AdKind, Level, Orientation) is a text."""
    types = dict(_TYPES)
    if kind is AdRecord:
        types["tuple[Scene, ...]"] = pa.list_(pa.struct(_columns(Scene)))
    return [pa.field(each.name, types.get(str(each.type), pa.string())) for each in fields(kind)]


#: One row is one ad; null is an empty part.
RECORDS = pa.schema(_columns(AdRecord))


def records_table(records: Iterable[AdRecord]) -> pa.Table:
    """The records as an Arrow table of RECORDS, N rows in their order.

    Raises ValueInvalidError, naming the row, for a text that is no UTF-8 (half of a surrogate
    pair) and a number of faces beyond 64 bits.
    """
    rows = [_cells(record) for record in records]
    try:
        return pa.Table.from_pylist(rows, RECORDS)
    except (pa.ArrowException, UnicodeError, OverflowError):
        for row, cells in enumerate(rows):
            _check_row(row, cells)
        raise


def _cells(record: AdRecord) -> dict[str, Any]:
    cells = {each.name: getattr(record, each.name) for each in fields(record)}
    cells["scenes"] = [
        {each.name: getattr(scene, each.name) for each in fields(scene)} for scene in record.scenes
    ]
    cells["absent"] = [{"part": part, "why": why} for part, why in record.absent]
    return cells


def _check_row(row: int, cells: Mapping[str, Any]) -> None:
    for name, value in cells.items():
        try:
            pa.array([value], RECORDS.field(name).type)
        except (pa.ArrowException, UnicodeError, OverflowError) as error:
            raise ValueInvalidError(
                f"this cannot be kept in a table: {error!s:.120}",
                row=row,
                column=name,
                value=value,
                hint="write texts in UTF-8, and numbers in 64 bits",
            ) from error


#: Columns of a record that would be taken for parts of an ad beside its sentences.
_FIELD = "field_"


def save_described(path: Path, ids: Sequence[str], records: Sequence[AdRecord]) -> None:
    """Write a Parquet file of N ads, whole or not at all: creative_id, text (the
    ad in sentences), and each field of its record as field_NAME.

    Raises DataError for another number of ids; ResourceError where the disk is full.
    """
    if len(ids) != len(records):
        raise DataError(f"{len(ids)} ids of {len(records)} records", hint="pass one a record")
    fields = from_arrow(records_table(records))
    named = fields.rename({name: _FIELD + name for name in fields.columns})
    told = pl.DataFrame(
        {
            "creative_id": pl.Series(ids, dtype=pl.String),
            "text": pl.Series([verbalised(record) for record in records], dtype=pl.String),
        }
    )
    write_table(path, told.hstack(named))
