"""MovieLens 100k: counts, films with awkward titles, and its ties under leave-one-out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import AssetError, FileUnreadableError
from adwright.data.schema import check_items_known
from adwright.data.sources.movielens import MovieLens


@pytest.fixture(scope="module")
def movielens() -> MovieLens:
    return MovieLens.open()


def test_ratings(movielens: MovieLens) -> None:
    events = movielens.events().collect()
    assert events.height == 100_000
    assert events["user_id"].n_unique() == 943
    assert events["item_id"].n_unique() == 1_682
    assert events["kind"].unique().to_list() == ["rating"]
    assert sorted(events["value"].unique()) == [1, 2, 3, 4, 5]
    first = events.row(0, named=True)
    assert (first["user_id"], first["item_id"], first["value"]) == ("196", "242", 3.0)
    assert first["time"] == datetime.fromtimestamp(881250949, UTC)
    assert first["request_id"] == "196-881250949"
    assert events["context"].null_count() == 100_000


def test_films(movielens: MovieLens) -> None:
    films = movielens.catalogue().items
    assert films.height == 1_682
    assert films.schema == {
        "item_id": pl.String,
        "title": pl.String,
        "year": pl.Int64,
        "genres": pl.List(pl.String),
    }
    by_id = {row["item_id"]: row for row in films.iter_rows(named=True)}
    assert by_id["1"] == {
        "item_id": "1",
        "title": "Toy Story",
        "year": 1995,
        "genres": ["Animation", "Children's", "Comedy"],
    }
    assert by_id["267"] == {"item_id": "267", "title": None, "year": None, "genres": []}
    assert by_id["1412"]["title"] == "Land Before Time III: The Time of the Great Giving"
    assert by_id["1412"]["year"] == 1995
    assert films["year"].null_count() == 1
    assert films["genres"].explode().drop_nulls().n_unique() == 18
    check_items_known(movielens.events(), films)


def test_people(movielens: MovieLens) -> None:
    users = movielens.users()
    assert users.height == 943
    assert users.row(0) == ("1", 24, "M", "technician", "85711")
    assert users["gender"].value_counts().sort("gender").rows() == [("F", 273), ("M", 670)]
    assert (users["age"].min(), users["age"].max()) == (7, 73)


def test_three_ratings_in_four_are_tied(movielens: MovieLens) -> None:
    ratings = movielens.events().collect()
    tied = ratings.select(pl.struct("user_id", "time").is_duplicated())
    assert tied.to_series().mean() == pytest.approx(0.75772)
    # The last film of 415 people is not told by its time: a test of it must state its ties.
    last = pl.col("time") == pl.col("time").max().over("user_id")
    at_the_end = ratings.filter(last).group_by("user_id").len()
    assert (at_the_end.height, (at_the_end["len"] > 1).sum()) == (943, 415)


def test_wrong_folders_are_named(movielens: MovieLens, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="recbole"):
        MovieLens.open(tmp_path)
    with pytest.raises(FileUnreadableError, match=r"no such file .*ml-100k\.inter"):
        MovieLens(tmp_path).events()
    unpacked = movielens.folder.parent.parent.parent
    assert MovieLens.open(unpacked, offline=True).folder == movielens.folder
