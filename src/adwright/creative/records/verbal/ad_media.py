"""Where the pictures and films of ads lie: paths of a table, or all files below a folder.

A table may come from anybody, so each path that it names must lie inside one folder, links
followed. Nothing is opened here, and nothing fetched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from adwright.core.errors import FileUnreadableError, ValueInvalidError
from adwright.creative.records.verbal.record import AdKind
from adwright.data.checks import Locate
from adwright.data.sources.parquetfile import PARQUET_ENDINGS

__all__ = ["IMAGES", "VIDEOS", "MediaFound", "find_media", "media_below", "media_kind"]

#: Endings of files, in lower case.
IMAGES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})
VIDEOS = frozenset({".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".mpg", ".mpeg"})


class MediaFound(NamedTuple):
    """Of each row: its file, if it is there; the kind of ad; (part, why it cannot be looked at)."""

    files: tuple[Path | None, ...]
    kinds: tuple[AdKind, ...]
    absent: tuple[tuple[tuple[str, str], ...], ...]


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
    below = sorted(each for each in path.rglob("*") if _shown(each.relative_to(path)))
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
) -> MediaFound:
    """The files that N rows name.

    cells: paths in the columns of videos and of images, "" for none. Of two files of one ad that
    are there, the first is taken. columns: names of these columns. folder: in which all must lie.
    Raises ValueInvalidError, naming the row, for a path that leaves `folder`.
    """
    home = folder.resolve()
    files: list[Path | None] = []
    kinds: list[AdKind] = []
    absent: list[tuple[tuple[str, str], ...]] = []
    for row, paths in enumerate(zip(*cells.values(), strict=True)):
        there: list[tuple[Path, AdKind]] = []
        named: list[AdKind] = []
        why: list[tuple[str, str]] = []
        for part, cell in zip(cells, paths, strict=True):
            if not cell:
                continue
            kind = media_kind(cell) or part
            named.append(kind)
            try:
                file = _placed(cell, home)
            except _OutsideError as error:
                raise _outside(cell, columns[part], folder, locate(row)) from error
            if isinstance(file, str):
                why.append((kind, file))
            else:
                there.append((file, kind))
        files.append(there[0][0] if there else None)
        kinds.append(there[0][1] if there else named[0] if named else "text")
        absent.append(tuple(why))
    return MediaFound(tuple(files), tuple(kinds), tuple(absent))


class _OutsideError(Exception):
    pass


def _placed(cell: str, home: Path) -> Path | str:
    """The file that a cell names, or why there is none."""
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
            raise _OutsideError
        if there:
            return file
    return f"there is no such file: {cell:.80}"


def _outside(cell: str, column: str, folder: Path, place: tuple[str, int]) -> ValueInvalidError:
    return ValueInvalidError(
        f"the path leaves the folder {folder} in which the files of this table lie",
        file=place[0],
        row=place[1],
        column=column,
        value=cell,
        hint="move the file below it, or name a folder above both: read_ads(..., folder=...)",
    )


def _shown(inside: Path) -> bool:
    return not any(part.startswith(".") for part in inside.parts)
