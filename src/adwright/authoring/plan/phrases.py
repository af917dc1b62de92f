"""What may be said of a product: each fact as a sentence and as what hangs on a name.

    for phrase in phrases_of(product, name):
        phrase.sentence, phrase.tail      # "The colour is green.", "in green"

A value stands as the seller wrote it. What is no value (n/a, yes), a number without its unit,
numbers of the shop, texts and codes are passed over. Whole sentences of the seller's description
are phrases too, word for word. How a fact is said stands in grammar.toml.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from adwright.authoring.checks.names import code_words, is_shouted, says_form, titled
from adwright.authoring.checks.policy import plain_text
from adwright.authoring.checks.whole import sentences_of, unfinished, why_no_sentence
from adwright.authoring.plan.names import grammar
from adwright.authoring.tasks import AuthoringRequest, Product
from adwright.metrics.text.agreement import singular, words_of
from adwright.metrics.text.mentions import lexicon, unit_after

#: Characters of a value, and of a sentence of the seller's.
_LONGEST, _TOLD = 60, (25, 200)
#: Of what a seller writes without a verb, at least; and of the first words of that, at most.
_NOTED, _CLAUSE = 12, 30
#: Marks that stand apart.
_LOOSE = re.compile(r"\s[,.;:!?')]|\(\s|\d-\d+-")
_NAME = re.compile(r"[^\W\d_]+(?:[ -][^\W\d_]+){0,3}")
_UNIT_IN = re.compile(r"(?<!\s)\s*+[\[(](?:in )?([^()\[\]]{1,12})[\])]\s*$")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_NUMBER = re.compile(r"\d[\d.,\u00a0']*")
_PATH = re.compile(r"[>›»|/]")
#: Words with which a sentence goes on from another one, or speaks of its page.
_GOES_ON = re.compile(
    r"^(?:and|but|or|so|also|however|then|these|those|they|he|she|we|i|our|my|because|which|plus"
    r"|additionally|furthermore|moreover|both|there|here|that|please|note|click|see|contact|its)\b"
    r"|\b(?:below|above|click|image|picture|shown|seller|listing|i|me|my|we|us|our)\b|[!?;:@#*=<>{}\[\]|~]"
    r"|\.\.\.|…|http|www\.",
    re.IGNORECASE,
)


#: Classes of attributes, and none, whose quantities hang on a name.
_SIZES = ("", "width", "height", "depth", "length", "weight")


@dataclass(frozen=True)
class Phrase:
    """A fact as it may be said.

    kind: brand, price, category, told (a sentence of the seller's), lead (one that names the
    product), or what the attribute is called. sentence: whole, "" for none. tail: behind a name; ""
    for none. value: as the seller has it. plain: whether the value alone says what it is.
    """

    kind: str
    sentence: str
    tail: str = ""
    value: str = ""
    plain: bool = False


@cache
def _class_of(name: str) -> str:
    for kind, told in grammar()["attributes"].items():
        if name in told["names"]:
            return str(kind)
    return ""


def phrases_of(
    product: Product, name: str, request: AuthoringRequest | None = None, language: str = "en"
) -> tuple[Phrase, ...]:
    """What may be said of a product, each once, none of it a repetition of its name.

    request: whose values (an occasion) are facts too. language: of the product; of another one
    than English there are values, and sentences of the seller's.
    """
    found: dict[str, Phrase] = {}
    own = {singular(one) for one in words_of(name)}
    for one in (*_named(product), *_attributes(product), *_told(product, language)):
        said = one.value or one.sentence
        new = {singular(word) for word in words_of(said)} - own
        if one.kind == "kind" and len(new) < len(own & set(map(singular, words_of(said)))):
            continue
        if new or one.kind in ("price", "told", "lead"):
            found.setdefault(said.casefold(), one)
    if request is not None:
        values = dict(request.values)
        for kind in ("occasion", "audience"):
            value = sayable(values.get(kind, ""))
            if value:
                found[kind] = Phrase("occasion", f"It is for {value}.", "", value)
                break
    return tuple(found.values())


def sayable(text: str) -> str:
    """A value in one line as the seller wrote it; "" where it is none that a sentence can hold."""
    value = " ".join(plain_text(text[:2000]).split()).strip(" ,;:")
    if not value or len(value) > _LONGEST or value.casefold() in grammar()["left_out"]["values"]:
        return ""
    if value[-1] in ".!?" and value.count(".") == 1:
        value = value[:-1].rstrip()
    if re.search(r"[.!?]\s|[:=<>{}|*@#]|https?|www\.|…|\.\.\.", value) or unfinished(value):
        return ""
    if value.count("(") != value.count(")") or value.count("[") != value.count("]"):
        return ""
    return "" if code_words(value) or (is_shouted(value) and " " in value) else value


def _named(product: Product) -> Iterator[Phrase]:
    brand = sayable(product.brand)
    if brand:
        brand = titled(brand) if brand.islower() else brand
        yield Phrase("brand", f"The brand is {brand}.", f"by {brand}", brand)
    price = " ".join(product.price.split())
    if (
        price
        and product.currency
        and re.fullmatch(r"[\d.,' ]*\d", price)
        and re.search("[1-9]", price)
    ):
        price = re.sub(r"([.,])(\d)$", r"\g<1>\g<2>0", re.sub(r"[.,]0$", "", price))
        cost = f"{price} {product.currency}"
        yield Phrase("price", f"The price is {cost}.", f"for {cost}", cost)
    parts = [sayable(one.strip()) for one in _PATH.split(product.category)]
    category = next((one for one in reversed(parts) if one and not one[:1].isdigit()), "")
    if category.islower() and " " not in category:
        category = re.sub(r"[-_]", " ", category)  # of an address
        category = re.sub(r"\b(men|women|children)s\b", r"\1's", category)
    if category and " - " not in category and len(category) <= 40:
        yield Phrase("category", f"You will find it under {category}.", "", category)


def _attributes(product: Product) -> Iterator[Phrase]:
    for written, text in product.attributes:
        spaced = _CAMEL.sub(" ", written.replace("_", " "))
        unit = _UNIT_IN.search(spaced)
        name = " ".join((spaced[: unit.start()] if unit else spaced).split())
        low = name if name.isupper() and len(name) < 5 else name.lower()
        value = sayable(text)
        if not value or low in grammar()["left_out"]["names"] or not _NAME.fullmatch(name):
            continue
        if _NUMBER.fullmatch(value):
            asked = unit[1].strip() if unit else ""
            last = low.split(" ")[-1]
            if asked.lower() in lexicon("en").units:
                value = f"{value} {asked}"
            elif last in lexicon("en").units and " " in low:  # weight_kg
                low, value = low[: -len(last) - 1], f"{value} {last}"
            elif low in grammar()["left_out"]["measures"] or asked:
                continue
        yield _attribute(low, value)


def _attribute(name: str, value: str) -> Phrase:
    kind = _class_of(name)
    told = grammar()["attributes"].get(kind, {})
    number = _NUMBER.match(value)
    measured = bool(number) and bool(
        unit_after(value, number.end() if number else 0, lexicon("en"))[0]
    )
    if kind in ("colour", "material") and value.istitle():
        terms = lexicon("en").terms
        known = all(
            one.lower() in terms or one.lower() in ("and", "light", "dark") for one in value.split()
        )
        value = value.lower() if known else value
    known = kind in ("colour", "material") and not value.istitle() and value.islower()
    known = known or (kind not in ("colour", "material") and measured)
    warranty = re.fullmatch(r"(?:(\d+)[ -])?([a-z]+?)s? warranty", value.lower())
    if kind == "warranty" and warranty:
        told, known = grammar()["attributes"][kind], True
        length = f"{warranty[1]}-" if warranty[1] else ""
        article = "an" if length in ("8-", "11-", "18-") else "a"
        value = f"{article} {length}{warranty[2]} warranty"
    if known and "known" in told:
        sentence = told["known"].format(value=value)
    elif "sentence" in told:
        sentence = told["sentence"].format(value=value)
    elif re.search(r" (?:with|for|by|in|of|from)$", name):
        sentence = f"It is {name} {value}."
    else:
        many = name.endswith("s") and not name.endswith(("ss", "us", "is"))
        sentence = f"The {name} {'are' if many else 'is'} {value}."
    tail = told.get("measured" if measured and "measured" in told else "tail", "").format(
        value=value
    )
    if not tail and measured and kind in _SIZES and not name.endswith("s"):
        article = "an" if name[0] in "aeiou" else "a"
        tail = f"with {article} {name} of {value}"
    plain = kind in ("colour", "material") or (
        measured and name in ("size", "holds", "volume", "capacity", "package size", "pack size")
    )
    return Phrase(kind or name, sentence, tail, value, plain)


def _told(product: Product, language: str) -> Iterator[Phrase]:
    """Sentences of the seller's that stand by themselves."""
    text = plain_text(product.description[:5000])
    for one in sentences_of(text):
        said = " ".join(one.split())
        least, most = _TOLD
        fits = least <= len(said) <= most and said[0].isupper() and said[-1] in ".。"
        fits = fits or (said[:1].isupper() and _NOTED <= len(said) <= most and one == text.strip())
        if not fits or _GOES_ON.search(said) or is_shouted(said) or code_words(said):
            continue
        if language == "en" and why_no_sentence(said):
            if not unfinished(said) and not _LOOSE.search(said):
                yield from _note(said, product)
            continue
        leads = says_form(said, product) and not said.startswith(("It ", "This "))
        yield Phrase("lead" if leads else "told", said)


def _note(said: str, product: Product) -> Iterator[Phrase]:
    """What the seller writes without a verb: as it stands behind a name, and its first words as
    what kind of thing it is."""
    first = said.split(" ", maxsplit=1)[0]
    named = {one.casefold() for one in words_of(product.title + " " + product.brand)}
    small = first[1:].islower() and first.casefold() not in named
    yield Phrase("note", said[:1].lower() + said[1:] if small else said)
    clause = re.split(r"[,;(.]", said)[0].strip()
    if len(clause) <= _CLAUSE and not unfinished(clause):
        yield Phrase("kind", "", "", clause)
