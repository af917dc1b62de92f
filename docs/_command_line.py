"""docs/cli.md: the reference of the command line, written from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def cli_page() -> str:
    """docs/cli.md."""
    from typer.main import get_command

    from adwright.cli import app

    lines = [
        "# Command line",
        "",
        "Generated from the commands by `docs/_generate.py`; `--help` says the same.",
        "",
        "A mistake in a file, a setting or a path ends with one message, what to do about it,",
        "and exit code 2; `adwright --debug VERB` shows the traceback instead. What is already",
        "there is never replaced without a question or `--force`.",
        "",
        *_options(get_command(app)),
    ]
    for path, command in _commands(get_command(app), "adwright"):
        lines += [f"## {path}", "", *(command.help or "").strip().splitlines(), ""]
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        usage = " ".join(
            one.name.upper() if one.required else f"[{one.name.upper()}]" for one in arguments
        )
        lines += ["```text", f"{path} {usage} [OPTIONS]".replace("  ", " "), "```", ""]
        lines += [f"- `{one.name.upper()}`: {one.help}" for one in arguments]
        lines += ["", *_options(command)] if arguments else _options(command)
    return "\n".join(lines).rstrip() + "\n"


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _options(command: Any) -> list[str]:
    lines = ["| option | meaning | default |", "|---|---|---|"]
    for one in command.params:
        if one.param_type_name != "option" or one.name == "help":
            continue
        names = " / ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
        absent = one.default is None or one.default is False
        default = "needed" if one.required else "" if absent else one.default
        lines.append(f"| {names} | {one.help} | {default} |")
    return [*lines, ""]
