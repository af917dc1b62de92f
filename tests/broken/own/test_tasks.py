"""From a log of one's own to a ranking task: what cannot become one, and labels that leak through
time, through a copy and through what was counted of the future; each by command and in Python.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from adwright.creative.response.fit import ClickRateConfig, train_clicks
from adwright.creative.response.inputs import encoded_texts
from adwright.data.leaks import rank_auc
from adwright.data.sources.log import open_log
from adwright.data.tasks.own.drawn import build_ranking_task
from adwright.data.tasks.own.next_item import open_next_item
from adwright.data.tasks.task import Task
from tests.broken.own.mistakes import OWN, Mistake, check, title, written
from tests.support.data.judged_pictures import Brightness, picture_judges
from tests.support.data.small_creatives import small_creatives

pytest.importorskip("PIL", reason="the extra creative is not installed")


BOXES = "ad,left,top,right,bottom,what\n"


def _png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "steelblue").save(out, "PNG")
    return out.getvalue()


FILES: dict[str, str | bytes] = {
    "ads.csv": "id,headline,image\na,Fresh bread,shop/a.png\nb,Vote for Ada,shop/a.png\n",
    "texts.csv": "id,headline\na,Fresh bread\n",
    "shop/a.png": _png(),
    "pages/a.png": _png(),
    "sprig.csv": BOXES + "sprig,1,2,5,4,logo\n",
    "hat.csv": BOXES + "a,1,2,5,4,hat\n",
    "turned.csv": BOXES + "a,9,2,5,4,logo\n",
    "outside.csv": BOXES + "a,1,2,500,4,logo\n",
    "boxes.csv": "ad,left\na,1\n",
    "masks/sprig.png": _png(),
    "full/notes.txt": "mine",
    "faces/notes.txt": "no model",
    "directions.toml": "rows = [1]\n",
    "consent.toml": '[[entries]]\nkind = "release"\n',
    "key.pem": "-----BEGIN PRIVATE KEY-----",
}


def told(name: str, words: str, *says: str, code: int = 2, ads: str = "ads.csv") -> Mistake:
    usual = f"creative edit {ads} --look-for nothing --out new --dry-run"
    return Mistake(OWN, name, f"{usual} {words}", says, code)


def by_a(name: str, words: str, *says: str, code: int = 2, ads: str = "ads.csv") -> Mistake:
    return told(name, f"--judge runs/a --approver Ada {words}", *says, code=code, ads=ads)


MISTAKES = [
    told("no judge", "--approver Ada", "--judge"),
    told("no approver", "--judge runs/a", "--approver"),
    told("a blank approver", "--judge runs/a --approver ' '", "nobody approves"),
    told("a judge that is none", "--judge shop --approver Ada", "no judge", "shop"),
    told("a judge of words", "--judge runs/words --approver Ada", "does not look at pictures"),
    by_a("one judge twice", "--judge runs/a", "twice"),
    by_a("the second judge is searched", "--second runs/a/model", "one of those"),
    by_a("pareto with one judge", "--method pareto", "pareto takes"),
    by_a("an edit that nobody knows", "--edits exposure,smell", "smell", "crop"),
    by_a("no edit", "--edits ,", "no edit"),
    by_a("text without a line", "--edits text", "go together"),
    by_a("a line without text", "--line Fresh", "go together"),
    by_a("faces without a model", "--edits faces", "consent manifest"),
    by_a("a model without consent", "--edits faces --faces faces", "consent manifest"),
    by_a(
        "a folder that is no model of faces",
        "--edits faces --faces faces --directions directions.toml --consent consent.toml",
        "'faces'",
    ),
    by_a("a protected ad that is none", "--protect sprig.csv", "row 0", "sprig"),
    by_a("a mask of no ad", "--protect masks", "mask"),
    by_a("a kind of box that is none", "--protect hat.csv", "row 0", "hat"),
    by_a("a box that is turned", "--protect turned.csv", "row 0", "left < right"),
    by_a("boxes without edges", "--protect boxes.csv", "column"),
    by_a("boxes that are not there", "--protect nowhere.csv", "nowhere.csv"),
    by_a("a box outside is told of its ad", "--protect outside.csv", "outside", code=0),
    by_a("politics are told of their ad", "", "political", "1 ads would be searched", code=0),
    by_a("a key without its certificate", "--private-key key.pem", "go together"),
    by_a("too few calls", "--calls 3", "--calls"),
    by_a("ads without pictures", "", "no ad has a picture", ads="texts.csv"),
    by_a("a table that is not there", "", "nowhere.csv", ads="nowhere.csv"),
    Mistake(
        OWN,
        "a folder that holds something else",
        "creative edit ads.csv --look-for nothing --judge runs/a --approver Ada --out full",
        ("no job",),
    ),
    Mistake(
        OWN,
        "edits among the ads",
        "creative edit pages --look-for nothing --judge runs/a --approver Ada --out pages/new",
        ("among the ads",),
    ),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("editing")
    written(folder, FILES)
    picture_judges(folder / "runs", ("a",), encoder=Brightness())
    config, texts = ClickRateConfig(), encoded_texts("hashed")
    train_clicks(small_creatives(), folder / "runs" / "words", config, texts=texts)
    return folder


@pytest.mark.parametrize("mistake", MISTAKES, ids=title)
def test_a_mistake_is_answered_and_leaves_nothing_behind(
    mistake: Mistake, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(mistake, here, monkeypatch)


USERS, VISITS, SHOWN, ITEMS = 10, 12, 4, 30
Row = dict[str, object]
Change = Callable[[Row, bool], Row]


def as_it_is(row: Row, taken: bool) -> Row:
    return row


def slates(change: Change = as_it_is, *, late: int = 5, taken: float = 0.3) -> str:
    """Impressions as CSV, a share of them clicked `late` seconds afterwards, at random: nothing
    can be learned. Items come and go. change: of each impression, given whether it is clicked."""
    rng = np.random.default_rng(0)
    rows: list[Row] = []
    for visit in range(USERS * VISITS):
        # Of the items some thirty at a time, of which the first ones are shown most.
        drawn = np.minimum(rng.geometric(0.15, 40), ITEMS - 10) + visit // 15
        for item in list(dict.fromkeys(drawn.tolist()))[:SHOWN]:
            here = {"user_id": f"u{visit % USERS}", "request_id": f"r{visit}"}
            here |= {"item_id": f"i{item}", "kind": "impression"}
            clicked = rng.random() < taken
            rows.append(change(here | {"time": 1_700_000_000 + 3600 * visit}, clicked))
            if clicked:
                row = {"time": 1_700_000_000 + 3600 * visit + late, "kind": "click"}
                rows.append(here | row)
    table = pl.DataFrame(rows, infer_schema_length=None)
    return table.with_row_index("event_id").write_csv()


def with_the_label(row: Row, taken: bool) -> Row:
    return row | {"converted": "yes" if taken else "no"}


#: Clicks that are dated a second before what was clicked.
EARLY = slates(late=-1)
COPIED = slates(with_the_label)
HONEST = slates()


def counted(log: str) -> dict[str, int]:
    """The clicks of each item in the whole log."""
    rows = pl.read_csv(log.encode()).filter(kind="click")
    return dict(rows.group_by("item_id").len().sort("item_id").iter_rows())


def sold(log: str) -> str:
    """A table of items with what was clicked of each, before, in and after the time of training."""
    counts = counted(log)
    rows = (f"i{n},{counts.get(f'i{n}', 0)},{n % 7}\n" for n in range(60))
    return "item_id,sold,size\n" + "".join(rows)


COUNTS = counted(HONEST)


def with_the_count(row: Row, taken: bool) -> Row:
    return row | {"clicks_of_item": COUNTS.get(str(row["item_id"]), 0)}


FUTURE = slates(with_the_count)
#: The clicks of the log alone: no word of what was shown.
CLICKS = pl.read_csv(HONEST.encode()).filter(kind="click").drop("kind").write_csv()
MADE = ("out/events.parquet", "out/summary.json")


def task(
    number: int, name: str, log: str, *says: str, do: str = "", code: int = 2, **files: str
) -> Mistake:
    """`data import --task`; files: their names with _ for the dot."""
    given = {"log.csv": log, **{name.replace("_", "."): text for name, text in files.items()}}
    command = f"data import log.csv out --task {do}"
    return Mistake(number, name, command, says, code, given, () if code else MADE)


TOML, ITEMS_FILE = "--task-config task.toml", "--items items.csv"
TASKS = [
    task(
        32,
        "no response",
        slates(taken=0.0),
        *("no event is a response; the log has impression", "add the clicks or purchases"),
    ),
    task(
        32,
        "responses of another kind",
        HONEST.replace("click", "cart"),
        *("no event is a response; the log has cart", 'responses = ["cart"]'),
    ),
    task(
        33,
        "a key of the context that no row has",
        HONEST,
        *("no impression has this key in its context", "value 'store'", "--context"),
        do=TOML,
        task_toml='context = ["store"]\n',
    ),
    task(
        34,
        "dates of the split in 2040",
        HONEST,
        *("the task has no validation rows: validation begins 2040-01-01", "between 2023-11-14"),
        do=TOML,
        task_toml="valid_from = 2040-01-01T00:00:00Z\ntest_from = 2040-02-01T00:00:00Z\n",
    ),
    task(
        35,
        "clicks a second before their impression",
        EARLY,
        "responses are dated before the first impression of their request",
        "look at the clocks that the log was written by",
        code=0,
    ),
    task(
        OWN,
        "a copy of the label in the context",
        COPIED,
        *("converted alone tells positives from negatives (AUC 1.000)", "a copy of the label"),
        do="--context converted",
        code=0,
    ),
    task(
        OWN,
        "the future in a column of the items",
        HONEST,
        *("sold counts the events of kind click in the whole log", "the future"),
        do=ITEMS_FILE,
        code=0,
        items_csv=sold(HONEST),
    ),
    task(
        OWN,
        "the future in the context",
        FUTURE,
        "clicks_of_item counts the events of kind click in the whole log",
        do="--context clicks_of_item",
        code=0,
    ),
    task(
        OWN,
        "the future, where nothing was shown",
        CLICKS,
        "sold counts the events of kind purchase in the whole log",
        do=ITEMS_FILE,
        code=0,
        items_csv=sold(HONEST),
    ),
    Mistake(
        OWN,
        "the future, to find items by",
        "train two-tower log --dry-run",
        ("sold counts the events of kind purchase in the whole log",),
        0,
        {"log/events.csv": CLICKS, "log/items.csv": sold(HONEST)},
    ),
    task(OWN, "every impression clicked", slates(taken=1.0), "the task has no training negatives"),
    task(
        OWN,
        "a key of the task that there is not",
        HONEST,
        *("unknown key", "task.toml, key response", "did you mean responses?"),
        do=TOML,
        task_toml='response = ["click"]\n',
    ),
    task(
        OWN,
        "shares that leave no test",
        HONEST,
        "must leave a part for test",
        do=TOML,
        task_toml="shares = [0.9, 0.2]\n",
    ),
    task(
        OWN,
        "one date of two",
        HONEST,
        "valid_from and test_from come together",
        do=TOML,
        task_toml="valid_from = 2024-01-01T00:00:00Z\n",
    ),
    task(
        OWN,
        "one event of each user",
        pl.read_csv(CLICKS.encode()).unique("user_id").write_csv(),
        "the valid split has no visit",
    ),
]


@pytest.mark.parametrize("mistake", TASKS, ids=title)
def test_tasks_of_own_logs(
    mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(mistake, tmp_path, monkeypatch)


def test_an_honest_log_warns_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = "item_id,size\n" + "".join(f"i{n},{n % 7}\n" for n in range(60))
    honest = task(OWN, "", HONEST, do=ITEMS_FILE, code=0, items_csv=sizes)
    said = check(honest, tmp_path, monkeypatch)
    for words in ("alone tells", "whole log", "dated before"):
        assert words not in said


def built(folder: Path, log: str, items: str = "") -> Task:
    """The task of the log, in Python."""
    (folder / "log").mkdir()
    (folder / "log" / "events.csv").write_text(log)
    if items:
        (folder / "log" / "items.csv").write_text(items)
    return build_ranking_task(open_log(folder / "log"), folder / "task")


def test_early_clicks_tell_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither what the user did, nor how often the item was taken, is of the row's own request."""
    made = built(tmp_path, EARLY)
    assert "responses are dated before the first impression" in caplog.text
    for split in ("train", "valid", "test"):
        rows = made.rows(split).collect()
        label = rows["label"].to_numpy() > 0
        for name in ("popularity", "visible", "frequency"):
            auc = rank_auc(rows[name].cast(pl.Float64).to_numpy(), label)
            assert auc < 0.7, (split, name)


def test_the_future_is_told_in_python_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    built(tmp_path, HONEST, sold(HONEST))
    assert "sold counts the events of kind click" in caplog.text
    caplog.clear()
    (tmp_path / "log" / "events.csv").write_text(CLICKS)
    open_next_item(tmp_path / "log")
    assert "sold counts the events of kind purchase" in caplog.text
