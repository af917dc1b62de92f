"""A made-up console in memory: its pages as screens, what it stores, and its document.

    app = MadeApp(draw_plan(7))
    document = app.document()
    app.start(); app.open(gate); app.snapshot()          # a `DisposableApp`

The document is built by the explorer's own rules from the screens, so names are what they would be
of a real app. Nothing is rendered, so hundreds of solutions are tried in a minute.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

from adwright.agent.document.elements import AppDocument, Element, Locator, url_template
from adwright.agent.document.elements import ValueConstraints as Limits
from adwright.agent.document.finding import skeleton_of
from adwright.agent.drivers.protocol import (
    GateDecision,
    PendingRequest,
    RequestGate,
    Screen,
    ScreenDriver,
    ScreenNode,
)
from adwright.agent.explore.describe import describe
from adwright.agent.explore.explorer import PageRecord, build_document
from benchmarks.agent.synthesis.disposable import StoredState
from benchmarks.agent.synthesis.drawn_values import draw_value, said_value
from benchmarks.agent.writer.made_plan import MadePlan, MadeThing, PlanField
from tests.support.agent.shop_app import Answer
from tests.support.agent.shop_document import ORIGIN
from tests.support.agent.shop_driver import ShopDriver

_BODY = "/html[1]/body[1]"
_MAIN = f"{_BODY}/main[1]"
_TABLE = f"{_MAIN}/table[1]"
_ROLES = {
    "text": "textbox",
    "number": "spinbutton",
    "date": "textbox",
    "choice": "combobox",
    "switch": "checkbox",
}


class MadeApp:
    """One app; it starts as its plan says, each time the same."""

    def __init__(self, plan: MadePlan) -> None:
        self.name = plan.name
        self._plan = plan
        self._things: dict[str, MadeThing] = {one.slug: one for one in plan.things}
        self._rows: dict[str, dict[int, dict[str, str]]] = {}
        self._driver: _MadeDriver | None = None
        self.start()

    # --- a disposable app --------------------------------------------------------------

    def start(self) -> str:
        source = random.Random(f"rows {self.name}")
        self._rows = {slug: _drawn(thing, source) for slug, thing in self._things.items()}
        return ORIGIN

    def open(self, gate: RequestGate) -> ScreenDriver:
        self._driver = _MadeDriver(self, gate)
        return self._driver

    def snapshot(self) -> StoredState:
        return {
            slug: {str(key): dict(row) for key, row in rows.items()}
            for slug, rows in self._rows.items()
        }

    def stop(self) -> None:
        self._driver = None

    def document(self) -> AppDocument:
        """All pages, of each kind the first, as an exploration would have recorded them."""
        records = []
        for path in self._paths():
            screen = _MadeDriver(self, _refuse).screen_at(path)
            records.append(
                PageRecord(
                    ORIGIN + path,
                    ORIGIN + path,
                    url_template(ORIGIN + path),
                    skeleton_of(screen),
                    screen.title,
                    describe(screen),
                )
            )
        return build_document(self.name, records, (ORIGIN,))

    def _paths(self) -> Iterator[str]:
        yield self._home
        for slug, thing in self._things.items():
            base = f"{self._plan.prefix}/{slug}/"
            yield base
            yield f"{base}{thing.new}/"
            first = next(iter(self._rows[slug]))
            if thing.details:
                yield f"{base}details/{first}/"
            yield self._edit_path(thing, first)
            if thing.deletes == "page":
                yield f"{base}{first}/delete/"

    @property
    def _home(self) -> str:
        return f"{self._plan.prefix}/"

    # --- pages -------------------------------------------------------------------------

    def title(self, path: str) -> str:
        """The title of a page."""
        thing, rest = self._of(path)
        if thing is None:
            return "Home"
        if not rest:
            return thing.plural.capitalize()
        return f"{'New' if rest[0] == thing.new else 'Edit'} {thing.noun}"

    def page(self, path: str) -> list[ScreenNode]:
        """The nodes of a page; none where there is no such page."""
        thing, rest = self._of(path)
        nodes = list(self._frame())
        if thing is None:
            return nodes if urlsplit(path).path == self._home else []
        nodes.append(_node("title", "heading", self.title(path), f"{_MAIN}/h1[1]"))
        key = next((int(one) for one in rest if one.isdigit()), None)
        if key is not None and key not in self._rows[thing.slug]:
            return []
        if not rest:
            query = dict(parse_qsl(urlsplit(path).query))
            return [*nodes, *self._list(thing, query.get("q", ""))]
        if rest[-1] == "delete":
            action = f"{self._plan.prefix}/{thing.slug}/{key}/delete/"
            return [*nodes, _button("confirm", thing.confirm, action, 1)]
        if rest[0] == "details" and key is not None:
            href = self._edit_path(thing, key)
            return [*nodes, _link("edit", "Edit", href, f"{_MAIN}/p[1]/a[1]")]
        return [*nodes, *self._form(thing, key)]

    def _of(self, path: str) -> tuple[MadeThing | None, list[str]]:
        inner = urlsplit(path).path.removeprefix(self._plan.prefix)
        parts = [one for one in inner.split("/") if one]
        thing = self._things.get(parts[0]) if parts else None
        return thing, parts[1:]

    def _edit_path(self, thing: MadeThing, key: int) -> str:
        base = f"{self._plan.prefix}/{thing.slug}/"
        return f"{base}{thing.edit}/{key}/" if thing.edit else f"{base}{key}/"

    def _frame(self) -> Iterator[ScreenNode]:
        yield _link("home", "Home", self._home, f"{_BODY}/nav[1]/ul[1]/li[1]/a[1]")
        for n, thing in enumerate(self._plan.things, 2):
            href = f"{self._plan.prefix}/{thing.slug}/"
            place = f"{_BODY}/nav[1]/ul[1]/li[{n}]/a[1]"
            yield _link(f"nav-{thing.slug}", thing.plural.capitalize(), href, place)

    def _list(self, thing: MadeThing, wanted: str) -> Iterator[ScreenNode]:
        base = f"{self._plan.prefix}/{thing.slug}/"
        yield _link("new", f"New {thing.noun}", f"{base}{thing.new}/", f"{_MAIN}/p[1]/a[1]")
        if thing.search:
            facts = {"tag": "input", "type": "text", "name": "q", "form": "s"}
            facts["xpath"] = f"{_MAIN}/form[1]/input[1]"
            yield ScreenNode("q", "textbox", "Search for", wanted, facts=facts)
            yield _button("search", "Search", base, 1, method="GET", form="s")
        shown = thing.fields[:3]
        heads = [one.label for one in shown] + ["Actions"]
        top = f"{_TABLE}/thead[1]/tr[1]"
        yield ScreenNode("head", "row", "", text=" ".join(heads), facts={"xpath": top})
        for n, head in enumerate(heads, 1):
            yield _node(f"head-{n}", "columnheader", head, f"{top}/th[{n}]", "head")
        rows = [
            (key, row)
            for key, row in self._rows[thing.slug].items()
            if wanted.casefold() in " ".join(row.values()).casefold()
        ]
        for place, (key, row) in enumerate(rows, 1):
            yield from self._row(thing, shown, (place, key, row))

    def _row(
        self, thing: MadeThing, shown: tuple[PlanField, ...], row: tuple[int, int, dict[str, str]]
    ) -> Iterator[ScreenNode]:
        place, key, values = row
        path, name = f"{_TABLE}/tbody[1]/tr[{place}]", f"row-{key}"
        href = (
            f"{self._plan.prefix}/{thing.slug}/details/{key}/"
            if thing.details
            else self._edit_path(thing, key)
        )
        texts = [values[one.name] for one in shown]
        said = " ".join([*texts, thing.door]).strip()
        yield ScreenNode(name, "row", "", text=said, facts={"xpath": path})
        for n, text in enumerate(texts, 1):
            cell = f"{name}-{n}"
            yield _node(cell, "cell", text, f"{path}/td[{n}]", name)
            if n == 1 and not thing.door:
                yield _link(f"door-{key}", text, href, f"{path}/td[1]/a[1]", cell)
        if thing.door:
            last = f"{name}-last"
            yield _node(last, "cell", thing.door, f"{path}/td[{len(texts) + 1}]", name)
            yield _link(f"door-{key}", thing.door, href, f"{path}/td[{len(texts) + 1}]/a[1]", last)

    def _form(self, thing: MadeThing, key: int | None) -> Iterator[ScreenNode]:
        rows = self._rows[thing.slug]
        values = rows[key] if key is not None else {}
        for n, one in enumerate(thing.fields, 1):
            yield _field(one, values.get(one.name, ""), n)
        base = f"{self._plan.prefix}/{thing.slug}/"
        action = f"{base}{thing.new}/" if key is None else self._edit_path(thing, key)
        yield _button("save", thing.save, action, len(thing.fields) + 1)
        if key is not None and thing.deletes == "page":
            yield _link("delete", "Delete", f"{base}{key}/delete/", f"{_MAIN}/p[2]/a[1]")
        if key is not None and thing.deletes == "button":
            yield _button("drop", "Delete", f"{base}{key}/delete/", 1, form="d")

    # --- what it stores ------------------------------------------------------------------

    def post(self, path: str, fields: Mapping[str, str]) -> Answer:
        """A write."""
        thing, rest = self._of(path)
        if thing is None or not rest:
            return Answer(404)
        rows = self._rows[thing.slug]
        base = f"{self._plan.prefix}/{thing.slug}/"
        key = next((int(one) for one in rest if one.isdigit()), None)
        if rest[-1] == "delete" and key is not None:
            rows.pop(key, None)
            return Answer(303, base)
        if any(one.required and not fields.get(one.name) for one in thing.fields):
            return Answer(200, path)
        row = {
            one.name: ("true" if one.name in fields else "false")
            if one.kind == "switch"
            else fields.get(one.name, "")
            for one in thing.fields
        }
        rows[max(rows, default=0) + 1 if key is None else key] = row
        return Answer(303, base)


class _MadeDriver(ShopDriver):
    """The driver of the tests' shop, which also sends forms by GET."""

    def __init__(self, app: MadeApp, gate: RequestGate) -> None:
        super().__init__(app, gate)  # type: ignore[arg-type]

    def screen_at(self, path: str) -> Screen:
        """A page, without asking anybody."""
        self._path = path
        return self.observe()

    def tap(self, node: ScreenNode) -> None:
        if node.facts.get("method") != "GET":
            super().tap(node)
            return
        form = node.facts.get("form")
        sent = {
            one.facts["name"]: one.value
            for one in self.observe().nodes
            if one.facts.get("form") == form and "name" in one.facts
        }
        self._go(f"{ORIGIN}{node.facts['action']}?{urlencode(sent)}")


