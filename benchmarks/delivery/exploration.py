"""Exploration stated in what it costs: what is really given up, on logs and in the simulator.

    python -m benchmarks.delivery.exploration --set lastfm           one log; the others stay

A cascade is measured where `adwright train cascade LOG --out FOLDER/NAME` was run and
`--cascades FOLDER` says so.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.campaigns.simulation.ab_test import SimulationRunConfig, World, open_world
from adwright.campaigns.simulation.run import SimulationConfig, make_plan
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash
from adwright.data.schema import ACTION_KINDS
from adwright.data.sequences.datasets import NextLog, log_of_task
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.own.next_item import build_next_item, open_next_item
from adwright.delivery.calibrated import fit_to_visits
from adwright.delivery.counted import ItemItemRecommender, with_histories
from adwright.delivery.decision import Candidates, Request
from adwright.delivery.funnel.build import fit_log_rules
from adwright.delivery.funnel.funnel import Funnel
from adwright.delivery.policy.rules import (
    Exploration,
    GreedyConfig,
    PolicyConfig,
    SoftmaxConfig,
    ThompsonConfig,
)
from adwright.delivery.policy.slate_policy import SlatePolicy, build_policy
from adwright.delivery.popularity import Popularity, save_popularity
from adwright.delivery.stages.histories import Histories, visit_requests
from adwright.metrics.classification import expected_calibration_error, log_loss
from adwright.models.retrieval.rules import NextRules
from adwright.service.registry.deployed import Deployed
from adwright.service.registry.publishing import load_deployed
from adwright.service.registry.registry import SETTINGS
from adwright.training.retrieval.item_item import ItemItemArtifact, fit_linear
from benchmarks.common.result import RESULTS, write_result

NAME = "exploration"
STATED, VISITS, DRAWS, TIMED = 0.02, 1_500, 4, 100
PROTOCOL = (
    "Models fitted to training events serve as published, with explore = 0.02 in serving.toml: "
    "the temperature is solved on load from the latest 256 people. Calibration is fitted on "
    "validation visits, and all that stands here is of test visits, of which neither knows "
    "anything: at most 1,500 of a log, decided four times each, ten places. expected: the share "
    "of the greedy slates' expected value that is given up, by the calibrated chances. taken: the "
    "same of what the visits really took, with its 95% interval over visits; few visits take "
    "something of ten places, so it is wide. ece: expected calibration error (20 bins of equal "
    "mass) of all candidates; log loss beside that of their one base rate; level: what is expected "
    "of the ten best, as a multiple of what was taken of them. ess: of 1,000 decisions, for a "
    "challenger that puts the second item first; foretold on load, and found from the weights of "
    "the decisions. before: softmax at 0.5 on scores of their own unit, and Thompson sampling, "
    "which was greedy then (least propensity 1). ms: processor time of a decision alone, "
    "recommender and policy, greedy on scores and exploring on chances. simulator: households of "
    "Complete Journey in the three weeks after what item-item was counted from, and what their "
    "known chances say of the same decisions, of as many places as the simulation has."
)
LOGS = ("beauty", "lastfm", "ml-latest-small", "movietweetings", "complete-journey")
_TOGETHER = 64


@dataclass(frozen=True, eq=False)
class Asked:
    """Test visits: requests, and the ids that each took."""

    requests: Sequence[Request]
    taken: Sequence[frozenset[str]]


def main() -> None:
    """Measure what was asked for; what was measured before stays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", dest="names", choices=(*LOGS, "simulator"), action="append")
    parser.add_argument("--cascades", type=Path)
    asked = parser.parse_args()
    path = RESULTS / f"{NAME}.json"
    for name in asked.names or (*LOGS, "simulator"):
        found = simulated() if name == "simulator" else of_log(name, asked.cascades)
        new = {(row["log"], row["model"]) for row in found}
        kept = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
        written([row for row in kept if (row["log"], row["model"]) not in new] + found)


def of_log(name: str, cascades: Path | None) -> list[dict[str, Any]]:
    """A row for each model of a log."""
    opened = open_next_item(source_of(name))
    task, repeats = opened.task, opened.choices.repeats
    log = log_of_task(task)
    rules, _ = fit_log_rules(log, repeats=repeats)
    visits = np.sort(np.random.default_rng(0).permutation(task.visits("test"))[:VISITS])
    asked = asked_of(task, visits)
    rows = []
    with TemporaryDirectory() as scratch:
        for model, raw in models_of(task, log, rules, Path(scratch), repeats, cascades, name):
            print(name, model, flush=True)
            rows.append({"log": name, "model": model, **row_of(raw, Path(scratch) / model, asked)})
    return rows


