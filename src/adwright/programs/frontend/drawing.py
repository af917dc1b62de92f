"""Draw a graph in layers as SVG.

Each box stands one layer under the lowest of those that it reads from. Inside a layer, boxes are
ordered by where the boxes stand that they read from (the barycentre rule of Sugiyama et al., 1981),
which leaves few arrows that cross; no box is moved twice, so a graph is always drawn alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from adwright.core.config import settings

__all__ = ["Arrow", "Box", "BoxKind", "draw"]

BoxKind = Literal["chain", "step", "value", "idle"]

# Sizes in pixels.
_LETTER, _LINE, _PAD, _GAP, _LAYER, _EDGE = 6.6, 15, 10, 24, 64, 12
_LONGEST = 40
_INK, _PALE, _WHITE = "#1d2733", "#8a97a5", "#ffffff"
# Okabe and Ito (2008): distinct to colour-blind readers, too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_FONT = 'font-family="system-ui, sans-serif" font-size="12"'


@settings
class Box:
    """A box. kind: a chain, a step (rounded), a value (without an outline) or an idle chain, which
    nobody needs (dashed). group: boxes of one group have one colour."""

    box_id: str
    lines: tuple[str, ...]
    kind: BoxKind = "chain"
    group: str = ""

    @property
    def width(self) -> float:
        """In pixels."""
        return max(len(_cut(one)) for one in self.lines) * _LETTER + 2 * _PAD

    @property
    def height(self) -> float:
        """In pixels."""
        return len(self.lines) * _LINE + _PAD


@dataclass(frozen=True)
class Arrow:
    """From one box to another; label: shown where the mouse rests on it."""

    start: str
    end: str
    label: str = ""


def draw(boxes: Sequence[Box], arrows: Iterable[Arrow]) -> str:
    """The boxes and arrows as SVG. Each box stands behind those that arrows lead from to it."""
    arrows = [one for one in arrows if one.start != one.end]
    layers = _layers(boxes, arrows)
    widths = [sum(box.width + _GAP for box in layer) - _GAP for layer in layers]
    width = max(widths, default=0.0) + 2 * _EDGE
    middles: dict[str, float] = {}
    tops: dict[str, float] = {}
    top = float(_EDGE)
    for layer, own in zip(layers, widths, strict=True):
        left = (width - own) / 2
        for box in layer:
            middles[box.box_id], tops[box.box_id] = left + box.width / 2, top
            left += box.width + _GAP
        top += max(box.height for box in layer) + _LAYER
    height = max(top - _LAYER + _EDGE, 2.0 * _EDGE)
    colours = _colours(boxes)
    heights = {box.box_id: box.height for box in boxes}
    shown = [_arrow(one, heights, middles, tops) for one in arrows]
    shown += [_box(box, middles[box.box_id], tops[box.box_id], colours) for box in boxes]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" {_FONT}>'
        f'<rect width="100%" height="100%" fill="{_WHITE}"/>{"".join(shown)}</svg>'
    )


def _layers(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> list[list[Box]]:
    before: defaultdict[str, list[str]] = defaultdict(list)
    after: defaultdict[str, list[str]] = defaultdict(list)
    for one in arrows:
        before[one.end].append(one.start)
        after[one.start].append(one.end)
    depth: dict[str, int] = {}
    for box in boxes:
        depth[box.box_id] = max((depth[one] + 1 for one in before[box.box_id]), default=0)
    for box in boxes:  # what is only read stands right above its first reader
        if not before[box.box_id] and after[box.box_id]:
            depth[box.box_id] = min(depth[one] for one in after[box.box_id]) - 1
    layers: list[list[Box]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for box in boxes:
        layers[depth[box.box_id]].append(box)
    place: dict[str, float] = {}
    for layer in layers:
        wanted = {}
        for at, box in enumerate(layer):
            above = [place[one] for one in before[box.box_id]]
            wanted[box.box_id] = sum(above) / len(above) if above else at / max(len(layer), 1)
        layer.sort(key=lambda box: wanted[box.box_id])
        place |= {box.box_id: (at + 0.5) / len(layer) for at, box in enumerate(layer)}
    return layers


def _colours(boxes: Iterable[Box]) -> dict[str, str]:
    groups = dict.fromkeys(box.group for box in boxes if box.group)
    return {group: _COLOURS[at % len(_COLOURS)] for at, group in enumerate(groups)}


def _arrow(
    one: Arrow,
    heights: Mapping[str, float],
    middles: Mapping[str, float],
    tops: Mapping[str, float],
) -> str:
    x, y = middles[one.start], tops[one.start] + heights[one.start]
    to_x, to_y = middles[one.end], tops[one.end]
    half = (y + to_y) / 2
    return (
        f'<path d="M{x:.1f} {y:.1f}C{x:.1f} {half:.1f} {to_x:.1f} {half:.1f} {to_x:.1f} '
        f'{to_y - 4:.1f}" fill="none" stroke="{_PALE}"><title>{escape(one.label)}</title></path>'
        f'<path d="M{to_x - 4:.1f} {to_y - 7:.1f}h8l-4 7z" fill="{_PALE}"/>'
    )


def _box(box: Box, middle: float, top: float, colours: Mapping[str, str]) -> str:
    colour = colours.get(box.group, _INK)
    lines = "".join(
        f'<text x="{middle:.1f}" y="{top + _LINE * (at + 1):.1f}" text-anchor="middle" '
        f'fill="{_INK}" font-weight="{"bold" if at == 0 else "normal"}">{escape(_cut(line))}</text>'
        for at, line in enumerate(box.lines)
    )
    stroke = "none" if box.kind == "value" else colour
    dash = ' stroke-dasharray="4 3"' if box.kind == "idle" else ""
    return (
        f'<rect x="{middle - box.width / 2:.1f}" y="{top:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:.1f}" rx="{12 if box.kind == "step" else 3}" fill="{_WHITE}" '
        f'stroke="{stroke}" stroke-width="1.6"{dash}/>{lines}'
    )


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
