"""Draw docs/_static/floors.svg: the rooms on their floors, and who imports whom.

    python docs/_floors.py            draw it, and print the table of the floors
    python docs/_floors.py --check    say whether it is out of date, and exit with 1

Everything is read from the source and from the contract of import-linter. A row is a room, a band
of rows a floor, a small box a sub-room with its number of files ("*.py" are those in the room
itself). An arc on the right goes from a room to one that it imports, the thicker the more imports;
an arc below the small boxes does the same for sub-rooms, which stand so that imports go to the
right. Red is what must not be: imports to the same floor or a higher one, and rings of sub-rooms.
"""

from __future__ import annotations

import ast
import math
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from _imports import levels, read_modules

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "_static" / "floors.svg"
OWN = "*.py"

# Sizes in pixels.
LEFT, ROW_LEFT, BOXES, ROW_WIDTH = 8, 44, 150, 640
GUTTER = 226
BOX_HEIGHT, BOX_GAP, PAD, FLOOR_GAP = 36, 7, 9, 10
THICKEST = 8.5
# Legible on white and on black: middle tones for lines, and dark text on light boxes alone.
TONES = ("#3f7fb5", "#8a63b8", "#3c9a6b", "#b5802e", "#7b8794", "#b0609a", "#5d7f2f", "#2e8f98")
RED = "#d9302c"
BAND, ROW, BOX, INK, PALE = "#eef1f5", "#dbe3ec", "#ffffff", "#1d2733", "#51606f"
FONT = "font-family=\"system-ui, 'Helvetica Neue', Arial, sans-serif\""


@dataclass
class Room:
    """A folder of the package. files: of each sub-room, the room's own under OWN. inner: imports
    between two sub-rooms."""

    name: str
    floor: int
    files: Counter[str] = field(default_factory=Counter)
    inner: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def boxes(self) -> list[str]:
        """The sub-rooms, each before those that it imports, and the room's own files last."""
        graph = self._graph()
        depth = {name: levels(_reach(graph, name)) for name in graph}
        own = [OWN] if OWN in self.files else []
        return [*sorted(graph, key=lambda name: (-depth[name], name)), *own]

    def is_ring(self, start: str, end: str) -> bool:
        """Whether `end`, a sub-room that `start` imports, imports `start` in turn, or one that
        does."""
        graph = self._graph()
        return OWN not in (start, end) and start in _reach(graph, end)

    def _graph(self) -> dict[str, set[str]]:
        """Which sub-rooms import which. The room's own files are none: some are below the
        sub-rooms, some above."""
        names = self.files.keys() - {OWN}
        return {name: {b for a, b in self.inner if a == name and b in names} for name in names}


@dataclass(frozen=True)
class Floors:
    """rooms: from the top floor down, rooms of a floor in the order of the contract. imports: of
    files between two rooms."""

    rooms: tuple[Room, ...]
    imports: Counter[tuple[str, str]]


def _reach(graph: Mapping[str, set[str]], start: str) -> dict[str, set[str]]:
    """The part of a graph that can be reached from `start`."""
    found, ahead = {start: graph[start]}, [start]
    while ahead:
        for name in graph[ahead.pop()] - found.keys():
            found[name] = graph[name]
            ahead.append(name)
    return found


