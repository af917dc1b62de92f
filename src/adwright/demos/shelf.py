"""The products of Complete Journey as a shop would name them: what the demonstration writes ads of.

    frame = CompleteJourney.open().products().collect()
    shelf_products(frame, ["1082185"])
    (Product("1082185", "Tea bags and bulk tea", category="Teas", attributes=(("Size", "20 ct"), ...

The data set has names as a till prints them ("FRZN SS PREMIUM ENTREES/DNRS/N"), cut after thirty
characters, and no prices or brands; that a product is the grocer's own or somebody else's brand is
all that is known. Abbreviations that are certain are spelled out; numbers and what stands in
brackets go, since they speak of several products; a last word that was cut off goes, too. These
readings are ours.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import polars as pl

from adwright.authoring.checks.names import code_words
from adwright.authoring.tasks import Product

#: Characters after which the data set cuts a name.
_CUT = 30
_WORD = re.compile(r"[A-Z][A-Z'.]*")
_SIZE = re.compile(r"(\d++(?:\.\d++)?|\.\d++) ?(OZ|LB|CT|PK|ML|L|LTR|GAL|PT|QT)", re.ASCII)


@cache
def _read() -> dict[str, Any]:
    """What is known of the words of a till: vague, counters, gone, spelled, departments."""
    return tomllib.loads(files(__package__).joinpath("shelf.toml").read_text("utf-8"))


def readable_name(name: str, category: str = "") -> str:
    """A name as a shop writes it, with the category behind it where it says nothing by itself; ""
    where neither does.

    >>> readable_name("FROZEN FRUIT PIES  & COBBLERS"), readable_name("PREMIUM", "FRZN ICE")
    ('Frozen fruit pies and cobblers', 'Premium frozen ice')
    """
    words, vague = _words(_turned(name)), set(_read()["vague"])
    plain = re.sub(r"\([^)]*\)?", " ", name.upper())
    said = {word.strip(".'") for word in _WORD.findall(plain)} - set(_read()["gone"])
    if category and (not words or said <= vague):
        words += [word for word in _words(category) if word not in words]
    while len(words) > 2 and words[-2] == "and" and words[-1].upper() in vague:
        del words[-2:]
    text = " ".join(_led(words))
    while text.count(" and ") > 1:
        text = text.replace(" and ", ", ", 1)
    text = re.sub(r"^(?:and )+|(?: (?:and|with|for|non|in))+$", "", text).strip()
    return text[:1].upper() + text[1:]


def readable_size(size: str) -> str:
    """One measure, such as "16 oz"; "" for everything else, such as "41-50/16 OZ"."""
    found = _SIZE.fullmatch(" ".join(size.upper().split()))
    if not found:
        return ""
    number = f"{float(found[1]):g}"
    return f"{number} {'l' if found[2] == 'LTR' else found[2].lower()}"


def shelf_product(cells: Mapping[str, object]) -> Product | None:
    """The product of a row of `CompleteJourney.products`; None where nothing names it, or its name
    keeps a code that is not known."""
    text = {name: str(value or "").strip() for name, value in cells.items()}
    category = readable_name(text["product_category"])
    title = readable_name(text["product_type"], text["product_category"])
    if not title or code_words(title):
        return None
    pairs = (
        ("Size", readable_size(text["package_size"])),
        ("Department", _read()["departments"].get(text["department"].upper(), "")),
        ("Brand type", {"Private": "store brand", "National": "national brand"}.get(text["brand"])),
    )
    return Product(
        text["product_id"],
        title,
        category=category,
        attributes=tuple((name, value) for name, value in pairs if value),
    )


def shelf_products(frame: pl.DataFrame, ids: Iterable[str]) -> tuple[Product, ...]:
    """The products of these ids in their order; those that nothing names are left out.

    frame: of `CompleteJourney.products`.
    """
    wanted = list(ids)
    rows = frame.with_columns(pl.col("product_id").cast(pl.String)).filter(
        pl.col("product_id").is_in(wanted)
    )
    found = {str(cells["product_id"]): shelf_product(cells) for cells in rows.iter_rows(named=True)}
    return tuple(product for one in wanted if (product := found.get(one)) is not None)


def _led(words: list[str]) -> list[str]:
    """ "eggs x large" as "extra large eggs"; of a row with "and" the order stays."""
    leads, at = set(_read()["leads"]), len(words)
    while at > 1 and words[at - 1] in leads:
        at -= 1
    if "and" in words or at in (0, len(words)):
        return words
    plain = " ".join((*words[at:], *words[:at]))
    return re.sub(r"\bx large\b", "extra large", plain).split(" ")


def _turned(name: str) -> str:
    """ "BREAD: ITALIAN" as "ITALIAN BREAD"; the words of the trade before a colon are left out."""
    head, colon, tail = name.partition(":")
    if not colon or not tail.strip(" -("):
        return name
    if head.strip() in _read()["counters"] or head.strip() in tail:
        return tail.strip()
    return f"{tail.strip()} {head.strip()}" if " " not in head.strip() else name


def _words(name: str) -> list[str]:
    """The words of a name, spelled out; "and" for strokes and ampersands between two of them."""
    plain = re.sub(r"\([^)]*\)?", " ", name.upper())
    # What was cut off may be what stands in brackets.
    whole = len(name) < _CUT or name.endswith(")") or name.rfind("(") > name.rfind(")")
    pieces = re.findall(r"[^\s/&:,+-]+|[/&]", plain)
    words: list[str] = []
    gone, spelled = _read()["gone"], _read()["spelled"]
    said = False
    for at, piece in enumerate(pieces):
        bare = piece.strip(".'")
        last = at == len(pieces) - 1
        if piece in "/&" or bare == "AND":
            words += ["and"] if said and words[-1] != "and" else []
            continue
        said = not (any(one.isdigit() for one in bare) or bare in gone)
        if said and (whole or not last or bare in spelled):
            word = spelled.get(bare, bare.lower())
            words += [word] if word not in words else []
    while words and words[-1] == "and":
        words.pop()
    return words
