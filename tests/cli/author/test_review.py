"""?"""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adwright.authoring.tasks import AuthoringRequest, Product, messages_of, task_named
from adwright.authoring.writer.drafts import (
    JOURNAL,
    Draft,
    Drafts,
    Provenance,
    ReviewDecision,
    RowFailure,
)
from adwright.campaigns.store.store import Store
from adwright.cli.author.review import REVIEW_KEY, preferences
from adwright.cli.author.review import review as review_review
from adwright.core.errors import ConfigError, DataError, MissingExtraError, ResourceError
from adwright.core.hashing import content_hash
from adwright.training.tuning.texts import PairsConfig
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
    review_review(folder, port=0, name="Zoë", rows=2)
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
    review_review(folder, port=0)
    assert 'value="ann"' in pages[0]

    def nobody() -> str:
        raise KeyError("no such user")

    monkeypatch.setattr("getpass.getuser", nobody)
    review_review(folder, port=0)
    assert 'name="name" value=""' in pages[3]


def test_pairs_of_the_shop_are_compared(folder: Path, pages: list[str]) -> None:
    review_review(folder, port=0, pairs=True, sample=2)
    assert "pair 1" in pages[2]
    assert "of <strong>2</strong> judged" in pages[2]
    assert (folder / "judgements.jsonl").exists()


def test_two_folders_are_compared(folder: Path, pages: list[str], tmp_path: Path) -> None:
    other, out = tmp_path / "large", tmp_path / "out.jsonl"
    with closing(Drafts.open(other)) as drafts:
        write(drafts, "lamp", "Another lamp")
    before = (other / "drafts.jsonl").read_bytes()
    review_review(folder, port=0, against=other, judgements=out)
    assert "Another lamp" in pages[2]
    assert "A lamp for reading" in pages[2]
    assert out.exists()
    assert (other / "drafts.jsonl").read_bytes() == before


def test_the_seed_draws_other_pairs(folder: Path, pages: list[str]) -> None:
    for seed in range(6):
        review_review(folder, port=0, name="ann", pairs=True, sample=1, seed=seed)
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
        review_review(folder, port=0, **options)
    assert pages == []


def test_a_folder_is_not_compared_with_itself(folder: Path, pages: list[str]) -> None:
    with pytest.raises(ConfigError, match="with itself"):
        review_review(folder, port=0, against=folder / ".." / "small")
    assert pages == []


def test_a_folder_without_drafts_stays_as_it_is(tmp_path: Path, pages: list[str]) -> None:
    with pytest.raises(ResourceError, match="no journal"):
        review_review(tmp_path / "new", port=0)
    assert not (tmp_path / "new").exists()
    with closing(Drafts.open(tmp_path / "empty")), pytest.raises(DataError, match="two different"):
        review_review(tmp_path / "empty", port=0, pairs=True)
    assert pages == []


def test_with_a_key_people_sign_in_and_names_of_hosts_are_open(
    folder: Path, pages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REVIEW_KEY, "k1")
    review_review(folder, port=0)
    assert "name and key are missing" in pages[0]
    monkeypatch.setenv(REVIEW_KEY, "")
    review_review(folder, port=0, allow_host=["review.example"])
    assert "is not called by this name" in pages[3]


def test_the_page_is_opened_where_that_is_asked_for(
    folder: Path, pages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = list[str]()
    monkeypatch.setattr("webbrowser.open", opened.append)
    review_review(folder, port=0)
    assert opened == []
    review_review(folder, port=0, open_page=True)
    assert opened[0].startswith("http://127.0.0.1:")


def test_without_htmx_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adwright.cli.author.review.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="service"):
        review_review(folder, port=0)
    assert not (folder / "judgements.jsonl").exists()


def test_the_verb_says_what_is_missing(tmp_path: Path) -> None:
    told = call("author", "review", tmp_path / "none", code=2)
    assert "there is no journal of drafts here" in told
    assert "adwright author write" in told


def test_the_verbs_are_named_in_the_order_of_their_use() -> None:
    verbs = ["write", "status", "review", "edit", "undo", "diff", "export"]
    verbs += ["preferences", "evaluate"]
    named = re.findall(r"^\W+(\w+)  ", call("author", "--help"), re.MULTILINE)
    assert [one for one in named if one in verbs] == verbs
    for verb in verbs:
        assert "--help" in call("author", verb, "--help")


KEY = ("p1", "headline", 0)


def text(job: Path) -> str:
    with closing(Drafts.open(job)) as drafts:
        return drafts.text(KEY)


def test_an_edit_stands_until_it_is_taken_back(job: Path) -> None:
    said = call("author", "edit", job, "p1", "headline", "My tea", "--reviewer", "ann")
    assert said == "- Fresh tea\n+ My tea\n"
    assert text(job) == "My tea"
    assert "p1, headline, variant 0: unreviewed again" in call("author", "undo", job)
    assert text(job) == "Fresh tea"
    call("author", "edit", job, "p1", "headline", "My tea")
    call("author", "edit", job, "p2", "headline", "My cup")
    assert "p1, headline" in call("author", "undo", job, "p1", "headline")
    assert "no decision to take back" in call("author", "undo", job, "p1", "headline", code=2)


