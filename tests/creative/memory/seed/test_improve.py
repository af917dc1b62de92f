from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adwright.core.errors import DataError, ResumeError
from adwright.creative.judging import Judgements
from adwright.creative.memory.seed.config import SeedBudget
from adwright.creative.memory.seed.improve import improve
from adwright.creative.memory.seed.rounds import run_seed
from adwright.creative.records.ad_record import AdRecord
from tests.support.creative.seed_rounds import (
    CONFIG,
    RepeatingWriter,
    WordJudge,
    seed_ads,
    seed_data,
)

JUDGES = WordJudge("zing"), WordJudge("calm")
ADS = seed_ads(12, source="mine")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("seed")
    run_seed(replace(CONFIG, rounds=1), seed_data(), RepeatingWriter(), *JUDGES, out)
    return out


def test_an_ad_is_changed_where_both_judges_agree(folder: Path) -> None:
    found = improve(ADS, folder, CONFIG, RepeatingWriter(), *JUDGES)
    assert [one.brief for one in found] == [ad.brief.id for ad in ADS]
    assert any(one.changed for one in found)
    for one, ad in zip(found, ADS, strict=True):
        assert one.original == ad.answer
        assert one.second.value >= one.original_second.value
        assert (one.own.value > one.original_own.value) == one.changed
        assert one.own.low <= one.own.value <= one.own.high
        assert one.as_json()["text"] == one.text
    assert all(0 <= one.usable <= 8 for one in found)


def test_the_second_judge_can_refuse_all(folder: Path) -> None:
    class Loyal(WordJudge):
        """Loves the originals alone."""

        def judge(self, ads: Sequence[AdRecord], /) -> Judgements:
            known = {ad.answer for ad in ADS}
            value = np.array([float(ad.title in known) for ad in ads], np.float32)
            return Judgements(value, value, value, np.zeros(len(ads), np.bool_))

    found = improve(ADS, folder, CONFIG, RepeatingWriter(), JUDGES[0], Loyal("x"))
    assert not any(one.changed for one in found)
    assert all(one.text == one.original for one in found)


def test_what_was_written_is_not_written_again(folder: Path) -> None:
    first = improve(ADS, folder, CONFIG, RepeatingWriter(), *JUDGES, samples=3)
    writer = RepeatingWriter()
    assert improve(ADS, folder, CONFIG, writer, *JUDGES, samples=3) == first
    assert writer.asked == []
    improve(ADS, folder, CONFIG, writer, *JUDGES, samples=2)
    assert len(writer.asked) == 2 * len(ADS)


def test_what_the_writer_read_is_no_new_ad(folder: Path) -> None:
    read = json.loads((folder / "read.json").read_text())["texts"]
    assert len(read) > 20

    class Parrot(RepeatingWriter):
        def opened(self, folder: Path):  # type: ignore[no-untyped-def]
            from contextlib import nullcontext

            from tests.support.writing import Teller

            return nullcontext(Teller(lambda prompt, call: read[0]))

    config = replace(CONFIG, filters=replace(CONFIG.filters, copied=0.5))
    found = improve(ADS, folder, config, Parrot(), *JUDGES, samples=4)
    assert not any(one.changed for one in found)
    assert {one.usable for one in found} == {0}


def test_a_run_that_has_not_ended_writes_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="not ended"):
        improve(ADS, tmp_path, CONFIG, RepeatingWriter(), *JUDGES)
    few = replace(CONFIG, budget=SeedBudget(tokens=1))
    run_seed(few, seed_data(), RepeatingWriter(), *JUDGES, tmp_path)
    with pytest.raises(ResumeError, match="not ended"):
        improve(ADS, tmp_path, CONFIG, RepeatingWriter(), *JUDGES)
    with pytest.raises(DataError, match="no ad"):
        improve((), folder, CONFIG, RepeatingWriter(), *JUDGES)
