"""A small shop in memory: what its pages show, what it stores, and how it can lie."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from adwright.agent.drivers.protocol import ScreenNode

Lie = Literal["", "status", "silent"]


@dataclass(frozen=True)
class Offer:
    """One offer."""

    name: str
    share: str = "10"
    status: str = "Open"
    active: bool = True


@dataclass(frozen=True)
class Answer:
    """status, and where a browser goes then; empty where it stays."""

    status: int
    location: str = ""


@dataclass
class ShopApp:
    """lie: "status" refuses writes and shows success, "silent" says 303 and stores nothing. labels,
    test_ids: others than the document knows. twins: labels that stand there twice."""

    offers: dict[int, Offer] = field(
        default_factory=lambda: {7: Offer("Spring"), 8: Offer("Autumn", "20")}
    )
    mails: list[tuple[str, str]] = field(default_factory=list)
    budget: int = 100
    lie: Lie = ""
    labels: dict[str, str] = field(default_factory=dict)
    test_ids: dict[str, str] = field(default_factory=dict)
    actions: dict[str, str] = field(default_factory=dict)
    twins: tuple[str, ...] = ()
    banner: str = ""
    writes: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    # --- what it stores ----------------------------------------------------------------

    def post(self, path: str, fields: Mapping[str, str]) -> Answer:
        """A write."""
        self.writes.append((path, dict(fields)))
        self.banner = "Saved"
        if self.lie == "status":
            return Answer(409, self._next(path))
        if self.lie == "silent":
            return Answer(303, self._next(path))
        if found := re.fullmatch(r"/offers/(\d+)/", path):
            return self._save(found[1], fields)
        if found := re.fullmatch(r"/offers/(\d+)/delete/", path):
            self.offers.pop(int(found[1]), None)
        elif path == "/mail/":
            self.mails.append((fields.get("to", ""), fields.get("text", "")))
        elif path == "/budget/":
            self.budget += int(fields.get("amount") or 0)
        elif path != "/sign-in/":
            return Answer(404)
        return Answer(303, self._next(path))

    def _save(self, key: str, fields: Mapping[str, str]) -> Answer:
        if not fields.get("name"):
            self.banner = "Name is missing"
            return Answer(200, f"/offers/{key}/")
        number = max(self.offers, default=0) + 1 if key == "0" else int(key)
        self.offers[number] = Offer(
            fields["name"], fields.get("share", ""), fields.get("status", ""), "active" in fields
        )
        return Answer(303, "/offers/")

    @staticmethod
    def _next(path: str) -> str:
        if path.startswith("/offers/"):
            return "/offers/"
        return "/budget/" if path == "/budget/" else "/"

    # --- what it shows -----------------------------------------------------------------

    def title(self, path: str) -> str:
        """The title of a page."""
        titles = {"/": "Home", "/offers/": "Offers", "/mail/": "Mail", "/budget/": "Budget"}
        if path.endswith("/delete/"):
            return "Delete offer"
        return titles.get(path, "Sign in" if path == "/sign-in/" else "Edit offer")

    def page(self, path: str) -> list[ScreenNode]:
        """The nodes of a page; values are those that are stored."""
        nodes = self._page(path)
        if self.banner:
            nodes.append(ScreenNode("banner", "status", self.banner, text=self.banner))
        for one in list(nodes):
            if one.name in self.twins:
                nodes.append(replace(one, key=f"{one.key}-twin", facts={}))
        return [replace(one, name=self.labels.get(one.name, one.name)) for one in nodes]

    def _page(self, path: str) -> list[ScreenNode]:
        home = self._link("home", "Home", "/", path)
        if path == "/":
            links = ("offers", "mail", "budget", "sign-in")
            names = ("Offers", "Mail", "Budget", "Sign in")
            pairs = zip(links, names, strict=True)
            return [self._link(one, name, f"/{one}/", path) for one, name in pairs]
        if path == "/offers/":
            search = self._field("search", "Search", "", path)
            return [home, search, self._link("new", "New offer", "/offers/0/", path), *self._rows()]
        if found := re.fullmatch(r"/offers/(\d+)/delete/", path):
            action = f"/offers/{found[1]}/delete/"
            return [home, self._button("confirm", "Yes, delete", action, path)]
        if found := re.fullmatch(r"/offers/(\d+)/", path):
            return [home, *self._form(found[1], path)]
        if path == "/mail/":
            fields = [self._field(*one, "", path) for one in (("to", "To"), ("text", "Text"))]
            return [home, *fields, self._button("send", "Send", "/mail/", path)]
        if path == "/budget/":
            total, facts = f"{self.budget}.00", self._facts("total", path)
            return [
                home,
                self._field("amount", "Amount", "", path, role="spinbutton"),
                ScreenNode("total", "status", "Total", text=total, facts=facts),
                self._button("launch", "Launch", "/budget/", path),
            ]
        password = self._field("password", "Password", "", path)
        return [
            home,
            self._field("user", "User", "", path),
            replace(password, secret=True),
            self._button("enter", "Enter", "/sign-in/", path),
        ]

    def _rows(self) -> list[ScreenNode]:
        nodes = []
        for number, one in self.offers.items():
            text = f"{one.name} {one.share}% {one.status}"
            nodes.append(ScreenNode(f"row{number}", "row", "", text=text))
            edit = self._link(f"edit{number}", "Edit", f"/offers/{number}/", "/offers/")
            nodes.append(replace(edit, parent=f"row{number}"))
        return nodes

    def _form(self, key: str, path: str) -> list[ScreenNode]:
        one = Offer("", "", "Open", False) if key == "0" else self.offers.get(int(key))
        if one is None:
            return []
        status = self._field("status", "Status", one.status, path, role="combobox")
        nodes = [
            self._field("name", "Name", one.name, path),
            self._field("share", "Discount", one.share, path, role="spinbutton"),
            replace(status, options=("Open", "Closed")),
            self._field("active", "Active", str(one.active).lower(), path, role="checkbox"),
            self._button("save", "Save", f"/offers/{key}/", path),
        ]
        if key != "0":
            nodes.append(self._link("delete", "Delete", f"/offers/{key}/delete/", path))
        return nodes

    def _facts(self, key: str, path: str, **more: str) -> dict[str, str]:
        states = {"/": "home", "/offers/": "offers", "/mail/": "mail", "/budget/": "budget"}
        state = states.get(path, "sign_in" if path == "/sign-in/" else "offer_edit")
        state = "offer_delete" if path.endswith("/delete/") else state
        test_id = f"{state}-{key.rstrip('0123456789')}"
        return {"test_id": self.test_ids.get(test_id, test_id), **more}

    def _link(self, key: str, name: str, href: str, path: str) -> ScreenNode:
        facts = self._facts(key, path, href=self.actions.get(name, href))
        return ScreenNode(key, "link", name, text=name, facts=facts)

    def _button(self, key: str, name: str, action: str, path: str) -> ScreenNode:
        facts = self._facts(key, path, action=self.actions.get(name, action), method="post")
        return ScreenNode(key, "button", name, text=name, facts=facts)

    def _field(
        self, key: str, name: str, value: str, path: str, role: str = "textbox"
    ) -> ScreenNode:
        return ScreenNode(key, role, name, value, facts=self._facts(key, path, name=key))
