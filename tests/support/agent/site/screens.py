"""Screens written by hand, for tests without a browser."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from adwright.agent.drivers.protocol import Screen, ScreenNode


def node(
    key: str, role: str, name: str = "", path: str = "", parent: str = "", /, **facts: str
) -> ScreenNode:
    """A node with facts; `path` is its XPath."""
    return ScreenNode(
        key,
        role,
        name,
        facts={"xpath": path or f"/html/body/{key}", **facts},
        parent=parent,
        text=name,
    )


def screen(*nodes: ScreenNode, url: str = "http://h/offers", title: str = "Offers") -> Screen:
    """A screen whose nodes are counted among those that are alike."""
    of = Counter((one.role, one.name) for one in nodes)
    so_far: Counter[tuple[str, str]] = Counter()
    found = []
    for one in nodes:
        alike = (one.role, one.name)
        found.append(replace(one, nth=so_far[alike], of=of[alike]))
        so_far[alike] += 1
    return Screen(url, title, tuple(found))


def table(rows: int, *, names: tuple[str, ...] = ("Edit",)) -> list[ScreenNode]:
    """A table with headers, in each row a cell of data and links to it."""
    found = [
        node("head", "row", "", "/html/body/table/thead/tr[1]"),
        node("h1", "columnheader", "Title", "/html/body/table/thead/tr[1]/th[1]", "head"),
        node("h2", "columnheader", "Actions", "/html/body/table/thead/tr[1]/th[2]", "head"),
    ]
    for row in range(1, rows + 1):
        path = f"/html/body/table/tbody/tr[{row}]"
        found.append(node(f"r{row}", "row", f"offer {row}", path))
        found.append(node(f"c{row}", "cell", f"offer {row}", f"{path}/td[1]", f"r{row}"))
        found.append(node(f"d{row}", "cell", "", f"{path}/td[2]", f"r{row}"))
        for place, name in enumerate(names, start=1):
            href = f"http://h/offers/{row}/{name.lower()}"
            own = f"{path}/td[2]/a[{place}]"
            found.append(node(f"l{row}.{place}", "link", name, own, f"d{row}", href=href))
    return found
