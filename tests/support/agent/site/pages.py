"""The pages of a small ad platform, and variants of them: an app drifts from release to release."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class SiteVariant:
    """What another release has changed. renamed: labels. moved: the fields are in another order,
    within another box. new_ids: other ids, and no test ids. confirms: saving asks once more."""

    renamed: tuple[tuple[str, str], ...] = ()
    moved: bool = False
    new_ids: bool = False
    confirms: bool = False

    def label(self, text: str) -> str:
        """A label of this release."""
        return dict(self.renamed).get(text, text)

    def id(self, name: str) -> str:
        """An id of this release."""
        return f"x-{name}-field" if self.new_ids else name


#: Releases by what has changed in them.
VARIANTS: dict[str, SiteVariant] = {
    "same": SiteVariant(),
    "renamed": SiteVariant(renamed=(("Save", "Store changes"), ("Title", "Headline"))),
    "moved": SiteVariant(moved=True),
    "new ids": SiteVariant(new_ids=True),
    "confirms": SiteVariant(confirms=True),
    "all": SiteVariant((("Title", "Headline"),), moved=True, new_ids=True, confirms=True),
}


def page(title: str, body: str) -> str:
    """A page with the navigation of all pages."""
    return f"""<!doctype html><html lang="en"><head><title>{escape(title)}</title>
<meta name="created" content="now"></head><body><nav>
<a href="/">Home</a> <a href="/offers">Offers</a> <a href="/search?q=tea">Search</a>
<button id="more" aria-expanded="false" onclick="this.setAttribute('aria-expanded', 'true');
  document.getElementById('menu').hidden = false">More</button>
<ul id="menu" hidden><li><a href="/reports">Reports</a></li><li><a href="/logout">Log out</a></li>
</ul></nav><main><h1>{escape(title)}</h1>{body}</main></body></html>"""


def offers_page(offers: dict[int, dict[str, str]]) -> str:
    """A table of all offers."""
    rows = "".join(
        f"<tr><td>{escape(one['title'])}</td><td>{escape(one['price'])}</td>"
        f'<td><a href="/offers/{number}">Edit</a> <a href="/offers/{number}/delete">Delete</a></td>'
        "</tr>"
        for number, one in offers.items()
    )
    return page(
        "Offers",
        "<table><thead><tr><th>Title</th><th>Price</th><th>Actions</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>",
    )


def edit_page(number: int, offer: dict[str, str], variant: SiteVariant) -> str:
    """The form of one offer; its fields are called `name` and `action`, which hide properties."""
    title = (
        f'<p><label for="{variant.id("title")}">{variant.label("Title")}</label>'
        f'<input id="{variant.id("title")}" name="name" required maxlength="40" '
        f'value="{escape(offer["title"])}"></p>'
    )
    price = (
        f'<p><label for="{variant.id("price")}">Price</label><input id="{variant.id("price")}" '
        f'name="price" type="number" min="0" max="99" value="{escape(offer["price"])}"></p>'
    )
    kind = (
        '<p><label for="kind">Kind</label><select id="kind" name="action">'
        "<option>Percent</option><option selected>Amount</option></select></p>"
    )
    fields = f"<div>{price}{kind}{title}</div>" if variant.moved else title + price + kind
    test_id = "" if variant.new_ids else ' data-testid="save"'
    save = variant.label("Save")
    target = f"/offers/{number}/confirm" if variant.confirms else f"/offers/{number}"
    method = "get" if variant.confirms else "post"
    return page(
        f"Edit {offer['title']}",
        f'<form id="offer" action="{target}" method="{method}">'
        f'<input type="hidden" name="csrf_token" value="{number}-now">{fields}'
        f"<button{test_id}>{save}</button></form>"
        f'<form action="/offers/{number}/delete" method="post">'
        "<button>Delete offer</button></form>",
    )
