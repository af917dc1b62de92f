"""adwright programs explain: what a program is, before any of it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adwright.cli.shared import allowed_to_replace
from adwright.core.config import Ge, Le


def explain(
    file: str,
    *,
    value: list[str] | None = None,
    engines: Annotated[int, Ge(1), Le(64)] = 1,
    svg: Path | None = None,
    html: Path | None = None,
    force: bool = False,
) -> None:
    """Say what a program is and what is asked of each of its calls; nothing is run.

    A line for each part: what it reads and writes, the objective that follows from the outputs
    asked for, its group (calls that feed one reader, of which none has to be early), the calls and
    tokens that are left on the longest way, and the engine that the scheduler would choose, worked
    out on simulated ones. What is wrong with the program is said with its place.

        adwright programs explain creative-team --engines 2 --svg team.svg

    Options:
        file: A program in JSON, or the name of one that comes along: creative-team.
        value: NAME=TEXT: what a variable is, in the place of what the file says; NAME=@FILE
            reads it; may be repeated.
        engines: Predict where calls go on so many engines.
        svg: Draw the graph into this file.
        html: Write the graph and the table as a page, too.
    """
    from adwright.core.atomic import atomic_write_text
    from adwright.programs.frontend import explain as explaining
    from adwright.programs.frontend.explain import predict_placement
    from adwright.programs.frontend.flow import read_program

    program = read_program(file, values_of(value))
    for path in filter(None, (svg, html)):
        allowed_to_replace(path, force=force)
    predicted = predict_placement(program, engines=engines)
    found = explaining.explain(program, predicted=predicted)
    typer.echo(found.text)
    if svg is not None:
        atomic_write_text(svg, found.svg)
    if html is not None:
        atomic_write_text(html, found.page(Path(file).stem))


def values_of(given: list[str] | None) -> dict[str, str]:
    """The texts of --value. Raises ConfigError for what is no pair, or a file that is not there."""
    from adwright.core.errors import ConfigError

    found: dict[str, str] = {}
    for one in given or ():
        name, sign, text = one.partition("=")
        if not sign or not name:
            raise ConfigError(f"{one[:80]!r} is no value", where="--value", hint="write NAME=TEXT")
        if text.startswith("@"):
            try:
                text = Path(text[1:]).read_text("utf-8")
            except (OSError, ValueError) as error:
                what = f"the text of {name} cannot be read: {error}"
                raise ConfigError(what, where=f"--value {one[:80]}", hint="name a file") from error
        found[name] = text
    return found
