"""Draw docs/_static/overview.svg: the way from a log to a service and back, with its commands.

    python docs/_overview.py            draw it
    python docs/_overview.py --check    say whether it is out of date, and exit with 1

The picture stands on a ground of its own and follows the reader's choice of light or dark. A
command that is named in it must exist: it is looked for among those of the command line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from _command_line import command_names

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "_static" / "overview.svg"

# Sizes in pixels.
WIDTH, HEIGHT = 980, 560
LINE, PAD = 17, 12
STYLE = """
.ground{fill:#f6f8fa}.box{fill:#ffffff;stroke:#c3cdd8}.title{fill:#1d2733}.text{fill:#51606f}
.command{fill:#1f6f4a}.band{fill:#e8edf3}.arrow{stroke:#3f7fb5;fill:none}.head{fill:#3f7fb5}
.label{fill:#3f7fb5}
@media (prefers-color-scheme: dark){
.ground{fill:#12181f}.box{fill:#1c2530;stroke:#3b4a5a}.title{fill:#eef3f8}.text{fill:#a9b7c6}
.command{fill:#79d2a6}.band{fill:#19212b}.arrow{stroke:#6fa8dc}.head{fill:#6fa8dc}
.label{fill:#8fbde8}}
"""
FONT = "system-ui, 'Helvetica Neue', Arial, sans-serif"
MONO = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"


@dataclass(frozen=True)
class Box:
    """A station of the way. commands: without "adwright"; what is typed there."""

    name: str
    x: int
    y: int
    width: int
    height: int
    lines: tuple[str, ...]
    commands: tuple[str, ...] = ()


TOP, BELOW, TALL = 56, 268, 150
BOXES = (
    Box(
        "your log",
        *(24, TOP, 180, TALL),
        (
            "CSV, JSON lines, Parquet,",
            "pandas, Arrow: purchases,",
            "clicks, ratings, or what",
            "was shown",
        ),
    ),
    Box(
        "checked log",
        *(236, TOP, 188, TALL),
        ("columns, kinds and times", "mapped; every row checked;", "what is odd is said"),
        ("data import", "data describe"),
    ),
    Box(
        "rules and models",
        *(456, TOP, 262, TALL),
        (
            "rules in seconds: item-item, popularity",
            "find: two towers, HCN, HSTU, SASRec",
            "rank what was shown: DIN, HSTU",
        ),
        ("train item-item", "train cascade"),
    ),
    Box(
        "measured",
        *(750, TOP, 206, TALL),
        (
            "beside the rules, on later",
            "visits, with intervals; of a",
            "cascade, what validation",
            "does not favour is left out",
        ),
        ("evaluate model", "evaluate policy"),
    ),
    Box(
        "recommend or publish",
        *(750, BELOW, 206, TALL),
        (
            "the best k for everybody into",
            "Parquet; or a model that was",
            "asked before it decides",
        ),
        ("recommend", "publish"),
    ),
    Box(
        "serve",
        *(500, BELOW, 208, TALL),
        (
            "decisions over HTTP, in time",
            "or refused; how probable each",
            "place was; caps, budgets;",
            "API keys by tenant",
        ),
        ("serve",),
    ),
    Box(
        "store",
        *(262, BELOW, 202, TALL),
        ("decisions and events, each", "exactly once; SQLite or", "PostgreSQL, then Parquet"),
        ("store show", "store compact"),
    ),
    Box(
        "retrain",
        *(24, BELOW, 202, TALL),
        ("the old log and what was", "served since; the new model", "beside the old one"),
        ("retrain",),
    ),
)
#: From the side of one box to that of another; what goes along.
ARROWS = (
    ("your log", "right", "checked log", "left"),
    ("checked log", "right", "rules and models", "left"),
    ("rules and models", "right", "measured", "left"),
    ("measured", "bottom", "recommend or publish", "top"),
    ("recommend or publish", "left", "serve", "right"),
    ("serve", "left", "store", "right"),
    ("store", "left", "retrain", "right"),
    ("retrain", "top", "rules and models", "bottom"),
)
STRIP = (
    "language models, on their own or beside it",
    "engines (torch, OpenVINO, llama.cpp, any OpenAI-compatible endpoint), parameter-efficient",
    "tuning, many adapters over one base, an endpoint of the same kind",
)
STRIP_COMMANDS = ("lm generate", "lm serve", "tune run", "tune compare")


def svg() -> str:
    """The picture.

    Raises KeyError for a command that does not exist."""
    known = command_names()
    for name in (*(one for box in BOXES for one in box.commands), *STRIP_COMMANDS):
        if name not in known:
            raise KeyError(name)
    body = [
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="10"/>',
        _text(24, 34, "from a log to a service, and back", 15, "title", weight="600"),
        *(line for arrow in ARROWS for line in _arrow(*arrow)),
        *(line for box in BOXES for line in _box(box)),
        *_strip(),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="{FONT}">\n'
        "<title>adwright: from a log to a service, and back</title>\n"
        f"<style>{STYLE}</style>\n" + "\n".join(body) + "\n</svg>\n"
    )


def _box(box: Box) -> Iterator[str]:
    """Name, a few lines, and below them the commands."""
    yield (
        f'<rect class="box" x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" '
        'rx="6"/>'
    )
    y = box.y + PAD + 10
    yield _text(box.x + PAD, y, box.name, 14, "title", weight="600")
    for line in box.lines:
        y += LINE
        yield _text(box.x + PAD, y, line, 12, "text")
    y = box.y + box.height - PAD - (len(box.commands) - 1) * LINE
    for name in box.commands:
        yield _text(box.x + PAD, y, f"adwright {name}", 12, "command", family=MONO)
        y += LINE


def _arrow(start: str, leaves: str, end: str, arrives: str) -> Iterator[str]:
    """A line in right angles from the side of one box to that of another."""
    x, y = _side(start, leaves)
    to_x, to_y = _side(end, arrives)
    if leaves in ("left", "right"):
        y = to_y
        path = f"M{x} {y}H{to_x}"
    elif x == to_x:
        path = f"M{x} {y}V{to_y}"
    else:
        middle = (y + to_y) / 2
        path = f"M{x} {y}V{middle}H{to_x}V{to_y}"
    yield f'<path class="arrow" d="{path}" fill="none" stroke-width="2"/>'
    turn = {"left": 0, "top": 90, "right": 180, "bottom": 270}[arrives]
    yield (
        f'<path class="head" d="M0 0l-9 -5v10z" transform="translate({to_x} {to_y}) '
        f'rotate({turn})"/>'
    )


def _side(name: str, side: str) -> tuple[float, float]:
    box = next(one for one in BOXES if one.name == name)
    middle = (box.x + box.width / 2, box.y + box.height / 2)
    return {
        "left": (box.x, middle[1]),
        "right": (box.x + box.width, middle[1]),
        "top": (middle[0], box.y),
        "bottom": (middle[0], box.y + box.height),
    }[side]


def _strip() -> Iterator[str]:
    """The band at the foot: language models."""
    top = BELOW + TALL + 24
    yield f'<rect class="band" x="24" y="{top}" width="{WIDTH - 48}" height="98" rx="6"/>'
    yield _text(36, top + 24, STRIP[0], 14, "title", weight="600")
    for number, line in enumerate(STRIP[1:], 1):
        yield _text(36, top + 24 + number * LINE, line, 12, "text")
    commands = "    ".join(f"adwright {name}" for name in STRIP_COMMANDS)
    yield _text(36, top + 84, commands, 12, "command", family=MONO)


def _text(
    x: float,
    y: float,
    text: str,
    size: float,
    kind: str,
    *,
    weight: str = "400",
    family: str = "",
) -> str:
    family = f' font-family="{family}"' if family else ""
    return (
        f'<text class="{kind}" x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" '
        f'xml:space="preserve"{family}>{escape(text)}</text>'
    )


def main(arguments: list[str]) -> int:
    """Draw or check; the exit status."""
    picture = svg()
    if "--check" in arguments:
        same = PICTURE.exists() and PICTURE.read_text("utf-8") == picture
        if not same:
            sys.stdout.write(f"{PICTURE.relative_to(ROOT)} is out of date\n")
        return int(not same)
    PICTURE.write_text(picture, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
