"""adwright train sequence, and its names hstu and sasrec."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from adwright.cli.shared import (
    agree_to_journey,
    allowed_to_replace,
    config_or_log,
    show_facts,
    show_table,
)
from adwright.cli.verbs import verb
from adwright.core.config import Count, Ge, Le, Natural

#: Help of the names that say the model.
HSTU = """Train HSTU to predict what a user takes next, measure it and save it.

On Complete Journey it takes some ten minutes on two cores: weeks 1-44 train, weeks 45-48 stop
the training, and the baskets of weeks 49-53 are asked once, beside popularity and personal
frequency. Data of your own are split as for every verb: by time, or by the last visit of each
user where the times say too little; which, is said. An option given here wins over the run
file. A run that was killed continues with --resume and ends with the same bits; --stop-now
closes it instead. Attention is faster with the extra `fast`."""
SASREC = """Train SASRec, the Transformer that HSTU is compared with, in the same way.

Data, measures and time are those of `adwright train hstu`."""


def register(app: typer.Typer) -> None:
    """Add `sequence`, and the names of it that say the model: `hstu` and `sasrec`."""
    verb(app, "sequence")(sequence)
    verb(app, "hstu", text=HSTU)(_of_one("hstu"))
    verb(app, "sasrec", text=SASREC)(_of_one("sasrec"))


def sequence(
    config: Path | None = None,
    *,
    model: str | None = None,
    events: Path | None = None,
    out: Path | None = None,
    seed: Natural | None = None,
    epochs: Count | None = None,
    households: Annotated[float, Ge(0), Le(1)] | None = None,
    max_length: Count | None = None,
    blocks: Count | None = None,
    width: Count | None = None,
    search: Natural = 0,
    log_to: Literal["tensorboard", "mlflow"] | None = None,
    resume: bool = False,
    stop_now: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Train a sequence model to predict what a user takes next, measure it and save it.

    Data, measures and time are those of `adwright train hstu`, which is this verb with --model
    hstu.

    Options:
        config ([LOG|CONFIG]): A log, as --events takes it, or a run file in TOML.
        model: hstu or sasrec; by default the run file's, or hstu.
        events: Data of your own: Parquet or CSV with user_id, item_id and time, an imported
            log, or a folder with sequences.txt. Where there is a column kind, clicks and
            purchases count. Or a public log by name: complete-journey, movielens, open-bandit.
        out: Folder for the run and its model.
        seed: The same seed gives the same model.
        epochs: Passes over the data, at most; with --resume, also more.
        households: Share of Complete Journey's, for a quick run.
        max_length: Latest events that the model reads.
        blocks: Layers.
        width: Width of the vectors, a multiple of the heads.
        search: Trainings of a search for better settings.
    """
    from adwright.core.config import read_toml, to_jsonable
    from adwright.training.dry_run import plan_sequence
    from adwright.training.loop.callbacks import trackers
    from adwright.training.sequential.run import run_sequence
    from adwright.training.sequential.runfile import names_journey, read_run, with_options

    config, events = config_or_log(config, events, option="--events")
    named = config is not None and bool(read_toml(config))
    named |= events is not None or households is not None
    asked = with_options(
        read_run(config, model, own=events is not None and not names_journey(events)),
        events=events,
        households=households,
        epochs=epochs,
        max_length=max_length,
        blocks=blocks,
        width=width,
        seed=seed,
        out=out,
    )
    callbacks = trackers([log_to] if log_to else [], asked.out)
    if dry_run:
        plan = plan_sequence(asked, resume=resume or stop_now, overwrite=force)
        typer.echo(json.dumps(to_jsonable(asked), indent=1))
        show_facts(plan, err=True)
        return
    if not named:
        work = "a download of 31 MB, and some ten minutes of two cores"
        agree_to_journey(f"train {asked.model.kind}", work, option="--events")
    result = run_sequence(
        asked,
        resume=resume,
        stop_now=stop_now,
        overwrite=allowed_to_replace(asked.out / "model", force=force) or force,
        callbacks=callbacks,
        search=search,
        tell=lambda sentence: typer.echo(f"Default: {sentence}"),
    )
    if result.search is not None:
        show_table(result.search.header(), result.search.rows(), title="Search")
    typer.echo((comparison := result.comparison).verdict())
    show_table(comparison.header(), comparison.rows(), title="Test; 95% intervals over users")
    if (fitted := result.artifact.fitted) is not None:
        typer.echo(f"Fitted to {fitted.text()}: what came later has chosen and measured it")
    typer.echo(f"Saved in {result.folder / 'model'} as {result.id[:16]}")


def _of_one(model: str) -> Callable[..., None]:
    """`sequence` without --model: the verb of one model."""

    @wraps(sequence)
    def _verb(**given: Any) -> None:
        sequence(model=model, **given)

    signature = inspect.signature(sequence, eval_str=True)
    kept = [one for one in signature.parameters.values() if one.name != "model"]
    _verb.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    return _verb
