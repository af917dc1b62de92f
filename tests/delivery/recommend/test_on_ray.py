from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.delivery.recommend import on_ray
from adwright.delivery.recommend.on_ray import parts_on_ray
from adwright.delivery.recommend.run import recommend_all, recommend_file
from tests.support.delivery.sequence_parts import sasrec
from tests.support.delivery.single_models import run_folder


# Ray warns of settings of its own that it will drop, and of sockets of its own that it leaves.
@pytest.mark.filterwarnings("ignore")
def test_processes_of_ray_share_the_parts(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    run = run_folder(tmp_path)
    sasrec().save(run / "model")
    told = recommend_file(run, tmp_path / "recs.parquet", k=2, chunk=3, ray_workers=2)
    assert told.users == 10
    assert_frame_equal(pl.read_parquet(tmp_path / "recs.parquet"), recommend_all(run, k=2))
    # The cluster was the call's own.
    assert not ray.is_initialized()


def test_workers_are_at_least_one_and_ray_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="workers"):
        list(parts_on_ray(lambda: None, (), [1], 0))  # type: ignore[arg-type, return-value]
    monkeypatch.setattr(on_ray, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="recommending on Ray"):
        list(parts_on_ray(lambda: None, (), [1], 1))  # type: ignore[arg-type, return-value]
