""""""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adwright.core.clock import FixedClock
from adwright.core.config import from_jsonable
from adwright.core.errors import ConfigError, DataError, ResumeError
from adwright.creative.judging import Judgements
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.seed import rounds as pages
from adwright.creative.seed.improve import changed_creatives, improve
from adwright.creative.seed.measures import Measured, StepCost, TextMeasures
from adwright.creative.seed.rounds import RoundResult, SeedReport, run_seed, write_report
from adwright.creative.seed.texts import KnownAd, SeedBudget, SeedData, run_parts
from adwright.creative.seed.writer import TuneCost, WriterRow, read_json, write_json
from adwright.lm.open_model import LmSpec
from adwright.metrics.bootstrap import Interval
from adwright.metrics.reports.charts import to_svg
from tests.support.chat_server import chatting
from tests.support.creative.seed_rounds import (
    CONFIG,
    RepeatingWriter,
    WordJudge,
    seed_ads,
    seed_data,
)

Judges = tuple[WordJudge, WordJudge]
ROOT = Path(__file__).resolve().parents[3]


def files_of(folder: Path) -> dict[str, str]:
    """What a run left, costs and times aside."""
    found = {}
    for path in sorted(folder.rglob("*.json*")):
        if path.name not in ("costs.jsonl", "report.json"):
            found[path.relative_to(folder).as_posix()] = path.read_text()
    return found


@pytest.fixture(scope="module")
def writer() -> RepeatingWriter:
    return RepeatingWriter()


