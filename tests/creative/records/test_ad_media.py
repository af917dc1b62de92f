"""Files of ads are found below one folder, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from adwright.core.errors import FileUnreadableError, ValueInvalidError
from adwright.creative.records.ads_table import (
    IMAGES,
    VIDEOS,
    MediaFound,
    find_media,
    media_below,
    media_kind,
)
from adwright.data.schema import in_file


def find(folder: Path, videos: list[str], images: list[str]) -> list[MediaFound]:
    columns = {"video": "film", "image": "poster"}
    return find_media(
        {"video": videos, "image": images},
        columns,  # type: ignore[arg-type]
        folder,
        in_file("ads.csv"),
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "ads"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "b.MP4", "sub/c.jpg", ".hidden.png", "notes.txt"):
        (folder / name).write_bytes(b"")
    (tmp_path / "secret.png").write_bytes(b"")
    return folder


def test_kinds_by_ending() -> None:
    assert {media_kind(f"x{ending}") for ending in IMAGES} == {"image"}
    assert {media_kind(f"x{ending}") for ending in VIDEOS} == {"video"}
    assert media_kind("A.JPG") == "image"
    assert media_kind("x.csv") is None
    assert media_kind("png") is None


def test_below_a_folder(place: Path) -> None:
    assert [each.name for each in media_below(place)] == ["a.png", "b.MP4", "c.jpg"]
    assert media_below(place / "a.png") == (place / "a.png",)
    assert media_below(place / "notes.txt") == ()
    assert media_below(place / "absent") == ()
    (place / "part.parquet").write_bytes(b"")
    assert media_below(place) == ()


def test_a_link_out_of_a_folder_is_passed_over(place: Path) -> None:
    (place / "z.png").symlink_to(place.parent / "secret.png")
    assert [each.name for each in media_below(place)] == ["a.png", "b.MP4", "c.jpg"]


def test_a_folder_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match="no image, no video"):
        media_below(tmp_path)


def test_paths_are_read_against_the_folder(place: Path) -> None:
    found = find(place, ["b.MP4", "", "", ""], ["a.png", "sub\\c.jpg", str(place / "a.png"), ""])
    names = [one.file and one.file.name for one in found]
    assert names == ["b.MP4", "c.jpg", "a.png", None]
    assert [one.kind for one in found] == ["video", "image", "image", "text"]
    assert not any(one.absent for one in found)


def test_of_two_files_that_which_is_there(place: Path) -> None:
    found = find(place, ["gone.mp4"], ["a.png"])
    absent = (("video", "there is no such file: gone.mp4"),)
    assert found == [((place / "a.png").resolve(), "image", absent)]


def test_an_ending_tells_more_than_a_column(place: Path) -> None:
    assert find(place, [""], ["b.MP4"])[0].kind == "video"


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("gone.png", "there is no such file: gone.png"),
        ("sub", "there is no such file: sub"),
        ("https://a.example/x.png", "a web address is not fetched: https://a.example/x.png"),
        ("a\0.png", "this is no path: a\0.png"),
        ("x" * 5000, f"this is no path: {'x' * 80}"),
    ],
)
def test_what_cannot_be_looked_at_is_said(place: Path, cell: str, why: str) -> None:
    found = find(place, ["", ""], [cell, "a.png"])
    assert found[0] == (None, "image", (("image", why),))
    assert (found[1].kind, found[1].absent) == ("image", ())


@pytest.mark.parametrize(
    "cell", ["../secret.png", "sub/../../secret.png", "/etc/passwd", "link.png"]
)
def test_a_path_that_leaves_the_folder(place: Path, cell: str) -> None:
    (place / "link.png").symlink_to(place.parent / "secret.png")
    with pytest.raises(ValueInvalidError, match="leaves the folder") as caught:
        find(place, ["", ""], ["a.png", cell])
    assert (caught.value.file, caught.value.row, caught.value.column) == ("ads.csv", 1, "poster")
    assert caught.value.value == cell
    found = find(place.parent, ["", ""], ["ads/a.png", "ads/link.png"])
    assert found[1].file == (place.parent / "secret.png").resolve()
