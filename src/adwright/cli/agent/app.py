"""The group of `adwright agent`."""

from __future__ import annotations

import typer

from adwright.cli.agent.explore import explore, phone, policy, report
from adwright.cli.agent.running import do, replay, verify
from adwright.cli.verbs import verb

app = typer.Typer(
    help=(
        "Operate a console in a browser by scripts that are checked before anything is tapped.\n\n"
        "`explore` reads an app and writes its document and a careful policy; `do` makes a script "
        "of a task and runs it, asking about each change; `replay` does a kept task again without "
        "a model; `verify` looks whether it still could; `report` reads a run again and checks "
        "that nobody changed it. `policy` prints a policy, or checks one; `check-phone` looks "
        "whether a phone can be driven."
    ),
    no_args_is_help=True,
)
verb(app, "explore")(explore)
verb(app, "do", was={"--folder": "--out"})(do)
verb(app, "replay", was={"--folder": "--out"})(replay)
for one in (verify, report, policy):
    verb(app, one.__name__)(one)
verb(app, "check-phone", once="phone")(phone)
