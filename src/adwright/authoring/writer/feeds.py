"""Google's product feed as XML: the items of RSS 2.0, RSS 1.0 or Atom, as rows of its text feed.

    feed = read_feed(Path("feed.xml"))
    feed.frame, feed.places, feed.broken

A field is an element of Google's namespace, whatever its prefix, or one without a namespace, where
Google's is missing. Sub-attributes are joined by colons and repeated fields by commas, as in text
feeds ("RSS 2.0 specification", "Atom 1.0 specification" and "Product data specification" in the
help of Merchant Center, read in November 2026).

An item that is not well-formed is told with its number and line, and reading goes on at the next
one. The file may be a stranger's: a document type is refused, so that no entity is ever defined and
nothing outside the file is read, its size is bounded before it is parsed, and names, namespaces,
elements of an item and cells of the table before memory is taken for them.
"""

from __future__ import annotations

import codecs
import gzip
import html
import io
import re
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

import polars as pl

from adwright.core.atomic import resource_error
from adwright.core.errors import DataError, FileUnreadableError, SchemaError
from adwright.data.sources.bounds import USUAL_BOUNDS, check_names, check_sparse, named_as

# --------------------------------------------------------------------------------------------------
# The bytes of an XML file, in UTF-8, whatever its encoding, packed by gzip or not.
#
#     data, said = xml_in_utf8(Path("feed.xml"))
#
# The encoding is that of the byte-order mark, else of the declaration, else UTF-8 (appendix F of
# XML
# 1.0). Bytes that are no UTF-8 in a file that says so stay as they are: a parser then tells of the
# place where they stand.

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