def _refuse(request: PendingRequest) -> GateDecision:
    return GateDecision(False, "reading", "nothing is sent")


def _drawn(thing: MadeThing, source: random.Random) -> dict[int, dict[str, str]]:
    rows: dict[int, dict[str, str]] = {}
    for key in range(1, thing.items + 1):
        row = {}
        for one in thing.fields:
            value = draw_value(_element(one), None, source)
            text = str(value).lower() if isinstance(value, bool) else said_value(value or "")
            row[one.name] = text
        rows[key] = row
    return rows


def _element(one: PlanField) -> Element:
    low, high = (*one.limits, None, None)[:2] if one.kind == "number" else (None, None)
    options = one.limits if one.kind == "choice" else ()
    return Element(
        "made__field",
        "made",
        _ROLES[one.kind],
        one.label,
        (Locator("role", one.label, role=_ROLES[one.kind]),),
        one.kind,
        options,
        Limits(lowest=low, highest=high),
    )


def _field(one: PlanField, value: str, place: int) -> ScreenNode:
    kind = {"number": "number", "date": "date", "switch": "checkbox"}.get(one.kind, "text")
    tag = "select" if one.kind == "choice" else "input"
    facts = {"tag": tag, "type": kind, "name": one.name, "form": "f", "label": one.label}
    facts["xpath"] = f"{_MAIN}/form[2]/div[{place}]/{tag}[1]"
    if one.required:
        facts["required"] = ""
    if one.kind == "number" and one.limits:
        facts["min"], facts["max"] = one.limits
    shown = (value or "false") if one.kind == "switch" else value
    options = one.limits if one.kind == "choice" else ()
    key = f"field-{one.name}"
    return ScreenNode(key, _ROLES[one.kind], one.label, shown, facts=facts, options=options)


def _button(
    key: str, name: str, action: str, place: int, *, method: str = "POST", form: str = "f"
) -> ScreenNode:
    facts = {"tag": "button", "type": "submit", "form": form, "method": method, "action": action}
    number = {"s": 1, "f": 2, "d": 3}[form]
    facts["xpath"] = f"{_MAIN}/form[{number}]/div[{place}]/button[1]"
    return ScreenNode(key, "button", name, text=name, facts=facts)


def _link(key: str, name: str, href: str, path: str, parent: str = "") -> ScreenNode:
    facts = {"tag": "a", "href": ORIGIN + href, "xpath": path}
    return ScreenNode(key, "link", name, text=name, facts=facts, parent=parent)


def _node(key: str, role: str, name: str, path: str, parent: str = "") -> ScreenNode:
    return ScreenNode(key, role, name, text=name, facts={"xpath": path}, parent=parent)
