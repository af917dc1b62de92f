"""Experiments of a tenant: what runs, written down beside its models, and the arms as they decide.

    MODELS/TENANT/experiments.jsonl     what was started, taken back and stopped, a line each

An experiment of serving.toml does nothing before it was started. While it runs, each request goes
to the model and the policy of its user's arm; a canary that is shown to earn less is taken back
within a second, by every process.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from adwright.core.clock import Clock, SystemClock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import AdwrightError, ConfigError
from adwright.core.journal import append_rows, read_rows
from adwright.delivery.decision import Candidates, Deadline, Decision, Request
from adwright.delivery.experiments import (
    ARM,
    HOLDOUT,
    SHADOW,
    ExperimentPlan,
    ExperimentSettings,
    RunningExperiment,
)
from adwright.delivery.policy.creatives import CreativePolicy
from adwright.delivery.policy.pacing import PolicyRecords
from adwright.metrics.offpolicy import always_valid, best_mixture
from adwright.service.registry.deployed import Deployed, Observer

JOURNAL = "experiments.jsonl"
_log = logging.getLogger("adwright.service")
#: Events between two looks at a canary.
_LOOK = 200


def running_experiment(folder: Path) -> RunningExperiment | None:
    """What runs in a tenant's folder. Raises as `read_rows`, and ConfigError for a line that is
    none of these."""
    found: RunningExperiment | None = None
    for row in read_rows(folder / JOURNAL, dict):
        try:
            match row["do"]:
                case "start":
                    settings = from_jsonable(ExperimentSettings, row["experiment"])
                    plan = from_jsonable(ExperimentPlan, row["plan"])
                    began = datetime.fromisoformat(row["time"])
                    found = RunningExperiment(settings, began, plan)
                case "back" if found is not None:
                    found = replace(found, back=found.back | {row["arm"]})
                case "stop":
                    found = None
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"the line {row!r:.80} is none of those that adwright writes",
                where=str(folder / JOURNAL),
                hint="mend the file, or move it away: the experiment is stopped then",
            ) from error
    return found


def start_experiment(
    folder: Path, settings: ExperimentSettings, plan: ExperimentPlan, *, clock: Clock | None = None
) -> RunningExperiment:
    """Write down that an experiment begins. Raises ConfigError where one runs already."""
    running = running_experiment(folder)
    if running is not None:
        raise ConfigError(
            f"the experiment {running.settings.name} runs since {running.started:%Y-%m-%d %H:%M}",
            where=str(folder),
            hint="stop it first: adwright experiment stop",
        )
    now = (clock or SystemClock()).now()
    row = {"experiment": to_jsonable(settings), "plan": to_jsonable(plan)}
    _write(folder, "start", now, **row)
    return RunningExperiment(settings, now, plan)


def take_back(folder: Path, arm: str, why: str, *, clock: Clock | None = None) -> None:
    """Give the users of an arm to the first one. Raises ConfigError where it is none of those."""
    running = require_running(folder)
    known = [one.name for one in running.settings.shown[1:]]
    if arm not in known:
        raise ConfigError(
            f"there is no such arm to take back: {arm}",
            where=str(folder),
            hint=f"it may be {', '.join(known)}",
        )
    if arm not in running.back:
        _write(folder, "back", (clock or SystemClock()).now(), arm=arm, why=why)


def stop_experiment(folder: Path, why: str, *, clock: Clock | None = None) -> RunningExperiment:
    """Write down that what runs has ended; what it was."""
    running = require_running(folder)
    _write(folder, "stop", (clock or SystemClock()).now(), why=why)
    return running


def require_running(folder: Path) -> RunningExperiment:
    """What runs. Raises ConfigError where nothing does."""
    running = running_experiment(folder)
    if running is None:
        raise ConfigError(
            "no experiment runs",
            where=str(folder),
            hint="write [experiment] into serving.toml, and start it: adwright experiment start",
        )
    return running


def _write(folder: Path, do: str, time: datetime, **more: Any) -> None:
    append_rows(folder / JOURNAL, [{"do": do, "time": time.isoformat(), **more}])


# --------------------------------------------------------------------------------------------------
# The arms as one model: each request goes to that of its user.


class _Shadowed(Candidates):
    """Candidates with those of shadow arms, by name."""

    shadows: Mapping[str, Candidates]


@dataclass(eq=False)
class _ArmRecommender:
    """Asks the recommender of each user's arm, and those of shadow arms where time is left."""

    arms: Mapping[str, Deployed]
    running: RunningExperiment
    seconds: float = 0.0

    def recommend_many(
        self, requests: Sequence[Request], deadline: Deadline | None
    ) -> list[Candidates]:
        answers: dict[int, Candidates] = {}
        met = [self.arms[self.running.met(one.user_id)].recommender for one in requests]
        for recommender in {id(one): one for one in met}.values():  # arms may share a model
            rows = [row for row, one in enumerate(met) if one is recommender]
            found = recommender.recommend_many([requests[row] for row in rows], deadline)
            answers.update(zip(rows, found, strict=True))
        whole = [answers[row] for row in range(len(requests))]
        return self._shadowed(requests, whole, deadline)

    def _shadowed(
        self, requests: Sequence[Request], answers: list[Candidates], deadline: Deadline | None
    ) -> list[Candidates]:
        wanted = [self.running.settings.shadows_of(request.user_id) for request in requests]
        found: list[dict[str, Candidates]] = [{} for _ in requests]
        for name in dict.fromkeys(one for names in wanted for one in names):
            if deadline is not None and deadline.remaining() < 2 * self.seconds:
                break
            began = None if deadline is None else deadline.clock.monotonic()
            rows = [row for row, names in enumerate(wanted) if name in names]
            try:
                theirs = self.arms[name].recommender.recommend_many(
                    [requests[row] for row in rows], deadline
                )
            except Exception:
                _log.exception("the shadow arm %s failed", name)
                continue
            for row, one in zip(rows, theirs, strict=True):
                found[row][name] = one
            if began is not None and deadline is not None:
                self.seconds = 0.5 * self.seconds + 0.5 * (deadline.clock.monotonic() - began)
        for row, shadows in enumerate(found):
            if shadows:
                one = answers[row]
                with_them = _Shadowed(one.item_ids, one.score, one.probability, one.stage)
                object.__setattr__(with_them, "shadows", shadows)
                answers[row] = with_them
        return answers


