"""Rows that the demonstration's adapter is tuned on: ads and descriptions of a grocer's products.

Each text is put together from the facts of one product of Complete Journey (CC0) and from the
phrases below, which are ours. What a phrase says beyond the facts is where such a product is kept
at home, by its category. A text that a check finds anything in is left out, so that every row is
grounded, keeps to the policy and fits its limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from adwright.authoring.checks.verdict import check
from adwright.authoring.tasks import Product, messages_of
from adwright.core.draws import chosen, drawn
from adwright.demos.ads import AD_SLOTS, AdSlot
from adwright.demos.shelf import shelf_product
from adwright.lm.engine.generation import Message

#: Name of the fact that the headline above a text is.
HEADLINE = "Headline"
#: Goods that nothing is advertised for here.
_LEFT_OUT = re.compile(
    r"TOBACCO|CIGAR|SMOKING|BEER|WINE|LIQUOR|SPIRIT|LAXATIVE|ANALGES|ANTACID|COLD AND FLU|SINUS"
    r"|FAMILY PLAN|PHARMACY|COUPON|TICKET|DEPOSIT|MAGAZINE|NEWSPAPER|FORMULA|INCONTINENCE|DIET"
    r"|VITAMIN|FIRST AID|HOME HEALTH|PHOTOFINISH|CONTINUIT|MISC|J-HOOK|MAKEUP|SEASONAL|EYE AND EAR"
)
#: By words of the category: where it is at home, and when it is wanted.
_PLACES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    (r"TISS|HANDKE|NAPKIN|TOWEL", ("the paper shelf",), ("guests", "spring cleaning")),
    (r"STATION|GREETING|SCHOOL", ("the desk", "the gift drawer"), ("school", "a party")),
    (r"CAT |DOG |PET |BIRD", ("the pet shelf",), ("feeding time",)),
    (r"FROZEN|FRZN|ICE CREAM", ("the freezer",), ("a weeknight", "busy evenings", "another day")),
    (
        r"DRINK|WATER|JUICE|\bTEA|COFFEE|COCOA|BEVERAGE",
        ("the fridge", "the cooler", "the kitchen counter"),
        ("a coffee break", "a picnic", "guests", "thirsty afternoons"),
    ),
    (
        r"COOKIE|CANDY|SNACK|CRACKER|POPCORN|NUTS|CHIP",
        ("the snack shelf", "the lunch box"),
        ("movie night", "a road trip", "the afternoon", "game day"),
    ),
    (
        r"CEREAL|BREAKFAST|EGG|BACON|MILK|SYRUP",
        ("the breakfast table",),
        ("busy mornings", "Sunday morning"),
    ),
    (
        r"YOGURT|CHEESE|BUTTER|MARGARIN|DAIRY",
        ("the fridge", "the breakfast table"),
        ("lunch", "the week"),
    ),
    (
        r"BREAD|ROLL|BUN|CAKE|PASTRY|PIES|SWEET GOODS|DOUGH",
        ("the bread basket", "the coffee table"),
        ("breakfast", "Sunday", "company"),
    ),
    (
        r"SOUP|PASTA|SAUCE|RICE|BEAN|SHELF STABLE|DINNER|NOODLE|HISPANIC|CONDIMENT|PICKLE|OIL|SPICE"
        r"|SALD|PNT|BAKING|FLOUR|SUGAR",
        ("the pantry", "the kitchen shelf"),
        ("dinner", "a weeknight", "family meals", "cooking at home"),
    ),
    (
        r"BEEF|PORK|CHICKEN|TURKEY|MEAT|SAUSAGE|HAM|HOT DOG|SEAFOOD|LAMB",
        ("the grill", "the dinner table"),
        ("dinner", "the weekend", "a cookout"),
    ),
    (
        r"APPLE|BERR|CITRUS|FRUIT|GRAPE|MELON|PEAR",
        ("the fruit bowl",),
        ("lunch", "an afternoon snack"),
    ),
    (
        r"VEGETABLE|SALAD|TOMATO|POTATO|ONION|PEPPER|CARROT|BROCCOLI|CORN|MUSHROOM|SQUASH|HERB",
        ("the salad bowl", "the kitchen"),
        ("dinner", "a side dish"),
    ),
    (
        r"HAIR|SOAP|DEODOR|ORAL|SHAV|HAND/BODY|BATH|COSMETIC|MAKEUP",
        ("the bathroom shelf",),
        ("the morning routine", "a trip", "the gym bag"),
    ),
    (r"BABY|INFANT|DIAPER", ("the nursery",), ("a day out", "the little ones")),
    (
        r"LAUNDRY|CLEAN|DETERG|BLEACH|BROOM|AIR CARE|PAPER|FOIL|WRAP|BATTER|ELECTR|CANDLE",
        ("the utility shelf", "the cleaning cupboard"),
        ("laundry day", "a tidy home", "household chores"),
    ),
)
_HEADLINES = (
    "{It}, {size}",
    "{It} in {size}",
    "Pick up {it}",
    "{It} for {moment}",
    "{It} for {place}",
    "{Own}: {it}",
    "{It} in {dept}",
    "Stock up: {it}",
    "{It} for your list",
    "Time for {it}",
    "Need {it}?",
    "{It}, right here",
    "Find {it}",
    "Next stop: {it}",
    "{It}? In {dept}.",
)
_TEXTS = (
    "Fill {place}: {it}, {size}, waiting for you in {dept}.",
    "For {moment}, pick up {it} in the {size} size.",
    "Thinking of {moment}? Put {it} on your list.",
    "Planning {moment}? Look for the {size} size in {dept}.",
    "{It} for {place}: look in our {dept} aisle.",
    "{Branded}: {it} for {place}, in the {size} size.",
    "{Branded}: {it} for {moment}. Look in {dept}.",
    "Add {it} to your basket on the next trip to {dept}.",
    "Ready for {moment}: {it} from our {dept} aisle.",
    "Room in {place}? Bring home {it}, {size}.",
    "A {size} pack for {place}. Pick it up in {dept}.",
    "Next stop {dept}: bring home {it} for {moment}.",
    "One for {place}, one for {moment}: {it} in {dept}.",
    "Keep {it} at hand for {moment}. See our {dept} aisle.",
)
_OPENINGS = (
    "{It} for {place}, sold in the {size} size.",
    "{It} in the {size} size, for {place}.",
    "Bring home {it} for {moment}.",
    "{It} for {moment} and for {place}.",
    "Think of {moment} and put {it} in your basket.",
    "Here is something for {place}: {it}, {size}.",
    "Planning {moment}? Start with {it}.",
)
_MIDDLES = (
    "{Sold}, in the {size} size.",
    "{Sold}, and it waits in our {dept} aisle.",
    "{Sold}, and the pack is {size}.",
    "{Sold}.",
    "A {size} pack for {moment} or for {place}.",
)
_CLOSINGS = (
    "You find it in {dept}, under {category}.",
    "Look under {category} in {dept}.",
    "Pick it up in {dept} on your next trip.",
    "Ask for it in our {dept} department.",
)
_BRANDED = {"store brand": "From our store brand", "national brand": "From a national brand"}
_SOLD = {
    "store brand": ("It is sold under our store brand", "It carries our store brand label"),
    "national brand": ("It is sold under a national brand", "It comes from a national brand"),
}
_SLOT = re.compile(r"\{(\w+)\}")
_TRIES = 40
#: A word that is no abbreviation, as far as its letters tell.
_PRONOUNCED = re.compile(r"^(?=.*[aeiouyAEIOUY])[^\W\d_]{2,14}\W*s?$|^BBQ$|^\w+'s$|^a$")


def turns(slot: AdSlot, product: Product) -> tuple[Message, ...]:
    """What a model is told of a slot's text."""
    told = slot.slot.instruction(slot.limit)
    return messages_of(slot.wanted(product).request, instruction=told)