def read_floors(top: Path) -> Floors:
    """The floors of the checkout `top`.

    Raises KeyError for a room that the contract does not know."""
    settings = tomllib.loads((top / "pyproject.toml").read_text("utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["type"] == "layers")
    floor_of = {
        name.strip(" ()"): len(layers) - 1 - depth
        for depth, layer in enumerate(layers)
        for name in layer.split("|")
    }
    modules = read_modules(top / "src" / "adwright", "adwright")
    place = {}
    for name, module in modules.items():
        _, *parts = name.split(".")
        # `python -m adwright` is no room.
        if not parts or parts == ["__main__"] or not module.counts:
            continue
        is_folder = module.path.name == "__init__.py"
        deep = len(parts) > 2 or (is_folder and len(parts) == 2)
        place[name] = (parts[0], parts[1] if deep else OWN)
    rooms = {room: Room(room, floor_of[room]) for room, _ in place.values()}
    imports: Counter[tuple[str, str]] = Counter()
    for name, (room, part) in place.items():
        rooms[room].files[part] += 1
        for other in modules[name].imports(place.keys()):
            theirs, their_part = place[other]
            if theirs != room:
                imports[room, theirs] += 1
            elif their_part != part:
                rooms[room].inner[part, their_part] += 1
    order = list(floor_of)
    return Floors(tuple(sorted(rooms.values(), key=lambda r: order.index(r.name))), imports)


def table(floors: Floors) -> Iterator[str]:
    """The rooms as a table of Markdown, a row each: what its docstring says is in it."""
    yield "| floor | room | what is in it | sub-rooms | files |"
    yield "|---|---|---|---|---|"
    for room in floors.rooms:
        source = ROOT / "src" / "adwright" / room.name / "__init__.py"
        said = (ast.get_docstring(ast.parse(source.read_text("utf-8"))) or "").split("\n")[0]
        below = ", ".join(f"`{name}`" for name in sorted(room.files.keys() - {OWN}))
        inside = said[:1].lower() + said[1:].rstrip(".")
        yield f"| {room.floor} | `{room.name}` | {inside} | {below} | {room.files.total()} |"


@dataclass(frozen=True)
class _Arc:
    """From one room to another. width: of the line."""

    start: str
    end: str
    count: int
    width: float
    down: bool

    @property
    def head(self) -> float:
        """Height of the arrow's head."""
        return self.width + 4.5


def svg(floors: Floors) -> str:
    """The picture."""
    most = max(floors.imports.values(), default=1)
    floor = {room.name: room.floor for room in floors.rooms}
    arcs = [
        _Arc(a, b, count, _width(count, most), floor[a] > floor[b])
        for (a, b), count in sorted(floors.imports.items())
    ]
    tops, heights, height = _rows(floors, arcs)
    body: list[str] = []
    for number in dict.fromkeys(floor.values()):
        names = [room.name for room in floors.rooms if room.floor == number]
        top, bottom = tops[names[0]] - 4, tops[names[-1]] + heights[names[-1]] + 4
        body.append(_rect(LEFT, top, ROW_LEFT + ROW_WIDTH - LEFT + 4, bottom - top, BAND, 6))
        body.append(_text(LEFT + 18, (top + bottom) / 2 + 5, str(number), 15, PALE, "middle"))
    for room in floors.rooms:
        body += _room(room, tops[room.name], heights[room.name])
    order = [room.name for room in floors.rooms]
    ports = _ports(order, arcs, tops, heights)
    for arc in sorted(arcs, key=lambda a: (not a.down, -abs(ports[a][1] - ports[a][0]))):
        tone = TONES[order.index(arc.start) % len(TONES)] if arc.down else RED
        body.append(_drawn(arc, *ports[arc], tone, height))
    width = ROW_LEFT + ROW_WIDTH + GUTTER
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" '
        f'viewBox="0 0 {width} {height:.0f}" role="img" {FONT}>\n'
        "<title>The rooms of adwright on their floors, and their imports</title>\n"
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _width(count: int, most: int) -> float:
    return 1 + (THICKEST - 1) * math.sqrt(count / most)


def _rows(floors: Floors, arcs: list[_Arc]) -> tuple[dict[str, float], dict[str, float], float]:
    """Top and height of each row, and the height of the picture."""
    tops, heights, y = {}, {}, 12.0
    above: int | None = None
    for room in floors.rooms:
        y += FLOOR_GAP if above not in (None, room.floor) else 0
        ends = sum(arc.head + 1 for arc in arcs if arc.end == room.name)
        starts = sum(arc.width + 2 for arc in arcs if arc.start == room.name)
        inner = 26 if room.inner else 0
        tops[room.name] = y
        heights[room.name] = max(BOX_HEIGHT + 2 * PAD + inner, ends + starts + 2 * PAD)
        y += heights[room.name] + 5
        above = room.floor
    return tops, heights, y + 8


def _room(room: Room, top: float, height: float) -> Iterator[str]:
    """A row: name, number of files, sub-rooms and the imports between them."""
    yield _rect(ROW_LEFT, top, ROW_WIDTH, height, ROW, 5)
    files = room.files.total()
    label = "file" if files == 1 else "files"
    yield _text(ROW_LEFT + 10, top + PAD + 14, room.name, 15, INK, weight="600")
    yield _text(ROW_LEFT + 10, top + PAD + 31, f"{files} {label}", 12, PALE)
    boxes = room.boxes
    if boxes == [OWN]:
        return
    x, middles = float(BOXES), {}
    for name in boxes:
        width = max(7.0 * len(name) + 14, 40)
        yield _rect(x, top + PAD, width, BOX_HEIGHT, BOX, 4)
        yield _text(x + width / 2, top + PAD + 16, name, 12, INK, "middle")
        yield _text(x + width / 2, top + PAD + 30, str(room.files[name]), 11, PALE, "middle")
        middles[name] = x + width / 2
        x += width + BOX_GAP
    most = max(room.inner.values(), default=1)
    y = top + PAD + BOX_HEIGHT
    for (a, b), count in sorted(room.inner.items()):
        tone = RED if room.is_ring(a, b) else PALE
        aside = 5 if middles[b] > middles[a] else -5
        start, end = middles[a] + aside, middles[b] - aside
        depth = y + 10 + 22 * min(abs(end - start) / 420, 1)
        wide = 0.8 + 2.2 * math.sqrt(count / most)
        yield (
            f'<path d="M{start:.1f} {y:.1f}C{start:.1f} {depth:.1f} {end:.1f} {depth:.1f} '
            f'{end:.1f} {y + 6:.1f}" fill="none" stroke="{tone}" stroke-width="{wide:.1f}">'
            f"<title>{escape(room.name)}: {escape(a)} to {escape(b)}, {count}</title></path>"
            f'<path d="M{end:.1f} {y:.1f}l-3.6 7h7.2z" fill="{tone}"/>'
        )


def _ports(
    order: list[str], arcs: list[_Arc], tops: Mapping[str, float], heights: Mapping[str, float]
) -> dict[_Arc, tuple[float, float]]:
    """Where each arc leaves and arrives. What comes in lies above what goes out, and the longest
    arc of either lies outermost, so that arcs of one room do not cross."""
    place = {name: number for number, name in enumerate(order)}
    found: dict[_Arc, list[float]] = {arc: [0.0, 0.0] for arc in arcs}
    for name in order:
        ends = [arc for arc in arcs if arc.end == name]
        starts = [arc for arc in arcs if arc.start == name]
        ends.sort(key=lambda arc: -place[arc.start])
        starts.sort(key=lambda arc: -place[arc.end])
        used = sum(arc.head + 1 for arc in ends) + sum(arc.width + 2 for arc in starts)
        y = tops[name] + (heights[name] - used) / 2
        for arc in ends:
            found[arc][1] = y + (arc.head + 1) / 2
            y += arc.head + 1
        for arc in starts:
            found[arc][0] = y + (arc.width + 2) / 2
            y += arc.width + 2
    return {arc: (start, end) for arc, (start, end) in found.items()}


def _drawn(arc: _Arc, start: float, end: float, tone: str, height: float) -> str:
    """An arc and its head."""
    x, head = ROW_LEFT + ROW_WIDTH + 6, arc.head
    # A curve reaches three quarters of the way to its handles.
    reach = x + 24 + (GUTTER - 38) / 0.75 * (abs(end - start) / height) ** 0.8
    label = f"{arc.start} imports {arc.end}: {arc.count}"
    return (
        f'<path d="M{x} {start:.1f}C{reach:.1f} {start:.1f} {reach:.1f} {end:.1f} '
        f'{x + head * 0.8:.1f} {end:.1f}" fill="none" stroke="{tone}" '
        f'stroke-width="{arc.width:.1f}" stroke-opacity="0.8"><title>{escape(label)}</title></path>'
        f'<path d="M{x} {end:.1f}l{head:.1f} {-head / 2:.1f}v{head:.1f}z" fill="{tone}"/>'
    )


def _rect(x: float, y: float, width: float, height: float, fill: str, corner: int) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'rx="{corner}" fill="{fill}"/>'
    )


def _text(
    x: float, y: float, text: str, size: int, fill: str, anchor: str = "start", weight: str = "400"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" '
        f'text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
    )


def main(arguments: list[str]) -> int:
    """Draw or check; the exit status."""
    floors = read_floors(ROOT)
    picture = svg(floors)
    if "--check" in arguments:
        same = PICTURE.exists() and PICTURE.read_text("utf-8") == picture
        if not same:
            sys.stdout.write(f"{PICTURE.relative_to(ROOT)} is out of date\n")
        return int(not same)
    PICTURE.write_text(picture, "utf-8")
    sys.stdout.writelines(f"{line}\n" for line in table(floors))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
