import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL", reason="the extra creative is not installed")

from PIL import Image

from adwright.creative.judging.ad_vectors import IMAGE, WithVectors, image_vectors
from adwright.creative.judging.judgement import Judgements
from adwright.creative.records.encoders.store import VectorStore
from adwright.creative.records.verbal.record import AdRecord


class Sum:
    name = "sum"

    def judge(self, ads: Sequence[AdRecord], vectors: dict | None = None) -> Judgements:
        value = np.zeros(len(ads), np.float32) + sum(one.sum(1) for one in vectors.values())
        return Judgements(value, value, value, np.zeros(len(ads), bool))

    def nearest(
        self, ads: Sequence[AdRecord], count: int = 3, vectors: dict | None = None
    ) -> list[float]:
        return vectors[IMAGE][:, 0].tolist()


def test_each_ad_keeps_its_vectors() -> None:
    vectors = {IMAGE: np.array([[1, 2], [3, 4]], np.float32)}
    judge = WithVectors(Sum(), vectors)
    ads = [AdRecord(title="a"), AdRecord(title="b")]
    assert judge.judge(ads).value.tolist() == [3, 7]
    assert judge.of_row(1).judge([AdRecord()] * 3).value.tolist() == [7, 7, 7]
    assert judge.nearest(ads[:1]) == [1]
    assert judge.name == judge.of_row(0).name == "sum"


def test_vectors_of_images_among_files(tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(data, "PNG")
    (tmp_path / "a.png").write_bytes(data.getvalue())
    (tmp_path / "b.png").write_bytes(b"no picture")
    store = VectorStore(tmp_path / "kept")
    media = [tmp_path / "a.png", None, tmp_path / "b.png", tmp_path / "c.mp4", tmp_path / "d.png"]
    found = image_vectors(media, store)[IMAGE]
    assert found.shape == (5, 1280)
    assert np.isnan(found).any(1).tolist() == [False, True, True, True, True]
    assert image_vectors([None, tmp_path / "b.png"], store) == {}
