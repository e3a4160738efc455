"""The graph of an argument as boxes and arrows with coordinates, ready to be written as SVG."""

from __future__ import annotations

import re
import textwrap
from collections import defaultdict
from dataclasses import dataclass

from byreport.argument import Graph, Node

WIDTH, GAP, PITCH, MARGIN = 204, 46, 12, 8
"""Width of a box, and the distances between columns, between boxes and to the edge, in units of the drawing."""
_LINE, _PADDING = 15, 7
_PIECES = re.compile(r"[^.:/-]*[.:/-]|[^.:/-]+")
_NAME_COLUMNS, _TEXT_COLUMNS, _TEXT_LINES = 24, 28, 3


@dataclass(frozen=True)
class Box:
    """A box with its corner, its height, and its text: `name` in lines, then `text` in lines; `full` is all of it."""

    kind: str
    x: int
    y: int
    height: int
    name: tuple[str, ...]
    text: tuple[str, ...]
    full: str
    rule: str | None

    def line(self, number: int) -> int:
        """Where the baseline of a line of text stands."""
        return self.y + _PADDING + _LINE * (number + 1) - 4


@dataclass(frozen=True)
class Drawing:
    """Boxes and arrows; arrows are SVG path data."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    arrows: tuple[str, ...]
    box_width: int = WIDTH


def draw(graph: Graph) -> Drawing:
    """Lay the boxes of a graph out, column by column, each column centred."""
    columns: dict[int, list[Node]] = defaultdict(list)
    for node in graph.nodes:
        columns[node.column].append(node)
    heights = {node.id: _height(node) for node in graph.nodes}
    totals = {
        number: sum(heights[node.id] for node in nodes) + PITCH * (len(nodes) - 1) for number, nodes in columns.items()
    }
    tallest = max(totals.values(), default=0)
    boxes: dict[str, Box] = {}
    for place, number in enumerate(sorted(columns)):
        y = MARGIN + (tallest - totals[number]) // 2
        for node in columns[number]:
            boxes[node.id] = _box(node, MARGIN + place * (WIDTH + GAP), y, heights[node.id])
            y += heights[node.id] + PITCH
    arrows = tuple(_arrow(boxes[start], boxes[end]) for start, end in graph.edges)
    width = len(columns) * (WIDTH + GAP) - GAP + 2 * MARGIN
    return Drawing(max(width, WIDTH), tallest + 2 * MARGIN, tuple(boxes.values()), arrows)


def _lines(node: Node) -> tuple[tuple[str, ...], tuple[str, ...]]:
    name = _clipped(node.name if node.kind != "derived" else "concluded", _NAME_COLUMNS, 2)
    return name, _clipped(node.text, _TEXT_COLUMNS, _TEXT_LINES)


def _clipped(text: str, columns: int, lines: int) -> tuple[str, ...]:
    """The text in a few lines; names, which have no spaces, break behind a dot, a colon or a hyphen."""
    if " " in text:
        return tuple(textwrap.wrap(text, columns, max_lines=lines, placeholder=" …"))
    made = [""]
    for piece in _PIECES.findall(text):
        if len(made[-1] + piece) > columns and made[-1]:
            made.append("")
        made[-1] += piece[:columns]
    return tuple(made) if len(made) <= lines else (*made[: lines - 1], made[lines - 1][: columns - 2] + " …")


def _height(node: Node) -> int:
    name, text = _lines(node)
    return 2 * _PADDING + _LINE * (len(name) + len(text))


def _box(node: Node, x: int, y: int, height: int) -> Box:
    name, text = _lines(node)
    rule = node.name if node.kind == "rule" else None
    return Box(node.kind, x, y, height, name, text, f"{node.name}: {node.text}", rule)


def _arrow(start: Box, end: Box) -> str:
    x1, y1 = start.x + WIDTH, start.y + start.height // 2
    x2, y2 = end.x - 5, end.y + end.height // 2
    bend = max(GAP // 2, (x2 - x1) // 2)
    return f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"
