"""A group of verbs of which one may be left out."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from typer.core import TyperGroup

from adwright.core.errors import ConfigError


class DefaultGroup(TyperGroup):
    """Words that do not begin with a verb of the group are for its first one, whose options its
    help shows too."""

    @property
    def default(self) -> str:
        """The verb that may be left out."""
        return next(iter(self.commands))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the verb in where it was left out; a word that is no file and nearly a verb is a
        ConfigError that names it."""
        if not args and ctx.resilient_parsing:
            # A shell that completes: the verbs are what may follow.
            return super().parse_args(ctx, args)
        first = args[0] if args else ""
        close = get_close_matches(first, self.commands, n=1)
        if close and first not in self.commands and not Path(first).exists():
            raise ConfigError(
                f"there is no verb and no file {first!r}",
                where=f"{ctx.command_path} {first}",
                hint=f"did you mean {close[0]}? The verbs are {', '.join(self.commands)}",
            )
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help of the group, and below it that of the verb."""
        super().format_help(ctx, formatter)
        verb = self.commands[self.default]
        verb.format_help(type(ctx)(verb, info_name=self.default, parent=ctx), formatter)
