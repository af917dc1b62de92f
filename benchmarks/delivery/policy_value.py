"""`adwright evaluate policy` on Open Bandit's six logs, imported as any log, and how often its
intervals hold on made-up logs of slates (5 minutes).

    python -m benchmarks.delivery.policy_value
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.hashing import content_hash, sha256_file
from adwright.data.sources.open_bandit import BanditCampaign, BanditPolicy, OpenBandit
from adwright.delivery.policy.value import LoggedSlates, RewardModel, value_from_log
from benchmarks.common.result import ROOT, write_result

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: The columns of a published log that a shop's own would have, too.
KEPT = ("timestamp", "item_id", "position", "click", "propensity_score")
WORLDS = 400
TRUTH = 400_000
KINDS, ITEMS = 4, 20
PROTOCOL = (
    "Open Bandit: each of the six logs of 10,000 impressions is written as a CSV file with the "
    "columns timestamp, item_id, position, click and propensity_score as published, a visitor "
    "and a request of its own a row; imported by `adwright data import FILE --columns "
    "user_id=visitor,propensity=propensity_score`, and each policy is valued from the other's "
    "log by `adwright evaluate policy OTHER --log LOG`: its policy is read off its own log, by "
    "the chances that it says where they are always the same (random) and the shares in which "
    "it shows its items where not (bts), by position. value: DR with weights cut at the root of "
    "the number of requests, empirical likelihood, 95%. covered: the interval holds the click "
    "rate of the other policy's own log. Slates: logs of 1,000 requests of four kinds of "
    "people, 20 items, filled by Plackett-Luce; who took something at a place goes on to the "
    "next half as often, so that what is taken depends on the places above. The other policy "
    "has other utilities, near or far. told: share of 400 logs that say a value, covered: of "
    "these, the share whose 95% interval holds the true one (of 400,000 requests); covered_all: "
    "of all logs, had the others spoken, too."
)


def main() -> None:
    """Measure and write benchmarks/results/policy_value.json."""
    bandit = OpenBandit.open()
    with TemporaryDirectory() as scratch:
        rows = list(bandit_rows(bandit, Path(scratch)))
    made = [slate_row(places, apart) for places in (1, 3, 10) for apart in (0.5, 2.0, 4.0)]
    figures = {
        "covered": sum(row["covered"] for row in rows),
        "told": sum(row["told"] for row in rows),
        "tried": len(rows),
        "slates_covered_least": min(row["covered"] for row in made if row["told"] >= 0.5),
        "slates_covered": float(
            np.average([row["covered"] for row in made], weights=[row["told"] for row in made])
        ),
    }
    write_result(
        "policy_value",
        protocol=PROTOCOL,
        data=content_hash(
            {
                path.relative_to(bandit.folder).as_posix(): sha256_file(path)
                for path in bandit.folder.rglob("*.csv")
            }
        ),
        seeds=[0],
        rows=[*rows, *made],
        figures=figures,
    )


def bandit_rows(bandit: OpenBandit, folder: Path) -> Iterator[dict[str, Any]]:
    """Both directions of each campaign, through the command line."""
    rate = {}
    for campaign in get_args(BanditCampaign):
        for policy in get_args(BanditPolicy):
            name = f"{policy}-{campaign}"
            rate[name] = write_csv(bandit, policy, campaign, folder / f"{name}.csv")
            columns = "user_id=visitor,propensity=propensity_score"
            adwright(folder, "data", "import", f"{name}.csv", "--out", name, "--columns", columns)
    for campaign in get_args(BanditCampaign):
        for log, other in (("random", "bts"), ("bts", "random")):
            new, old = f"{other}-{campaign}", f"{log}-{campaign}"
            text = adwright(folder, "evaluate", "policy", new, "--log", old, "--json")
            found = json.loads(text)
            low, high = found["value"]["low"], found["value"]["high"]
            yield {
                "kind": "open bandit",
                "campaign": campaign,
                "log": log,
                "policy": other,
                "value": found["value"]["value"],
                "ci": [low, high],
                "on_policy": rate[new],
                "logged": found["logged"],
                "covered": low <= rate[new] <= high,
                "told": found["tells"],
                "verdict": found["verdict"],
                "effective": found["weights"]["effective"],
                "largest_weight": found["weights"]["largest"],
                "unseen": found["weights"]["unseen"],
                "estimates": found["estimates"],
            }


def write_csv(
    bandit: OpenBandit, policy: BanditPolicy, campaign: BanditCampaign, path: Path
) -> float:
    """A log as a shop would have it; returns its click rate."""
    log = pl.read_csv(bandit.folder / policy / campaign / f"{campaign}.csv").select(KEPT)
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["visitor", "request_id", *KEPT])
        for number, row in enumerate(log.iter_rows()):
            lines.writerow([f"visitor-{number}", f"{policy}-{number}", *row])
    return float(log["click"].to_numpy().mean())


def adwright(folder: Path, *words: str) -> str:
    """What a command prints, run in `folder`."""
    command = [sys.executable, "-m", "adwright", "--quiet", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True)
    return done.stdout


@dataclass(frozen=True)
class World:
    """People of some kinds, how likely they take an item, and a policy's utilities, [K, I] each."""

    rate: Floats
    utility: Floats
    places: int

    def chances(self, kind: Ints, items: Ints) -> tuple[Floats, Floats]:
        """Of slates [S, places] each place's chance, and [S, places, I] that of every item."""
        left = np.exp(self.utility[kind] - self.utility[kind].max(1, keepdims=True))
        rows, found, every = np.arange(len(kind)), [], []
        for place in range(self.places):
            chance = left / left.sum(1, keepdims=True)
            every.append(chance)
            found.append(chance[rows, items[:, place]])
            left[rows, items[:, place]] = 0
        return np.stack(found, 1), np.stack(every, 1)

    def draw(self, size: int, rng: np.random.Generator) -> tuple[Ints, Ints, Floats]:
        """kind [S], items and rewards [S, places] of so many requests."""
        kind = rng.integers(0, KINDS, size)
        order = np.argsort(-(self.utility[kind] + rng.gumbel(size=(size, ITEMS))), axis=1)
        items = order[:, : self.places]
        reward = np.zeros(items.shape)
        looks = np.ones(size)
        for place in range(self.places):
            taken = rng.random(size) < looks * self.rate[kind, items[:, place]]
            reward[:, place] = taken
            looks = np.where(taken, looks / 2, looks)
        return kind, items, reward


