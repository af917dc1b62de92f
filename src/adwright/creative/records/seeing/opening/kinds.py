"""What a file is, by its first bytes: names lie, and what a decoder guesses can be made to lie.

    kind_of(head)            # FileKind("image", "PNG"), FileKind("video", "MP4", "mov"), ...

Only pictures and videos that ads come as are let through. Of a video the reader of its container is
named here, so that no other reader of FFmpeg's, such as that of a playlist that fetches what it
lists, ever sees the file.
"""

from __future__ import annotations

from typing import Literal

from adwright.core.config import settings

__all__ = ["HEAD_BYTES", "FileKind", "kind_of"]

#: So many bytes from the start are enough.
HEAD_BYTES = 4096
_TS_PACKET = 188

#: (where, bytes, what, name, reader).
_Mark = tuple[int, bytes, Literal["image", "video", "other"], str, str]
_MARKS: tuple[_Mark, ...] = (
    (0, b"\xff\xd8\xff", "image", "JPEG", ""),
    (0, b"\x89PNG\r\n\x1a\n", "image", "PNG", ""),
    (0, b"GIF87a", "image", "GIF", ""),
    (0, b"GIF89a", "image", "GIF", ""),
    (8, b"WEBP", "image", "WEBP", ""),
    (0, b"BM", "image", "BMP", ""),
    (8, b"AVI ", "video", "AVI", "avi"),
    (8, b"WAVE", "other", "sound (WAV)", ""),
    (4, b"ftypavif", "other", "an AVIF picture", ""),
    (4, b"ftypavis", "other", "an AVIF picture", ""),
    (4, b"ftyphei", "other", "a HEIC picture", ""),
    (4, b"ftypmif1", "other", "a HEIC picture", ""),
    (4, b"ftypmsf1", "other", "a HEIC picture", ""),
    (4, b"ftyp", "video", "MP4", "mov"),
    (4, b"moov", "video", "MP4", "mov"),
    (4, b"mdat", "video", "MP4", "mov"),
    (4, b"wide", "video", "MP4", "mov"),
    (4, b"free", "video", "MP4", "mov"),
    (0, b"\x1a\x45\xdf\xa3", "video", "WebM", "matroska"),
    (0, b"\x00\x00\x01\xba", "video", "MPEG", "mpeg"),
    (0, b"\x00\x00\x01\xb3", "video", "MPEG", "mpegvideo"),
    (0, b"FLV\x01", "video", "FLV", "flv"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video", "WMV", "asf"),
    (0, b"OggS", "video", "Ogg", "ogg"),
    (0, b"%PDF", "other", "a PDF", ""),
    (0, b"PK\x03\x04", "other", "a ZIP archive", ""),
    (0, b"\x1f\x8b", "other", "compressed by gzip", ""),
    (0, b"II*\x00", "other", "a TIFF picture", ""),
    (0, b"MM\x00*", "other", "a TIFF picture", ""),
    (0, b"8BPS", "other", "a Photoshop file", ""),
    (0, b"\x00\x00\x00\x0cJXL ", "other", "a JPEG XL picture", ""),
    (0, b"\x00\x00\x00\x0cjP  ", "other", "a JPEG 2000 picture", ""),
    (0, b"ID3", "other", "sound (MP3)", ""),
    (0, b"fLaC", "other", "sound (FLAC)", ""),
)
#: With these in front, what a mark says further on is no chance.
_RIFF = (b"WEBP", b"AVI ", b"WAVE")


@settings
class FileKind:
    """what: which reader it is for. name: of the format, for people. reader: of FFmpeg's, by name,
    for a video."""

    what: Literal["image", "video", "other"]
    name: str
    reader: str = ""


def kind_of(head: bytes) -> FileKind:
    """The kind of a file by its first HEAD_BYTES, fewer where it has fewer.

    "other" is what is not looked at: other formats, text, a drawing in SVG, and unknown bytes.
    """
    for at, mark, what, name, reader in _MARKS:
        if mark in _RIFF and not head.startswith(b"RIFF"):
            continue
        if head[at : at + len(mark)] == mark:
            return FileKind(what, name, reader)
    packets = head[: 3 * _TS_PACKET : _TS_PACKET]
    if packets == b"GGG":
        return FileKind("video", "MPEG-TS", "mpegts")
    return FileKind("other", _text(head))


def _text(head: bytes) -> str:
    """What it is where it can be read as text."""
    try:
        text = head.decode("utf-8", "strict" if len(head) < HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        return "of no kind that is known here"
    if "\x00" in text:
        return "of no kind that is known here"
    low = text.lstrip("\ufeff \t\r\n").lower()
    if "<svg" in low:
        return "a drawing in SVG"
    if low.startswith(("<!doctype html", "<html", "<head", "<body")):
        return "a web page"
    return "text"