def source_of(name: str) -> str:
    """The log as `adwright train` is given it."""
    folder = Path(os.environ["ADWRIGHT_DATA"])
    match name:
        case "ml-latest-small":
            return str(folder / name / "ratings.csv")
        case "movietweetings":
            out = Path(os.environ.get("TMPDIR", "/tmp")) / "movietweetings.csv"
            lines = (folder / name / "ratings.dat").read_text("utf-8").splitlines()
            table = [line.split("::") for line in lines]
            columns = ["user_id", "item_id", "rating", "timestamp"]
            pl.DataFrame(table, schema=columns, orient="row").write_csv(out)
            return str(out)
        case "complete-journey":
            return name
    return str(folder / name)


def asked_of(task: NextBasket, visits: NDArray[np.int64]) -> Asked:
    ids = ("", *task.items.ids)
    bounds = zip(task.target_offsets[visits], task.target_offsets[visits + 1], strict=True)
    taken = [frozenset(ids[code] for code in task.targets[a:b].tolist()) for a, b in bounds]
    return Asked(visit_requests(task, visits), taken)


def models_of(
    task: NextBasket,
    log: NextLog,
    rules: NextRules,
    root: Path,
    repeats: bool,
    cascades: Path | None,
    name: str,
) -> list[tuple[str, Any]]:
    """Each model saved below `root` as it was fitted to the training, and as it is without its
    calibration."""
    known = Histories.of_task(task)
    known.kinds = tuple(ACTION_KINDS)
    plain = ItemItemArtifact(rules.item_item, log.ids, repeats)
    item_item = ItemItemRecommender(plain, known)
    popular = Popularity(log.ids, task.count[1:].astype(np.float64))
    whole = replace(plain, calibration=fit_to_visits(item_item, task))
    with_histories(whole, known).save(root / "item-item" / "v1")
    save_popularity(
        root / "popularity" / "v1",
        log.ids,
        task.count[1:].astype(np.float64),
        calibration=fit_to_visits(popular, task),
    )
    found: list[tuple[str, Any]] = [("item-item", item_item), ("popularity", popular)]
    if cascades is not None and (cascades / name / "deployment").is_dir():
        saved = Funnel.load(cascades / name / "deployment")
        parts = replace(
            saved.parts.with_models({"item-item": plain}),
            count=task.count,
            lately=None if saved.parts.lately is None else rules.lately,
        )
        if "linear" in parts.models:
            model = fit_linear(log, rules.item_item.config, repeats=repeats).model
            parts = parts.with_models({"linear": replace(plain, model=model)})
        served = replace(saved, parts=parts, histories=known)
        served.save(root / "cascade" / "v1")
        bare = replace(served, serving=replace(served.serving, calibration={}))
        found.append(("cascade", bare.cascade()))
    return found


def row_of(raw: Any, folder: Path, asked: Asked) -> dict[str, Any]:
    """What one model does. raw: the same without calibration. folder: of its tenant."""
    (folder / SETTINGS).write_text("")
    greedy = load_deployed(folder / "v1")
    answers = answered(greedy, asked.requests)
    row = calibration_of(answers, asked)
    before = answered(raw, asked.requests[:200])
    same = all(a.item_ids == b.item_ids for a, b in zip(answers, before, strict=False))
    blunt = kept(build_policy(SoftmaxConfig(temperature=0.5, scale="score")), asked, before)
    row |= {"same_order": same, "softmax_before_best_kept": blunt["best"]}
    row["softmax_after_best_kept"] = kept(softmax(), asked, answers[:200])["best"]
    row["thompson_least_propensity_before"] = 1.0
    row["thompson_least_propensity_after"] = least(ThompsonConfig(), asked, answers[:200])
    (folder / SETTINGS).write_text(f"explore = {STATED}\n")
    try:
        exploring = load_deployed(folder / "v1")
    except ConfigError as error:
        return row | {"refused": str(error)}
    return row | explored(exploring, answers, asked) | cost_of(exploring, asked)


