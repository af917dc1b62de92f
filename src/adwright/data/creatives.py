"""What an ad says and shows: the one noun for what is written, judged, edited, served and retired.

    first = Creative(headline="Fresh bread", body="Baked at six.", brand="Mill Lane")
    second = first.edited("shorter body", {"body": "Baked at six"}, maker="ann")
    second.parent == first.creative_id
    creatives_table([first, second])        # `sources.tables.write_creatives` writes it to a file

A creative never changes: an edit is another one, which names its parent. Scores live elsewhere,
keyed by creative and judge. CREATIVES extends the creatives of a catalogue
(`adwright.data.schema.CREATIVE_SCHEMA`) by the slots of the text and by where a creative comes
from; `catalogue_rows` leads from one to the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Literal

import polars as pl
import pyarrow as pa

from adwright.core.config import settings
from adwright.core.errors import ConfigError, SchemaError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.data.ids import why_no_id
from adwright.data.schema import (
    CREATIVE_SCHEMA,
    TableInMemory,
    as_polars,
    check_columns,
    check_unique,
    in_file,
)

#: The parts of an ad's text.
SLOTS = ("headline", "description", "body", "call_to_action", "brand")
#: From a draft to its end; empty where nobody says, as of an ad that a platform exports.
CreativeState = Literal[
    "", "draft", "in review", "approved", "live", "paused", "stopped", "retired"
]
#: What may follow a state: nothing is shown that nobody approved, and what was stopped for good
#: reasons is looked at again.
MOVES: Mapping[CreativeState, tuple[CreativeState, ...]] = {
    "": ("in review", "retired"),
    "draft": ("in review", "retired"),
    "in review": ("approved", "draft", "retired"),
    "approved": ("live", "draft", "retired"),
    "live": ("paused", "stopped", "retired"),
    "paused": ("live", "stopped", "retired"),
    "stopped": ("in review", "retired"),
    "retired": (),
}
#: How a maker begins that is a model, or a person; ids do not tell it.
MODEL, PERSON = "model:", "person:"

CREATIVES = pa.schema(
    [
        CREATIVE_SCHEMA.field("creative_id"),
        pa.field("item_id", pa.string()),  # what it advertises; null where no catalogue has it
        CREATIVE_SCHEMA.field("campaign_id"),
        *(pa.field(slot, pa.string()) for slot in SLOTS),
        CREATIVE_SCHEMA.field("image_hash"),  # SHA-256 of the image file
        pa.field("landing", pa.string()),  # where a click leads
        pa.field("parent", pa.string()),  # creative_id of the one that it was made from
        pa.field("edit", pa.string()),  # what was done to the parent
        pa.field("maker", pa.string()),  # the model or person that wrote or edited it
        pa.field("inherited", pa.string()),  # label of what it was edited from
        pa.field("checks_passed", pa.list_(pa.string()), nullable=False),
        pa.field("state", pa.string()),
    ]
)
#: `maker` in tables of earlier releases, and in the id.
_OLD_MAKER = "model_id"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_IDS = ("creative_id", "item_id", "campaign_id", "parent")
#: What does not make it another creative.
_APART = ("creative_id", "campaign_id", "inherited", "checks_passed", "state")
#: An id of ours: hexadecimal digits of the content's hash.
_ID_DIGITS = 32


@settings
class Creative:
    """An ad as it is shown. Empty means that there is none.

    headline, description, body, call_to_action, brand: the text. image_hash: SHA-256 of the image
    file, 64 lower-case hexadecimal digits. item_id: what of the catalogue it advertises.
    campaign_id: who pays for it. landing: address to which a click leads. parent: creative_id of
    the one that it was made from, and edit: what was done to that. maker: the model or person that
    wrote or edited it, as "model:NAME" or "person:NAME". inherited: the label of the one
    that it was made from. checks_passed: names of the checks that this very creative has passed.
    state: how far it is. creative_id: by default a hash of all this but the campaign, what is
    inherited, the checks and the state, which do not make it another creative.

    Raises ValueInvalidError for an id that is none, an image hash that is no SHA-256, and an edit
    without a parent; ConfigError for an unknown state and what is no text.
    """

    headline: str = ""
    description: str = ""
    body: str = ""
    call_to_action: str = ""
    brand: str = ""
    image_hash: str = ""
    item_id: str = ""
    campaign_id: str = ""
    landing: str = ""
    parent: str = ""
    edit: str = ""
    maker: str = ""
    inherited: Literal["", "AI"] = ""
    checks_passed: tuple[str, ...] = ()
    state: CreativeState = ""
    creative_id: str = ""

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self) if field.name != "checks_passed"):
            value = getattr(self, name)
            if any("\ud800" <= sign <= "\udfff" for sign in value):
                raise _refused("half of a surrogate pair", name, value, "write it in UTF-8")
            if value and name in _IDS and (why := why_no_id(value)):
                raise _refused(f"this is no id: {why}", name, value, "give it another id")
        if self.image_hash and not is_image_hash(self.image_hash):
            hint = "take adwright.core.hashing.sha256_file of the image"
            raise _refused(
                "the image is named by another hash", "image_hash", self.image_hash, hint
            )
        if self.edit and not self.parent:
            raise _refused("an edit has a parent", "edit", self.edit, "call Creative.edited")
        if not self.creative_id:
            object.__setattr__(self, "creative_id", self._content_id())

    def edited(self, edit: str, changes: Mapping[str, str], *, maker: str = "") -> Creative:
        """A new creative with this one as its parent: a draft that has passed no checks yet.

        edit: what is done, in a few words. changes: slots, image_hash and landing; "" takes a part
        away. Raises ValueInvalidError where nothing is said of the edit, it changes nothing, or
        what it changes is no part of an ad.
        """
        parts = (*SLOTS, "image_hash", "landing")
        if not edit.strip():
            raise _refused("an edit says what it does", "edit", edit, "describe it in a few words")
        if unknown := [name for name in changes if name not in parts]:
            hint = f"an edit changes {', '.join(parts)}"
            raise _refused("this is no part of an ad", unknown[0], changes[unknown[0]], hint)
        if all(getattr(self, name) == value for name, value in changes.items()):
            raise _refused(
                "the edit changes nothing", "edit", edit, f"give one of {', '.join(parts)}"
            )
        new = {"parent": self.creative_id, "edit": edit, "maker": maker, "creative_id": ""}
        said = self.label
        return replace(self, **changes, **new, inherited=said, checks_passed=(), state="draft")

    @property
    def text(self) -> str:
        """The slots that there are, a line each."""
        return "\n".join(part for slot in SLOTS if (part := getattr(self, slot)))

    @property
    def label(self) -> Literal["", "AI"]:
        """What whoever sees it is to be told of it: "AI" where a model made it, or anything that it
        was edited from."""
        return "AI" if self.maker.startswith((MODEL, "SEED on ")) else self.inherited

    def _content_id(self) -> str:
        content = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _APART}
        content[_OLD_MAKER] = content.pop("maker").removeprefix(MODEL).removeprefix(PERSON)
        if not self.landing:  # so that ids of earlier releases hold
            del content["landing"]
        return content_hash(content)[:_ID_DIGITS]


def is_image_hash(text: str) -> bool:
    """Whether it is the SHA-256 of a file, as a creative names its image."""
    return _SHA256.fullmatch(text) is not None


def require_move(creative_id: str, old: CreativeState, new: CreativeState) -> None:
    """Raise ValueInvalidError, which says what may follow, unless a creative of the state `old` may
    become `new`."""
    if new not in MOVES[old]:
        may = " or ".join(MOVES[old])
        raise _refused(
            f"a creative of {f'the state {old!r}' if old else 'no state'} cannot become {new!r}",
            "creative_id",
            creative_id,
            f"it may become {may}" if may else "write another: a retired one stays so",
        )


def creatives_table(creatives: Iterable[Creative]) -> pa.Table:
    """The creatives as an Arrow table of CREATIVES, in their order; empty parts are null.

    Raises ValueInvalidError where two have one id and are not equal; equal ones are kept once.
    """
    kept = each_once(creatives)
    columns = {
        name: [list(one.checks_passed) for one in kept]
        if name == "checks_passed"
        else [getattr(one, name) or None for one in kept]
        for name in CREATIVES.names
    }
    return pa.table(columns, CREATIVES)


def each_once(creatives: Iterable[Creative]) -> list[Creative]:
    """The creatives in their order, equal ones once. Raises ValueInvalidError where two have one id
    and are not equal."""
    known: dict[str, Creative] = {}
    for row, one in enumerate(creatives):
        if known.setdefault(one.creative_id, one) != one:
            raise ValueInvalidError(
                "two creatives have one id",
                row=row,
                column="creative_id",
                value=one.creative_id,
                hint="give each its own, or leave it out: it is made of the content",
            )
    return list(known.values())


def from_table(table: TableInMemory, *, file: str = "") -> tuple[Creative, ...]:
    """The creatives of a table of CREATIVES, of Arrow, polars or another library.

    file: name shown in errors. Columns that may be null may be absent, so may checks_passed.
    Raises SchemaError for a column that is missing, unknown or of another type, ValueInvalidError
    for what `Creative` refuses, and for an id that comes twice.
    """
    frame = as_polars(table)
    if _OLD_MAKER in frame.columns and "maker" not in frame.columns:
        frame = frame.rename({_OLD_MAKER: "maker"})
    types = dict(frame.schema)
    check_columns({"checks_passed": pl.Null(), **types}, CREATIVES, file)
    for name, dtype in types.items():
        wanted = pl.List(pl.String) if name == "checks_passed" else pl.String
        if dtype not in (wanted, pl.Null, pl.List(pl.Null)):
            raise SchemaError(
                f"{name} must be {'a list of text' if name == 'checks_passed' else 'text'}, "
                f"not {dtype}",
                file=file,
                column=name,
                hint=f"cast the column to {CREATIVES.field(name).type}",
            )
    what, hint = "creative_id must be unique", "keep one row an id"
    check_unique(frame.lazy(), "creative_id", what, hint, in_file(file))
    made = []
    for row, cells in enumerate(frame.iter_rows(named=True)):
        if cells["creative_id"] is None:
            raise _at(file, row, "creative_id", None, "creative_id must not be empty", "fill it in")
        checks = tuple(cells.pop("checks_passed", None) or ())
        known = {name: value for name, value in cells.items() if value}
        try:
            made.append(Creative(checks_passed=checks, **known))
        except ValueInvalidError as error:
            raise _at(file, row, error.column, error.value, error.what, error.hint) from error
        except ConfigError as error:
            name = "state" if cells.get("inherited") in (None, "", "AI") else "inherited"
            raise _at(file, row, name, cells[name], error.what, error.hint) from error
    return tuple(made)


def catalogue_rows(creatives: Iterable[Creative]) -> pl.DataFrame:
    """Those of an item, in the columns of `CREATIVE_SCHEMA`, as a catalogue and the store take
    them; text: all slots, a line each."""
    columns = CREATIVE_SCHEMA.names
    rows = [[getattr(one, name) or None for name in columns] for one in creatives if one.item_id]
    return pl.DataFrame(rows, dict.fromkeys(columns, pl.String), orient="row")


def _refused(what: str, column: str, value: object, hint: str) -> ValueInvalidError:
    return ValueInvalidError(what, column=column, value=value, hint=hint)


def _at(file: str, row: int, column: str, value: object, what: str, hint: str) -> ValueInvalidError:
    return ValueInvalidError(what, file=file, row=row, column=column, value=value, hint=hint)
