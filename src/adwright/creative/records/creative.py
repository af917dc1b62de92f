"""What an ad says and shows: one immutable creative, and tables of them.

    first = Creative(headline="Fresh bread", body="Baked at six.", brand="Mill Lane")
    second = first.edited("shorter body", body="Baked at six")
    second.parent == first.creative_id

Scores live elsewhere, keyed by creative and scorer. CREATIVES extends the creatives of a catalogue
(`adwright.data.schema.CREATIVE_SCHEMA`) by the slots of the text and by where a creative comes
from; `catalogue_rows` and `from_catalogue` lead from one to the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields

import polars as pl
import pyarrow as pa

from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.data.checks import check_unique, in_file
from adwright.data.columns import TableInMemory, as_polars, check_columns
from adwright.data.ids import why_no_id
from adwright.data.schema import CREATIVE_SCHEMA

#: The parts of an ad's text.
SLOTS = ("headline", "description", "body", "call_to_action", "brand")

CREATIVES = pa.schema(
    [
        CREATIVE_SCHEMA.field("creative_id"),
        pa.field("item_id", pa.string()),  # what it advertises; null where no catalogue has it
        CREATIVE_SCHEMA.field("campaign_id"),
        *(pa.field(slot, pa.string()) for slot in SLOTS),
        CREATIVE_SCHEMA.field("image_hash"),  # SHA-256 of the image file
        pa.field("parent", pa.string()),  # creative_id of the one that it was made from
        pa.field("edit", pa.string()),  # what was done to the parent
        pa.field("model_id", pa.string()),  # the model that wrote or edited it
        pa.field("checks_passed", pa.list_(pa.string()), nullable=False),
    ]
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_IDS = ("creative_id", "item_id", "campaign_id", "parent")
#: An id of ours: hexadecimal digits of the content's hash.
_ID_DIGITS = 32


@dataclass(frozen=True)
class Creative:
    """An ad as it is shown. Empty means that there is none.

    headline, description, body, call_to_action, brand: the text. image_hash: SHA-256 of the image
    file, 64 lower-case hexadecimal digits. item_id: what of the catalogue it advertises.
    campaign_id: who pays for it. parent: creative_id of the one that it was made from, and edit:
    what was done to that. model_id: the model that wrote or edited it. checks_passed: names of the
    checks that this very creative has passed. creative_id: by default a hash of all this but the
    campaign and the checks, which do not make it another creative.

    Raises ValueInvalidError for an id that is none, an image hash that is no SHA-256, and an edit
    without a parent.
    """

    headline: str = ""
    description: str = ""
    body: str = ""
    call_to_action: str = ""
    brand: str = ""
    image_hash: str = ""
    item_id: str = ""
    campaign_id: str = ""
    parent: str = ""
    edit: str = ""
    model_id: str = ""
    checks_passed: tuple[str, ...] = ()
    creative_id: str = ""

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self) if field.name != "checks_passed"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise _refused("a creative holds text", name, value, "pass a str")
            if any("\ud800" <= sign <= "\udfff" for sign in value):
                raise _refused("half of a surrogate pair", name, value, "write it in UTF-8")
            if value and name in _IDS and (why := why_no_id(value)):
                raise _refused(f"this is no id: {why}", name, value, "give it another id")
        if self.image_hash and not _SHA256.fullmatch(self.image_hash):
            raise _refused(
                "the image is named by another hash",
                "image_hash",
                self.image_hash,
                "take adwright.core.hashing.sha256_file of the image",
            )
        if self.edit and not self.parent:
            raise _refused("an edit has a parent", "edit", self.edit, "call Creative.edited")
        if not all(isinstance(one, str) for one in self.checks_passed):
            raise _refused("a check is a name", "checks_passed", self.checks_passed, "pass texts")
        object.__setattr__(self, "checks_passed", tuple(self.checks_passed))
        if not self.creative_id:
            object.__setattr__(self, "creative_id", self._content_id())

    def edited(
        self,
        edit: str,
        *,
        model_id: str = "",
        headline: str | None = None,
        description: str | None = None,
        body: str | None = None,
        call_to_action: str | None = None,
        brand: str | None = None,
        image_hash: str | None = None,
    ) -> Creative:
        """A new creative with this one as its parent; what is None stays, "" takes a part away.

        edit: what is done, in a few words. It has passed no checks yet.
        Raises ValueInvalidError where nothing is said of the edit, or it changes nothing.
        """
        given = (headline, description, body, call_to_action, brand, image_hash)
        names = (*SLOTS, "image_hash")
        old = [getattr(self, name) for name in names]
        new = [was if now is None else now for was, now in zip(old, given, strict=True)]
        if not edit.strip():
            raise _refused("an edit says what it does", "edit", edit, "describe it in a few words")
        if new == old:
            raise _refused(
                "the edit changes nothing", "edit", edit, f"give one of {', '.join(names)}"
            )
        parts = dict(zip(names, new, strict=True))
        return Creative(
            headline=parts["headline"],
            description=parts["description"],
            body=parts["body"],
            call_to_action=parts["call_to_action"],
            brand=parts["brand"],
            image_hash=parts["image_hash"],
            item_id=self.item_id,
            campaign_id=self.campaign_id,
            parent=self.creative_id,
            edit=edit,
            model_id=model_id,
        )

    @property
    def text(self) -> str:
        """The slots that there are, a line each."""
        return "\n".join(part for slot in SLOTS if (part := getattr(self, slot)))

    def _content_id(self) -> str:
        apart = ("creative_id", "campaign_id", "checks_passed")
        content = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in apart}
        return content_hash(content)[:_ID_DIGITS]


def creatives_table(creatives: Iterable[Creative]) -> pa.Table:
    """The creatives as an Arrow table of CREATIVES, in their order; empty parts are null.

    Raises ValueInvalidError where two have one id and are not equal; equal ones are kept once.
    """
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
    kept = list(known.values())
    columns = {
        name: [list(one.checks_passed) for one in kept]
        if name == "checks_passed"
        else [getattr(one, name) or None for one in kept]
        for name in CREATIVES.names
    }
    return pa.table(columns, CREATIVES)


def from_table(table: TableInMemory, *, file: str = "") -> tuple[Creative, ...]:
    """The creatives of a table of CREATIVES, of Arrow, polars or another library.

    file: name shown in errors. Columns that may be null may be absent, so may checks_passed.
    Raises SchemaError for a column that is missing, unknown or of another type, ValueInvalidError
    for what `Creative` refuses, and for an id that comes twice.
    """
    frame = as_polars(table)
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
        try:
            known = {name: value or "" for name, value in cells.items()}
            made.append(Creative(checks_passed=checks, **known))
        except ValueInvalidError as error:
            raise _at(file, row, error.column, error.value, error.what, error.hint) from error
    return tuple(made)


def _refused(what: str, column: str, value: object, hint: str) -> ValueInvalidError:
    return ValueInvalidError(what, column=column, value=value, hint=hint)


def _at(file: str, row: int, column: str, value: object, what: str, hint: str) -> ValueInvalidError:
    return ValueInvalidError(what, file=file, row=row, column=column, value=value, hint=hint)
