"""`adwright train cascade LOG --seed N [--resume]` on a busy machine: the same call with the same
defaults, on one thread."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from adwright.data.tasks.own.next_item import open_next_item
from adwright.delivery.funnel.build import FunnelConfig, build_funnel


def main() -> None:
    """Train as the command does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", nargs=2)
    parser.add_argument("log")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=FunnelConfig().minutes)
    parser.add_argument("--resume", action="store_true")
    asked = parser.parse_args()
    found = open_next_item(asked.log)
    print("\n".join(found.choices.lines()), flush=True)
    built = build_funnel(
        found.task,
        Path("runs") / "cascade",
        FunnelConfig(minutes=asked.minutes, seed=asked.seed, threads=1),
        repeats=found.choices.repeats,
        log=asked.log,
        resume=asked.resume,
        tell=lambda line: print(f"{time.process_time():.0f} s: {line}", flush=True),
    )
    print({name: round(seconds, 1) for name, seconds in built.seconds.items()})


if __name__ == "__main__":
    main()
