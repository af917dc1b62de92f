"""Examples without a model: texts put together from a product's own facts.

    example = recombined(listing, task_named("ads"), seed=7)
    example.answer        # 'For Christmas: Mill Lane Assam 80 bags.'

The teacher of the offline way. Its texts are plain, and every fact in them is the product's by
construction; what they teach is the form of a task and to keep to the facts, not style. A model as
teacher, see `teacher`, writes better ones. All choices follow from the seed and the product.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from adwright.authoring.instructions.draws import chosen, share
from adwright.authoring.instructions.phrases import RECOMBINED, parts
from adwright.authoring.instructions.rows import AuthoringExample
from adwright.authoring.instructions.seeds import slots_of
from adwright.authoring.instructions.sources.products import Listing
from adwright.authoring.tasks.harmless import harmless
from adwright.authoring.tasks.product import Product
from adwright.authoring.tasks.task import AuthoringRequest, AuthoringTask, task_named

#: Tasks whose answers can be put together.
RECOMBINABLE = ("ads", "titles", "answers", "descriptions")

_WORD = re.compile(r"[^\W_]+(?:[.,'/-][^\W_]+)*")
#: Two words of four letters and more, side by side.
_PAIR = re.compile(r"(?<!\w)(?=([^\W\d_]{4,} [^\W\d_]{4,})(?!\w))")
_NUMBER = re.compile(r"\d[\d.,/x-]*")
#: Letters of a word that a customer would search, and words of a query.
_LONG = 3
_QUERY_WORDS = (2, 3)
#: Words after which something is missing.
_OPEN = frozenset(("in", "with", "for", "and", "of", "by", "to"))
_DETAILS = 4
_VALUE, _TITLE, _LONGEST = 120, 200, 4000
Facts = Mapping[str, str]


def recombined(listing: Listing, task: AuthoringTask, *, seed: int = 0) -> AuthoringExample | None:
    """An example of the task for a product; None where its facts give none, or the task is not one
    of `RECOMBINABLE`."""
    make = {
        "ads": _ad,
        "titles": _title,
        "answers": _answer,
        "descriptions": _description,
    }.get(task.name)
    found = make(listing, seed) if make and listing.product.title.strip() else None
    if found is None:
        return None
    values, answer = found
    request = AuthoringRequest(task, listing.product, values)
    return AuthoringExample(request, answer, listing.cluster, listing.source, RECOMBINED)


def with_keywords(example: AuthoringExample, *, seed: int = 0) -> AuthoringExample:
    """A third of the descriptions get keywords that customers search: two words that stand side by
    side in the answer. Others, and examples of other tasks, are given back as they are."""
    request = example.request
    if request.task.name != "descriptions" or request.values:
        return example
    # Sentences of ours have words that nobody searches.
    made = example.teacher == RECOMBINED
    text = harmless(request.product.title if made else example.answer, _LONGEST)
    runs = [one[1] for one in _PAIR.finditer(text) if one[1] in example.answer]
    if not runs or share(seed, request.product.id, "keywords") >= 1 / 3:
        return example
    keywords = chosen(runs, seed, request.product.id, "keywords", "which")
    return replace(example, request=replace(request, values=(("keywords", keywords),)))


def general_questions() -> Iterator[AuthoringExample]:
    """Questions about shopping that name no product, with answers that hold in any shop."""
    for number, one in enumerate(parts().general):
        nothing = Product(f"general-{number:02d}", "")
        request = AuthoringRequest(task_named("answers"), nothing, (("question", one.ask),))
        yield AuthoringExample(request, one.reply, nothing.id, "general", "us")


def query_of(listing: Listing, *, seed: int = 0) -> str:
    """What a customer may have searched: the listing's own query, or two or three words that stand
    side by side in its title, one of them of letters; where it has others, not its first words."""
    if listing.query.strip():
        return harmless(listing.query, _VALUE)
    words = [one[0] for one in _WORD.finditer(harmless(listing.product.title, _TITLE))]
    runs = [
        (at, words[at : at + size])
        for size in _QUERY_WORDS
        for at in range(len(words) - size + 1)
        if any(word.isalpha() and len(word) >= _LONG for word in words[at : at + size])
    ]
    later = [run for at, run in runs if at] or [run for _, run in runs]
    return " ".join(chosen(later, seed, listing.product.id, "query")).casefold() if later else ""


def title_for(title: str, query: str) -> str:
    """The title with what the query asks for in front, and nothing that was not in it.

    Words of the title that the query has come first, in the query's order and spelling; a number
    keeps the word after it, such as a unit. The rest follows as it was, behind a comma where the
    order changed. Nothing is left out but a word that is written twice in a row, and what would
    end the title without saying anything: in, with, for.

    >>> title_for("sim free apple iphone 8 plus 64 gb in in gold", "Apple iPhone 8 64 GB gold")
    'Apple iPhone 8 plus 64 GB gold, sim free'
    """
    asked: dict[str, str] = {}
    for one in query.split():
        asked.setdefault(_bare(one), one)
    order = {word: place for place, word in enumerate(asked)}
    used, front, rest = set[str](), list[tuple[int, tuple[str, ...]]](), list[str]()
    for piece in _pieces(title.split()):
        # A word that the query has once comes to the front once.
        places = [order[bare] for bare in map(_bare, piece) if bare in order and bare not in used]
        if places:
            used.update(map(_bare, piece))
            front.append((min(places), tuple(asked.get(_bare(word), word) for word in piece)))
        else:
            rest += piece
    ahead = [word for _, piece in sorted(front, key=lambda one: one[0]) for word in piece]
    changed = list(map(_bare, ahead + rest)) != list(map(_bare, title.split()))
    while changed and rest and _bare(rest[-1]) in _OPEN:
        rest.pop()
    if changed and ahead and rest and ahead[-1][-1].isalnum():
        ahead[-1] += ","
    words = ahead + rest
    kept = words[:1]
    kept += [word for before, word in pairwise(words) if _bare(word) != _bare(before)]
    return " ".join(kept)


def _pieces(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Words that stay together: a bare number and the letters after it; others by themselves."""
    at = 0
    while at < len(words):
        counts = _NUMBER.fullmatch(words[at]) and words[at + 1 : at + 2]
        size = 2 if counts and _bare(words[at + 1]).isalpha() else 1
        yield tuple(words[at : at + size])
        at += size


