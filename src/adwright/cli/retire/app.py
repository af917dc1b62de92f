"""The group of `adwright retire`."""

from __future__ import annotations

import typer

from adwright.cli.retire.apply import apply, undo
from adwright.cli.retire.decide import predict, replay_rule
from adwright.cli.retire.train import train
from adwright.cli.verbs import verb

__all__ = ["app"]

app = typer.Typer(
    help=(
        "When to stop an ad: learn how long ads live, list what to stop, and replay that.\n\n"
        "Begin with `adwright ads import`, or with complete-journey. Then `train`, `replay` over "
        "the weeks that it has not seen, `predict` for today's list, `apply` and `undo`."
    ),
    no_args_is_help=True,
)
verb(app, "train")(train)
verb(app, "predict")(predict)
verb(app, "replay")(replay_rule)
verb(app, "apply")(apply)
verb(app, "undo")(undo)
