"""The bytes of an XML file, in UTF-8, whatever its encoding, packed by gzip or not.

    data, said = xml_in_utf8(Path("feed.xml"))

The encoding is that of the byte-order mark, else of the declaration, else UTF-8 (appendix F of XML
1.0). Bytes that are no UTF-8 in a file that says so stay as they are: a parser then tells of the
place where they stand.
"""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from pathlib import Path

from adwright.core.atomic import resource_error
from adwright.core.errors import FileUnreadableError

#: Bytes of a feed, unpacked. Feeds of Google may have 4 GB; they are given in parts.
_MOST = 256 << 20
_GZIP = b"\x1f\x8b"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\x00", "utf-16-le"),
    (b"\x00<", "utf-16-be"),
)
_DECLARED = re.compile(rb"""\A<\?xml[^>]{0,200}?\bencoding\s*=\s*["']([\w.:-]{1,40})["']""")
#: Encodings of text alone: Python knows others, such as of escapes.
_KNOWN = re.compile(
    r"utf-?(8|16(-?[lb]e)?)|us-ascii|iso-?8859-\d{1,2}|windows-\d{3,4}|cp\d{3,4}|koi8-[ru]"
    r"|shift[_-]jis|euc-(jp|kr)|iso-2022-jp|gb2312|gbk|gb18030|big5",
    re.IGNORECASE,
)


def xml_in_utf8(path: Path, *, most: int = _MOST) -> tuple[bytes, tuple[str, ...]]:
    """The file in UTF-8 without a mark, and what is to be said of its encoding.

    most: bytes that it may have, unpacked. Raises FileUnreadableError where it has more, cannot be
    read or unpacked, or its encoding is not known or not the one that it says.
    """
    raw = _unpacked(path, most)
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "")
    if not encoding:
        declared = _DECLARED.match(raw)
        encoding = declared[1].decode("ascii").lower() if declared else "utf-8"
    if encoding in ("utf-8", "utf8", "utf-8-sig"):
        return raw.removeprefix(codecs.BOM_UTF8), ()
    try:
        if not _KNOWN.fullmatch(encoding):
            raise LookupError
        text = raw.decode(encoding)
    except LookupError:
        raise FileUnreadableError(
            f"the encoding {encoding} is not known",
            file=str(path),
            hint="export the feed in UTF-8",
        ) from None
    except UnicodeDecodeError as error:
        raise FileUnreadableError(
            f"the file is not {encoding}, as it says: {error.reason} at byte {error.start:,}",
            file=str(path),
            hint="export the feed in UTF-8",
        ) from error
    return text.encode("utf-8", "replace"), (f"the file was read as {encoding}",)


def _unpacked(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == _GZIP
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            raw = stream.read(most + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FileUnreadableError(
            "the gzip file is damaged or cut off", file=str(path), hint="copy or pack it again"
        ) from error
    except OSError as error:
        raise resource_error(error, path) or FileUnreadableError(
            f"the file cannot be read: {error.strerror}", file=str(path), hint="check the path"
        ) from error
    if len(raw) > most:
        raise FileUnreadableError(
            f"the feed has more than {most:,} bytes",
            file=str(path),
            hint="give it in parts, or as a text feed (.tsv)",
        )
    return raw
