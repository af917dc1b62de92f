"""The group of `adwright audit`."""

from __future__ import annotations

import typer

from adwright.cli.audit.ask import ask
from adwright.cli.audit.certify import certify, verify
from adwright.cli.audit.report import report
from adwright.cli.audit.run import run
from adwright.cli.audit.watch import watch
from adwright.cli.verbs import verb

app = typer.Typer(
    help=(
        "How far can a seller's text push a product up a model's list, and how is that bounded?\n\n"
        "`run` tries texts on a catalogue of your own and reports, `report` reads that again and "
        "fails above a bound. `certify` bounds what any text can do, and signs it; `verify` checks "
        "that. `watch` tells what changed since the last look. `ask` lets the assistant that is "
        "audited answer."
    ),
    no_args_is_help=True,
)
WAS = {"--calls": "--budget", "--own": "--mine", "--rule": "--likelihood"}
verb(app, "run", was=WAS)(run)
verb(app, "report")(report)
verb(app, "certify", was=WAS)(certify)
verb(app, "verify")(verify)
verb(app, "ask", was=WAS)(ask)
verb(app, "watch", was=WAS)(watch)
