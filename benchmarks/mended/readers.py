"""What readers of exports, shops and catalogues say of numbers below 0 and days to come, and what
a table of rules says where nothing repeats, before and after.

PYTHONPATH=TREE/src python -m benchmarks.mended.readers --state before      (2 minutes)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from adwright.audit.catalogue.opened import open_catalogue
from adwright.authoring.writer.shop.products import read_products
from adwright.core.errors import ValueInvalidError
from adwright.creative.response.protocol.outcomes import OutcomeColumns, read_outcomes
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
        counts = ["id,title,impressions,clicks,week"]
        counts += [
            f"{n},Title {n},100,{n},{day}" for n, day in enumerate(("2026-01-05", "2031-05-05"))
        ]
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
            "creatives of 2031 that judges of clicks learn from, of 1": _learned(
                _file("counts.csv", counts)
            ),
            **_cascade(),
            "brothers found, and mended, in readers": (
                "5, of which 5: a conversion value below 0 and cost without impressions in ads "
                "import; a price below 0 in shops; the same in audited lists; weeks of 2031 in "
                "counted creatives. Negative counts, cost and days of 2031 in ads import, and "
                "negative counts of creatives, were refused already, and now name the option"
            ),
        }


def _is_silent(odd: Mapping[int, str]) -> bool:
    cells = [odd.get(at, cell) for at, cell in enumerate(_DAY)]
    done = _typed("ads", "import", str(_file("ads.csv", [_ADS, ",".join(cells)])), "ads", "--force")
    return not done.returncode and "Warning" not in done.stdout


def _learned(path: Path) -> int:
    try:
        return len(read_outcomes(path, OutcomeColumns(week="week"))) - 1
    except ValueInvalidError:
        return 0


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


def _file(name: str, lines: Iterable[str]) -> Path:
    path = Path(name)
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def _typed(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "adwright", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    run("readers", measure)
