"""Training on data of one's own, dry runs and what is asked of a ranker, with the mistakes that
people make there.

The words are typed in a folder that holds

    task/          a task, and rows.parquet and events.parquet of it
    ranker/        a saved ranker of it, also as runs/a/ranker
    popularity/    a saved artifact of another kind
    log/           an imported log, with events.parquet and items.parquet
    events.csv     events for a sequence model
    run.toml, sequence.toml    run files of both; done/ holds what the first one trained, cut/ the
                   same before its ranker was saved

See `tests.broken.own.mistakes`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.data.sources.log import save_log
from adwright.delivery.popularity import save_popularity
from adwright.training.ranking.ranker import Ranker
from tests.broken.own.mistakes import OWN, Mistake, check, title, typed, written
from tests.support.data.ranking_task import shop_task, small_log, untrained
from tests.support.data.small_sequences import small_sequences

RUN = """seed = 3
draws = 20
base = false
out = "done"
[task]
kind = "folder"
folder = "task"
[model]
mlp_hidden = [16, 8]
[fit]
epochs = 1
[fit.stream]
groups_per_batch = 8
"""
SEQUENCE = """draws = 20
threads = 1
out = "walks"
[data]
kind = "events"
path = "events.csv"
[model]
width = 8
heads = 2
max_length = 16
[fit]
epochs = 1
"""
FILES = {
    "run.toml": RUN,
    "sequence.toml": SEQUENCE,
    "typo.toml": "sede = 1\n[fit]\nepoch = 3\nlr = 0.1\n",
    "type.toml": '[fit]\nepochs = "3"\n',
    "broken.toml": "seed = \n",
    "empty.toml": "",
    "wide.toml": SEQUENCE.replace("width = 8", "width = 9"),
    "other.toml": RUN.replace("epochs = 1", "epochs = 1\nlearning_rate = 0.5\ndecay = 0.1"),
    "model.toml": RUN.replace("[16, 8]", "[8]"),
    "one.toml": SEQUENCE.replace("events.csv", "long.csv").replace("= 16", "= 128")
    + "batch = 256\n",
    # A user's events alone, and users with an event each.
    "lonely.csv": "user_id,item_id,time\n" + "".join(f"u1,i{n % 9},{n}\n" for n in range(30)),
    "single.csv": "user_id,item_id,time\n" + "".join(f"u{n},i{n % 9},{n}\n" for n in range(30)),
    "same.csv": "user_id,item_id,time\n" + "".join(f"u{n % 9},i1,{n}\n" for n in range(60)),
    "long.csv": "user_id,item_id,time\n"
    + "".join(f"{'u0' if n < 30_000 else f'u{n % 9}'},i{n * n % 50},{n}\n" for n in range(30_090)),
}
JOURNEY = "name data of your own (--task), a run file, or `--task complete-journey`: a download of"


def told(number: int, name: str, command: str, *says: str, code: int = 2) -> Mistake:
    return Mistake(number, name, command, says, code)


NO_VISIT = "the valid split has no visit"
BELOW_A_FILE = ("a part of the path is a file", "run.toml/x")
TRAINING = [
    told(36, "a verb misspelt", "train hsut", "there is no verb and no file 'hsut'", "mean hstu?"),
    told(36, "a verb of tune misspelt", "tune jbos", "did you mean jobs?"),
    told(
        37,
        "nothing to train on",
        "train din",
        *("there is nothing named to train on", JOURNEY, "31 MB", "adwright demo"),
    ),
    told(37, "nothing at all", "train", "there is nothing named to train on"),
    told(
        37,
        "nothing to train a sequence model on",
        "train sasrec",
        *("there is nothing named to train on", "adwright train sasrec", "--events"),
    ),
    told(OWN, "an empty run file", "train empty.toml", "there is nothing named to train on"),
    told(
        OWN,
        "an empty run file of a sequence model",
        "train hstu empty.toml",
        "there is nothing named to train on",
    ),
    told(
        38,
        "typing mistakes in a run file",
        "train typo.toml",
        *("unknown key", "typo.toml, key"),
        *("did you mean seed?", "did you mean epochs?", "did you mean learning_rate?"),
    ),
    told(39, "text for a number", "train type.toml", "valid integer", "key fit.epochs"),
    told(39, "broken TOML", "train broken.toml", "not valid TOML", "broken.toml"),
    told(
        39,
        "a run file of another kind",
        "train sequence.toml",
        *("unknown key", "sequence.toml", "key width", "heads: unknown key"),
    ),
    told(
        OWN,
        "a run file of another model",
        "train sasrec named.toml",
        "the run file trains another model than sasrec",
    )._replace(files={"named.toml": SEQUENCE.replace("[model]", '[model]\nkind = "hstu"')}),
    told(
        OWN,
        "a task that is not there",
        "train --task nowhere --out new",
        *("no readable task", "nowhere/task.json"),
    ),
    told(
        OWN,
        "a run file for a task",
        "train --task run.toml --out new",
        *("tables end in .parquet", "not in .toml", "run.toml"),
    ),
    told(
        OWN,
        "a model for a log",
        "train cascade ranker --out new",
        *("needed columns are missing: user_id, time", "ranker"),
    ),
    told(OWN, "a log that is not there", "train cascade nowhere --out new", "there is no such log"),
    told(
        OWN,
        "one user",
        "train item-item lonely.csv --out new",
        "all events are of one user: intervals over users say nothing",
        code=0,
    )._replace(makes=("new/model/manifest.json",)),
    *(
        told(OWN, f"an event of each user: {verb}", f"train {verb} single.csv --out new", NO_VISIT)
        for verb in ("item-item", "hstu --events", "cascade")
    ),
    told(OWN, "one item", "train item-item same.csv --out new", "all events are of one item"),
    told(
        OWN, "one item, to find", "train two-tower same.csv --out new", "all events are of one item"
    ),
    told(48, "a folder of /proc", "train run.toml --out /proc/x", "/proc/x", "choose an"),
    told(
        48,
        "a sequence model into /proc",
        "train hstu sequence.toml --out /proc/x",
        *("/proc/x", "choose another path"),
    ),
    *(
        told(OWN, f"below a file: {verb}", f"train {verb} --out run.toml/x", *BELOW_A_FILE)
        for verb in ("run.toml", "two-tower events.csv", "item-item events.csv")
    ),
    told(
        OWN,
        "a cascade below a file",
        "train cascade events.csv --out run.toml --minutes 0",
        "run.toml",
    ),
    told(53, "a run that is there", "train run.toml --out cut", "holds a run", "--resume"),
    told(
        OWN, "a ranker that is there", "train run.toml", "this path exists already", "done/ranker"
    ),
    told(
        52,
        "to resume with another config",
        "train other.toml --out cut --resume",
        *("fit.decay was 0.0 and is now 0.1", "fit.learning_rate was", "and is now 0.5"),
        "begin a new run",
    ),
    told(
        52,
        "to resume with another model",
        "train model.toml --out cut --resume",
        "started with another model: mlp_hidden was [16, 8] and is now [8]",
    ),
    told(
        OWN,
        "to close a run that was never begun",
        "train run.toml --out new --stop-now",
        *("there is no run to close", "train first"),
    ),
    told(
        46,
        "a tracker that is not installed",
        "train run.toml --out new --log-to mlflow",
        *("logging to MLflow needs packages", "pip install 'adwright[mlflow]'"),
    ),
    told(OWN, "an option of no value", "train --epochs three", "--epochs"),
    told(OWN, "a negative search", "train run.toml --search -1", "--search"),
    told(OWN, "a share above one", "train run.toml --negative-rate 2", "--negative-rate"),
    told(
        OWN,
        "restarts of nobody",
        "train run.toml --out new --retries 3",
        *("retries restart the workers of Ray", "--ray-workers"),
    ),
    told(
        OWN,
        "households of a log of one's own",
        "train hstu --events events.csv --households 0.5",
        "a share of households is of Complete Journey alone",
    ),
    told(
        60,
        "one user with 30,000 events",
        "train sasrec one.toml --out new",
        "Saved in new/model",
        code=0,
    )._replace(makes=("new/model/manifest.json",)),
]
DRY = [
    told(
        40,
        "of a task that is not there",
        "train --task nowhere --out new --dry-run",
        "no readable task",
    ),
    told(40, "into /proc", "train run.toml --out /proc/x --dry-run", "/proc/x"),
    told(
        40, "where a ranker is", "train run.toml --dry-run", "already holds a ranker", "done/ranker"
    ),
    told(40, "where a run is", "train run.toml --out cut --dry-run", "already holds a run"),
    told(
        40,
        "of a width that cannot be",
        "train sasrec wide.toml --dry-run",
        *("width", "multiple of heads"),
    ),
    told(
        40,
        "of events that are not there",
        "train hstu --events nowhere.csv --dry-run",
        *("there is no such log", "nowhere.csv"),
    ),
    told(
        40,
        "of a run to resume with another config",
        "train other.toml --out cut --resume --dry-run",
        "fit.decay was 0.0 and is now 0.1",
    ),
    told(
        40,
        "of a cascade where one is",
        "train cascade events.csv --out done --dry-run",
        "already holds a build",
    ),
    told(
        40, "of a rule into /proc", "train item-item events.csv --out /proc/x --dry-run", "/proc/x"
    ),
    told(
        OWN,
        "a search of nothing",
        "train run.toml --search 0 --out new --dry-run",
        "new/ranker",
        code=0,
    ),
]
EXPLAIN = "explain ranker {} --user {} --events task/events.parquet"
SCORE = "score ranker task/rows.parquet --events task/events.parquet --out"
RANKERS = [
    told(42, "one folder too high", "evaluate runs/a --task task", "split: test rows", code=0),
    told(
        41,
        "a model of another kind",
        "evaluate popularity --task task",
        "the artifact is of kind 'popularity', not 'ranker'",
    ),
    told(41, "an export of another kind", "export popularity onnx", "kind 'popularity'"),
    told(44, "an unknown user", EXPLAIN.format("i1", "nobody"), "no event of this user", "nobody"),
    told(44, "an unknown ad", EXPLAIN.format("i999", "u1"), "does not know this item", "i999"),
    told(45, "no ad", EXPLAIN.format("i1", "u1 --k 0"), "--k"),
    told(45, "a million ads", EXPLAIN.format("i1", "u1 --k 1000000"), "own, 1 g for u1", code=0),
    told(48, "scores into /proc", f"{SCORE} /proc/x/s.parquet", "/proc/x/s.parquet", "choose an"),
    told(OWN, "scores as CSV", f"{SCORE} s.csv", "scores are written as Parquet"),
    told(OWN, "scores into a folder", f"{SCORE} log", "this path exists already", "log"),
    told(
        OWN,
        "a task as rows",
        "score ranker task --events task/events.parquet --out s.parquet",
        "task",
    ),
    told(
        OWN,
        "rows without their features",
        "score ranker events.csv --events task/events.parquet --out s.parquet",
        "store",
    ),
    told(
        OWN,
        "an export that is there",
        "export ranker log",
        *("this path exists already", "--force"),
    ),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    task = shop_task(folder / "task", users=8)
    for name in ("rows", "events"):
        shutil.copy(folder / "task" / "test" / f"{name}.parquet", folder / "task")
    for place in ("ranker", "runs/a/ranker"):
        Ranker(untrained(task), task.spec, task.items).save(folder / place)
    save_popularity(folder / "popularity", ["tea", "jam"], np.array([1.0, 2.0]))
    save_log(folder / "log", small_log())
    walks = small_sequences()
    user = [walks.users[u] for u in range(len(walks)) for _ in range(*walks.offsets[u : u + 2])]
    items = [walks.ids[code - 1] for code in walks.item]
    table = pl.DataFrame({"user_id": user, "item_id": items, "time": walks.time})
    table.write_csv(folder / "events.csv")
    written(folder, FILES)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = typed("train run.toml")
    assert result.exit_code == 0, result.output
    shutil.copytree(folder / "done", folder / "cut")
    shutil.rmtree(folder / "cut" / "ranker")
    return folder


@pytest.mark.parametrize("mistake", [*TRAINING, *DRY, *RANKERS], ids=title)
def test_a_mistake_is_answered_and_leaves_nothing_behind(
    mistake: Mistake, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(mistake, here, monkeypatch)
    assert not Path("/proc/x").exists()


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADWRIGHT_CACHE", "/proc/x")
    monkeypatch.delenv("ADWRIGHT_OFFLINE", raising=False)
    cache = told(47, "", "train --task movielens --out new", "/proc/x", "ADWRIGHT_CACHE names")
    check(cache, tmp_path, monkeypatch)


def test_to_resume_nothing_is_said_and_begins_anew(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "there is nothing to resume in anew/runs/din: a new run begins"
    anew = told(51, "", "train run.toml --out anew --resume", said, code=0)
    check(anew._replace(makes=("anew/ranker/manifest.json",)), here, monkeypatch)