@dataclass(frozen=True)
class DemoRow:
    """A text of a slot for a product. cluster: of products of one type."""

    product: Product
    slot: AdSlot
    answer: str
    cluster: str

    def line(self) -> dict[str, object]:
        """As `training.tuning` reads it."""
        asked = [
            {"role": one.role, "content": one.content} for one in turns(self.slot, self.product)
        ]
        return {
            "messages": [*asked, {"role": "assistant", "content": self.answer}],
            "group": self.cluster,
            "task": self.slot.slot.task.name,
        }


def demo_products(frame: pl.DataFrame, *, seed: int, most: int) -> list[tuple[Product, str]]:
    """A product of each of `most` types, and its type, as the seed draws them."""
    kept: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[Product, str]] = {}
    for cells in frame.iter_rows(named=True):
        kind, category = cells["product_type"] or "", cells["product_category"] or ""
        product = None if _LEFT_OUT.search(f"{kind} {category}") else shelf_product(cells)
        if product is not None and _is_clear(product):
            kept.setdefault((product.title, product.attributes), (product, kind))
    by_kind: dict[str, tuple[Product, str]] = {}
    for one in sorted(kept.values(), key=lambda one: drawn(seed, one[0].id)):
        by_kind.setdefault(one[1], one)
    kinds = sorted(by_kind, key=lambda kind: drawn(seed, "kind", kind))
    return [by_kind[kind] for kind in kinds[:most]]


