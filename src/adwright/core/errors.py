"""Every error that adwright raises on purpose, in one tree.

    AdwrightError
    ├── DataError                 the input data is wrong
    │   ├── SchemaError           a column is missing or has the wrong type
    │   ├── ValueInvalidError     a cell holds a value that cannot be used
    │   └── FileUnreadableError   a data file cannot be read at all
    ├── ConfigError               a setting or run file is wrong
    ├── ArtifactError             a saved artifact is missing or incomplete
    │   ├── ArtifactCorruptError  its bytes differ from its manifest
    │   └── ArtifactUnsafeError   loading it could run code or leave its folder
    ├── AssetError                a public data set or model cannot be had
    ├── ResourceError             the machine refuses: disk full, no permission, path taken
    ├── MissingExtraError         an optional part of adwright is not installed
    ├── ProgramError              a variable of a program of calls has no text
    └── ResumeError               a run cannot be continued from its folder

A message reads ``what [where] -> hint``: what went wrong, which file, row, column or key
it concerns, and what to do about it. The parts are also attributes, so that a caller may
show them in its own way. All of them survive pickling, since worker processes raise them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from adwright.core.addresses import shown_address

_MAX_VALUE_CHARACTERS = 80


class AdwrightError(Exception):
    """Root of the tree: catch this to catch everything adwright raises on purpose.

    what: what went wrong, one sentence without a full stop.
    where: which file, key or object it concerns; may be empty.
    hint: what the reader can do about it; may be empty.
    Passwords of addresses are masked in all three.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        # Only `what` goes into args: unpickling calls cls(*args) and then restores the
        # attributes, so keyword-only arguments survive the trip between processes.
        super().__init__(shown_address(what))
        self.what = shown_address(what)
        self.where = shown_address(where)
        self.hint = shown_address(hint)

    def __str__(self) -> str:
        text = self.what
        if self.where:
            text += f" [{self.where}]"
        if self.hint:
            text += f" -> {self.hint}"
        return text


class DataError(AdwrightError):
    """The input data is wrong; says which file, row, column and value.

    row: zero-based row in the file or table, None when it is not about one row.
    value: the offending value; shown shortened, kept whole in the attribute.
    """

    def __init__(
        self,
        what: str,
        *,
        file: str = "",
        row: int | None = None,
        column: str = "",
        value: object = ...,
        hint: str = "",
    ) -> None:
        parts = [str(file)] if file else []
        if row is not None:
            parts.append(f"row {row}")
        if column:
            parts.append(f"column {column}")
        if value is not ...:
            parts.append(f"value {_shorten(value)}")
        super().__init__(what, where=", ".join(parts), hint=hint)
        self.file = str(file)
        self.row = row
        self.column = column
        self.value = value


class SchemaError(DataError):
    """A column is missing, unexpected or of the wrong type."""


class ValueInvalidError(DataError):
    """A cell holds a value that cannot be used: an empty id, a time that runs backwards."""


class FileUnreadableError(DataError):
    """A data file cannot be read: truncated, in another format, or not text in UTF-8."""


class ConfigError(AdwrightError):
    """A setting or a run file is wrong; `where` names the file and the key."""


class ArtifactError(AdwrightError):
    """A saved artifact is missing, incomplete or cannot be written as asked."""


class ArtifactCorruptError(ArtifactError):
    """The bytes of an artifact differ from what its manifest recorded."""


class ArtifactUnsafeError(ArtifactError):
    """Loading would run code (a pickle) or leave the folder (a link, a path with ..)."""


class AssetError(AdwrightError):
    """A public data set or model cannot be fetched, or is not the pinned one."""


class ResourceError(AdwrightError):
    """The machine refuses: disk full, no permission, or the path is already taken."""


class MissingExtraError(AdwrightError):
    """An optional part is not installed; the hint gives the command that installs it.

    feature: what the caller asked for, for example "the HTTP service".
    extra: name of the extra that brings it, for example "service".
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs packages that are not installed",
            where=f"extra {extra}",
            hint=f"pip install 'adwright[{extra}]'",
        )
        self.args = (feature, extra)
        self.feature = feature
        self.extra = extra


@contextmanager
def needing(feature: str, extra: str) -> Iterator[None]:
    """Raise MissingExtraError where what the block imports is not installed.

    with needing("videos of ads", "video"):
        import av
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(feature, extra) from error


class ProgramError(AdwrightError):
    """A variable of a program of calls has no text: what should make it failed, or it was
    cancelled; `where` names the variable and what failed."""


class ResumeError(AdwrightError):
    """A run cannot be continued: its folder belongs to another config, data or code."""


def _shorten(value: object) -> str:
    text = repr(value)
    if len(text) > _MAX_VALUE_CHARACTERS:
        text = text[: _MAX_VALUE_CHARACTERS - 3] + "..."
    return text
