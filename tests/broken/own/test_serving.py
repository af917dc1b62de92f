"""Recommending, publishing, serving, training again and looking at a store, with the mistakes that
people make there.

The words are typed in a folder that holds

    events.csv     events, and log/ the same imported; rule/ holds an item-item model of it
    walks/run      a run folder with a sequence model and its log
    other.csv      events of another catalogue
    popularity/    a model of the items of events.csv
    adapter/       an artifact that nothing takes; torn/ a model without one of its files
    store.db       a store of a tenant shop, without an event
    models/shop/v1 a version that decides

See `tests.broken.own.mistakes`.
"""

from __future__ import annotations

import fcntl
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.authoring.writer import asking as opening
from adwright.authoring.writer.asking import OpenedWriter
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.job import run_job
from adwright.authoring.writer.products import read_products
from adwright.campaigns.store.store import Store
from adwright.core.artifacts import save_artifact
from adwright.delivery.popularity import save_popularity
from adwright.lm.open_model import LmSpec
from adwright.web import server
from tests.broken.own.mistakes import OWN, Mistake, check, title, typed, written
from tests.support.data.small_sequences import small_sequences
from tests.support.delivery.sequence_parts import sasrec
from tests.support.delivery.single_models import run_folder
from tests.support.writing import Teller, opened

STORE = "--store sqlite:///store.db"
FILES = {
    "nobody.txt": "\n",
    "users.txt": "u1\nnobody\n",
    "users.csv": "user\nu1\n",
    "typo.toml": "deadline = 3\n",
    "notes.txt": "no database at all\n" * 99,
    "recs/x.parquet": "",
}


def told(
    number: int, name: str, command: str, *says: str, code: int = 2, makes: tuple[str, ...] = ()
) -> Mistake:
    return Mistake(number, name, command, says, code, makes=makes)


