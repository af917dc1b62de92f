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

import socket
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.campaigns.store.store import Store
from adwright.core.artifacts import save_artifact
from adwright.delivery.popularity import save_popularity
from adwright.web import server
from tests.broken.own.mistakes import OWN, Mistake, check, title, typed, written
from tests.support.data.small_sequences import small_sequences
from tests.support.delivery.sequence_parts import sasrec
from tests.support.delivery.single_models import run_folder

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
