from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adwright.authoring.writer.drafts import Drafts
from adwright.cli.author.review import REVIEW_KEY, review
from adwright.core.errors import ConfigError, DataError, MissingExtraError, ResourceError
from tests.support.commands import call
from tests.support.review_page import drafts_of, write
from tests.support.service.small_shop import Client, running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with drafts_of(tmp_path / "small"):
        return tmp_path / "small"


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is read of the pages while they are served."""
    read = list[str]()

    def serve(app: Any, door: Any) -> None:
        host = door.getsockname()[0]
        with running(app) as client:
            client.headers["Host"] = host
            read.extend(texts(client))

    monkeypatch.delenv(REVIEW_KEY, raising=False)
    monkeypatch.setattr("adwright.web.server.serve", serve)
    return read


def texts(client: Client) -> list[str]:
    return [client.get(path).text for path in ("/", "/drafts/0", "/pairs/0")]


def test_the_queue_is_served_under_ones_own_name(
    folder: Path, pages: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    review(folder, port=0, name="Zoë", rows=2)
    assert "<strong>4</strong> reviewed" in pages[0]
    assert "page 1 of 2" in pages[0]
    assert 'value="Zoë"' in pages[0]
    assert "The best Assam tea" in pages[1]
    assert "nothing to compare" in pages[2]
    told = capsys.readouterr()
    assert told.out.startswith("review on http://127.0.0.1:")
    assert "4 drafts" in told.err
    assert not (folder / "judgements.jsonl").exists()


def test_without_a_name_it_is_that_of_the_account(
    folder: Path, pages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    review(folder, port=0)
    assert 'value="ann"' in pages[0]

    def nobody() -> str:
        raise KeyError("no such user")

    monkeypatch.setattr("getpass.getuser", nobody)
    review(folder, port=0)
    assert 'name="name" value=""' in pages[3]


def test_pairs_of_the_shop_are_compared(folder: Path, pages: list[str]) -> None:
    review(folder, port=0, pairs=True, sample=2)
    assert "pair 1" in pages[2]
    assert "of <strong>2</strong> judged" in pages[2]
    assert (folder / "judgements.jsonl").exists()


def test_two_folders_are_compared(folder: Path, pages: list[str], tmp_path: Path) -> None:
    other, out = tmp_path / "large", tmp_path / "out.jsonl"
    with closing(Drafts.open(other)) as drafts:
        write(drafts, "lamp", "Another lamp")
    before = (other / "drafts.jsonl").read_bytes()
    review(folder, port=0, against=other, judgements=out)
    assert "Another lamp" in pages[2]
    assert "A lamp for reading" in pages[2]
    assert out.exists()
    assert (other / "drafts.jsonl").read_bytes() == before


def test_the_seed_draws_other_pairs(folder: Path, pages: list[str]) -> None:
    for seed in range(6):
        review(folder, port=0, name="ann", pairs=True, sample=1, seed=seed)
    drawn = {page.partition("<main")[2] for page in pages[2::3]}
    assert len(drawn) > 1


@pytest.mark.parametrize(
    ("options", "error", "what"),
    [
        ({"host": "0.0.0.0"}, ConfigError, "without a key"),
        ({"judgements": Path("j.jsonl")}, ConfigError, "nothing to compare"),
        ({"against": Path("none")}, ResourceError, "no journal"),
        ({"host": "203.0.113.1", "key": "k"}, ResourceError, "cannot be listened on"),
    ],
)
def test_a_mistake_is_told(
    folder: Path,
    pages: list[str],
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    error: type[Exception],
    what: str,
) -> None:
    monkeypatch.setenv(REVIEW_KEY, options.pop("key", ""))
    with pytest.raises(error, match=what):
        review(folder, port=0, **options)
    assert pages == []


def test_a_folder_is_not_compared_with_itself(folder: Path, pages: list[str]) -> None:
    with pytest.raises(ConfigError, match="with itself"):
        review(folder, port=0, against=folder / ".." / "small")
    assert pages == []


def test_a_folder_without_drafts_stays_as_it_is(tmp_path: Path, pages: list[str]) -> None:
    with pytest.raises(ResourceError, match="no journal"):
        review(tmp_path / "new", port=0)
    assert not (tmp_path / "new").exists()
    with closing(Drafts.open(tmp_path / "empty")), pytest.raises(DataError, match="two different"):
        review(tmp_path / "empty", port=0, pairs=True)
    assert pages == []


def test_with_a_key_people_sign_in_and_names_of_hosts_are_open(
    folder: Path, pages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REVIEW_KEY, "k1")
    review(folder, port=0)
    assert "name and key are missing" in pages[0]
    monkeypatch.setenv(REVIEW_KEY, "")
    review(folder, port=0, allow_host=["review.example"])
    assert "is not called by this name" in pages[3]


def test_the_page_is_opened_where_that_is_asked_for(
    folder: Path, pages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = list[str]()
    monkeypatch.setattr("webbrowser.open", opened.append)
    review(folder, port=0)
    assert opened == []
    review(folder, port=0, open_page=True)
    assert opened[0].startswith("http://127.0.0.1:")


def test_without_htmx_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adwright.cli.author.review.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="service"):
        review(folder, port=0)
    assert not (folder / "judgements.jsonl").exists()


def test_the_verb_says_what_is_missing(tmp_path: Path) -> None:
    told = call("author", "review", tmp_path / "none", code=2)
    assert "there is no journal of drafts here" in told
    assert "adwright author write" in told