MODEL = "recommend walks/run --out recs.parquet"
MADE = ("recs.parquet",)
RECOMMENDING = [
    told(41, "a model of another kind", "recommend adapter --out recs.parquet", "those of kind"),
    told(
        42,
        "one folder too high",
        "recommend runs --out recs.parquet",
        *("there is no model here", "name one of runs/a"),
    ),
    told(45, "no item", f"{MODEL} --k 0", "--k"),
    told(45, "more items than there are", f"{MODEL} --k 1000000", "rows for", code=0, makes=MADE),
    told(
        44,
        "an unknown user among others",
        f"{MODEL} --users users.txt",
        "1 of the users have no event there: they get what is popular",
        code=0,
        makes=MADE,
    ),
    told(OWN, "nobody", f"{MODEL} --users nobody.txt", "the file names no user", "nobody.txt"),
    told(
        OWN,
        "users in another column",
        f"{MODEL} --users users.csv",
        "column user_id",
        "it has user",
    ),
    told(OWN, "into a folder", "recommend walks/run --out models", "this path exists already"),
    told(
        OWN,
        "into a folder that is called a file",
        "recommend walks/run --out recs.parquet --force",
        *("this is a folder", "recs.parquet"),
    )._replace(files={"recs.parquet/mine.txt": "mine"}),
    told(
        OWN,
        "the log of another catalogue",
        f"{MODEL} --events other.csv",
        *("no event of the log is of an item that the model knows", "other.csv"),
    ),
    told(OWN, "a moment in words", f"{MODEL} --at yesterday", "a moment is written as 2026-05-31"),
    told(OWN, "a moment before all", f"{MODEL} --at 1960-01-01", "nobody has an event before"),
    told(
        51,
        "to resume nothing",
        f"{MODEL} --resume",
        "there is nothing to resume",
        code=0,
        makes=MADE,
    ),
    told(
        OWN,
        "neither task nor log, of a run that has its report",
        "evaluate rule",
        *("What the run measured on what it had held out of log", "Item-item"),
        code=0,
    ),
    told(
        OWN, "neither task nor log", "evaluate popularity", "there is no report of the run", "--log"
    ),
    told(OWN, "what the model has seen", "evaluate rule --log log", "seen", "without --log"),
    told(
        OWN,
        "both task and log",
        "evaluate popularity --task log --log log",
        *("name one of them", "--log for"),
    ),
    told(
        OWN,
        "another catalogue to measure on",
        "evaluate rule --log other.csv",
        "no event of the log is of an item that the model knows",
    ),
    told(
        OWN,
        "a rule on the rows of a task",
        "evaluate rule/model --task log",
        "kind 'item-item', not 'ranker'",
    ),
]
PUBLISHING = [
    told(43, "a model that cannot be served", "publish adapter --tenant shop", "cannot be served"),
    told(
        43,
        "a model that serves alone",
        "publish rule --tenant acme",
        "v1 decides for acme",
        code=0,
        makes=("models/acme/current",),
    ),
    told(OWN, "a model without one of its files", "publish torn --tenant shop", "torn"),
    told(OWN, "a log", "publish log --tenant shop", "there is no model here"),
    told(OWN, "a tenant outside", "publish popularity --tenant ../shop", "no name of a folder"),
    told(OWN, "a tenant of no name", "publish popularity --tenant ''", "no name of a folder"),
    told(OWN, "a hidden tenant", "publish popularity --tenant .shop", "no name of a folder"),
    told(
        OWN,
        "a version that is there",
        "publish popularity --tenant shop --version v1",
        *("this version is there already", "--version"),
    ),
    told(
        OWN,
        "a log for what needs none",
        "publish popularity --tenant shop --log log",
        "takes no log to publish it with",
    ),
    told(
        OWN,
        "models in a file",
        "publish popularity --tenant shop --models events.csv",
        "events.csv",
    ),
]
SERVE = f"serve {STORE}"
SERVING = [
    told(47, "a port that is taken", f"{SERVE} --port {{port}}", "in use", "another port"),
    told(47, "no port", f"{SERVE} --port 70000", "--port"),
    told(47, "a database in /proc", "serve --store sqlite:////proc/x/s.db", "/proc/x"),
    told(
        50,
        "models that are not there",
        f"{SERVE} --port 0 --models nosuch",
        *("there is no folder nosuch yet", "adwright publish RUN --models nosuch"),
        code=0,
    ),
    told(
        50,
        "a tenant without a key",
        f"{SERVE} --port 0",
        *("shop: v1 (popularity) decides", "shop has no key, so nobody can call", "adwright key"),
        code=0,
    ),
    told(
        49,
        "a typing mistake in the store",
        "serve --port 0 --store sqlite:///stroe.db",
        "made a new store: sqlite:///stroe.db",
        code=0,
        makes=("stroe.db",),
    ),
    told(
        49,
        "the same for a key",
        "key shop --store sqlite:///stroe.db",
        "made a new store: sqlite:///stroe.db",
        code=0,
        makes=("stroe.db",),
    ),
    told(OWN, "models to serve in a file", f"{SERVE} --port 0 --models events.csv", "events.csv"),
    told(OWN, "a setting that there is not", "serve typo.toml", "unknown key", "deadline_ms?"),
    told(OWN, "no store but a folder", "serve --port 0 --store sqlite:///log", "log"),
    told(OWN, "no store but a file", "serve --port 0 --store sqlite:///notes.txt", "notes.txt"),
    told(OWN, "no URL", "serve --port 0 --store store.db", "URL cannot be read", "sqlite:///path"),
]
STORES = [
    told(49, "to look at", "store show --store sqlite:///stroe.db", "no such store", "check"),
    told(OWN, "no store", "store show --store sqlite:///notes.txt", "notes.txt"),
    told(
        OWN,
        "an unknown tenant",
        f"store events --tenant nobody --out e.parquet {STORE}",
        *("the store has no such tenant", "it has shop"),
    ),
    told(
        OWN,
        "a day in words",
        f"store compact --tenant shop --out served --before today {STORE}",
        "a day is written as 2026-05-31",
    ),
    told(
        OWN,
        "nothing to compact",
        f"store compact --tenant shop --out served {STORE}",
        "nothing to compact: the store holds no event of this tenant",
        code=0,
    ),
    told(
        OWN,
        "a key that there is not",
        f"key shop --revoke aw_1_2 {STORE}",
        "shop has no such key in use",
        code=1,
    ),
    told(
        OWN,
        "to train again on an empty store",
        "retrain popularity --log log --served sqlite:///store.db --tenant shop --out new",
        "the service wrote nothing that the old log has not",
    ),
    told(
        OWN,
        "to train again for nobody",
        "retrain popularity --log log --served sqlite:///store.db --out new",
        "a store holds the events of several tenants",
    ),
    told(
        OWN,
        "to train again for an unknown tenant",
        "retrain popularity --log log --served sqlite:///store.db --tenant x --out new",
        *("the store has no such tenant", "it has shop"),
    ),
    told(
        OWN,
        "to publish for nobody",
        "retrain popularity --log log --served log --out new --publish",
        "a model is published for a tenant",
    ),
    told(
        OWN,
        "to train again without a log",
        "retrain popularity --served log --out new",
        "the log that the model was trained on is not known",
    ),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serving")
    walks = small_sequences(60)
    user = [walks.users[u] for u in range(len(walks)) for _ in range(*walks.offsets[u : u + 2])]
    items = [walks.ids[code - 1] for code in walks.item]
    table = pl.DataFrame({"user_id": user, "item_id": items, "time": walks.time})
    table.write_csv(folder / "events.csv")
    table.with_columns(pl.format("x{}", "item_id").alias("item_id")).write_csv(folder / "other.csv")
    written(folder, FILES)
    save_popularity(folder / "popularity", list(walks.ids), np.arange(len(walks.ids)) + 1.0)
    save_popularity(folder / "models" / "shop" / "v1", ["tea", "jam"], np.array([1.0, 2.0]))
    save_popularity(folder / "torn", ["tea", "jam"], np.array([1.0, 2.0]))
    (folder / "torn" / "tensors.safetensors").unlink()
    sasrec().save(run_folder(folder / "walks") / "model")
    save_artifact(folder / "adapter", kind="adapter", config={})
    save_artifact(folder / "runs" / "a", kind="adapter", config={})
    with Store.open(f"sqlite:///{folder / 'store.db'}") as store:
        store.create_tenant("shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in (
            "data import events.csv log",
            "train item-item log --out rule",
            "publish models/shop/v1",
        ):
            result = typed(command)
            assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(autouse=True)
def _ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that starts ends at once."""
    monkeypatch.setattr(server, "serve", lambda app, door: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.parametrize("mistake", [*RECOMMENDING, *PUBLISHING, *SERVING, *STORES], ids=title)
def test_a_mistake_is_answered_and_leaves_nothing_behind(
    mistake: Mistake, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = mistake.command.replace("{port}", port)
        check(mistake._replace(command=command), here, monkeypatch)


LAUGHS = '<!DOCTYPE rss [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><rss><item>&b;</item></rss>'
AUTHORING_FILES: dict[str, str | bytes] = {
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


def authoring_told(name: str, command: str, *says: str, code: int = 2) -> Mistake:
    return Mistake(OWN, name, f"author {command}", says, code)


def write(name: str, words: str, *says: str, table: str = "shop.csv", code: int = 2) -> Mistake:
    return authoring_told(name, f"write {table} new --dry-run {words}", *says, code=code)


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
    authoring_told(
        "a file as the folder", "write shop.csv notes.txt --dry-run", "not a folder", "notes.txt"
    ),
    authoring_told(
        "a folder of another job",
        "write shop.csv out --slots headline --temperature 1 --dry-run",
        *("written with another", "--rewrite"),
    ),
]
JOURNALS = [
    authoring_told(
        f"no job to {verb.split()[0]}", verb.format("nowhere"), "no journal of drafts here"
    )
    for verb in (
        *("status {}", "diff {}", "review {}", "export {} new.csv", "undo {}"),
        *("edit {} p1 headline Tea", "preferences {} p.jsonl"),
    )
] + [
    authoring_told("a journal that is none", "status torn", "torn/drafts.jsonl"),
    authoring_told("an edit of nothing", "edit out p9 headline Tea", "p9"),
    authoring_told("an empty edit", "edit out p1 headline ' '", "an edit needs a text"),
    authoring_told("nothing to undo", "undo out", "no decision to take back"),
    authoring_told("a text without its slot", "undo out p1", "name both"),
    authoring_told("no export to undo", "undo out --export", "no export to take back"),
    authoring_told("an export of nothing", "export out new.csv", "no approved text to export"),
    authoring_told("an export that is no table", "export out new.pdf --all", "not as .pdf"),
    authoring_told("an export over a file", "export out notes.txt --all", "exists already"),
    authoring_told("preferences of nobody", "preferences out p.jsonl", "no decision tells"),
    authoring_told("pages for all without a key", "review out --host 0.0.0.0", "without a key"),
    authoring_told(
        "judgements of nothing", "review out --judgements j.jsonl", "nothing to compare"
    ),
    authoring_told("a folder against itself", "review out --against out", "compared with itself"),
    authoring_told("a port that is taken", "review out --port {port}", "port"),
]
MODELS = [
    authoring_told("data of nothing", "data new", "Missing option '--catalogue'"),
    authoring_told(
        "data in no voice",
        "data new --catalogue shop.csv --columns id=id --voice mood.toml",
        *("unknown key", "mood.toml"),
    ),
    authoring_told(
        "data for no task", "data new --catalogue shop.csv --tasks poems", "no task 'poems'"
    ),
    authoring_told(
        "two teachers", "data new --catalogue shop.csv --teacher a --server b", "one teacher"
    ),
    authoring_told("to tune on nothing", "tune nowhere", "nowhere"),
    authoring_told("to tune on other rows", "tune rows --out tuned", "rows"),
    authoring_told(
        "to describe nothing",
        "describe no.csv no.csv no.csv --drafts out --rankers bm25",
        *("no such file", "no.csv"),
    ),
]


@pytest.fixture(scope="module")
def authoring_here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("authoring")
    written(folder, AUTHORING_FILES)
    model = Teller(lambda prompt, call: "Fresh cup" if "Title: Cup" in prompt else "Fresh tea")
    table = read_products(folder / "shop.csv")
    run_job(table, folder / "out", WriteConfig(("headline",), by="free"), opened(model))
    shutil.copytree(folder / "out", folder / "busy")
    return folder


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADWRIGHT_REVIEW_KEY", raising=False)


@pytest.mark.parametrize("mistake", [*TABLES, *COLUMNS, *SETTINGS, *JOURNALS, *MODELS], ids=title)
def test_authoring_a_mistake_is_answered_and_leaves_nothing_behind(
    mistake: Mistake, authoring_here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = mistake.command.replace("{port}", str(taken.getsockname()[1]))
        check(mistake._replace(command=command), authoring_here, monkeypatch)


def test_a_folder_that_another_process_writes_to_is_left_alone(
    authoring_here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def open_it(config: LmSpec, *, scores: bool = False) -> Iterator[OpenedWriter]:
        yield opened(Teller(lambda prompt, call: "Fresh tea"))

    monkeypatch.setattr(opening, "open_writer", open_it)
    words = "write shop.csv busy --slots headline,description"
    with (authoring_here / "busy" / "writer.lock").open("r+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        check(
            authoring_told("a busy folder", words, "another job writes to this folder"),
            authoring_here,
            monkeypatch,
        )