def _unpacked(path: Path, most: int = -1) -> bytes:
    """All bytes of a file, or at most `most` and one more; of a gzip file those that it holds."""
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == _GZIP
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            raw = stream.read() if most < 0 else stream.read(most + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FileUnreadableError(
            "the gzip file is damaged or cut off", file=str(path), hint="copy or pack it again"
        ) from error
    except OSError as error:
        raise resource_error(error, path) or FileUnreadableError(
            f"the file cannot be read: {error.strerror}", file=str(path), hint="check the path"
        ) from error
    if 0 <= most < len(raw):
        raise FileUnreadableError(
            f"the feed has more than {most:,} bytes",
            file=str(path),
            hint="give it in parts, or as a text feed (.tsv)",
        )
    return raw


XML_ENDINGS = (".xml", ".rss", ".atom")
_GOOGLE = "http://base.google.com/ns/1.0"
_ATOM = "http://www.w3.org/2005/Atom"
_PLAIN = frozenset(("", _ATOM, "http://purl.org/rss/1.0/"))
_ITEMS = frozenset(("item", "entry"))
#: What stands around items, and declares namespaces for them.
_AROUND = frozenset(("rss", "RDF", "feed", "channel"))
_NEXT = re.compile(rb"<(?:[\w.-]{1,40}:)?(?:item|entry)[\s/>]")
#: What may stand before a document type, and it.
_DOCTYPE = re.compile(rb"(?:\s++|<\?.*?\?>|<!--.*?-->)*+<!DOCTYPE", re.DOTALL)
#: Elements inside each other; a sub-attribute is the second, and marks of HTML a few more.
_DEPTH = 32
#: Elements of an item, and namespaces that are declared around items.
_ELEMENTS, _SPACES = 10_000, 100
#: Bytes that are parsed at once: a parser copies what it is given.
_STEP = 1 << 16
_LONGEST_ID = 200


class BrokenItem(NamedTuple):
    """An item that is not well-formed. place: its number, from 0. id: where it was read."""

    place: int
    id: str
    reason: str


@dataclass(frozen=True)
class XmlFeed:
    """frame: the items, a column for each field. places: the number of each among all items, from
    0. broken: those that are left out. said: what a person should know."""

    frame: pl.DataFrame
    places: tuple[int, ...]
    broken: tuple[BrokenItem, ...]
    said: tuple[str, ...]


def read_feed(path: Path) -> XmlFeed:
    """The items of a feed.

    Raises FileUnreadableError for a file that is none, has a document type, no item or only broken
    ones, and as `xml_in_utf8`; SchemaError for more fields, namespaces or empty cells than a table
    may have.
    """
    data, said = xml_in_utf8(path)
    if _DOCTYPE.match(data):  # before a parser sees its entities
        raise _with_doctype(path)
    reader = _FeedReader(path, data)
    reader.read()
    rows, broken = reader.rows, reader.broken
    if not rows:
        first = f": item {broken[0].place}, {broken[0].reason}" if broken else ""
        raise FileUnreadableError(
            f"no <item> or <entry> can be read{first}",
            file=str(path),
            hint="name a product feed in RSS or Atom, and mend what is told",
        )
    names = list(reader.names)
    check_names(names, USUAL_BOUNDS, file=str(path))
    full = sum(len(row) for _, row in rows)
    check_sparse(len(rows) * len(names), full, USUAL_BOUNDS, file=str(path))
    columns = [pl.Series(name, [row.get(name) for _, row in rows], pl.String) for name in names]
    places = tuple(place for place, _ in rows)
    return XmlFeed(pl.DataFrame(columns), places, tuple(broken), (*said, *reader.said))


class _Refused(Exception):
    """What no feed may have; the whole file is refused. error: what is said of it."""

    def __init__(self, error: DataError) -> None:
        super().__init__(error.what)
        self.error = error


class _Broken(Exception):
    """What makes an item unreadable. at: where that begins."""

    def __init__(self, reason: str, at: int) -> None:
        super().__init__(reason)
        self.at = at


@dataclass
class _Field:
    """An element of an item while it is read. text: all of it; own: that outside its children."""

    uri: str
    name: str
    text: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    children: list[tuple[str, list[str]]] = field(default_factory=list)

    def value(self) -> str:
        """Its text; of sub-attributes all, of a structured text its content."""
        if not self.children or "".join(self.own).strip():
            return "".join(self.text).strip()
        found = [(name, "".join(text).strip()) for name, text in self.children]
        if self.name.startswith("structured_"):
            found = [pair for pair in found if pair[0] == "content"]
        return ":".join(value for _, value in found if value)


class _FeedReader:
    """Parses the items one after the other, and begins anew behind one that is broken."""

    def __init__(self, path: Path, data: bytes) -> None:
        self._path, self._data = path, data
        self.rows: list[tuple[int, dict[str, str]]] = []
        self.broken: list[BrokenItem] = []
        self.said: list[str] = []
        #: Names of the fields of all items, each one object.
        self.names: dict[str, str] = {}
        self._spaces: dict[str, str] = {}
        self._declared: dict[str, str] = {}
        self._place = -1
        # The item that is read: where it begins, its fields, its elements that are open.
        self._begin: int | None = None
        self._given: list[_Field] = []
        self._open: list[str] = []
        self._elements = 0
        self._offset, self._resumed = 0, False
        self._parser = expat.ParserCreate()
        # Lines up to a place, so that each is counted once.
        self._lines, self._counted = 1, 0

    def read(self) -> None:
        """Read all items."""
        start = 0
        while (error := self._parse(start)) is not None:
            at, reason = error
            inside = self._begin
            self._leave_out(at, reason)
            found = _NEXT.search(self._data, max(at, 1 + (start if inside is None else inside)))
            if found is None:
                return
            start = found.start()

    def _parse(self, start: int) -> tuple[int, str] | None:
        """Parse from a place on; where it goes wrong, that place and the reason."""
        parser = expat.ParserCreate("utf-8", " ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartNamespaceDeclHandler = self._namespace
        parser.StartElementHandler = self._start_element
        parser.EndElementHandler = self._end_element
        parser.CharacterDataHandler = self._characters
        self._parser, self._begin, self._open = parser, None, []
        try:
            if start:
                root, self._resumed = self._root(), True
                self._offset = start - len(root)
                parser.Parse(root, False)
            for at in range(start, len(self._data), _STEP):
                parser.Parse(memoryview(self._data)[at : at + _STEP], False)
            parser.Parse(b"", True)
        except expat.ExpatError as error:
            at = min(parser.ErrorByteIndex + self._offset, len(self._data))
            return at, _in_words(error.code)
        except _Broken as broken:
            return broken.at, str(broken)
        except _Refused as refused:
            raise refused.error from refused
        return None

    def _here(self) -> int:
        return self._parser.CurrentByteIndex + self._offset

    def _root(self) -> bytes:
        """A beginning that declares what the file's own did."""
        spaces = (
            f" xmlns{':' if prefix else ''}{prefix}={quoteattr(uri)}"
            for prefix, uri in self._spaces.items()
        )
        return f"<feed{''.join(spaces)}>".encode()

    def _leave_out(self, at: int, reason: str) -> None:
        line = self._line(at)
        if self._begin is None:
            # Behind a broken item the ends of what stood around it have no beginning any more.
            if not self._resumed:
                self.said.append(f"outside of items the feed is not well-formed: {reason}, {line}")
            return
        row = self._row()
        what = f"the item is not well-formed XML: {reason}, {line}"
        self.broken.append(BrokenItem(self._place, row.get("id", "")[:_LONGEST_ID], what))

    def _line(self, at: int) -> str:
        self._lines += self._data.count(b"\n", self._counted, at)
        self._counted = max(self._counted, at)
        return f"line {self._lines:,}"

    def _namespace(self, prefix: str | None, uri: str | None) -> None:
        self._declared[prefix or ""] = uri or ""

    def _start_element(self, name: str, attributes: dict[str, str]) -> None:
        uri, _, local = name.rpartition(" ")
        declared, self._declared = self._declared, {}
        if local in _ITEMS and (uri in _PLAIN or uri == _GOOGLE):
            if self._begin is not None:
                raise _Broken("it does not end before the next one begins", self._here())
            self._begin = self._here()
            self._place += 1
            self._given, self._open, self._elements = [], [], 0
            return
        if self._begin is None:
            if local in _AROUND and not self._resumed:
                self._spaces |= declared
                self._require("namespaces", len(self._spaces), _SPACES)
            return
        self._open.append(local)
        self._elements += 1
        if self._elements > _ELEMENTS:
            raise _Broken(f"more than {_ELEMENTS:,} elements in an item", self._here())
        if len(self._open) > _DEPTH:
            raise _Broken(f"more than {_DEPTH} elements inside each other", self._here())
        if len(self._open) == 1:
            self._given.append(_Field(uri, local))
            if local == "link":
                self._given[-1].text.append(attributes.get("href", ""))
            return
        now = self._given[-1]
        now.text.append(" ")
        if len(self._open) == 2:
            now.children.append((local, []))

    def _characters(self, text: str) -> None:
        if not self._open or self._begin is None:
            return
        now = self._given[-1]
        now.text.append(text)
        if len(self._open) == 1:
            now.own.append(text)
        else:
            now.children[-1][1].append(text)

    def _end_element(self, name: str) -> None:
        if self._begin is None:
            return
        if self._open:
            self._open.pop()
            if self._open:
                self._given[-1].text.append(" ")
            return
        row = self._row()
        self.rows.append((self._place, {self.names.setdefault(n, n): v for n, v in row.items()}))
        self._require("different fields", len(self.names), USUAL_BOUNDS.columns)
        self._begin = None

    def _row(self) -> dict[str, str]:
        """The fields of the item; those of Google's namespace come first."""
        google, plain = dict[str, list[str]](), dict[str, list[str]]()
        for one in self._given:
            side = google if one.uri == _GOOGLE else plain
            value = one.value()
            if value and (side is google or one.uri in _PLAIN):
                side.setdefault(one.name, []).append(value)
        for other in ("summary", "content"):
            if other in plain:
                plain.setdefault("description", plain[other])
        return {name: ", ".join(values) for name, values in (plain | google).items()}

    def _require(self, what: str, count: int, most: int) -> None:
        if count > most:
            told = f"the items have more than {most:,} {what}, which is the bound"
            hint = f"export fewer {what.rpartition(' ')[2]}"
            raise _Refused(SchemaError(told, file=str(self._path), hint=hint))

    def _refuse_doctype(self, *_: object) -> None:
        # `read_feed` has looked for one; this one was hidden from it.
        raise _Refused(_with_doctype(self._path))


def _with_doctype(path: Path) -> FileUnreadableError:
    return FileUnreadableError(
        "the file has a document type, which may define entities or name other files",
        file=str(path),
        hint="export the feed without <!DOCTYPE ...>",
    )


def _in_words(code: int) -> str:
    reason = expat.ErrorString(code) or "an error"
    if code == expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]:
        return f"{reason} (write &#160; for &nbsp;, or put the text into CDATA)"
    if code == expat.errors.codes[expat.errors.XML_ERROR_UNBOUND_PREFIX]:
        return f'{reason} (declare it in the first element: xmlns:g="{_GOOGLE}")'
    return reason


# --------------------------------------------------------------------------------------------------
# Text files of any usual encoding, as UTF-8.
#
#     with in_utf8(Path("products.csv")) as (path, said):
#         ...                             # `path` is UTF-8; `said` tells what was done, if anything
#
# Spreadsheets on Windows write UTF-16 or Windows-1252, and files that were put together by hand
# have both. A line whose bytes are UTF-8 is taken as such; text in Windows-1252 with other than
# ASCII characters nearly never is.

Encoding = Literal["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "mixed"]
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


@contextmanager
def in_utf8(path: Path) -> Iterator[tuple[Path, EncodingFound, tuple[str, ...]]]:
    """The file in UTF-8: itself, or for as long as the block lasts a copy; what its encoding is,
    and what is to be said of it. Errors of the block name the file itself.

    Raises FileUnreadableError naming the line that is neither UTF-8 nor Windows-1252, for UTF-16
    that is cut off, and where the file cannot be read.
    """
    text, found = _decoded(path, _unpacked(path))
    if text is None:
        yield path, found, ()
        return
    name = path.name.removesuffix(".gz").removesuffix(".GZ")
    with tempfile.TemporaryDirectory(prefix="adwright-text-") as folder:
        inside = Path(folder) / name
        inside.write_bytes(text.encode("utf-8"))
        with named_as(path, inside):
            yield inside, found, _said(found)


def _decoded(path: Path, raw: bytes) -> tuple[str | None, EncodingFound]:
    """The text of a file, None where that is UTF-8 as it is, and its encoding."""
    head = raw[:_HEAD]
    even, odd = head[::2].count(0), head[1::2].count(0)
    wide: Encoding | None = None
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        wide = "utf-16"
    elif max(even, odd) > _ZEROS * len(head) / 2:
        wide = "utf-16-le" if odd > even else "utf-16-be"
    if wide is not None:
        try:
            return raw.decode(wide), EncodingFound(wide)
        except UnicodeError as error:
            raise FileUnreadableError(
                f"the file begins as UTF-16 and is not: {error}",
                file=str(path),
                hint="it may be cut off: export it again",
            ) from error
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return _by_line(path, raw)
    return None, EncodingFound("utf-8-sig" if raw.startswith(codecs.BOM_UTF8) else "utf-8")


def _by_line(path: Path, raw: bytes) -> tuple[str, EncodingFound]:
    """Windows-1252, or some lines of it among lines of UTF-8."""
    texts, other, marked = list[str](), list[int](), False
    for number, line in enumerate(io.BytesIO(raw), start=1):
        try:
            texts.append(line.decode("utf-8"))
            marked |= not line.isascii()
            continue
        except UnicodeDecodeError:
            other.append(number)
        try:
            texts.append(line.decode("cp1252"))
        except UnicodeDecodeError as error:
            raise FileUnreadableError(
                f"line {number} is neither UTF-8 nor Windows-1252",
                file=str(path),
                value=line[max(0, error.start - 20) : error.end + 20],
                hint="export the file in UTF-8, or convert it: iconv -f ITS_ENCODING -t utf-8",
            ) from error
    found = EncodingFound("mixed" if marked else "cp1252", len(other), tuple(other[:_NAMED]))
    return "".join(texts), found


def _said(found: EncodingFound) -> tuple[str, ...]:
    if found.encoding == "mixed":
        lines = ", ".join(str(number) for number in found.first)
        return (
            f"the file mixes encodings: {found.other:,} lines are not UTF-8 and were read as "
            f"Windows-1252, the first in line {lines}",
        )
    name = "Windows-1252" if found.encoding == "cp1252" else "UTF-16"
    return (f"the file was read as {name}",)


# --------------------------------------------------------------------------------------------------
# Plain text out of what shops keep in their fields: without markup, scripts or hidden characters.
#
# plain_text("<p>Fresh &amp; green</p><script>x()</script>") == ("Fresh & green", True)

#: What ends a line of text; between others nothing is put.
_BLOCKS = frozenset(
    (
        *("p", "div", "br", "li", "ul", "ol", "tr", "table", "h1", "h2", "h3", "h4", "h5", "h6"),
        *("section", "article", "header", "footer", "blockquote", "pre", "hr", "dl", "dt", "dd"),
    )
)
_CELLS = frozenset(("td", "th"))
#: What holds no text for people.
_HIDDEN = frozenset(("script", "style", "template", "noscript", "iframe", "object", "svg", "head"))
#: Control characters, marks that turn the direction of text, and characters of no width; not the
#: joiners, which words of Persian and Hindi need, as do emoji.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SPACE = re.compile(r"[ \t\u00a0]+")
_LINES = re.compile(r" ?(?:\r\n?|\n)(?: ?(?:\r\n?|\n))* ?")
_TAG = re.compile(r"<(?=[a-zA-Z/!?])")
#: One tag. Its texts in quotes hold no "<", so that no character is looked at for many tags.
_WHOLE = re.compile(r"""<[/!?]?([a-zA-Z][\w:-]*)?(?:[^<>"']++|"[^"<]*+"|'[^'<]*+'|["'])*+>""")
_COMMENT, _COMMENT_END = "<!--", "-->"


def plain_text(text: str, *, lines: bool = True) -> tuple[str, bool]:
    """The text that people would read, and whether there was markup or something hidden.

    lines: keep line ends, of which several become one; otherwise they become spaces. Entities such
    as &amp; become their characters. A "<" that begins no tag stays, as in "screws < 5 mm". The
    time grows with the length, whatever the text.
    """
    changed = False
    if _TAG.search(text):
        # What is left of a broken tag is no tag, and what an entity stands for never was one.
        text, changed = html.unescape(_TAG.sub(" ", "".join(_between_tags(text)))), True
    elif "&" in text:
        found = html.unescape(text)
        changed = found != text
        text = found
    shown = _INVISIBLE.sub("", text)
    changed |= shown != text
    shown = _LINES.sub("\n" if lines else " ", _SPACE.sub(" ", shown)).strip()
    return shown, changed


def _between_tags(text: str) -> Iterator[str]:
    """The pieces of text that tags part, with what the tags put between them."""
    at, open_comments = 0, True
    while (begin := _TAG.search(text, at)) is not None:
        yield text[at : begin.start()]
        at = begin.start()
        if open_comments and text.startswith(_COMMENT, at):
            end = text.find(_COMMENT_END, at)
            open_comments = end >= 0
            at = end + len(_COMMENT_END) if open_comments else at + len(_COMMENT)
            continue
        whole = _WHOLE.match(text, at)
        if whole is None:
            yield text[at]
            at += 1
            continue
        at, tag = whole.end(), (whole[1] or "").lower()
        if tag in _HIDDEN and not whole[0].startswith("</") and not whole[0].endswith("/>"):
            ends = re.compile(rf"</{tag}\b[^<>]*>?", re.IGNORECASE).search(text, at)
            at = len(text) if ends is None else ends.end()
        if tag in _BLOCKS or tag in _CELLS:
            yield "\n" if tag in _BLOCKS else " "
    yield text[at:]
