"""Tuning where model and texts belong to different people: two processes over loopback (8 minutes).

python -m benchmarks.lm.offsite
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.lm.engine.weights import SMOLLM2_NOTE
from benchmarks.common.processes import command
from benchmarks.common.result import ROOT, write_result

SCRATCH = cache_folder() / "bench" / "offsite"
PARTS = {
    "offsite": ("offsite", "8", "0"),
    "offsite_distilled": ("offsite", "8", "60"),
    "all_alive": ("shared", "1", "32"),
    "quarter_alive": ("shared", "0.25", "32"),
}
PROTOCOL = (
    f"{SMOLLM2_NOTE}, bfloat16, one thread a process, one seed; titles of PriceRunner offers, all "
    "of different products, and their category: 256 to train on, 128 held, 384 that only the "
    "model's owner has. Offsite: two layers at each end with LoRA of rank 8, eight of the 26 "
    "layers between them kept, as they are or distilled for 60 steps; nats a token of the held "
    "answers. Kill and revive: LoRA of rank 8 on q and v, 32 steps of 16 titles, all 60 modules "
    "alive or a quarter; MB over the wire and CPU-seconds of the device."
)


def found(part: str) -> dict[str, Any]:
    """The measures of a part, from the cache where they are there."""
    path = SCRATCH / f"{part}.json"
    if not path.exists():
        run = command("benchmarks.lm._offsite_runs", *PARTS[part])
        done = subprocess.run(run, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
        SCRATCH.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, done.stdout.strip().splitlines()[-1])
    values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return {"part": part} | values


def main() -> None:
    """Run all parts and write the JSON."""
    rows = {part: found(part) for part in PARTS}
    figures: dict[str, Any] = {}
    for part in ("offsite", "offsite_distilled"):
        for key in ("base", "emulator_as_kept", "emulator_tuned", "plugged", "cpu_seconds"):
            figures[f"{part}_{key}"] = rows[part][key]
        for way in ("sent", "received"):
            figures[f"{part}_mb_{way}"] = sum(rows[part][way].values()) / 1e6
    for part in ("all_alive", "quarter_alive"):
        for key, value in rows[part].items():
            if isinstance(value, int | float):
                figures[f"{part}_{key}"] = value
    write_result(
        "offsite",
        protocol=PROTOCOL,
        data="PriceRunner offers, one a product",
        seeds=[0],
        rows=list(rows.values()),
        figures=figures,
    )


if __name__ == "__main__":
    main()