def test_what_is_not_there_is_told(job: Path, tmp_path: Path) -> None:
    assert "no draft of product 'p9'" in call("author", "edit", job, "p9", "headline", "x", code=2)
    said = call("author", "edit", job, "p1", "headline", "x", "--variant", 3, code=2)
    assert "variant 3" in said
    assert "an edit needs a text" in call("author", "edit", job, "p1", "headline", " ", code=2)
    assert "name both" in call("author", "undo", job, "p1", code=2)
    assert "no export to take back" in call("author", "undo", job, "--export", code=2)
    call("author", "edit", tmp_path / "none", "p1", "headline", "x", code=2)
    assert not (tmp_path / "none" / JOURNAL).exists()


def test_the_table_gets_its_texts_and_gives_them_back(job: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    assert "no approved text" in call("author", "export", job, path, code=2)
    call("author", "edit", job, "p2", "headline", "My cup")
    assert call("author", "diff", job) == "p2: headline_1\n  - \n  + My cup\n"
    assert "and 1 more" in call("author", "diff", job, "--all", "--limit", 1)
    assert "1 texts in" in call("author", "export", job, path)
    assert path.read_text() == ("id,title,colour,headline_1\np1,Tea,green,\np2,Cup,red,My cup\n")
    assert "--force" in call("author", "export", job, path, "--all", code=2)
    assert "2 texts in" in call("author", "export", job, path, "--all", "--force")
    ads = tmp_path / "ads.csv"
    assert "ads in" in call("author", "export", job, "--all", "--creatives", ads)
    assert ads.read_text().count("My cup") == 1
    url = f"sqlite:///{tmp_path / 'adwright.db'}"
    into = ("--store", url, "--tenant", "acme")
    assert "go together" in call("author", "export", job, *into[:2], code=2)
    with Store.open(url) as store:
        store.create_tenant("acme")
        said = call("author", "export", job, "--all", *into, "--submit")
        assert "ads are in review of acme" in said
        entered = store.creatives_full("acme")
    assert {one.state for one in entered} == {"in review"}
    assert sum(one.headline == "My cup" and one.label == "AI" for one in entered) == 1
    assert sum(one.label == "AI" for one in entered) == len(entered)
    assert "nothing is to be written" in call("author", "export", job, code=2)
    assert "as it was before" in call("author", "undo", job, "--export")
    assert path.read_text().endswith("p1,Tea,green,\np2,Cup,red,My cup\n")


def test_products_that_are_gone_are_named(job: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.csv"
    moved.write_text("id,title,colour\np1,Tea,green\n")
    said = call("author", "export", job, tmp_path / "b.csv", "--all", "--products", moved)
    assert "no longer in the table" in said
    assert "p2" in said


TEA = Product("t1", "Mill Lane Assam tea")
INSTRUCTIONS = {"headline": "Write a headline."}
RECIPE = {"platform": "", "labels": [], "voice": "", "instructions": INSTRUCTIONS}


def review(folder: Path, *, known: bool = True) -> None:
    """A journal with one edit."""
    request = AuthoringRequest(task_named("ads"), TEA)
    asked = messages_of(request, instruction=INSTRUCTIONS["headline"], voice="")
    prompt = content_hash([[one.role, one.content] for one in asked])[:24] if known else "0"
    with closing(Drafts.open(folder)) as drafts:
        drafts.note_products([(TEA, "h")])
        drafts.note_job("j", {"recipe": RECIPE})
        by = Provenance(job="j", prompt=prompt)
        drafts.write([Draft("t1", "headline", 0, "Best tea", provenance=by)])
        drafts.decide(ReviewDecision("t1", "headline", 0, "edit", "Assam tea"))


def test_what_was_preferred_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    review(tmp_path)
    out = tmp_path / "out.jsonl"
    preferences(tmp_path, out=out)
    (line,) = out.read_text().splitlines()
    assert json.loads(line)["chosen"][-1] == {"role": "assistant", "content": "Assam tea"}
    (learned,) = PairsConfig(path=out, messages="chosen").rows()
    assert learned.answer == "Assam tea"
    assert [turn.role for turn in learned.said] == ["system", "user"]
    assert "1 preferences (1 edits)" in capsys.readouterr().out
    with pytest.raises(ResourceError, match="exists already"):
        preferences(tmp_path, out=out)
    preferences(tmp_path, out=out, force=True)


def test_what_is_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    review(tmp_path, known=False)
    with pytest.raises(DataError, match="no decision tells"):
        preferences(tmp_path, out=tmp_path / "out.jsonl")
    assert "1 left out" in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()


def test_a_folder_without_a_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="no journal"):
        preferences(tmp_path, out=tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_what_there_is_is_told(job: Path, tmp_path: Path) -> None:
    with closing(Drafts.open(job)) as drafts:
        drafts.decide(ReviewDecision("p1", "headline", 0, "approve"))
        drafts.fail([RowFailure(f"p{n}", "title", 0, "no query") for n in range(3, 20)])
    said = call("author", "status", job)
    assert "headline" in said
    assert "failed: p3, title, variant 0: no query" in said
    assert "and 7 more failed" in said
    assert "done, 2 written" in said
    told = json.loads(call("author", "status", job, "--json"))
    assert told["slots"]["headline"]["approved"] == 1
    assert len(told["failures"]) == 17
    assert told["report"]["written"] == 2
    path = job / "drafts.jsonl"
    path.write_bytes(path.read_bytes().replace(b',"text":', b',"text"~', 1))
    assert re.search(
        "damaged: p., headline, variant 0: line .* cannot be read", call("author", "status", job)
    )
    told = json.loads(call("author", "status", job, "--json"))
    assert (len(told["damaged"]), sum(told["slots"]["headline"].values())) == (1, 1)
    assert "no journal of drafts" in call("author", "status", tmp_path, code=2)
