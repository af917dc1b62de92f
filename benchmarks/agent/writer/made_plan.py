"""Plans of made-up consoles: what things they keep, with which fields, on which kinds of pages.

    plan = draw_plan(7)
    plan.things[0].plural, plan.things[0].fields[0].label

No two seeds give the same app: names, paths, words of buttons, ways to an item's form, and how a
thing is deleted are drawn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from adwright.core.config import settings

FieldKind = Literal["text", "number", "date", "choice", "switch"]

_THINGS = (
    *("article", "audience", "banner", "brand", "bundle", "campaign", "carrier", "category"),
    *("channel", "coupon", "courier", "customer", "event", "gift card", "invoice", "keyword"),
    *("landing page", "location", "newsletter", "order", "partner", "placement", "price list"),
    *("product", "promotion", "range", "return", "review", "route", "segment", "shipment"),
    *("store", "supplier", "survey", "tag", "team", "template", "ticket", "voucher", "warehouse"),
)
_NAMES = ("Name", "Title", "Label", "Display name", "Code", "Heading", "Subject")
_FIELDS: tuple[tuple[str, FieldKind, tuple[str, ...]], ...] = (
    ("Amount", "number", ()),
    ("Budget", "number", ()),
    ("Discount", "number", ("0", "90")),
    ("Priority", "number", ("1", "99")),
    ("Price", "number", ("0", "500")),
    ("Quantity", "number", ("0", "400")),
    ("Stock", "number", ("0", "900")),
    ("Threshold", "number", ()),
    ("Weight", "number", ()),
    ("Max uses", "number", ("1", "200")),
    ("Start date", "date", ()),
    ("End date", "date", ()),
    ("Due date", "date", ()),
    ("Published on", "date", ()),
    ("Status", "choice", ("Draft", "Active", "Paused", "Closed")),
    ("State", "choice", ("Open", "Pending", "Complete", "Cancelled")),
    ("Type", "choice", ("Email", "Display", "Search", "Social")),
    ("Country", "choice", ("France", "Germany", "Ireland", "Poland", "Spain")),
    ("Priority level", "choice", ("Low", "Normal", "High", "Urgent")),
    ("Currency", "choice", ("EUR", "GBP", "USD")),
    ("Size", "choice", ("Small", "Medium", "Large")),
    ("Language", "choice", ("English", "German", "Italian")),
    ("Active", "switch", ()),
    ("Is public", "switch", ()),
    ("Featured", "switch", ()),
    ("Taxable", "switch", ()),
    ("Requires shipping", "switch", ()),
    ("Visible in menu", "switch", ()),
    ("Description", "text", ()),
    ("Comment", "text", ()),
    ("Contact", "text", ()),
    ("Email", "text", ()),
    ("City", "text", ()),
    ("Owner", "text", ()),
    ("Slogan", "text", ()),
    ("Reference", "text", ()),
    ("Tracking code", "text", ()),
    ("Keywords", "text", ()),
)
_PREFIXES = ("", "/admin", "/dashboard", "/manage", "/console", "/backoffice")
_SAVES = ("Save", "Save changes", "Update", "Submit", "Apply", "Store")
_CONFIRMS = ("Yes, delete", "Delete", "Confirm", "Delete it", "Yes, remove it")


@settings
class PlanField:
    """A field of a thing. limits: options of a choice, or lowest and highest of a number."""

    label: str
    kind: FieldKind
    limits: tuple[str, ...] = ()
    required: bool = False

    @property
    def name(self) -> str:
        """As its form sends it."""
        return self.label.lower().replace(" ", "_")


@settings
class MadeThing:
    """One kind of thing. door: each row has a link "Edit" or "View", or its name is one. details:
    the link leads to a page that only shows the thing, with a link to its form. deletes: on a page
    of its own, by a button of the form, or not at all. new, edit: words of paths. search: whether
    the list has one."""

    noun: str
    plural: str
    slug: str
    fields: tuple[PlanField, ...]
    door: str
    details: bool
    deletes: Literal["page", "button", "no"]
    new: str
    edit: str
    save: str
    confirm: str
    search: bool
    items: int


@dataclass(frozen=True)
class MadePlan:
    """One app."""

    name: str
    prefix: str
    things: tuple[MadeThing, ...]


def draw_plan(seed: int) -> MadePlan:
    """The plan of a seed, always the same."""
    source = random.Random(f"made app {seed}")
    nouns = source.sample(_THINGS, source.randint(3, 5))
    prefix = source.choice(_PREFIXES)
    return MadePlan(f"made-{seed}", prefix, tuple(_thing(noun, source) for noun in nouns))


def _thing(noun: str, source: random.Random) -> MadeThing:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    more = source.sample(_FIELDS, source.randint(1, 6))
    first = PlanField(source.choice(_NAMES), "text", (), True)
    others = [PlanField(label, kind, limits, source.random() < 0.2) for label, kind, limits in more]
    return MadeThing(
        noun,
        plural,
        source.choice((plural, noun)).replace(" ", source.choice("-_")),
        (first, *others),
        source.choice(("Edit", "Edit", "View", "Open", "")),
        source.random() < 0.3,
        source.choice(("page", "page", "button", "no")),
        source.choice(("new", "create", "add")),
        source.choice(("", "edit", "update", "change")),
        source.choice(_SAVES),
        source.choice(_CONFIRMS),
        source.random() < 0.5,
        source.randint(3, 6),
    )
