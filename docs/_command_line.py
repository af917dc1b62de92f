"""docs/cli.md: the reference of the command line, written from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

#: What holds for all commands, above the first of them.
HEAD = (
    "| to | type |",
    "|---|---|",
    "| call it where the command is not on the path | `python -m adwright VERB` |",
    "| read what a verb takes | `adwright VERB -h`, or `--help` |",
    "| see what would be done, and what is wrong with it | `adwright VERB ... --dry-run`, where "
    "anything is written |",
    "| have verbs and options completed by the shell | `adwright --install-completion`, once; "
    "bash, zsh, fish and PowerShell |",
    "| see that completion without installing it | `adwright --show-completion` |",
    "| go on after Ctrl-C | the line that is printed then: `--resume`, and for trainings "
    "`--stop-now`, which measures and saves what there is |",
    "| keep out how long each stage took | `adwright --quiet VERB` |",
    "",
    "Results go to standard output, progress and warnings to standard error. Exit codes: 0, 1 for "
    "a no to a question or a gate that fails, 2 for a mistake, 130 after Ctrl-C.",
    "",
)


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
        *HEAD,
        *_options(get_command(app)),
    ]
    for path, command in _commands(get_command(app), "adwright"):
        lines += [f"## {path}", "", *(command.help or "").strip().splitlines(), ""]
        arguments = [
            one for one in command.params if one.param_type_name == "argument" and not one.hidden
        ]
        usage = " ".join(
            one.name.upper() if one.required else f"[{one.name.upper()}]" for one in arguments
        )
        lines += ["```text", f"{path} {usage} [OPTIONS]".replace("  ", " "), "```", ""]
        lines += [f"- `{one.name.upper()}`: {one.help}" for one in arguments]
        lines += ["", *_options(command)] if arguments else _options(command)
    return "\n".join(lines).rstrip() + "\n"


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if command.hidden:  # a name of before
            continue
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def command_names() -> set[str]:
    """The verbs as they are typed after "adwright"."""
    from typer.main import get_command

    from adwright.cli import app

    found = _commands(get_command(app), "adwright")
    return {path.removeprefix("adwright ") for path, _ in found}


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
