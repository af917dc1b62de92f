"""The command line: a verb each, no logic."""

from __future__ import annotations

from typing import Annotated

import typer

from adwright import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    name="adwright",
    help="Ads written, judged, delivered, audited, operated and retired on one stack.",
    no_args_is_help=True,
    add_completion=False,
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
) -> None:
    """Ads written, judged, delivered, audited, operated and retired on one stack."""


def main() -> None:
    """Run the command line; what the `adwright` command calls."""
    app()
