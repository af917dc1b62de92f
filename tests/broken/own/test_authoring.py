"""Writing ads for a table of one's own, reviewing and exporting them, with the mistakes that people
make there.

The words are typed in a folder that holds

    shop.csv    two products, and out/ a job that wrote a headline of each, none of them approved
    busy/       the same job, to which another process writes
    torn/       a journal that is none; rows/ no instruction data

See `tests.broken.own.mistakes`.
"""

from __future__ import annotations

import fcntl
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adwright.authoring.writer import asking as opening
from adwright.authoring.writer.asking import OpenedWriter
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.job import run_job
from adwright.authoring.writer.products import read_products
from adwright.lm.open_model import LmSpec
from tests.broken.own.mistakes import OWN, Mistake, check, title, written
from tests.support.writing import Teller, opened

LAUGHS = '<!DOCTYPE rss [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><rss><item>&b;</item></rss>'
FILES: dict[str, str | bytes] = {
    "shop.csv": "id,title,colour\np1,Tea,green\np2,Cup,red\n",
    "dutch.csv": "nr,naam\n1,Thee\n",
    "empty.csv": "",
    "header.csv": "id,title\n",
    "shop.pdf": "%PDF-1.4\n",
    "notes.parquet": "no table",
    "binary.csv": b"id,title\n1,\x81\x8d\n",
    "laughs.xml": LAUGHS,
    "page.xml": "<html><body>Not found</body></html>",
    "tone.toml": "tone = 3\n",
    "mood.toml": 'mood = "calm"\n',
    "both.toml": 'banned = ["tea"]\nrequired = ["Tea"]\n',
    "broken.toml": "tone = \n",
    "none.txt": "\n",
    "notes.txt": "mine\n",
    "torn/drafts.jsonl": "hello\nagain\n",
    "rows/train.jsonl": "{}\n",
}


def told(name: str, command: str, *says: str, code: int = 2) -> Mistake:
    return Mistake(OWN, name, f"author {command}", says, code)


def write(name: str, words: str, *says: str, table: str = "shop.csv", code: int = 2) -> Mistake:
    return told(name, f"write {table} new --dry-run {words}", *says, code=code)


