"""What readers of exports, shops and catalogues say of numbers below 0 and days to come, what a
table of rules says where nothing repeats, refusals of a flood, and first answers, before and after.

PYTHONPATH=TREE/src python -m benchmarks.mended.readers --state before      (2 minutes)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from heapq import heappop, heappush
from inspect import signature
from pathlib import Path

import httpx
import numpy as np

from adwright.audit.catalogue import open_catalogue
from adwright.authoring.writer.products import read_products
from adwright.web.gate import Refusals
from benchmarks.mended import run

_ADS = (
    "Reporting starts,Ad ID,Impressions,Link clicks,Amount spent (EUR),Purchases,"
    "Purchases conversion value,Reach,Frequency"
)
_DAY = ("2026-10-01", "a1", "100", "5", "1.5", "1", "20", "80", "1.25")
#: An ad's day with one number that cannot be, by what it is.
_ODD = {
    **{f"{name} of -1": {at: "-1"} for at, name in enumerate(_ADS.split(",")) if at > 1},
    "a day of 2031": {0: "2031-10-01"},
    "clicks without impressions": {2: "0"},
    "cost without impressions": {2: "0", 3: "0", 7: "0", 8: "0"},
}


def measure() -> Mapping[str, float | int | str]:
    """All of it."""
    with tempfile.TemporaryDirectory(prefix="mended-readers-") as scratch:
        os.chdir(scratch)
        silent = [what for what, odd in _ODD.items() if _is_silent(odd)]
        shop = _file("shop.csv", ["id,title,price", "1,Tea,-3.49 GBP", "2,Cup,0.00", "3,Pot,4.00"])
        table = read_products(shop)
        list_ = _file("list.csv", ["name,price", "Tea,-3.49", "Cup,4.00"])
        return {
            f"odd numbers of an ad's day that `ads import` takes without a word, of {len(_ODD)}": (
                f"{len(silent)}{': ' * bool(silent)}{', '.join(silent)}"
            ),
            "prices below 0 that an ad may state, of 1": sum(
                "-" in p.price for p in table.products
            ),
            "prices of 0 that are said, of 1": sum("of 0" in one for one in table.said),
            "prices below 0 of an audited list that are said, of 1": sum(
                "below 0" in one for one in open_catalogue(list_, request="Tea?").said
            ),
            **_cascade(),
            "of six answers just after /readyz in three starts, those by the model, of 18": (
                _first()
            ),
            "refusals a second of a tenant whose 64 callers send again at once": _refusals(),
            "brothers found, and mended, in readers": (
                "5, of which 5: a conversion value below 0 and cost without impressions in ads "
                "import; a price below 0 in shops; the same in audited lists; weeks of 2031 in "
                "counted creatives. Negative counts, cost and days of 2031 in ads import, and "
                "negative counts of creatives, were refused already"
            ),
        }


def _is_silent(odd: Mapping[int, str]) -> bool:
    cells = [odd.get(at, cell) for at, cell in enumerate(_DAY)]
    done = _typed("ads", "import", str(_file("ads.csv", [_ADS, ",".join(cells)])), "ads", "--force")
    return not done.returncode and "Warning" not in done.stdout


def _cascade() -> Mapping[str, int]:
    """What a cascade says of a shop in which nobody buys a thing twice."""
    rng, rows = np.random.default_rng(0), ["user_id,item_id,time"]
    for user in range(300):
        start, items = user % 5 * 30, rng.permutation(40)[:8]
        for at, item in enumerate(items):
            day = datetime(2026, 1, 1) + timedelta(days=int(rng.integers(0, 9)) + 10 * at)
            rows.append(f"u{user},i{start + item},{day.isoformat()}Z")
    _typed("data", "import", str(_file("events.csv", rows)), "log")
    done = _typed("train", "cascade", "log", "--minutes", "0.01")
    lines = (done.stdout + done.stderr).splitlines()
    return {
        "lines that say the settings of item-item, of a cascade": sum(
            line.startswith("item-item: window") for line in lines
        ),
        "rows of rules that are popularity a second time": sum(
            "│ Personal" in line for line in lines
        ),
    }


def _first(port: int = 8793) -> int:
    """Answers of a known user that were the model's own, with the usual deadline of 40 ms."""
    _typed("train", "item-item", "log")
    _typed("publish", "runs/item-item", "--tenant", "shop")
    key = _typed("key", "shop").stdout.split()[-1]
    stages = []
    for start in range(3):
        with _served(key, port) as client:
            for n in range(6):
                body = {"request_id": f"{start}-{n}", "user_id": "u1", "k": 5}
                stages.append(client.post("/v1/decide", json=body).json()["stage"])
    return stages.count("fine")


@contextmanager
def _served(key: str, port: int) -> Iterator[httpx.Client]:
    """The service in a process of its own, as soon as it says that it is ready."""
    command = [sys.executable, "-m", "adwright", "serve", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address, headers = f"http://127.0.0.1:{port}", {"X-API-Key": key}
        with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
            for _ in range(1_200):
                with suppress(httpx.TransportError):
                    if client.get("/readyz").status_code == httpx.codes.OK:
                        break
                time.sleep(0.05)
            yield client
    finally:
        process.terminate()
        process.wait()


def _refusals(callers: int = 64, seconds: float = 30.0) -> int:
    """Refusals a second of so many callers that send again at once, 2 ms of the loop for each."""
    refusals = Refusals(256) if signature(Refusals).parameters else Refusals()
    queue, busy, count = [(0.0, n) for n in range(callers)], 0.0, 0
    while queue[0][0] < seconds:
        at, caller = heappop(queue)
        begins = max(at, busy)
        busy = begins + 0.002
        heappush(queue, (busy + refusals.wait("flood", begins), caller))
        count += 1
    return round(count / seconds)


def _file(name: str, lines: Iterable[str]) -> Path:
    path = Path(name)
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def _typed(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "adwright", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    run("readers", measure)