def explored(model: Deployed, answers: Sequence[Candidates], asked: Asked) -> dict[str, Any]:
    foretold = model.kept()
    p, taken, best, weight = [], [], [], []
    for request, candidates, mine in zip(asked.requests, answers, asked.taken, strict=True):
        top = candidates.item_ids[: request.k]
        value, hits = [], []
        for n in range(DRAWS):
            again = replace(request, request_id=f"{request.request_id}-{n}")
            slate = model.decide("shop", again, candidates)
            value.append(float(slate.score.sum()))
            hits.append(len(mine & set(slate.item_ids)))
            best.append(len(set(top) & set(slate.item_ids)) / len(top))
            chosen = slate.item_ids[0] == candidates.item_ids[1]
            weight.append(chosen / slate.propensity[0])
        p.append((np.mean(value), float(candidates.score[: request.k].sum())))
        taken.append((np.mean(hits), len(mine & set(top))))
    mean = np.array(p).mean(0)
    took = np.array(taken, np.float64)
    low, high = share_interval(took)
    w = np.array(weight)
    return {
        "temperature": temperature_of(model),
        "expected": 1 - mean[0] / mean[1],
        "taken": 1 - took[:, 0].mean() / took[:, 1].mean(),
        "taken_low": low,
        "taken_high": high,
        "greedy_taken": took[:, 1].mean(),
        "best_kept": float(np.mean(best)),
        "ess_foretold": None if foretold is None else foretold.effective,
        "ess_found": 1_000 * w.sum() ** 2 / (w @ w) / len(w) if w.any() else 0.0,
    }


def temperature_of(model: Deployed) -> float:
    """Of slates of ten places."""
    rule = model.policy.rule.config if isinstance(model.policy, SlatePolicy) else None
    return rule.at(10) if isinstance(rule, Exploration) else 0.0


def share_interval(hits: NDArray[np.float64]) -> tuple[float, float]:
    """95%, of the share that is lost, over visits."""
    rng, shares = np.random.default_rng(0), []
    for _ in range(1_000):
        some = hits[rng.integers(0, len(hits), len(hits))].mean(0)
        shares.append(1 - some[0] / max(some[1], 1e-12))
    low, high = np.quantile(shares, (0.025, 0.975))
    return float(low), float(high)


def calibration_of(answers: Sequence[Candidates], asked: Asked) -> dict[str, Any]:
    label = [
        np.array([item in mine for item in one.item_ids], np.int64)
        for one, mine in zip(answers, asked.taken, strict=True)
    ]
    y, p = np.concatenate(label), np.concatenate([one.score for one in answers])
    ten = float(np.sum([one[:10].sum() for one in label]))
    base = np.full(len(y), y.mean())
    return {
        "visits": len(answers),
        "ece": expected_calibration_error(y, p),
        "base_rate": float(y.mean()),
        "log_loss": log_loss(y, p),
        "log_loss_of_base_rate": log_loss(y, base),
        "level": float(np.sum([one.score[:10].sum() for one in answers])) / max(ten, 1.0),
    }


def answered(model: Any, requests: Sequence[Request]) -> list[Candidates]:
    """What a recommender, or a deployed model's, answers."""
    recommender = model.recommender if isinstance(model, Deployed) else model
    found: list[Candidates] = []
    for start in range(0, len(requests), _TOGETHER):
        found += recommender.recommend_many(requests[start : start + _TOGETHER], None)
    return found


def softmax() -> SlatePolicy:
    return build_policy(SoftmaxConfig(temperature=0.5))


def kept(policy: SlatePolicy, asked: Asked, answers: Sequence[Candidates]) -> dict[str, float]:
    """How many of the ten best a policy keeps; scores need not be chances for that."""
    rng, best = np.random.default_rng(0), []
    for request, one in zip(asked.requests, answers, strict=False):
        slate = policy.decide(request, one, rng)
        best.append(len(set(slate.item_ids) & set(one.item_ids[:10])) / max(len(slate.item_ids), 1))
    return {"best": float(np.mean(best))}


def least(config: PolicyConfig, asked: Asked, answers: Sequence[Candidates]) -> float:
    """The least propensity of a policy's decisions."""
    policy, rng = build_policy(config), np.random.default_rng(0)
    pairs = zip(asked.requests, answers, strict=False)
    return float(min(policy.decide(one, some, rng).propensity.min() for one, some in pairs))


