"""The tree of verbs, and what happens when one of them fails."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from adwright.cli import (
    ads,
    audit,
    creatives,
    cycle,
    data,
    demo,
    evaluate,
    experiment,
    ranker,
    retire,
    serve,
    simulate,
    store,
    train,
    tune,
)
from adwright.cli import ranker as recommend
from adwright.cli import serve as retrain
from adwright.cli.agent import app as agent
from adwright.cli.author import app as author
from adwright.cli.creative import app as creative
from adwright.cli.lm import app as lm
from adwright.cli.programs import app as programs
from adwright.cli.shared import echo, fail
from adwright.cli.verbs import DefaultGroup, verb
from adwright.core.errors import AdwrightError
from adwright.core.progress import printable
from adwright.core.version import __version__

#: Exit code where the user can do something about it: a wrong file, setting or folder.
MISTAKE = 2
#: Exit code after Ctrl-C, as of a shell.
INTERRUPTED = 130
#: Where a context keeps the words of the command line.
_WORDS = "adwright.words"


class Root(TyperGroup):
    """Turns an AdwrightError of any verb into one readable message and exit code 2, and Ctrl-C into
    one that says how to go on."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words, for what is said after Ctrl-C."""
        ctx.meta[_WORDS] = tuple(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        """The words in the order of the panels."""
        order = list(GROUPS)
        words: list[str] = super().list_commands(ctx)
        return sorted(
            words, key=lambda name: order.index(vars(self.commands[name])["rich_help_panel"])
        )

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; with --debug, errors pass through with their traceback."""
        try:
            return super().invoke(ctx)
        except AdwrightError as error:
            if ctx.params.get("debug"):
                raise
            fail(error)
            raise typer.Exit(MISTAKE) from error
        except KeyboardInterrupt as error:
            typer.secho("Interrupted.", fg=typer.colors.RED, err=True)
            for line in _ways_on(self, ctx.meta[_WORDS]):
                typer.echo(line, err=True)
            raise typer.Exit(INTERRUPTED) from error


class _Printable(logging.Formatter):
    """Lines of the log hold names of tables and what servers answer."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _ways_on(root: Any, words: Sequence[str]) -> list[str]:
    """What to type after the command `words` was interrupted."""
    command = root
    for word in words:
        command = getattr(command, "commands", {}).get(word, command)
    if isinstance(command, DefaultGroup):
        command = command.commands[command.default]
    options = {name for one in command.params for name in one.opts}
    if "--resume" not in options:
        return []
    # Not without --force: what it was to replace is still there.
    kept = [word for word in words if word not in ("--resume", "--stop-now")]
    ways = {"--resume": "to go on", "--stop-now": "to close it with what it has"}
    return [
        f"  {what}: {shlex.join(['adwright', *kept, option])}"
        for option, what in ways.items()
        if option in options
    ]


app = typer.Typer(
    name="adwright",
    cls=Root,
    help=(
        "Ads written, judged, delivered, audited, operated and retired on one stack.\n\n"
        "Begin with `adwright demo`: it lets simulated people meet ads that are written, chosen, "
        "stopped and written again, and makes a page to read. With data of your own, go "
        "`adwright data import`, `adwright train`, `adwright score`; for ads `adwright cycle new`. "
        "Each verb explains itself: `adwright train -h`."
    ),
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"adwright {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error, for a bug report.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Do not report how long each stage took.")
    ] = False,
) -> None:
    logger = logging.getLogger("adwright")
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_Printable())
        logger.addHandler(handler)


#: Panel of the help: its groups. Their single verbs name their panel by themselves.
GROUPS = {
    "Data": {"demo": demo.app, "data": data.app, "ads": ads.app, "store": store.app},
    "Ads": {
        "author": author.app,
        "creative": creative.app,
        "creatives": creatives.app,
        "audit": audit.app,
    },
    "Recommend": {"train": train.app, "evaluate": evaluate.app},
    "Language models": {"lm": lm.app, "tune": tune.app, "programs": programs.app},
    "Operate": {
        "agent": agent.app,
        "retire": retire.app,
        "experiment": experiment.app,
        "cycle": cycle.group(app),
    },
}
verb(app, "score", panel="Recommend")(ranker.score)
verb(app, "explain", panel="Recommend")(ranker.explain)
verb(app, "export", panel="Recommend", by_place="out")(ranker.export)
verb(app, "recommend", panel="Recommend")(recommend.recommend)
verb(app, "retrain", panel="Recommend")(retrain.retrain)
verb(app, "simulate", panel="Operate")(simulate.simulate)
verb(app, "serve", panel="Operate")(serve.serve)
verb(app, "publish", panel="Operate")(serve.publish)
verb(app, "key", panel="Operate")(serve.key)
for panel, groups in GROUPS.items():
    for name, group in groups.items():
        app.add_typer(group, name=name, rich_help_panel=panel)


def main() -> None:
    """Run the command line; what the `adwright` command calls."""
    # All that the verbs print passes here, so that no text of a stranger commands the terminal.
    typer.echo = echo  # type: ignore[assignment]  # its flags are named
    app()
