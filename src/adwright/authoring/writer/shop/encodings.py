"""Text files of any usual encoding, as UTF-8.

    with in_utf8(Path("products.csv")) as (path, said):
        ...                             # `path` is UTF-8; `said` tells what was done, if anything

Spreadsheets on Windows write UTF-16 or Windows-1252, and files that were put together by hand have
both. A line whose bytes are UTF-8 is taken as such; text in Windows-1252 with other than ASCII
characters nearly never is.
"""

from __future__ import annotations

import codecs
import gzip
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, NamedTuple, cast

from adwright.core.atomic import resource_error
from adwright.core.errors import FileUnreadableError
from adwright.data.sources.bounds import named_as

Encoding = Literal["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "mixed"]
_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"
#: Bytes in which zeros are counted, and their share on one side that makes it UTF-16.
_HEAD, _ZEROS = 4096, 0.3
#: Lines that are named.
_NAMED = 3


class EncodingFound(NamedTuple):
    """encoding: of a file. other: of mixed ones, lines that are not UTF-8. first: the first of
    them, from 1."""

    encoding: Encoding
    other: int = 0
    first: tuple[int, ...] = ()


def encoding_of(path: Path) -> EncodingFound:
    """The encoding of a text file, from all of its bytes.

    Raises FileUnreadableError naming the line that is neither UTF-8 nor Windows-1252, and where
    the file cannot be read.
    """
    with _opened(path) as stream:
        head = _read(path, stream, _HEAD)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return EncodingFound("utf-16")
    if head:
        even, odd = head[::2].count(0), head[1::2].count(0)
        if max(even, odd) > _ZEROS * len(head) / 2:
            return EncodingFound("utf-16-le" if odd > even else "utf-16-be")
    if _is_utf8(path):
        return EncodingFound("utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8")
    return _by_line(path)


@contextmanager
def in_utf8(path: Path) -> Iterator[tuple[Path, EncodingFound, tuple[str, ...]]]:
    """The file in UTF-8: itself, or for as long as the block lasts a copy; what its encoding is,
    and what is to be said of it. Errors of the block name the file itself.

    Raises as `encoding_of`, and FileUnreadableError for UTF-16 that is cut off.
    """
    found = encoding_of(path)
    if found.encoding in ("utf-8", "utf-8-sig"):
        yield path, found, ()
        return
    name = path.name.removesuffix(".gz").removesuffix(".GZ")
    with tempfile.TemporaryDirectory(prefix="adwright-text-") as folder:
        inside = Path(folder) / name
        _copy(path, inside, found)
        with named_as(path, inside):
            yield inside, found, _said(found)


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with _opened(path) as stream:
            while block := _read(path, stream, _BLOCK):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _by_line(path: Path) -> EncodingFound:
    """Windows-1252, or some lines of it among lines of UTF-8."""
    other, first, marked = 0, list[int](), 0
    for number, line in _lines(path):
        if line.isascii():
            continue
        try:
            line.decode("utf-8")
            marked += 1
        except UnicodeDecodeError:
            other += 1
            _as_cp1252(path, number, line)
            if len(first) < _NAMED:
                first.append(number)
    return EncodingFound("mixed" if marked else "cp1252", other, tuple(first))


def _as_cp1252(path: Path, number: int, line: bytes) -> str:
    try:
        return line.decode("cp1252")
    except UnicodeDecodeError as error:
        raise FileUnreadableError(
            f"line {number} is neither UTF-8 nor Windows-1252",
            file=str(path),
            value=line[max(0, error.start - 20) : error.end + 20],
            hint="export the file in UTF-8, or convert it: iconv -f ITS_ENCODING -t utf-8",
        ) from error


def _copy(path: Path, target: Path, found: EncodingFound) -> None:
    with target.open("w", encoding="utf-8", newline="") as out:
        if found.encoding not in ("cp1252", "mixed"):
            decoder = codecs.getincrementaldecoder(found.encoding)()
            try:
                with _opened(path) as stream:
                    while block := _read(path, stream, _BLOCK):
                        out.write(decoder.decode(block))
                    out.write(decoder.decode(b"", final=True))
            except UnicodeError as error:
                raise FileUnreadableError(
                    f"the file begins as UTF-16 and is not: {error}",
                    file=str(path),
                    hint="it may be cut off: export it again",
                ) from error
            return
        for number, line in _lines(path):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                text = _as_cp1252(path, number, line)
            out.write(text)


def _said(found: EncodingFound) -> tuple[str, ...]:
    if found.encoding == "mixed":
        lines = ", ".join(str(number) for number in found.first)
        return (
            f"the file mixes encodings: {found.other:,} lines are not UTF-8 and were read as "
            f"Windows-1252, the first in line {lines}",
        )
    name = "Windows-1252" if found.encoding == "cp1252" else "UTF-16"
    return (f"the file was read as {name}",)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with _opened(path) as stream:
        number = 0
        while line := _read(path, stream, -1):
            number += 1
            yield number, line


def _opened(path: Path) -> IO[bytes]:
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == _GZIP
        return cast(IO[bytes], gzip.open(path, "rb")) if packed else path.open("rb")
    except OSError as error:
        raise resource_error(error, path) or FileUnreadableError(
            f"the file cannot be read: {error.strerror}", file=str(path), hint="check the path"
        ) from error


def _read(path: Path, stream: IO[bytes], size: int) -> bytes:
    """So many bytes, or a line."""
    try:
        return stream.readline() if size < 0 else stream.read(size)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FileUnreadableError(
            "the gzip file is damaged or cut off", file=str(path), hint="copy or pack it again"
        ) from error
