import base64
import io
from pathlib import Path

import pytest

pytest.importorskip("PIL", reason="the extra creative is not installed")

from PIL import Image

from adwright.creative.pages.shown import Answer, ShownAd, thumbnail
from adwright.creative.records.verbal.record import AdRecord


def png(width: int, height: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(data, "PNG")
    return data.getvalue()


def test_a_thumbnail_is_small_and_part_of_the_page(tmp_path: Path) -> None:
    path = tmp_path / "ad.png"
    path.write_bytes(png(1600, 800))
    address = thumbnail(path)
    kind, _, data = address.partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (320, 160)
    assert thumbnail(tmp_path / "film.mp4", [png(100, 50)]).startswith(kind)


def test_what_cannot_be_shown_is_left_out(tmp_path: Path) -> None:
    assert thumbnail(None) == ""
    path = tmp_path / "ad.jpg"
    path.write_bytes(b"%PDF-1.7")
    assert thumbnail(path) == ""


def test_answers_are_said_in_their_unit() -> None:
    rate, score = Answer("click_rate", 0.1, 0.0, 1.0), Answer("d", 0.1, 0, 1, percent=False)
    assert (rate.said(0.01234), score.said(1.23456)) == ("1.23%", "1.23")
    ad = ShownAd("a", AdRecord(), answers=(rate, score))
    assert ad.answer("d") is score
    assert ad.answer("none") is None
