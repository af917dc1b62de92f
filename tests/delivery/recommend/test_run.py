from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from adwright.core.errors import ConfigError, ResourceError, ResumeError, SchemaError
from adwright.delivery.recommend.models import Wanted
from adwright.delivery.recommend.run import PartWriter, read_users, recommend_all, recommend_file
from adwright.delivery.served import ServedModel
from tests.support.delivery.cascade_parts import request, task
from tests.support.delivery.sequence_parts import hstu, sasrec
from tests.support.delivery.single_models import past, run_folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = run_folder(tmp_path)
    sasrec().save(run / "model")
    return run


def test_a_table_of_the_best_for_everybody(run: Path) -> None:
    found = recommend_all(run, k=3)
    assert found.schema == {
        "user_id": pl.String,
        "rank": pl.Int32,
        "item_id": pl.String,
        "score": pl.Float32,
    }
    assert found["user_id"].unique(maintain_order=True).to_list() == sorted(task().users)
    assert found["rank"].to_list() == [1, 2, 3] * len(task().users)
    served = ServedModel.of_log(sasrec(), past().events).cascade()
    for user in ("u0", "u9"):
        mine = found.filter(user_id=user)
        assert tuple(mine["item_id"]) == served.recommend(request(user, k=3)).item_ids[:3]
        assert mine["score"].is_sorted(descending=True)


def test_the_file_holds_the_same_and_nothing_else_is_left(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "recs" / "all.parquet"
    wanted = Wanted(users=("u3", "nobody", "u1"))
    told = recommend_file(run, out, wanted, k=2, chunk=2)
    assert_frame_equal(pl.read_parquet(out), recommend_all(run, wanted, k=2))
    assert [path.name for path in out.parent.iterdir()] == ["all.parquet"]
    assert (told.users, told.unknown, told.rows) == (3, 1, 6)
    assert (told.kind, told.unseen, told.source) == ("sequence", False, str(run.parent / "log"))
    with pytest.raises(ResourceError, match="exists already"):
        recommend_file(run, out)
    recommend_file(run, out, k=1, overwrite=True)
    assert pl.read_parquet(out).height == len(task().users)


def test_a_run_that_was_cut_off_goes_on(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "recs.parquet", PartWriter.write
    done: list[int] = []

    def failing(self: PartWriter, part: int) -> int:
        if part == 2:
            raise KeyboardInterrupt
        return counted(self, part)

    def counted(self: PartWriter, part: int) -> int:
        done.append(part)
        return whole(self, part)

    monkeypatch.setattr(PartWriter, "write", failing)
    with pytest.raises(KeyboardInterrupt):
        recommend_file(run, out, chunk=3)
    assert not out.exists()
    monkeypatch.setattr(PartWriter, "write", counted)
    with pytest.raises(ResourceError, match="cut off"):
        recommend_file(run, out, chunk=3)
    with pytest.raises(ResumeError, match="another model"):
        recommend_file(run, out, k=9, chunk=3, resume=True)
    recommend_file(run, out, chunk=3, resume=True)
    assert done == [0, 1, 2, 3]
    assert_frame_equal(pl.read_parquet(out), recommend_all(run))
    assert not (tmp_path / ".recs.parquet.parts").exists()


def test_parts_of_another_model_are_not_taken_up(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "recs.parquet"
    with monkeypatch.context() as broken:
        broken.setattr(PartWriter, "write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            recommend_file(run, out)
    hstu().save(run / "model", overwrite=True)
    with pytest.raises(ResumeError):
        recommend_file(run, out, resume=True)
    recommend_file(run, out, overwrite=True)
    assert_frame_equal(pl.read_parquet(out), recommend_all(run))


def test_users_are_read_from_tables_and_lines(tmp_path: Path) -> None:
    table = pl.DataFrame({"user_id": [3, 1, 3, None], "x": [0, 0, 0, 0]})
    table.write_parquet(tmp_path / "a.parquet")
    table.write_csv(tmp_path / "a.csv")
    (tmp_path / "a.txt").write_text("3\n 1 \n\n")
    for name in ("a.parquet", "a.csv", "a.txt"):
        assert read_users(tmp_path / name) == ("3", "1")
    pl.DataFrame({"name": ["x"]}).write_csv(tmp_path / "b.csv")
    with pytest.raises(SchemaError, match="lacks a column"):
        read_users(tmp_path / "b.csv")
    for name in ("nowhere.csv", "nowhere.txt", "nowhere.parquet"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_users(tmp_path / name)


@pytest.mark.parametrize(
    ("out", "options", "error", "about"),
    [
        ("recs.csv", {}, SchemaError, "Parquet"),
        ("recs.parquet", {"k": 0}, ConfigError, "k must be"),
        ("recs.parquet", {"chunk": 0}, ConfigError, "chunk must be"),
        ("recs.parquet", {"ray_workers": -1}, ConfigError, "workers"),
    ],
)
def test_mistakes_are_refused(
    run: Path, tmp_path: Path, out: str, options: dict[str, Any], error: type, about: str
) -> None:
    with pytest.raises(error, match=about):
        recommend_file(run, tmp_path / out, **options)
    assert not (tmp_path / out).exists()
