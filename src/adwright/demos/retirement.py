"""The demonstration's last part: which displays of a grocer to stop, and what that had saved.

Trains on what was known of in-store displays before a week, replays the rule over the weeks that
follow beside the fatigue rules of ad tools, and lists what to stop at the end of the year.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adwright.core.clock import Clock
from adwright.creative.lifetime.lives import JourneyLives, LifeRecord
from adwright.creative.lifetime.replay import Replay, ReplayConfig, replay
from adwright.creative.lifetime.retire import train_retirement
from adwright.creative.lifetime.stop_list import (
    RetirementList,
    curves_by_action,
    retirement_list,
    write_list_page,
)
from adwright.creative.lifetime.survival_fit import LifetimeConfig
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.demos.folder import MARK, DemoPart, claim_folder
from adwright.training.loop.stage_timer import Stages


@dataclass(frozen=True, eq=False)
class RetirementDemoResult:
    """The list of the last week, the replay, the folder of the model, and the page to read."""

    found: RetirementList
    past: Replay
    model: Path
    page: Path
    seconds: dict[str, float]


def retirement_demo(
    asked: DemoPart,
    *,
    before: int = 35,
    epochs: int | None = None,
    lives: LifeRecord | None = None,
    clock: Clock | None = None,
) -> RetirementDemoResult:
    """Run it in `asked.out`; an earlier one there is replaced.

    before: the week before which everything is known to the training; what follows is replayed.
    epochs: of the training, None for what the data say. lives: used instead of the displays of
    Complete Journey in any store of the chain.
    Raises ResourceError where the folder holds something else, AssetError where the data cannot be
    had.
    """
    out, stages = asked.out, Stages(clock)
    claim_folder(out, MARK, asked)
    if lives is None:
        with stages.stage("read the displays"):
            source = CompleteJourney.open(offline=asked.offline)
            lives = JourneyLives(source, "chain")
    with stages.stage("learn how long they go on"):
        fit = LifetimeConfig(epochs=epochs, seed=asked.seed)
        trained = train_retirement(lives, out, fit, before=before, overwrite=True)
    with stages.stage("replay the rule"):
        weeks = range(before, lives.log.closed + 1)
        past = replay(lives, trained.model, weeks, ReplayConfig(draws=200), values=trained.values)
    with stages.stage("list what to stop"):
        found = retirement_list(
            trained.model, lives, values=trained.values, model_id=trained.id, explained=200
        )
        curves = curves_by_action(trained.model, lives, found)
    page = out / "list.html"
    with stages.stage("write its page"):
        found.save(out / "list", overwrite=True)
        write_list_page(page, found, curves=curves, replay=past, facts={"seed": f"{asked.seed}"})
    return RetirementDemoResult(found, past, trained.folder, page, dict(stages.seconds))
