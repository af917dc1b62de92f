"""The pages under docs/reference, filled by Sphinx from the docstrings when the pages are built.

A page says `<!-- modules: ROOM -->` where the modules of a room belong. Each becomes a heading and
an `automodule`, so that nothing has to be listed by hand. Our docstrings are plain text: `as_rst`
says the same in reStructuredText, with every character that would mean something there taken
literally.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import dedent

from _imports import read_modules

ROOT = Path(__file__).resolve().parent.parent
#: Run by Alembic, and by CUDA builds of torch: not to be imported here.
LEFT_OUT = ("adwright.campaigns.migrations", "adwright.models.kernels.triton_loops")
_PLACE = re.compile(r"<!-- modules: (\w+) -->")
#: A line of a docstring that says what one or several names mean.
_NAMED = re.compile(r"^[a-z_]\w*(?:, [a-z_]\w*)*: ")


def modules_of(room: str) -> list[str]:
    """The modules of a room with public names of their own, by name. A package's `__init__` has
    none: what it hands on is told where it is defined."""
    found = read_modules(ROOT / "src" / "adwright", "adwright")
    return [
        name
        for name, module in found.items()
        if name.startswith(f"adwright.{room}.")
        and module.path.name != "__init__.py"
        and not name.startswith(LEFT_OUT)
        and re.search(r"^(?:async def|def|class) [a-zA-Z]|^[A-Z]\w* = ", module.text, re.MULTILINE)
    ]


def with_modules(text: str) -> str:
    """The text of a page with the modules of its rooms in their places."""

    def fill(match: re.Match[str]) -> str:
        return "\n".join(
            f"## {name.removeprefix('adwright.')}\n\n"
            f"```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```\n"
            for name in modules_of(match[1])
        )

    return _PLACE.sub(fill, text)


def as_rst(lines: Sequence[str]) -> list[str]:
    """A plain docstring in reStructuredText.

    Indented blocks, and lines with columns in them, stay as they are, in a fixed width. A line that
    begins with a name and a colon is one of a list; other lines that follow each other are one
    paragraph.
    """
    found: list[str] = []
    for block in _blocks(lines):
        if _is_fixed(block):
            fixed = dedent("\n".join(block)).splitlines()
            found += ["::", "", *(f"    {line}" for line in fixed), ""]
        elif _NAMED.match(block[0]):
            found += [f"- {_escaped(one)}" for one in _entries(block)] + [""]
        else:
            found += [_escaped(" ".join(line.strip() for line in block)), ""]
    return found


def _blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """Lines that follow each other without an empty one between; indented ones also across
    these."""
    block: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            block.append(line.rstrip())
        elif block:
            yield block
            block = []


def _is_fixed(block: Sequence[str]) -> bool:
    return block[0].startswith(" ") or any(re.search(r"\S {3,}\S", line) for line in block)


def _entries(block: Sequence[str]) -> Iterator[str]:
    """Each line of a list of names, with the lines that go on with it."""
    entry = ""
    for line in block:
        if entry and _NAMED.match(line):
            yield entry
            entry = ""
        entry = f"{entry} {line.strip()}".strip()
    yield entry


def _escaped(text: str) -> str:
    """Text that means itself; what stands in backticks is code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return re.sub(r"([\\*_|`])", r"\\\1", text)
    found = ""
    for number, part in enumerate(parts):
        if number % 2 and part and part.strip() == part:
            # Code ends before a letter only where something that is not seen stands between.
            joined = "\\ " if parts[number + 1][:1].isalnum() else ""
            found += f"{chr(92) + ' ' if found[-1:].isalnum() else ''}``{part}``{joined}"
        else:
            found += _plain(part)
    return found


def _plain(text: str) -> str:
    """Without markup, and without a mark at the start that would begin a list."""
    text = re.sub(r"([\\*_|])", r"\\\1", text)
    return re.sub(r"^([-+#>.:=~]|\w+[.)] )", r"\\\1", text)