TABLES = [
    write("no table", "", "no such file", table="nowhere.csv"),
    write("a document", "", "tables end in", "shop.pdf", table="shop.pdf"),
    write("a text named .parquet", "", "not a Parquet file", table="notes.parquet"),
    write("an empty table", "", "empty.csv", table="empty.csv"),
    write("a table without rows", "", "a header and no rows", table="header.csv"),
    write("no encoding", "", "line 2 is neither UTF-8 nor", table="binary.csv"),
    write("a feed with entities", "", "document type", "laughs.xml", table="laughs.xml"),
    write("a page as a feed", "", "no <item> or <entry>", table="page.xml"),
    write("columns of another language", "", "--columns id=", "nr, naam", table="dutch.csv"),
]
COLUMNS = [
    write("a column that is not there", "--columns id=sku", "no column 'sku'", "shop.csv"),
    write("a field that is not there", "--columns brend=title", "no column 'brend'"),
    write("a column alone", "--columns id", "'id' is no pair", "OURS=THEIRS"),
    write("an attribute that is not there", "--attributes size", "no column 'size'"),
    write("a value that is not there", "--value-columns query=term", "no column 'term'"),
    write("a value alone", "--value occasion", "'occasion' is no pair", "NAME=TEXT"),
    write("a shop that is not known", "--format magento", "'magento' is not one of"),
    write("titles without a query", "--slots title", "would fail: 2 texts", "query", code=0),
]
SETTINGS = [
    write("a slot with a typo", "--slots haedline", "did you mean headline?"),
    write("a slot twice", "--slots headline,headline", "each once"),
    write("a platform that is not known", "--platform bing", "'bing' is not one of"),
    write("categories without a list", "--slots category", "--labels FILE"),
    write("an empty list", "--slots category --labels none.txt", "no label", "none.txt"),
    write("no list", "--slots category --labels no.txt", "labels cannot be read", "no.txt"),
    write("an instruction for nothing", "--instruction title=x", "no slot of the job"),
    write("no voice", "--voice nowhere.toml", "does not exist", "nowhere.toml"),
    write("a voice of a number", "--voice tone.toml", "tone.toml, key tone"),
    write("a voice of another brand's tool", "--voice mood.toml", "unknown key", "key mood"),
    write("a voice against itself", "--voice both.toml", "banned and required", "both.toml"),
    write("a voice that is no TOML", "--voice broken.toml", "broken.toml"),
    write("a voice that is a table", "--voice shop.csv", "shop.csv"),
    write("money without prices", "--budget-money 5", "needs prices"),
    write("tokens below nothing", "--budget-tokens -1", "--budget-tokens"),
    write("time below nothing", "--budget-seconds -1", "--budget-seconds"),
    write("variants of the likeliest token", "--variants 2 --variety 0", "needs variety"),
    write("no adapter", "--adapter nowhere", "no adapter in this folder"),
    told("a file as the folder", "write shop.csv notes.txt --dry-run", "not a folder", "notes.txt"),
    told(
        "a folder of another job",
        "write shop.csv out --slots headline --temperature 1 --dry-run",
        *("written with another", "--rewrite"),
    ),
]
JOURNALS = [
    told(f"no job to {verb.split()[0]}", verb.format("nowhere"), "no journal of drafts here")
    for verb in (
        *("status {}", "diff {}", "review {}", "export {} new.csv", "undo {}"),
        *("edit {} p1 headline Tea", "preferences {} p.jsonl"),
    )
] + [
    told("a journal that is none", "status torn", "torn/drafts.jsonl"),
    told("an edit of nothing", "edit out p9 headline Tea", "p9"),
    told("an empty edit", "edit out p1 headline ' '", "an edit needs a text"),
    told("nothing to undo", "undo out", "no decision to take back"),
    told("a text without its slot", "undo out p1", "name both"),
    told("no export to undo", "undo out --export", "no export to take back"),
    told("an export of nothing", "export out new.csv", "no approved text to export"),
    told("an export that is no table", "export out new.pdf --all", "not as .pdf"),
    told("an export over a file", "export out notes.txt --all", "exists already"),
    told("preferences of nobody", "preferences out p.jsonl", "no decision tells"),
    told("pages for all without a key", "review out --host 0.0.0.0", "without a key"),
    told("judgements of nothing", "review out --judgements j.jsonl", "nothing to compare"),
    told("a folder against itself", "review out --against out", "compared with itself"),
    told("a port that is taken", "review out --port {port}", "port"),
]
MODELS = [
    told("data of nothing", "data new", "nothing named to build from"),
    told(
        "data in no voice",
        "data new --catalogue shop.csv --columns id=id --voice mood.toml",
        *("unknown key", "mood.toml"),
    ),
    told("data for no task", "data new --catalogue shop.csv --tasks poems", "no task 'poems'"),
    told("two teachers", "data new --catalogue shop.csv --teacher a --server b", "one teacher"),
    told("to tune on nothing", "tune nowhere", "nowhere"),
    told("to tune on other rows", "tune rows --out tuned", "rows"),
    told(
        "to describe nothing",
        "describe no.csv no.csv no.csv --drafts out --rankers bm25",
        *("no such file", "no.csv"),
    ),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("authoring")
    written(folder, FILES)
    model = Teller(lambda prompt, call: "Fresh cup" if "Title: Cup" in prompt else "Fresh tea")
    table = read_products(folder / "shop.csv")
    run_job(table, folder / "out", WriteConfig(("headline",)), opened(model))
    shutil.copytree(folder / "out", folder / "busy")
    return folder


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADWRIGHT_REVIEW_KEY", raising=False)


@pytest.mark.parametrize("mistake", [*TABLES, *COLUMNS, *SETTINGS, *JOURNALS, *MODELS], ids=title)
def test_a_mistake_is_answered_and_leaves_nothing_behind(
    mistake: Mistake, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = mistake.command.replace("{port}", str(taken.getsockname()[1]))
        check(mistake._replace(command=command), here, monkeypatch)


def test_a_folder_that_another_process_writes_to_is_left_alone(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def open_it(config: LmSpec) -> Iterator[OpenedWriter]:
        yield opened(Teller(lambda prompt, call: "Fresh tea"))

    monkeypatch.setattr(opening, "open_writer", open_it)
    words = "write shop.csv busy --slots headline,description"
    with (here / "busy" / "writer.lock").open("r+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        check(told("a busy folder", words, "another job writes to this folder"), here, monkeypatch)