@dataclass(frozen=True)
class _ArmFallback:
    arms: Mapping[str, Deployed]
    running: RunningExperiment

    def recommend(self, request: Request) -> Candidates:
        """That of the user's arm."""
        return self.arms[self.running.met(request.user_id)].fallback.recommend(request)


@dataclass(frozen=True, eq=False)
class ArmsDeployed(Deployed):
    """A tenant's model while an experiment runs. arms: by name, `HOLDOUT` among them."""

    arms: Mapping[str, Deployed] = field(default_factory=dict, repr=False)
    running: RunningExperiment | None = None
    watch: CanaryWatch | None = None

    @property
    def observers(self) -> list[Observer]:
        """Those of all arms, each once, and who watches the canary."""
        arms = {id(arm): arm for arm in self.arms.values()}.values()
        found = {one.observe: one for arm in arms for one in arm.observers}
        watch = [] if self.watch is None else [self.watch.observer]
        return [*found.values(), *watch]

    def creatives_of(self, request: Request) -> CreativePolicy:
        """That of the user's arm."""
        if self.running is None:
            return self.creatives
        return self.arms[self.running.met(request.user_id)].creatives

    def all_creatives(self) -> list[CreativePolicy]:
        """Those of all arms, each once."""
        found = [self.creatives, *(arm.creatives for arm in self.arms.values())]
        return list({id(one): one for one in found}.values())

    def decide(self, tenant: str, request: Request, candidates: Candidates) -> Decision:
        """The choice of the user's arm, which the context names."""
        if self.running is None:
            return super().decide(tenant, request, candidates)
        name = self.running.met(request.user_id)
        context: dict[str, str | float] = {**request.context, ARM: name}
        if isinstance(candidates, _Shadowed):
            for shadow, theirs in candidates.shadows.items():
                said = self._shadow(shadow, tenant, request, theirs)
                if said:
                    context[f"{SHADOW}{shadow}"] = said
        return self.arms[name].decide(tenant, replace(request, context=context), candidates)

    def settle(self, request_id: str) -> None:
        """As of the arm that decided; the others have nothing reserved for it."""
        for arm in {id(arm): arm for arm in self.arms.values()}.values():
            arm.settle(request_id)

    def _shadow(self, name: str, tenant: str, request: Request, candidates: Candidates) -> str:
        """What a shadow arm would have shown, as a JSON list; nothing is recorded of it."""
        arm = self.arms[name]
        try:
            quiet = replace(arm, records=PolicyRecords())
            return json.dumps(quiet.decide(tenant, request, candidates).item_ids)
        except Exception:
            _log.exception("the policy of the shadow arm %s failed", name)
            return ""


