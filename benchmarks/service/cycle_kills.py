"""kill -9 at random moments of `adwright cycle`: does it come to the same end, and is nothing lost?

    python -m benchmarks.service.cycle_kills            # 50 kills (10 minutes)
    python -m benchmarks.service.cycle_kills --kills 5 --out /tmp/x

A cycle of twelve steps over a sample of Complete Journey: import the log and the catalogue, find
what wants an ad, write, collect, enter, approve by rules, publish, compact, train anew, gate,
retire, report. A server of our own answers for the model. The command is killed with SIGKILL,
every second time together with the step that it runs; as soon as that has ended, too, the store
and the folder are checked by themselves. Then the command is called again, until the cycle has
come to its end, which must be that of a cycle that nobody disturbed. Then a cycle begins anew,
until there were so many kills.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from adwright.authoring.writer.drafts import JOURNAL
from adwright.campaigns.cycle.book import Book, read_meter
from adwright.campaigns.store.store import Store
from adwright.core.artifacts import load_artifact
from adwright.core.atomic import claim
from adwright.core.clock import FixedClock
from adwright.core.hashing import content_hash
from adwright.core.journal import read_rows
from adwright.data.creatives import Creative
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.service.registry.registry import inventory
from benchmarks.common.result import RESULTS, write_result
from benchmarks.service.invariants import all_events, check_store
from tests.support.chat_server import ChatServer, chatting

TENANT = "shop"
#: When the service began, and when the model was trained.
START = datetime(2017, 11, 20, tzinfo=UTC)
PEOPLE, ITEMS, ADVERTISED = 300, 200, 24
PAUSE = (0.01, 0.3)  # before a kill, of the time that an undisturbed cycle takes
ANSWER = 45  # tokens of each prompt and answer, as the server tells
CYCLE = """
tenant = "shop"
store = "sqlite:///adwright.db"
[values]
model = "@model@"
landing = "https://shop.example/{item_id}"
[budget]
tokens = 100000
[prices]
prompt = 100.0
answer = 300.0
[[steps]]
name = "import"
run = "data import history.csv --items items.csv --out work/log/{key}"
inputs = ["history.csv", "items.csv"]
outputs = ["work/log/{key}"]
[[steps]]
name = "wanted"
run = '''creatives wanted --tenant {tenant} --store {store} --products products.csv \
--least 1 --out work/wanted.csv --force'''
inputs = ["products.csv", "store:creatives"]
outputs = ["work/wanted.csv"]
[[steps]]
name = "write"
run = '''author write work/wanted.csv --out work/ads/{key} --slots headline,description --batch 2 \
--seed {number} --model {model} --budget-tokens {tokens_left} {prices}'''
inputs = ["work/wanted.csv"]
outputs = ["work/ads/{key}"]
rows = "work/wanted.csv"
spends = "work/ads/{key}"
ok = [0, 3, 4]
[[steps]]
name = "collect"
run = "author export work/ads/{write.key} --all --creatives work/written.parquet --force"
inputs = ["work/ads/{write.key}"]
outputs = ["work/written.parquet"]
[[steps]]
name = "enter"
run = '''creatives import work/written.parquet --tenant {tenant} --store {store} \
--author cycle --submit --landing {landing} --campaign spring'''
inputs = ["work/written.parquet"]
[[steps]]
name = "approve"
run = '''creatives approve --rules usual --tenant {tenant} --store {store} \
--products products.csv'''
inputs = ["store:creatives", "products.csv"]
after = ["enter"]
[[steps]]
name = "publish"
run = "creatives publish --all --tenant {tenant} --store {store} --author cycle"
inputs = ["store:creatives"]
after = ["approve"]
[[steps]]
name = "compact"
run = "store compact --tenant {tenant} --store {store} --out served"
inputs = ["clock:day"]
after = ["publish"]
[[steps]]
name = "retrain"
run = '''retrain models/start --log work/log/{import.key} --served served --tenant {tenant} \
--out work/models/{key}'''
inputs = ["models/start", "served", "work/log/{import.key}"]
outputs = ["work/models/{key}"]
after = ["compact"]
optional = true
[[steps]]
name = "gate"
run = "publish work/models/{retrain.key} --tenant {tenant}"
inputs = ["work/models/{retrain.key}"]
gate = "work/models/{retrain.key}/gate.json"
[[steps]]
name = "retire"
run = "creatives retire --tired --least 2 --tenant {tenant} --store {store} --author cycle"
inputs = ["store:creatives"]
after = ["publish", "compact"]
[[steps]]
name = "report"
run = "creatives list --tenant {tenant} --store {store} --out work/report.csv --force"
inputs = ["store:creatives", "store:stops"]
outputs = ["work/report.csv"]
after = ["retire"]
"""


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chatting(_told) as (url, server):
        shop = Path(folder) / "shop"
        data = make_shop(shop, f"{url}#teller")
        print("a shop is there", flush=True)
        calm = Path(folder) / "calm"
        shutil.copytree(shop, calm)
        began = time.monotonic()
        _call(calm).wait()
        usual = time.monotonic() - began
        expected = end_of(calm)
        wrong = look(calm, len(server.asked))
        if wrong or expected["outcomes"] != _ALL_DONE:
            raise RuntimeError(f"the cycle that nobody disturbed: {wrong} {expected['outcomes']}")
        print(f"undisturbed: {usual:.1f} s", flush=True)
        found = disturb(
            shop, Path(folder), expected, server, usual, kills=chosen.kills, seed=chosen.seed
        )
    rows = [{"step": step, "kills": count} for step, count in sorted(found.at.items())]
    write_result(
        "cycle_kills",
        protocol=str(__doc__).partition("\n\n")[2].partition("\n\n")[2].replace("\n", " ").strip()
        + f" Before a kill: from {PAUSE[0]} to {PAUSE[1]} of what an undisturbed cycle takes, "
        "uniformly. Rows: what was running.",
        data=data,
        seeds=[chosen.seed],
        rows=rows,
        figures={
            "kills": found.kills,
            "kills_with_the_step": found.together,
            "cycles_come_to_their_end": found.cycles,
            "ends_like_undisturbed": found.alike,
            "wrong": len(found.wrong),
            "longest_life_of_a_step_after_the_kill_s": round(found.longest, 3),
            "undisturbed_s": round(usual, 1),
            "tokens_counted": expected["tokens"],
            "ads_live_at_the_end": expected["live"],
        },
        folder=chosen.out,
    )
    for line in found.wrong[:20]:
        print(line)
    if found.wrong or found.alike < found.cycles:
        raise SystemExit(1)


def _told(prompt: str) -> str:
    """What the model answers: the title of the product."""
    lines = [
        line.partition(":")[2].strip() for line in prompt.splitlines() if "title:" in line.lower()
    ]
    return lines[-1] if lines else "Something good"


_ALL_DONE = {
    step: "done"
    for step in (
        *("import", "wanted", "write", "collect", "enter", "approve", "publish"),
        *("compact", "retrain", "gate", "retire", "report"),
    )
}


# --------------------------------------------------------------------------------------------------
# The shop before the cycle.


def make_shop(folder: Path, model: str) -> str:
    """A folder with a real log, a store that has its last weeks, a model, and some ads, of which
    one is tired; the hash of the data."""
    folder.mkdir()
    journey = CompleteJourney.open()
    bought = journey.events().filter(pl.col("kind") == "purchase").collect()
    people = sorted(bought["user_id"].unique())[:PEOPLE]
    bought = bought.filter(pl.col("user_id").is_in(people))
    top = (
        bought["item_id"]
        .value_counts(sort=True)
        .sort(["count", "item_id"], descending=[True, False])
    )
    bought = bought.filter(pl.col("item_id").is_in(list(top["item_id"].head(ITEMS))))
    items = journey.catalogue().items.filter(
        pl.col("item_id").is_in(list(top["item_id"].head(ITEMS)))
    )
    old = bought.filter(pl.col("time") < START)
    new = bought.filter(pl.col("time") >= START)
    old.select("event_id", "user_id", "item_id", "time", "kind", "request_id").write_csv(
        folder / "history.csv"
    )
    items.write_csv(folder / "items.csv")
    shown = items.sort("item_id").head(ADVERTISED)
    products = shown.select(
        "item_id", title=pl.col("type").fill_null(pl.col("department")).str.to_titlecase()
    )
    products.write_csv(folder / "products.csv")
    (folder / "cycle.toml").write_text(CYCLE.replace("@model@", model))
    _run(folder, "data", "import", "history.csv", "--items", "items.csv", "--out", "log")
    _run(folder, "train", "popularity", "log", "--out", "models/start", "--force")
    _run(folder, "publish", "models/start", "--tenant", TENANT)
    with Store.open(f"sqlite:///{folder / 'adwright.db'}", clock=FixedClock(START)) as store:
        store.create_tenant(TENANT)
        terms = {"start": START, "price": 0.001, "budget": 1000.0}
        store.put_campaign(TENANT, {"campaign_id": "spring", **terms})
        item = products["item_id"][0]
        ads = [
            Creative(
                headline=f"Ad {at}", item_id=item, campaign_id="spring", landing="https://s.example"
            )
            for at in range(3)
        ]
        store.write_creatives(TENANT, ads, author="ann", submit=True)
        for state in ("approved", "live"):
            store.move_creatives(TENANT, [one.creative_id for one in ads], state, author="ann")
        for at in range(0, new.height, 2000):
            store.record_events(TENANT, new[at : at + 2000])
        store.record_events(TENANT, list(_shown(ads)))
    return content_hash([old.height, new.height, products.write_csv()])[:16]


def _shown(ads: list[Creative]) -> Iterator[dict[str, Any]]:
    """Impressions of ads, and clicks: of the first ad from the sixth day on there are few."""
    rng = np.random.default_rng(0)
    for day in range(12):
        for number, ad in enumerate(ads):
            for at in range(80):
                name = f"{day}-{number}-{at}"
                row = {
                    "event_id": name,
                    "request_id": name,
                    "user_id": f"u{at}",
                    "time": START + timedelta(days=day, hours=1, seconds=at),
                    "kind": "impression",
                    "item_id": ad.item_id,
                    "creative_id": ad.creative_id,
                    "campaign_id": "spring",
                    "position": 1,
                    "propensity": 1.0,
                }
                yield row
                if rng.random() < (0.02 if number == 0 and day > 5 else 0.2):
                    yield {**row, "event_id": f"{name}c", "kind": "click"}


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "adwright", "--quiet", *words]


def _run(folder: Path, *words: str) -> None:
    done = subprocess.run(_command(*words), cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{words}: {done.stdout}{done.stderr}")


# --------------------------------------------------------------------------------------------------
# Kills, and what is looked at after each.


@dataclass
class Disturbed:
    """What was found. together: kills that were of the step as well. at: how often what was killed
    while it ran. alike: cycles that ended as the undisturbed one. longest: seconds that a step was
    there after the kill of its cycle."""

    kills: int = 0
    together: int = 0
    cycles: int = 0
    alike: int = 0
    longest: float = 0.0
    at: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def disturb(
    shop: Path,
    folder: Path,
    expected: dict[str, Any],
    server: ChatServer,
    usual: float,
    *,
    kills: int,
    seed: int,
) -> Disturbed:
    """Kill, look, and go on, until there were so many kills and the last cycle has ended."""
    rng, found = np.random.default_rng(seed), Disturbed()
    while found.kills < kills:
        here = folder / f"cycle{found.cycles}"
        shutil.copytree(shop, here)
        before: dict[str, int] = {}
        asked = len(server.asked)
        while True:
            process = _call(here)
            patience = float(rng.uniform(*PAUSE)) * usual if found.kills < kills else 600.0
            try:
                process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                _kill(process, here, found, together=bool(found.kills % 2))
            found.wrong += [
                f"kill {found.kills}: {one}" for one in look(here, len(server.asked) - asked)
            ]
            acknowledged = drafts_of(here)
            lost = [one for one, count in before.items() if acknowledged.get(one, 0) < count]
            found.wrong += [f"kill {found.kills}: the draft {one} is lost" for one in lost]
            before = acknowledged
            print(f"kill {found.kills}: {len(found.wrong)} wrong; {dict(found.at)}", flush=True)
        found.cycles += 1
        found.wrong += [
            f"at the end of cycle {found.cycles}: {one}"
            for one in look(here, len(server.asked) - asked)
        ]
        end = end_of(here)
        differs = [name for name, value in expected.items() if end[name] != value]
        found.wrong += [f"cycle {found.cycles} ends with another {name}" for name in differs]
        found.alike += not differs
        shutil.rmtree(here)
    return found


def _call(here: Path) -> subprocess.Popen[bytes]:
    with (here / "out.log").open("ab") as log:
        return subprocess.Popen(_command("cycle", "cycle.toml"), cwd=here, stdout=log, stderr=log)


def _kill(
    process: subprocess.Popen[bytes], here: Path, found: Disturbed, *, together: bool
) -> None:
    """Kill the command, perhaps with its step, and wait until that is gone by itself."""
    children = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    if together:
        for child in children:
            os.kill(child, signal.SIGKILL)
        found.together += bool(children)
    began = time.monotonic()
    process.wait()
    while any(_alive(child) for child in children):
        if time.monotonic() - began > 30:
            found.wrong.append(f"kill {found.kills + 1}: a step outlives its cycle")
            break
        time.sleep(0.005)
    found.longest = max(found.longest, time.monotonic() - began)
    found.kills += 1
    row = Book.read(here / "cycle" / "journal.jsonl").killed()
    found.at[row["step"] if row else "between steps"] += 1


def _children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def _store(here: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{here / 'adwright.db'}", create=False) as store:
        yield store


def drafts_of(here: Path) -> dict[str, int]:
    """The texts that the writer has acknowledged, and how often each is in its journal."""
    found = Counter[str]()
    for path in sorted((here / "work" / "ads").glob(f"*/{JOURNAL}")):
        for row in read_rows(path, dict):
            if "draft" in row:
                found[f"{path.parent.name}/{row['draft'][:3]}"] += 1
    return dict(found)


def look(here: Path, answered: int) -> list[str]:
    """What is wrong in a folder where nothing runs. answered: how often the model has answered."""
    wrong = []
    with _store(here) as store:
        wrong += check_store(store, TENANT)
    wrong += [f"{name} was written {n} times" for name, n in drafts_of(here).items() if n > 1]
    book = Book.read(here / "cycle" / "journal.jsonl")
    counted = book.used().tokens
    meters = [read_meter(one.parent) for one in (here / "work" / "ads").glob(f"*/{JOURNAL}")]
    written = sum(one.prompt + one.answer for one in meters)
    if counted > answered * ANSWER:
        wrong.append(f"{counted} tokens are counted, of {answered * ANSWER} that there were")
    if book.killed() is None and counted < written:
        wrong.append(f"{counted} tokens are counted, and texts have taken {written}")
    for path in (here / "work").glob("*.csv"):
        pl.read_csv(path, infer_schema=False)
    for path in [*(here / "work").glob("*.parquet"), *(here / "served").glob("*/*.parquet")]:
        pl.read_parquet(path)
    for version in sorted((here / "models" / TENANT).glob("v*")):
        load_artifact(version)
    for row in book.rows:
        if row["kind"] == "done" and row["step"] == "retrain":
            load_artifact(here / "work" / "models" / row["key"] / "model")
    release = claim(here / "cycle" / "lock")
    if release is None:
        wrong.append("the lock is held, and nothing runs")
    else:
        release()
    return wrong


def end_of(here: Path) -> dict[str, Any]:
    """How a cycle came to its end, in what does not depend on when."""
    book = Book.read(here / "cycle" / "journal.jsonl")
    with _store(here) as store:
        ads = store.creatives_full(TENANT)
        moves = store.creative_moves(TENANT)
        events = all_events(store, TENANT)
        spend = store.spend(TENANT).rows()
    (decides,) = (one.current for one in inventory(here / "models") if one.tenant == TENANT)
    model = here / "models" / TENANT / decides
    files = sorted(one for one in model.rglob("*") if one.suffix in (".npy", ".safetensors"))
    return {
        "outcomes": {row["step"]: row["kind"] for row in book.rows if row["kind"] == "done"},
        "ads": sorted(repr(one) for one in ads),
        "live": sum(one.state == "live" for one in ads),
        "moves": sorted((one.creative_id, one.state, one.author, one.why) for one in moves),
        "events": content_hash(sorted(events["event_id"].to_list())),
        "spend": spend,
        "model": [content_hash(one.read_bytes().hex()) for one in files],
        "tokens": book.used().tokens,
        "money": round(book.used().money, 9),
        "report": (here / "work" / "report.csv").read_text(),
    }


if __name__ == "__main__":
    main()
