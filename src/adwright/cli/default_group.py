"""A group of verbs of which one may be left out."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

__all__ = ["DefaultGroup"]


class DefaultGroup(TyperGroup):
    """Words that do not begin with a verb of the group are for its first one, whose options its
    help shows too."""

    @property
    def default(self) -> str:
        """The verb that may be left out."""
        return next(iter(self.commands))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the verb in where it was left out."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help of the group, and below it that of the verb."""
        super().format_help(ctx, formatter)
        verb = self.commands[self.default]
        verb.format_help(type(ctx)(verb, info_name=self.default, parent=ctx), formatter)