def with_arms(
    found: Deployed,
    running: RunningExperiment,
    load: Callable[[str, str], Deployed],
    *,
    folder: Path,
    clock: Clock,
) -> ArmsDeployed:
    """The arms of what runs. found: what decides without it. load: makes the model of a version
    with a file of settings, either empty for that of `found`. folder: of the tenant."""
    made = {("", ""): found}
    arms = {HOLDOUT: found}
    creatives = {found.creatives.config: found.creatives}
    for arm in running.settings.arms:
        key = (arm.model, arm.settings)
        if key not in made:
            new = load(*key)
            # Each counts what all arms showed, so arms that choose alike share one.
            chosen = creatives.setdefault(new.creatives.config, new.creatives)
            made[key] = replace(new, creatives=chosen)
        arms[arm.name] = made[key]
    canary = running.settings.canary
    watch = None
    if canary is not None and canary.arm not in running.back:
        watch = CanaryWatch(running, lambda why: take_back(folder, canary.arm, why, clock=clock))
    base = {name: getattr(found, name) for name in Deployed.__dataclass_fields__}
    base |= {
        "recommender": _ArmRecommender(arms, running),
        "fallback": _ArmFallback(arms, running),
        "records": PolicyRecords(clock=clock),
        "item_ids": list(dict.fromkeys(one for arm in made.values() for one in arm.item_ids)),
    }
    return ArmsDeployed(**base, arms=arms, running=running, watch=watch)


# --------------------------------------------------------------------------------------------------
# The canary: counted as events are stored, and taken back where it is shown to earn less.


class CanaryWatch:
    """Counts responses by user of the first arm and of the canary since the start, and calls `back`
    with the reason, once, where the canary earns less: the sequential test of
    `delivery.experiment_reading`, without what users did before."""

    def __init__(self, running: RunningExperiment, back: Callable[[str], None]) -> None:
        canary = running.settings.canary
        if canary is None:
            raise ConfigError("the experiment has no canary", where=running.settings.name)
        self._running, self._back, self._canary = running, back, canary
        self._took: tuple[dict[str, int], dict[str, int]] = ({}, {})
        self._lock = threading.Lock()
        self._new, self._clock, self._done = 0, 0.0, False

    @property
    def observer(self) -> Observer:
        """What is told of stored events."""
        kinds = frozenset({"impression", self._canary.response})
        return Observer(self.observe, kinds, self._running.started)

    def observe(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Count events; each comes once."""
        first, why = self._running.settings.shown[0].name, ""
        with self._lock:
            for event in events:
                arm = self._running.arm_of(event["user_id"])
                if arm in (first, self._canary.arm) and event["time"] >= self._running.started:
                    took = self._took[arm == self._canary.arm]
                    if event["kind"] == "impression":
                        took.setdefault(event["user_id"], 0)
                    elif event["user_id"] in took:
                        took[event["user_id"]] += 1
                    self._new += 1
            if self._new >= _LOOK and not self._done:
                self._new = 0
                why = self._look()
                self._done = bool(why)
        if why:
            _log.error("%s", why)
            try:
                self._back(why)
            except AdwrightError as error:
                _log.error("the canary could not be taken back: %s", error)

    def _look(self) -> str:
        """Why the canary is to be taken back; empty where nothing speaks against it."""
        took = [np.array(list(one.values()), np.float64) for one in self._took]
        sizes = [len(one) for one in took]
        if min(sizes) < 2 or sizes[1] < self._canary.users:
            return ""
        variance = sum(float(one.var(ddof=1)) / len(one) for one in took)
        if not variance > 0:
            return ""
        confidence, n = self._canary.confidence, 1 / (1 / sizes[0] + 1 / sizes[1])
        grown = variance * n**2
        self._clock = self._clock or grown / best_mixture(1.0, confidence=confidence) ** 2
        difference = float(took[1].mean() - took[0].mean())
        found = always_valid(
            [difference],
            [math.sqrt(variance)],
            mixture=math.sqrt(variance * grown / self._clock),
            confidence=confidence,
        )
        if float(found.high[0]) >= 0:
            return ""
        return (
            f"the canary {self._canary.arm} earns less: {took[1].mean():.4f} "
            f"{self._canary.response}s a user in place of {took[0].mean():.4f}, of "
            f"{sizes[1]:,} and {sizes[0]:,} users"
        )
