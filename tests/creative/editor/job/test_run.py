"""Whole jobs, by judges that look through adwright's own encoder of pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import adwright
from adwright.core.clock import FixedClock, SystemClock
from adwright.core.errors import ConfigError, DataError, ResumeError
from adwright.creative.editor.job.run import FaceFiles, edit_ads, prepared_job
from adwright.creative.editor.job.settings import EditJob
from adwright.creative.editor.provenance.edit_log import EditLog
from adwright.creative.records.verbal.ads_table import AdTable, read_ads
from tests.support.data.judged_pictures import picture_judges

JOB = EditJob(calls=12, coverage=0.5)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return picture_judges(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def table(shop: Path) -> AdTable:
    return read_ads(shop / "ads.csv")


def test_a_job_goes_on_where_it_was_killed(
    table: AdTable, runs: dict[str, Path], tmp_path: Path
) -> None:
    out, ticks = tmp_path / "edits", iter([0.0, 1.0, 2.0])
    told = {"approver": "Ada", "second": runs["c"], "job": JOB}

    def killed() -> float:
        try:
            return next(ticks)
        except StopIteration:
            raise KeyboardInterrupt from None

    before = {path: path.read_bytes() for path in table.media if path is not None}
    with prepared_job(table, [runs["a"], runs["b"]], out, **told) as ready:
        said = "\n".join(ready.sentences())
        assert not out.exists()
        assert "3 ads would be searched" in said
        assert "39 in all" in said
        assert "political" in said
        assert "nobody trusts" in said
        with pytest.raises(KeyboardInterrupt):
            ready.run(cpu=killed)
        assert len(list((out / "ads").iterdir())) == 1
        assert "1 are done already" in "\n".join(ready.sentences())
        run = ready.run()
    assert run.before == 1
    assert [one.status for one in run.outcomes][3:] == ["failed", "refused"]
    assert {path: path.read_bytes() for path in before} == before
    edited = [one for one in run.outcomes if one.status == "edited"]
    log = EditLog(out / "edits.jsonl", SystemClock())
    assert log.check().whole
    assert log.check().entries == len(edited)
    again = adwright.edit_ads(table, [runs["a"], runs["b"]], out, **told)
    assert again.outcomes == run.outcomes
    assert again.before == 4
    assert log.check().entries == len(edited)
    assert json.loads((out / "edits.json").read_text("utf-8"))["counts"]["refused"] == 1
    assert "5 ads" in again.text()
    with pytest.raises(ResumeError, match="another settings"):
        edit_ads(table, [runs["a"], runs["b"]], out, approver="Ada", second=runs["c"])


@pytest.mark.parametrize(
    ("told", "error", "says"),
    [
        ({"approver": " "}, ConfigError, "nobody approves"),
        ({"job": EditJob(edits=("faces",))}, ConfigError, "faces are moved with"),
        ({"faces": FaceFiles(Path(), Path(), Path())}, ConfigError, "faces are moved with"),
        ({"protected": Path("nowhere.csv")}, DataError, "nowhere"),
        ({"job": EditJob(method="pareto")}, ConfigError, "pareto takes"),
    ],
)
def test_what_cannot_be_done_is_refused_first(
    table: AdTable,
    runs: dict[str, Path],
    tmp_path: Path,
    told: dict,
    error: type[Exception],
    says: str,
) -> None:
    with (
        pytest.raises(error, match=says),
        prepared_job(table, [runs["a"]], tmp_path / "new", **{"approver": "Ada", **told}),
    ):
        pass
    assert not (tmp_path / "new").exists()


def test_ads_without_a_picture_and_a_folder_among_the_ads(
    shop: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    (shop / "texts.csv").write_text("id,headline\na,Bread\n", "utf-8")
    with (
        pytest.raises(DataError, match="no ad has a picture"),
        prepared_job(shop / "texts.csv", [runs["a"]], tmp_path / "new", approver="Ada"),
    ):
        pass
    clock = FixedClock(SystemClock().now())
    told = {"approver": "Ada", "job": JOB, "clock": clock, "offline": True}
    with prepared_job(read_ads(shop / "0.png"), [runs["a"]], tmp_path / "new", **told) as ready:
        said = "\n".join(ready.sentences())
        assert "1.0% or more" in said
        assert "one model's word" in said
        assert len(ready.ads) == 1
