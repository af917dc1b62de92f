"""The group of `adwright creative`."""

from __future__ import annotations

import typer

from adwright.cli.creative.ads import WAS, describe, edit, explain, score
from adwright.cli.creative.train import app as train
from adwright.cli.creative.train import improve
from adwright.cli.verbs import verb

app = typer.Typer(
    help=(
        "Will an ad be clicked, will it be remembered, and what of it says so?\n\n"
        "`annotate` writes down what ads say and show. `train` learns from ads whose clicks or "
        "recall were counted, `score` answers for new ones, with intervals, and `explain` shows "
        "on a page what moved each answer. `improve` writes ads that are remembered better, `edit` "
        "edits pictures towards more clicks."
    ),
    no_args_is_help=True,
)
verb(app, "annotate", once="describe", was=WAS)(describe)
app.add_typer(train, name="train")
verb(app, "score", was=WAS)(score)
verb(app, "explain", was=WAS)(explain)
verb(app, "improve", was=WAS)(improve)
EDIT_WAS = {
    "--calls": "--budget",
    "--form": "--format",
    "--least": "--min-gain",
    "--line": "--overlay-text",
    "--second": "--holdout-judge",
}
verb(app, "edit", was=EDIT_WAS | WAS)(edit)