@dataclass(frozen=True)
class KnownTarget:
    """A policy of a world, whose chances are known; kind [S] and items [S, places] of the log."""

    world: World
    kind: Ints
    items: Ints

    def judge(self, slates: LoggedSlates, model: RewardModel) -> tuple[Floats, Floats]:
        """See `PolicyTarget`."""
        chance, every = self.world.chances(self.kind, self.items)
        codes = model.codes([str(item) for item in range(ITEMS)])
        fold = model.fold.reshape(self.items.shape)
        rate = model.rate[fold[:, 0]][:, codes]
        factor = model.factor[fold, model.position.reshape(self.items.shape)]
        expected = factor * np.einsum("ski,si->sk", every, rate)
        return chance.ravel(), expected.ravel()


def slate_row(places: int, apart: float) -> dict[str, Any]:
    """How often the interval of the value holds it, of slates of so many places and a policy whose
    utilities are so far from those of the log's."""
    told = covered = spoken = 0
    rng = np.random.default_rng(places)
    rate = rng.uniform(0.01, 0.15, (KINDS, ITEMS))
    old = World(rate, rng.normal(size=(KINDS, ITEMS)) * 0.5, places)
    step = apart * rng.normal(size=(KINDS, ITEMS)) / np.sqrt(places)
    new = World(rate, old.utility + step, places)
    truth = float(new.draw(TRUTH, rng)[2].sum(1).mean())
    effective = []
    for seed in range(WORLDS):
        log = np.random.default_rng(seed)
        kind, items, reward = old.draw(1_000, log)
        size = items.size
        frame = pl.DataFrame(
            {
                "user_id": np.repeat(np.arange(1_000), places),
                "item_id": [str(item) for item in items.ravel().tolist()],
                "position": np.tile(np.arange(1, places + 1), 1_000),
                "propensity": old.chances(kind, items)[0].ravel(),
                "reward": reward.ravel().astype(np.int64),
                "slate": np.arange(size) // places,
            }
        )
        found = value_from_log(LoggedSlates(frame, 0), KnownTarget(new, kind, items))
        holds = found.value is not None and not found.value.excludes(truth)
        effective.append(found.weights.effective)
        spoken += holds
        told += found.tells
        covered += found.tells and holds
    return {
        "kind": "slates",
        "places": places,
        "apart": apart,
        "value": truth,
        "effective": float(np.mean(effective)),
        "told": told / WORLDS,
        "covered": covered / told if told else 0.0,
        "covered_all": spoken / WORLDS,
    }


if __name__ == "__main__":
    main()