@pytest.fixture(scope="module")
def judges() -> Judges:
    return WordJudge("zing"), WordJudge("calm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("seed") / "run"


@pytest.fixture(scope="module")
def report(folder: Path, writer: RepeatingWriter, judges: Judges) -> SeedReport:
    return run_seed(CONFIG, seed_data(), writer, *judges, folder)


def test_rounds_chase_the_own_judge(report: SeedReport) -> None:
    own = [one.measured.own for one in report.rounds]
    assert (report.end, len(report.rounds)) == ("rounds", 4)
    assert all(one is not None for one in own)
    values = [one.value for one in own if one is not None]
    assert values[3] > values[1] > values[0]


def test_a_judge_that_loves_a_word_is_found_out(tmp_path: Path) -> None:
    """The own judge's gain rises, the second judge sees none, so the run stops and says so."""
    config = replace(CONFIG, rounds=6, patience=2, gain=0.02)
    report = run_seed(
        config, seed_data(), RepeatingWriter(), WordJudge("zing"), WordJudge("calm"), tmp_path
    )
    last = report.rounds[-1].measured
    assert report.end == "stopped"
    assert len(report.rounds) < 7
    assert last.own is not None
    assert last.second is not None
    assert last.agreement is not None
    assert last.own.low > 0 >= last.second.low
    assert last.agreement < 0.3
    assert any("brought nothing" in line for line in report.findings())


def test_no_round_reads_what_is_held_out(
    report: SeedReport, writer: RepeatingWriter, judges: Judges
) -> None:
    parts = run_parts(seed_data(), CONFIG)
    hidden = {ad.brief.id: ad for ad in (*parts.watch, *parts.held)}
    answers = {ad.answer for ad in hidden.values()}
    brands = {ad.brief.brand for ad in hidden.values()}
    for rows in writer.rows.values():
        assert not answers & {row.answer for row in rows}
        assert not any(
            brand == line.rpartition(": ")[2]
            for brand in brands
            for row in rows
            for line in row.messages[0].content.splitlines()
        )
    first_held = writer.asked.index(_prompt(parts.held[0]))
    assert not any(_prompt(ad) in writer.asked[:first_held] for ad in parts.held)
    assert len({ad.brief.held_by for ad in parts.held} & {one.held_by for one in parts.briefs}) == 0


def test_the_second_judge_sees_no_ad_that_is_tuned_on(
    report: SeedReport, folder: Path, tmp_path: Path
) -> None:
    """With another second judge the rounds choose the same."""
    other = run_seed(
        CONFIG, seed_data(), RepeatingWriter(), WordJudge("zing"), WordJudge("soft"), tmp_path
    )
    assert len(other.rounds) == len(report.rounds)
    for at in (1, 2, 3):
        name = f"round-{at}/kept.json"
        assert (tmp_path / name).read_text() == (folder / name).read_text()


def _prompt(ad: KnownAd) -> str:
    return f"user: {ad.brief.messages()[0].content}\nassistant: "


def test_the_base_is_tuned_anew_on_all_that_was_kept(
    report: SeedReport, writer: RepeatingWriter, folder: Path
) -> None:
    sources = [{row.source for row in writer.rows[f"round-{at}"]} for at in range(4)]
    assert sources[0] == {"s", "p"}
    assert sources[3] == {"s", "p", "round 1", "round 2", "round 3"}
    labelled = [sum(row.source == "s" for row in writer.rows[f"round-{at}"]) for at in (0, 1)]
    assert labelled[1] == round(labelled[0] / 2)
    kept = json.loads((folder / "round-2" / "kept.json").read_text())["ads"]
    assert kept == sorted(kept, key=lambda one: -one["lift"])
    assert report.rounds[2].kept == len(kept) <= 0.6 * report.rounds[2].sampled


def test_a_run_that_has_ended_does_nothing_again(
    report: SeedReport, folder: Path, judges: Judges
) -> None:
    again = RepeatingWriter()
    assert run_seed(CONFIG, seed_data(), again, *judges, folder).rounds == report.rounds
    assert (again.rows, again.asked) == ({}, [])
    assert (folder / "report.html").read_text().startswith("<!doctype html>")


def test_more_rounds_go_on_from_the_last(
    report: SeedReport, judges: Judges, tmp_path: Path
) -> None:
    run_seed(replace(CONFIG, rounds=2), seed_data(), RepeatingWriter(), *judges, tmp_path)
    writer = RepeatingWriter()
    more = run_seed(CONFIG, seed_data(), writer, *judges, tmp_path)
    assert list(writer.rows) == ["round-3"]
    assert more.rounds == report.rounds


def test_a_killed_run_ends_with_the_same_files(
    report: SeedReport, folder: Path, tmp_path: Path
) -> None:
    run = [sys.executable, "-m", "tests.support.creative.seed_rounds", str(tmp_path / "run")]
    done = subprocess.run(run, capture_output=True, text=True, cwd=ROOT, check=False)
    told = json.loads(done.stdout)
    assert told["code"] == 0, done.stderr
    assert told["killed"] > 5
    assert files_of(tmp_path / "run") == files_of(folder)


def test_budgets_end_a_run_that_then_goes_on(
    report: SeedReport, folder: Path, judges: Judges, tmp_path: Path
) -> None:
    few = replace(CONFIG, budget=SeedBudget(tokens=4000))
    first = run_seed(few, seed_data(), RepeatingWriter(), *judges, tmp_path)
    assert (first.end, first.after) == ("budget", None)
    assert "goes on" in first.text()
    assert first.rounds == report.rounds[: len(first.rounds)]
    last = run_seed(CONFIG, seed_data(), RepeatingWriter(), *judges, tmp_path)
    assert (last.end, last.rounds) == ("rounds", report.rounds)
    assert files_of(tmp_path) == files_of(folder)


def test_minutes_are_those_of_the_clock(judges: Judges, tmp_path: Path) -> None:
    class Late(FixedClock):
        def monotonic(self) -> float:
            self.advance(30)
            return super().monotonic()

    config = replace(CONFIG, budget=SeedBudget(minutes=1))
    found = run_seed(config, seed_data(), RepeatingWriter(), *judges, tmp_path, clock=Late())
    assert (found.end, len(found.rounds)) == ("budget", 0)


def test_other_settings_are_refused(report: SeedReport, folder: Path, judges: Judges) -> None:
    with pytest.raises(ResumeError, match="another samples"):
        run_seed(replace(CONFIG, samples=2), seed_data(), RepeatingWriter(), *judges, folder)
    with pytest.raises(ResumeError, match="another data_hash"):
        run_seed(CONFIG, seed_data(39), RepeatingWriter(), *judges, folder)
    with pytest.raises(ResumeError, match="another own"):
        run_seed(CONFIG, seed_data(), RepeatingWriter(), WordJudge("soft"), judges[1], folder)


def test_one_judge_cannot_be_both(judges: Judges, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="second judge is the first"):
        run_seed(CONFIG, seed_data(), RepeatingWriter(), judges[0], judges[0], tmp_path)


def test_rows_are_bounded_and_others_may_be_added(judges: Judges, tmp_path: Path) -> None:
    """What was kept goes before what was there; scores of ads come on top, at first."""

    def also(ads: object) -> list[WriterRow]:
        assert all(isinstance(ad, KnownAd) and ad.score is not None for ad in ads)  # type: ignore[attr-defined]
        return [WriterRow((), "07", source="scores")]

    writer = RepeatingWriter()
    config = replace(CONFIG, rounds=2, rows=12, briefs=9)
    found = run_seed(config, seed_data(), writer, *judges, tmp_path, also=also)
    rows = writer.rows["round-2"]
    assert [len(writer.rows[f"round-{at}"]) for at in range(3)] == [13, 12, 12]
    assert writer.rows["round-0"][-1].source == "scores"
    assert sum(row.source.startswith("round") for row in rows) == min(
        12, found.rounds[1].kept + found.rounds[2].kept
    )
    assert found.rounds[1].sampled == 9
    samples = [(tmp_path / f"round-{at}/samples.jsonl").read_text() for at in (1, 2)]
    assert [len(each.splitlines()) for each in samples] == [9, 9]
    briefs = [[json.loads(line)["brief"] for line in each.splitlines()] for each in samples]
    assert briefs[0] != briefs[1], "each round draws its briefs"


def test_what_the_own_judge_does_not_know_is_not_kept(tmp_path: Path) -> None:
    own = WordJudge("zing", strange="zing")
    config = replace(CONFIG, rounds=1)
    run_seed(config, seed_data(), RepeatingWriter(), own, WordJudge("calm"), tmp_path)
    kept = json.loads((tmp_path / "round-1/kept.json").read_text())["ads"]
    assert kept
    assert not any("zing" in one["answer"] for one in kept)
    assert "unlike" in (tmp_path / "round-1/scores.json").read_text()


def test_no_round_learns_from_a_claim_of_the_pool(judges: Judges, tmp_path: Path) -> None:
    """What nobody measured is held to what a written ad is."""
    data = seed_data()
    claim = replace(data.pool[0].record, title="zing zing zing: 20% off, only 5 left")
    pool = (*data.pool[1:], *(replace(ad, record=claim) for ad in data.pool[:1]))
    more = SeedData((*data.labelled, *pool), data.briefs)
    for ground, learned in ((True, False), (False, True)):
        writer = RepeatingWriter()
        filters = replace(CONFIG.filters, ground=ground, in_a_row=9, distinct=0.0)
        config = replace(CONFIG, rounds=1, pool=1.0, watch=0.1, held=0.1, filters=filters)
        run_seed(config, more, writer, *judges, tmp_path / str(ground))
        assert (claim.title in {row.answer for row in writer.rows["round-0"]}) == learned


def test_without_ads_of_every_part_nothing_begins(judges: Judges, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none is"):
        run_seed(CONFIG, seed_data(1, pool=0), RepeatingWriter(), *judges, tmp_path / "out")
    assert not (tmp_path / "out" / "seed.json").exists()


def test_values_come_back(tmp_path: Path) -> None:
    path = tmp_path / "round-1" / "x.json"
    assert read_json(path) is None
    write_json(path, {"a": [1, None, "é"]})
    assert read_json(path) == {"a": [1, None, "é"]}
    path.write_text("{")
    with pytest.raises(ResumeError, match="cannot be read"):
        read_json(path)


TEXTS = TextMeasures(0.8, {"cut": 3, "long": 5}, 0.5, 0.9, 0.1, 0.95, 1.0, 7.5)


def measured(at: int, own: float, second: float) -> Measured:
    return Measured(
        at,
        ("a", "b"),
        Interval(own, own - 0.1, own + 0.1),
        Interval(second, second - 0.1, second + 0.1),
        (3, 1),
        (2.0, 2.0 + at),
        (1.0, 1.0 + second),
        (2.0, 1.0),
        (1.0, 1.0),
        0.4,
        TEXTS,
    )


def result(at: int, own: float, second: float) -> RoundResult:
    kept = 5 * (at > 0)
    return RoundResult(
        at, measured(at, own, second), 10 * (at > 0), kept, 30, TuneCost(900, 2.0, 3.1)
    )


def report_of(own: float = 0.4, second: float = 0.3) -> SeedReport:
    return SeedReport(
        end="rounds",
        chosen=1,
        rounds=(result(0, 0.0, 0.0), result(1, own, second)),
        before=measured(0, 0.0, 0.0),
        after=measured(1, own, second),
        costs=(StepCost(0, "tune", tuned=900, cpu_seconds=90.0), StepCost(1, "write", 7, 8)),
        about={"writer": "w<b>", "own": "o", "second": "s", "ads": {"labelled": 9}},
    )


def test_the_table_has_a_line_a_round() -> None:
    lines = report_of().text().splitlines()
    assert lines[0].split()[:3] == ["round", "own", "judge"]
    assert "+40.0% (+30.0% to +50.0%)" in lines[2]
    assert "5 of 10" in lines[2]
    assert "All rounds are done." in lines
    assert lines[-1] == "Cost: 90 s of CPU; tokens: 7 read, 8 written, 900 tuned on."


def test_both_judges_and_the_rise_are_told() -> None:
    told = " ".join(report_of().findings())
    assert "of which 100% got a usable ad" in told
    assert "+40.0% (+30.0% to +50.0%) by the own judge, +30.0%" in told
    assert "Beyond the writer of before the rounds: +15.0%" in told
    assert "estimates of judges" in told
    assert "Do not use" not in told


def test_a_gain_that_one_judge_sees_is_called_by_its_name() -> None:
    found = report_of(0.4, 0.0)
    assert found.hacked
    assert "Do not use these ads" in found.text()
    assert not report_of(0.0, 0.0).hacked


def test_diversity_is_compared_with_before() -> None:
    found = report_of()
    assert found.after is not None
    less = replace(found, after=replace(found.after, texts=replace(TEXTS, distinct2=0.45)))
    assert less.distinct2_ratio == pytest.approx(0.5)
    assert "is 0.50 of what it was" in less.text()
    assert replace(found, before=None).distinct2_ratio is None


def test_a_run_without_an_end_has_no_result() -> None:
    found = replace(report_of(), end="budget", before=None, after=None)
    assert found.rise is None
    assert "goes on from here" in found.text()


def test_files_hold_it_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "to_svg", to_svg)
    write_report(report_of(), tmp_path, samples=[("Brand <x>", "old", "new")])
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["rise"]["value"] == pytest.approx(0.15)
    assert from_jsonable(RoundResult, told["rounds"][1]) == report_of().rounds[1]
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 2
    assert "Gain over the original ads" in page
    assert "w&lt;b&gt;" in page
    assert "Brand &lt;x&gt;" in page
    assert "long 5, cut 3" in page
    assert "<script" not in page


JUDGES = WordJudge("zing"), WordJudge("calm")
ADS = seed_ads(12, source="mine")


@pytest.fixture(scope="module")
def folder_improve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("seed")
    run_seed(replace(CONFIG, rounds=1), seed_data(), RepeatingWriter(), *JUDGES, out)
    return out


def test_an_ad_is_changed_where_both_judges_agree(folder_improve: Path) -> None:
    found = improve(ADS, folder_improve, CONFIG, RepeatingWriter(), *JUDGES)
    assert [one.brief for one in found] == [ad.brief.id for ad in ADS]
    assert any(one.changed for one in found)
    for one, ad in zip(found, ADS, strict=True):
        assert one.original == ad.answer
        assert one.second.value >= one.original_second.value
        assert (one.own.value > one.original_own.value) == one.changed
        assert one.own.low <= one.own.value <= one.own.high
    assert all(0 <= one.usable <= 8 for one in found)
    made = changed_creatives([ad.brief.id for ad in ADS], ADS, found, maker="SEED")
    texts = {one.brief: one.text for one in found if one.changed}
    assert {one.parent: one.headline for one in made} == texts
    assert {one.maker for one in made} == {"SEED"}


def test_the_second_judge_can_refuse_all(folder_improve: Path) -> None:
    class Loyal(WordJudge):
        """Loves the originals alone."""

        def judge(self, ads: Sequence[AdRecord], /) -> Judgements:
            known = {ad.answer for ad in ADS}
            value = np.array([float(ad.title in known) for ad in ads], np.float32)
            return Judgements(value, value, value, np.zeros(len(ads), np.bool_))

    found = improve(ADS, folder_improve, CONFIG, RepeatingWriter(), JUDGES[0], Loyal("x"))
    assert not any(one.changed for one in found)
    assert all(one.text == one.original for one in found)


def test_what_was_written_is_not_written_again(folder_improve: Path) -> None:
    first = improve(ADS, folder_improve, CONFIG, RepeatingWriter(), *JUDGES, samples=3)
    writer = RepeatingWriter()
    assert improve(ADS, folder_improve, CONFIG, writer, *JUDGES, samples=3) == first
    assert writer.asked == []
    improve(ADS, folder_improve, CONFIG, writer, *JUDGES, samples=2)
    assert len(writer.asked) == 2 * len(ADS)


def test_a_server_writes_in_the_place_of_the_writer(folder_improve: Path) -> None:
    with chatting(lambda asked: "Fresh bread every morning") as (url, server):
        served = LmSpec("served", url=url)
        writer = RepeatingWriter()
        improve(ADS[:2], folder_improve, CONFIG, writer, *JUDGES, samples=2, served=served)
    assert writer.asked == []
    assert {one["model"] for one in server.asked} == {"served"}


def test_what_the_writer_read_is_no_new_ad(folder_improve: Path) -> None:
    read = json.loads((folder_improve / "read.json").read_text())["texts"]
    assert len(read) > 20

    class Parrot(RepeatingWriter):
        def opened(self, folder: Path):  # type: ignore[no-untyped-def]
            from contextlib import nullcontext

            from tests.support.writing import Teller

            return nullcontext(Teller(lambda prompt, call: read[0]))

    config = replace(CONFIG, filters=replace(CONFIG.filters, copied=0.5))
    found = improve(ADS, folder_improve, config, Parrot(), *JUDGES, samples=4)
    assert not any(one.changed for one in found)
    assert {one.usable for one in found} == {0}


def test_a_run_that_has_not_ended_writes_nothing(folder_improve: Path, tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="not ended"):
        improve(ADS, tmp_path, CONFIG, RepeatingWriter(), *JUDGES)
    few = replace(CONFIG, budget=SeedBudget(tokens=1))
    run_seed(few, seed_data(), RepeatingWriter(), *JUDGES, tmp_path)
    with pytest.raises(ResumeError, match="not ended"):
        improve(ADS, tmp_path, CONFIG, RepeatingWriter(), *JUDGES)
    with pytest.raises(DataError, match="no ad"):
        improve((), folder_improve, CONFIG, RepeatingWriter(), *JUDGES)
