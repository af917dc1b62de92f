"""Is a value said of what it belongs to? The colour is steel, 500 g wide; with a lid of nobody's.

    check_relations("The width is 80 cm.", request)       # of a product 40 cm wide and 80 cm high

A value is what a mention says (`metrics.text.mentions`) or what an attribute has, word for word. It
is said of an attribute where the name of that stands right before or behind it ("width of 80 cm",
"80 cm wide", "made of green"). That is an error where the attribute has another value, or where it
has none and the value is another attribute's. What the seller's own text has word for word is none.

Parts: what a text says is included, where none of its words is in the facts. Both read words, and
English ones: who says it in other words is not found.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cache

from adwright.authoring.checks.limits import Finding
from adwright.authoring.checks.whole import words_named
from adwright.authoring.tasks import AuthoringRequest, Product
from adwright.metrics.text.agreement import singular
from adwright.metrics.text.mentions import brand_table, lexicon, scan

#: What else tells of an attribute: before its value, and behind it.
_CUES = {
    "width": (r"width|breadth|wide", r"wide|(?:in )?width"),
    "height": (r"height|high|tall", r"high|tall|(?:in )?height"),
    "depth": (r"depth|deep", r"deep|(?:in )?depth"),
    "length": (r"length|long", r"long|(?:in )?length"),
    "weight": (r"weight|weigh(?:s|ing)?|heavy", r"heavy|(?:in )?weight"),
    "diameter": (r"diameter", r"across|(?:in )?diameter"),
    "thickness": (r"thickness|thick", r"thick"),
    "capacity": (r"capacity|holds?|holding", r"capacity"),
    "holds": (r"holds?|holding|capacity", r"capacity"),
    "power": (r"power", r"(?:of )?power"),
    "colour": (r"colou?rs?|coloured|colored", r"colou?r|finish|shade"),
    "material": (r"materials?|made (?:of|from|out of)|crafted from|fabric", r"material|fabric"),
    "size": (r"sizes?|sized", r"size"),
    "brand": (r"brand|by", r"brand"),
    "author": (r"authors?|written by|by", r""),
    "designer": (r"designers?|designed by|by", r""),
    "maker": (r"manufacturers?|manufactured by|made by|by", r""),
    "price": (r"price[ds]?(?: at)?|costs?|costing", r""),
    "flavour": (r"flavou?rs?|flavou?red|tastes? (?:of|like)", r"flavou?r|taste"),
    "scent": (r"scents?|scented|smells? (?:of|like)|fragrance", r"scent|fragrance"),
    "origin": (r"origin|made in|comes? from|country", r"origin"),
    "pages": (r"pages", r"pages"),
    "storage": (r"storage", r"(?:of )?storage"),
    "memory": (r"memory|ram", r"(?:of )?(?:memory|ram)"),
    "warranty": (r"warranty|guarantee", r"warranty|guarantee"),
    "category": (r"category|(?:find it|listed) under|listed in", r""),
    "department": (r"department", r"department"),
}
_ALIKE = {"color": "colour", "colours": "colour", "colors": "colour", "fabric": "material"} | {
    "made of": "material",
    "made in": "origin",
    "country of origin": "origin",
    "flavor": "flavour",
    "ram": "memory",
    "fragrance": "scent",
    "number of pages": "pages",
    "manufacturer": "maker",
    "materials": "material",
    "volume": "capacity",
    "vendor": "brand",
    "warranty information": "warranty",
    "breadth": "width",
}
#: Between the words of warrantyInformation.
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
#: What may stand between an attribute and its value.
_BETWEEN = re.compile(
    r"\W{0,3}(?:(?:is|are|was|of|in|at|to|has|comes?|being|about|around|approximately|only|just|a|an|the|from)"
    r"\W{1,2}){0,3}",
    re.IGNORECASE,
)
_PARTS = re.compile(
    r"\b(?:includes|comes (?:complete )?with|complete with|equipped with|features|featuring"
    r"|contains|along with|(?:supplied|bundled|delivered|shipped) with|(?:ships|arrives) with"
    r"|you(?:['’]ll| will)(?: also)? (?:find|get|receive)(?! it\b)|in the box:|included (?:is|are)"
    r"|has)\s+([^.;!?\n]{3,160})",
    re.IGNORECASE,
)
_ITEM = re.compile(r",\s*+(?:and\s+)?|(?<!\s)\s++(?:and|plus|as well as)\s+")


@dataclass(frozen=True)
class _SaidValue:
    """A value in a text: where it stands, and by what it is known."""

    start: int
    end: int
    keys: frozenset[Hashable]


def check_relations(text: str, request: AuthoringRequest) -> tuple[Finding, ...]:
    """Errors for values that are said of another attribute, and for parts that no fact has."""
    return (*_swapped(text, request.product), *_invented(text, request))


def _swapped(text: str, product: Product) -> Iterator[Finding]:
    known = _values(product)
    if not known:
        return
    said = _said(text, frozenset(word for _, words in known.values() for word in words))
    free = _keys(f"{product.title}. {product.description}")
    loose = _loose(f"{product.title} {product.description}")
    titled = set(_loose(product.title).split())
    for one in said:
        cues = [(name, span) for name, span in _cues(text, one, said, tuple(known))]
        if not cues:
            continue
        names = {name for name, _ in cues}
        if any(one.keys & known[name][0] for name in names if name in known):
            continue
        owners = {name for name, (keys, _) in known.items() if one.keys & keys}
        start = min(at for _, (at, _) in cues)
        end = max(at for _, (_, at) in cues)
        span = _loose(text[start:end])
        if span in loose or titled >= set(span.split()):
            continue
        its = names & known.keys()
        if not its and (not owners or one.keys & free):
            continue
        if its and not owners and not one.keys & free:
            continue  # no fact has it: that is found elsewhere
        of = min(its or names)
        message = f"said of the {of}: {min(owners)}" if owners else f"the {of} is another"
        fix = "say it of what it belongs to"
        yield Finding("relation/swapped", start, end, "error", message, fix)


def _values(product: Product) -> dict[str, tuple[frozenset[Hashable], frozenset[str]]]:
    """Name of an attribute -> by what its values are known, and its values in small letters."""
    split = ((_CAMEL.sub(" ", name), value) for name, value in product.attributes)
    pairs = [(name.lower().replace("_", " "), value) for name, value in split]
    pairs += [("brand", product.brand), ("price", f"{product.price} {product.currency}".strip())]
    pairs += [("category", re.split(r"[>|/]", product.category)[-1].strip())]
    found: dict[str, tuple[frozenset[Hashable], frozenset[str]]] = {}
    for name, told in pairs:
        value = told.strip()
        low = " ".join(re.sub(r"[(\[][^()\[\]]*+[)\]]", " ", name).split())
        low = _ALIKE.get(low, low)
        if not value or not low or len(value) > 120:
            continue
        unit = re.search(r"[(\[](?:in )?(\w+)[)\]]$", name)
        shown = f"{value} {unit[1]}" if unit and re.fullmatch(r"[\d.,]+", value) else value
        keys, words = found.get(low, (frozenset(), frozenset()))
        found[low] = (keys | _keys(shown) | {value.casefold()}, words | {value.casefold()})
    return found


@cache
def _keys(text: str) -> frozenset[Hashable]:
    """What mentions of a text are known by; a number with and without its unit."""
    found = scan(text, lexicon("en"), brand_table(frozenset()))
    keys: set[Hashable] = set(found.implied)
    for one in found.mentions:
        keys.update(one.keys[:1])
    return frozenset(keys)


def _said(text: str, words: frozenset[str]) -> list[_SaidValue]:
    """The values in a text, in their order; longer ones first where they overlap."""
    found = []
    low = text.casefold()
    for word in words:
        if len(word) > 1 and len(low) == len(text):
            pattern = rf"(?<!\w){re.escape(word)}(?!\w)"
            found += [(one.start(), one.end(), word) for one in re.finditer(pattern, low)]
    spans: dict[tuple[int, int], set[Hashable]] = {}
    for start, end, word in found:
        spans.setdefault((start, end), set()).update({word, *_keys(text[start:end])})
    for one in scan(text, lexicon("en"), brand_table(frozenset())).mentions:
        if one.kind in ("number", "colour", "material"):
            spans.setdefault((one.start, one.end), set()).add(one.keys[0])
    kept: list[_SaidValue] = []
    for (start, end), keys in sorted(spans.items(), key=lambda each: (each[0][0], -each[0][1])):
        if not kept or start >= kept[-1].end:
            kept.append(_SaidValue(start, end, frozenset(keys)))
    return kept


def _cues(
    text: str, one: _SaidValue, said: list[_SaidValue], known: tuple[str, ...]
) -> Iterator[tuple[str, tuple[int, int]]]:
    """The attributes that a value is said of, with what says so: those right before it, else those
    right behind."""
    low = text.lower()
    floor = max((other.end for other in said if other.end <= one.start), default=0)
    roof = min((other.start for other in said if other.start >= one.end), default=len(text))
    before = []
    for name, (ahead, _) in _patterns(known).items():
        for cue in ahead.finditer(low, max(floor, one.start - 60), one.start):
            if _BETWEEN.fullmatch(low, cue.end(), one.start):
                before.append((name, (cue.start(), one.end), cue.end()))
    if before:
        nearest = max(end for _, _, end in before)
        yield from ((name, span) for name, span, end in before if end == nearest)
        return
    for name, (_, behind) in _patterns(known).items():
        after = behind.match(low, one.end, min(roof, one.end + 24)) if behind else None
        if after:
            yield name, (one.start, after.end())


@cache
def _patterns(known: tuple[str, ...]) -> dict[str, tuple[re.Pattern[str], re.Pattern[str] | None]]:
    """Name of an attribute -> what stands before its value, and what stands right behind."""
    found = {}
    for name in dict.fromkeys((*known, *_CUES)):
        own = r"\s+".join(map(re.escape, name.split()))
        before, behind = _CUES.get(name.split(" ")[-1] if name not in _CUES else name, (own, own))
        before = before if name in _CUES else f"{own}"
        behind = behind if name in _CUES else own
        found[name] = (
            re.compile(rf"(?<!\w)(?:{before})(?!\w)"),
            re.compile(rf"[ -](?:{behind})(?!\w)") if behind else None,
        )
    return found


def _loose(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def _invented(text: str, request: AuthoringRequest) -> Iterator[Finding]:
    product = request.product
    facts = " ".join((*product.facts(), *(value for _, value in request.values)))
    words = {singular(one) for one in re.findall(r"[^\W\d_]+", facts.casefold())}
    for found in _PARTS.finditer(text):
        at = found.start(1)
        for item in _ITEM.split(found[1]):
            start = text.find(item, at)
            at = start + len(item) if start >= 0 else at
            own = re.findall(r"[^\W\d_]{4,}", item.casefold())
            generic = words_named("generic")
            # What any product has (a clean design) is no part.
            said = [] if own and own[-1] in generic else [one for one in own if one not in generic]
            if said and start >= 0 and not any(singular(one) in words for one in said):
                message, end = f"no fact has {item.strip()!r:.60}", start + len(item)
                yield Finding("relation/part", start, end, "error", message, "leave it out")