def _bare(word: str) -> str:
    return word.strip(".,;:()[]!?\"'").casefold()


def _facts(product: Product, seed: int) -> dict[str, str]:
    """What sentences may say of it: one attribute of those that it has, and its fields."""
    price = f"{product.price} {product.currency}".strip() if product.price.strip() else ""
    found = {
        "title": harmless(product.title, _TITLE),
        "brand": harmless(product.brand, _VALUE),
        "category": harmless(product.category, _VALUE),
        "price": harmless(price, _VALUE),
    }
    pairs = [(name, value) for name, value in product.attributes if value.strip()]
    if pairs:
        name, value = chosen(pairs, seed, product.id, "attribute")
        found |= {"name": _lower(harmless(name, _VALUE)), "value": harmless(value, _VALUE)}
    return {name: value for name, value in found.items() if value}


def _lower(name: str) -> str:
    return " ".join(word if word.isupper() else word.lower() for word in name.split())


def _said(ways: Sequence[str], facts: Facts, seed: int, *parts_: str) -> str:
    """One of the sentences whose slots are all known, filled; empty where there is none."""
    able = [way for way in ways if set(slots_of(way)) <= facts.keys()]
    return _filled(chosen(able, seed, *parts_), facts) if able else ""


def _filled(sentence: str, facts: Facts) -> str:
    text = re.sub(r"\{(\w+)\}", lambda found: facts[found[1]], sentence)
    # After a value that ends a sentence itself.
    text = re.sub(r"([.!?])\.(\s|$)", r"\1\2", text)
    return text[:1].upper() + text[1:]


def _ad(listing: Listing, seed: int) -> tuple[tuple[tuple[str, str], ...], str] | None:
    product, values = listing.product, []
    facts = _facts(product, seed)
    # A third without an occasion, a third without an audience: all pairs of parties occur.
    for name, many in (
        ("occasion", parts().values.occasions),
        ("audience", parts().values.audiences),
    ):
        if share(seed, product.id, name) < 2 / 3:
            facts[name] = chosen(many, seed, product.id, name, "which")
            values.append((name, facts[name]))
    ways = parts().sentences.ads
    # What was asked for is spoken of.
    asked = [way for way in ways if all(name in slots_of(way) for name, _ in values)]
    answer = _said(asked, facts, seed, product.id, "ad") or _said(ways, facts, seed, product.id)
    return tuple(values), answer


def _title(listing: Listing, seed: int) -> tuple[tuple[tuple[str, str], ...], str] | None:
    query = query_of(listing, seed=seed)
    if not query:
        return None
    return (("query", query),), title_for(harmless(listing.product.title, _TITLE), query)


def _answer(listing: Listing, seed: int) -> tuple[tuple[tuple[str, str], ...], str] | None:
    product, every = listing.product, parts()
    # A word in common is enough: who states the origin has stated the country of origin.
    known = {word for name, _ in product.attributes for word in name.casefold().split()}
    unknown = [one for one in every.values.unknown if not known & set(one.split())]
    facts = _facts(product, seed)
    if unknown:
        facts["unknown"] = chosen(unknown, seed, product.id, "unknown")
    able = [
        one
        for one in every.questions
        if set(slots_of(one.ask)) | set(slots_of(one.reply)) <= facts.keys()
    ]
    if not able:
        return None
    question = chosen(able, seed, product.id, "question")
    return (("question", _filled(question.ask, facts)),), _filled(question.reply, facts)


def _description(listing: Listing, seed: int) -> tuple[tuple[tuple[str, str], ...], str] | None:
    product, ways = listing.product, parts().sentences
    facts = _facts(product, seed)
    pairs = [(name, value) for name, value in product.attributes if value.strip()]
    if not pairs:
        return None
    said = [_said(ways.openings, facts, seed, product.id, "opening")]
    for number, (name, value) in enumerate(pairs[:_DETAILS]):
        detail = {"name": _lower(harmless(name, _VALUE)), "value": harmless(value, _VALUE)}
        said.append(_said(ways.details, detail, seed, product.id, "detail", str(number)))
    said.append(_said(ways.closings, facts, seed, product.id, "closing"))
    return (), " ".join(filter(None, said))