def cost_of(exploring: Deployed, asked: Asked) -> dict[str, float]:
    """Processor milliseconds of a decision, each request alone: greedy on scores, and exploring on
    chances."""
    greedy, rng = build_policy(GreedyConfig()), np.random.default_rng(0)
    raw = copy.copy(exploring.recommender)
    raw.calibration = {}  # type: ignore[attr-defined]
    found = {}
    for name, model, policy in (("before", raw, greedy), ("after", exploring, exploring.policy)):
        spent = []
        for _ in range(5):
            began = time.process_time()
            for request in asked.requests[:TIMED]:
                (one,) = answered(model, [request])
                policy.decide(request, one, rng)
            spent.append(1e3 * (time.process_time() - began) / TIMED)
        found[f"ms_{name}"] = min(spent)
    return found


def simulated() -> list[dict[str, Any]]:
    """Item-item, counted from before the start, decides for simulated households."""
    world: World = open_world(SimulationRunConfig())
    people = world.people
    before = replace(world.log, events=world.log.events.filter(pl.col("time") < people.start))
    opened = build_next_item(before)
    task, repeats = opened.task, opened.choices.repeats
    log = log_of_task(task)
    rules, _ = fit_log_rules(log, repeats=repeats)
    plan = make_plan(people, SimulationConfig(days=3))
    some = min(len(plan), VISITS)
    requests = plan.requests(people.users, 0, some)
    with TemporaryDirectory() as scratch:
        root = Path(scratch)
        models_of(task, log, rules, root, repeats, None, "simulator")
        folder = root / "item-item"
        (folder / SETTINGS).write_text(f"explore = {STATED}\n")
        model = load_deployed(folder / "v1")
        answers = answered(model, requests)
        value = np.zeros((some, 2))
        chances = np.zeros((some, 2))
        for n, (request, one) in enumerate(zip(requests, answers, strict=True)):
            slates = [one.item_ids[: request.k]]
            chances[n, 0] = one.score[: request.k].sum()
            for draw in range(DRAWS):
                again = replace(request, request_id=f"{request.request_id}-{draw}")
                slate = model.decide("shop", again, one)
                slates.append(slate.item_ids)
                chances[n, 1] += slate.score.sum() / DRAWS
            truth = []
            for items in slates:
                codes = people.codes(items)
                user, at = (np.full(len(codes), a[n]) for a in (plan.user, plan.time))
                truth.append(float(people.chance(user, codes, at).sum()))
            value[n] = truth[0], np.mean(truth[1:])
        low, high = share_interval(value[:, ::-1])
        return [
            {
                "log": "simulator",
                "model": "item-item",
                "visits": some,
                "temperature": temperature_of(model),
                "expected": 1 - chances[:, 1].sum() / chances[:, 0].sum(),
                "taken": 1 - value[:, 1].sum() / value[:, 0].sum(),
                "taken_low": low,
                "taken_high": high,
                "greedy_taken": value[:, 0].mean(),
                "level": chances[:, 0].sum() / value[:, 0].sum(),
            }
        ]


def written(rows: list[dict[str, Any]]) -> None:
    """Write what is known, with what the claim rests on."""
    told = [row for row in rows if row.get("expected") is not None]
    real = [row for row in told if row["log"] != "simulator"]
    within = [row for row in real if 0.8 * STATED <= row["expected"] <= 1.2 * STATED]
    figures: dict[str, float | int] = {
        "logs": len({row["log"] for row in real}),
        "models": len(real),
        "models_within_a_fifth_of_stated": len(within),
        "logs_within_a_fifth_of_stated": len({row["log"] for row in real})
        - len({row["log"] for row in real if row not in within}),
    }
    for row in rows:
        key = f"{row['log']}_{row['model']}".replace("-", "_")
        for name in ("expected", "taken", "ece", "softmax_before_best_kept", "best_kept"):
            if row.get(name) is not None:
                figures[f"{key}_{name}"] = row[name]
    write_result(
        NAME,
        protocol=PROTOCOL,
        data=content_hash([f"{row['log']} {row['model']}" for row in rows]),
        seeds=[0],
        rows=rows,
        figures=figures,
    )


if __name__ == "__main__":
    main()
