"""The group of `adwright agent`."""

from __future__ import annotations

import typer

from adwright.cli.agent.do import do
from adwright.cli.agent.explore import explore
from adwright.cli.agent.phone import phone
from adwright.cli.agent.policy import policy
from adwright.cli.agent.replay import replay, verify
from adwright.cli.agent.report import report
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