def with_headline(product: Product, headline: str) -> Product:
    """The product with one more fact: the headline of its ad."""
    return replace(product, attributes=(*product.attributes, (HEADLINE, headline)))


def demo_rows(products: Iterable[tuple[Product, str]], *, seed: int) -> Iterator[DemoRow]:
    """A row of each slot for each product, where a text passes all checks."""
    for product, kind in products:
        headline = ""
        for slot in AD_SLOTS:
            shown = (
                with_headline(product, headline) if slot.name == "text" and headline else product
            )
            answer = _answer(product, slot, headline, seed)
            if slot.name == "headline":
                headline = answer
            if answer:
                yield DemoRow(shown, slot, answer, kind)


def _is_clear(product: Product) -> bool:
    """Whether the product says enough of itself: department, a title in words, and where it is at
    home. Some have no size, so that a model learns to name none."""
    known = "Department" in dict(product.attributes)
    known &= all(_PRONOUNCED.search(word) for word in product.title.split())
    return known and bool(product.category) and _at_home(product) is not None


def _answer(product: Product, slot: AdSlot, headline: str, seed: int) -> str:
    """The first text of some that no check finds anything in."""
    for number in range(_TRIES):
        key = (product.id, slot.name, str(number))
        parts = _parts(product, slot.name, seed, number)
        ways = {"headline": (_HEADLINES,), "text": (_TEXTS,)}.get(
            slot.name, (_OPENINGS, _MIDDLES, _CLOSINGS)
        )
        said = [_filled(chosen(way, seed, *key, str(at)), parts) for at, way in enumerate(ways)]
        text = " ".join(said)
        if not all(said) or len(text) > slot.limit or _repeats(said, parts, headline):
            continue
        if not check(text, slot.wanted(product).request, slot.check):
            return text
    return ""


def _repeats(said: Sequence[str], parts: Mapping[str, str], headline: str) -> bool:
    """Whether a size, place, moment or department is told twice, the headline above it included."""
    text = " ".join(said)
    above = headline if len(said) == 1 else ""
    told = [parts[name] for name in ("size", "place", "moment", "dept") if parts[name]]
    return any(text.count(one) > 1 or (one in above and one in text) for one in told)


def _parts(product: Product, slot: str, seed: int, number: int) -> Mapping[str, str]:
    facts, category = dict(product.attributes), product.category
    places, moments = _at_home(product) or ((), ())
    title = product.title
    if slot == "headline" and number > _TRIES // 2:
        # A title that no headline has room for: its first words, or the category.
        title = chosen(
            (title.split(",")[0].split(" and ")[0], category), seed, product.id, str(number)
        )
    key = (product.id, slot, str(number))
    place, moment = chosen(places, seed, "place", *key), chosen(moments, seed, "moment", *key)
    brand = facts.get("Brand type", "")
    return {
        "It": title,
        "it": _lower(title),
        "size": facts.get("Size", ""),
        "dept": facts.get("Department", ""),
        "Own": "Store brand" if brand == "store brand" else "",
        "Branded": _BRANDED.get(brand, ""),
        "Sold": chosen(_SOLD[brand], seed, "sold", *key) if brand in _SOLD else "",
        "category": _lower(category),
        "place": place,
        "moment": moment,
    }


def _at_home(product: Product) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Where such a product is kept, and for when it is wanted."""
    said = f" {product.category} {product.title} ".upper()
    return next(
        ((places, moments) for words, places, moments in _PLACES if re.search(words, said)), None
    )


def _lower(text: str) -> str:
    first = text.split(" ", 1)[0]
    kept = first in ("Mexican", "Italian", "French", "American", "Hispanic", "Asian", "BBQ")
    return text if kept else text[:1].lower() + text[1:]


def _filled(sentence: str, parts: Mapping[str, str]) -> str:
    if not all(parts[name] for name in _SLOT.findall(sentence)):
        return ""
    return _SLOT.sub(lambda found: parts[found[1]], sentence)
