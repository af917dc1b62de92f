from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adwright.authoring.tasks import Product
from adwright.core.errors import ConfigError, DataError, ResourceError
from adwright.demos.ads import AdsDemoConfig, ads_demo, counts_of, journey_shelf, remove_ads
from adwright.demos.ads_program import AdRoom
from tests.demos.test_ads_program import HAM, TEA, Writer, rendered


@asynccontextmanager
async def room() -> AsyncIterator[AdRoom]:
    writer = Writer(lambda slot, prompt: "Tea bags for 5 guests" if "Tea" in prompt else "Ham")
    yield AdRoom(writer, rendered, None, "a script")


def nobody(ads: object, page: Path) -> None:
    """Judges none."""


def test_it_writes_ads_a_file_and_a_page(tmp_path: Path) -> None:
    out = tmp_path / "ads"
    found = ads_demo(AdsDemoConfig(out=out), (TEA, HAM), opened=room, judge=nobody)
    assert [ad.product for ad in found.ads] == [TEA, HAM]
    assert found.model == "a script"
    assert found.counts == counts_of(found.ads)
    assert (found.counts.texts, found.counts.grounded_before) == (6, 3)
    assert found.counts.grounded_after == found.counts.faultless_after == 6
    assert found.counts.changed == 3
    page = found.page.read_text("utf-8")
    assert found.page == out / "ads.html"
    assert '<mark title="grounding/number">5</mark>' in page
    lines = [json.loads(line) for line in (out / "ads.jsonl").read_text("utf-8").splitlines()]
    assert [line["product"]["title"] for line in lines] == [TEA.title, HAM.title]
    assert "write and check the ads" in found.seconds
    assert found.judged is None
    again = ads_demo(AdsDemoConfig(out=out), (HAM,), opened=room, judge=nobody)
    assert "Tea bags" not in again.page.read_text("utf-8")
    remove_ads(out)
    assert not out.exists()


def test_bad_input_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no products"):
        ads_demo(AdsDemoConfig(out=tmp_path / "new"), (), opened=room)
    assert not (tmp_path / "new").exists()
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(ResourceError, match="no demonstration made"):
        ads_demo(AdsDemoConfig(out=tmp_path), (TEA,), opened=room)
    with pytest.raises(ConfigError, match="threads"):
        AdsDemoConfig(threads=-1)


def test_products_of_the_journey_by_id() -> None:
    found = journey_shelf(["848681", "no such"])
    assert [(one.id, one.title) for one in found] == [("848681", "Mexican beans refried")]
    assert isinstance(found[0], Product)
