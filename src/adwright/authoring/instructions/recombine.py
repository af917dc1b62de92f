"""Examples without a model: texts put together from a product's own facts.

    example = recombined(listing, task_named("ads"), seed=7)
    example.answer        # 'For Christmas: Mill Lane Assam 80 bags.'

The teacher of the offline way. Its texts are plain, and every fact in them is the product's by
construction; what they teach is the form of a task and to keep to the facts, not style. A model as
teacher, see `teacher`, writes better ones. All choices follow from the seed and the product.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from adwright.authoring.checks.limits import BrandVoice, check_voice, is_card
from adwright.authoring.checks.policy import check_policy, judge_language
from adwright.authoring.instructions.rows import (
    RECOMBINED,
    AuthoringExample,
    InstructionRow,
    chosen,
    facts_of,
    parts,
    request_of,
    share,
    slots_of,
)
from adwright.authoring.instructions.sources import Listing
from adwright.authoring.tasks import (
    AuthoringRequest,
    AuthoringTask,
    Product,
    PromptBounds,
    harmless,
    read_answer,
    task_named,
)
from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.metrics.text.agreement import words_of
from adwright.metrics.text.grounding import unsupported_spans

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


# --------------------------------------------------------------------------------------------------
# Filters of rows: small functions with names, each of which says why a row is left out.
#
#     reasons = verdict(row, filters_of(FilterConfig(), unsupported_spans))
#     reasons == {"form": "", "length": "", "grounded": "number '1080p' is in no fact", ...}
#
# A filter looks at one row and nothing else. What compares rows, such as near-duplicates, is in
# `minhash`, and what compares instructions in `phrases`. Rows of labels and pairs are asked only
# for what can be wrong with them.

#: Says why a row is left out; empty where it is not.
RowFilter = Callable[[InstructionRow], str]

_BOUNDS = PromptBounds()
#: Rules of `checks.policy` about what a text claims; capitals and punctuation are style.
_CLAIMS = frozenset(
    f"policy/{name}"
    for name in (
        *("superlative", "guarantee", "free", "health", "finance", "discount"),
        "personal-attribute",
    )
)
_PERSONAL = "policy/personal-data"
#: A word of letters, with signs around it.
_LETTERS = re.compile(r"\W*[^\W\d_]{2,}(?:['\u2019-][^\W\d_]+)*\W*")
#: Beside what `checks.policy` knows: telephone numbers of one country, and numbers of cards without
#: blanks; codes of goods have thirteen or fourteen digits.
_CALL = re.compile(r"\b(?:tel|phone|call|fax)\b\.?:?\s*\(?0\d[\d\s()./-]{6,}\d", re.IGNORECASE)
_CARD = re.compile(r"(?<!\d)[3-6]\d{14,15}(?!\d)")


@settings
class FilterConfig:
    """Where the filters draw their lines.

    shortest, longest: words of an answer that is a text. prompt: characters that a model reads.

    Raises ConfigError for lines that leave nothing.
    """

    shortest: int = 2
    longest: int = 200
    prompt: int = 6000

    def __post_init__(self) -> None:
        if not (1 <= self.shortest <= self.longest and self.prompt >= 1):
            raise ConfigError(
                "the filters leave nothing", where="FilterConfig", hint="shortest <= longest"
            )


def filters_of(
    config: FilterConfig,
    *,
    voice: BrandVoice | None = None,
    bounds: PromptBounds = _BOUNDS,
) -> dict[str, RowFilter]:
    """All filters by name, in the order in which they are asked; that of the voice where there is
    one."""
    found: dict[str, RowFilter] = {
        "form": lambda row: has_form(row, bounds=bounds),
        "length": lambda row: has_length(row, config),
        "language": speaks_the_language,
        "copy": copies_its_input,
        "grounded": is_grounded,
        "claims": claims_too_much,
        "personal": holds_personal_data,
    }
    if voice is not None:
        found["voice"] = lambda row: keeps_the_voice(row, voice)
    return found


def verdict(row: InstructionRow, filters: Mapping[str, RowFilter]) -> dict[str, str]:
    """What each filter says, by name, up to the first that leaves the row out."""
    found = dict[str, str]()
    for name, one in filters.items():
        found[name] = one(row)
        if found[name]:
            break
    return found


def has_form(row: InstructionRow, *, bounds: PromptBounds = _BOUNDS) -> str:
    """The answer can be read as its task asks for: a label of the list, pairs, or a text."""
    answer = read_answer(request_of(row), row.answer, bounds=bounds)
    return "" if answer.valid else answer.reason


def has_length(row: InstructionRow, config: FilterConfig) -> str:
    """The answer, where it is a text, and what is read are neither too short nor too long."""
    read = sum(len(turn.content) for turn in row.turns)
    if read > config.prompt:
        return f"{read} characters to read"
    if _form(row) != "text":
        return ""
    count = len(words_of(row.answer))
    return "" if config.shortest <= count <= config.longest else f"{count} words"


def speaks_the_language(row: InstructionRow) -> str:
    """A text is not surely in another language than the product's, see `checks.language`.

    Only words of two letters and more are judged: the a, v and s of codes and units are words of
    some language.
    """
    if _form(row) != "text":
        return ""
    words = " ".join(word for word in row.answer.split() if _LETTERS.fullmatch(word))
    told = judge_language(words, row.product.locale)
    return f"it is in {told.found}, not {told.asked}" if told.sure else ""


def copies_its_input(row: InstructionRow) -> str:
    """A text is more than one field of what was shown, or than the instruction."""
    if _form(row) != "text":
        return ""
    said = words_of(row.answer)
    shown = [line.partition(": ")[2] for line in row.shown.splitlines()]
    if any(said == words_of(one) for one in (*shown, row.instruction)):
        return "it copies what was shown"
    return ""


def is_grounded(row: InstructionRow) -> str:
    """Every number, unit, brand, material, colour, claim and name of a text is in what was shown,
    and so is every value of pairs. Answers without a product are general, and are not asked."""
    request = request_of(row)
    form, facts = request.task.form, facts_of(request)
    if form == "label" or not row.product.title.strip():
        return ""
    texts = [row.answer]
    if form == "pairs":
        shown = " ".join(facts).casefold()
        values = [value for _, value in read_answer(request, row.answer).pairs]
        texts = [value for value in values if value.casefold() not in shown]
    for text in texts:
        for span in unsupported_spans(text, facts, locale=row.product.locale):
            return f"{span.kind} {span.text!r} is in no fact"
    return ""


def claims_too_much(row: InstructionRow) -> str:
    """A text claims nothing that an ad may not claim, see `checks.policy`; some of it may be said
    where the product's facts say it."""
    if _form(row) != "text":
        return ""
    facts, locale = facts_of(request_of(row)), row.product.locale
    for one in check_policy(row.answer, facts, locale=locale):
        if one.rule in _CLAIMS:
            return f"{one.rule} {row.answer[one.start : one.end]!r}"
    return ""


def holds_personal_data(row: InstructionRow) -> str:
    """Neither answer nor input holds what looks like an address, a telephone number, an account or
    a card."""
    for text in (row.answer, row.shown):
        if _CALL.search(text) or any(is_card(found[0]) for found in _CARD.finditer(text)):
            return "the number of a telephone or card"
        for one in check_policy(text, ()):
            if one.rule == _PERSONAL:
                return repr(text[one.start : one.end])
    return ""


def keeps_the_voice(row: InstructionRow, voice: BrandVoice) -> str:
    """A text has no word that the brand's voice bans; required ones may be missing, as they are
    in most texts that people wrote."""
    if _form(row) != "text":
        return ""
    errors = (one for one in check_voice(row.answer, voice) if one.severity == "error")
    return next((one.message for one in errors), "")


def _form(row: InstructionRow) -> str:
    return task_named(row.task).form


# --------------------------------------------------------------------------------------------------
# Near-duplicates among millions of short texts by MinHash, in numpy.
#
#     signs = signatures(texts)           # uint32 [N, 64]
#     first = first_alike(signs, 0.85)    # int64 [N]: an earlier text that each is like, or itself
#
# A text is the set of its runs of five characters, after case, width and signs are evened out. Its
# signature holds the least of 64 hashes over the set; the share of places in which two signatures
# agree estimates the Jaccard similarity of the sets, with a standard error of at most 1/16 (Broder,
# "On the resemblance and containment of documents", 1997). Candidates share one of 16 bands of four
# places, which two texts of similarity s do with probability 1 - (1 - s^4)^16: 0.999 at s = 0.8.
#
# Within a band, a text is compared with the first and with the next earlier one that share it,
# which
# is our choice: all pairs of a thousand equal texts would be half a million.

Signatures = npt.NDArray[np.uint32]
Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

_PLACES, _BANDS = 64, 16
_RUN = 5
_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
#: Characters of a text that count: what follows them tells no more.
_MINHASH_LONGEST = 4000


def signatures(texts: Iterable[str], *, seed: int = 0) -> Signatures:
    """Signatures of texts, uint32 [N, 64]; the same seed gives the same. Texts without a letter or
    digit are all alike."""
    generator = np.random.default_rng([seed, _PLACES])
    # Multiply-shift hashing: odd factors, and the upper half of the product.
    factors = generator.integers(0, 2**63, _PLACES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    added = generator.integers(0, 2**63, _PLACES, dtype=np.uint64)
    powers = _BASE ** np.arange(_RUN, dtype=np.uint64)
    rows = [_signature(text, factors, added, powers) for text in texts]
    return np.array(rows, np.uint32).reshape(-1, _PLACES)


def even_text(text: str) -> str:
    """The text in lower case, without accents of width and signs, with single blanks.

    >>> even_text("Fresh  BREAD-rolls!")
    'fresh bread rolls'
    """
    folded = unicodedata.normalize("NFKC", text[:_MINHASH_LONGEST]).casefold()
    if not folded.isalnum():
        folded = "".join(sign if sign.isalnum() else " " for sign in folded)
    return " ".join(folded.split())


def similarity(signs: Signatures, one: Ints, other: Ints) -> npt.NDArray[np.float64]:
    """Estimated Jaccard similarity of pairs of rows: float64 [P]. one, other: int64 [P]."""
    return np.asarray((signs[one] == signs[other]).mean(axis=1), np.float64)


def first_alike(signs: Signatures, least: float) -> Ints:
    """For each text the least earlier one that it is like, or itself: int64 [N].

    least: estimated similarity from which on two texts are alike, above 0 and at most 1.
    What is like a text that is like an earlier one leads to that one.
    Raises ConfigError where `least` is no such share.
    """
    if not 0 < least <= 1:
        raise ConfigError("a similarity is a share", where=f"least {least}", hint="0.85, say")
    first = np.arange(len(signs), dtype=np.int64)
    if len(signs) < 2:
        return first
    width = _PLACES // _BANDS
    for band in range(_BANDS):
        key = _band_key(signs[:, band * width : (band + 1) * width])
        order = np.argsort(key, kind="stable")
        same = key[order][1:] == key[order][:-1]
        begins = np.flatnonzero(np.concatenate([[True], ~same]))
        head = order[np.repeat(begins, np.diff([*begins, len(order)]))]
        before = np.concatenate([order[:1], np.where(same, order[:-1], order[1:])])
        for earlier in (head, before):
            _join(first, signs, order, earlier, least)
    return _followed(first)


def _join(first: Ints, signs: Signatures, rows: Ints, earlier: Ints, least: float) -> None:
    pairs = np.flatnonzero(earlier < rows)
    if len(pairs):
        near = pairs[similarity(signs, rows[pairs], earlier[pairs]) >= least]
        np.minimum.at(first, rows[near], earlier[near])


def _followed(first: Ints) -> Ints:
    """Each text with the first of the chain that it is in."""
    while True:
        further = first[first]
        if np.array_equal(further, first):
            return first
        first = further


def _band_key(part: Signatures) -> Words:
    key = np.zeros(len(part), np.uint64)
    for column in part.T:
        key = (key ^ column.astype(np.uint64)) * _MIX
        key ^= key >> np.uint64(29)
    return key


def _signature(text: str, factors: Words, added: Words, powers: Words) -> npt.NDArray[np.uint32]:
    codes = _codes(even_text(text))
    if len(codes) < _RUN:
        codes = np.concatenate([codes, np.zeros(_RUN - len(codes), np.uint64)])
    runs = np.lib.stride_tricks.sliding_window_view(codes, _RUN)
    hashes = np.unique((runs * powers).sum(axis=1, dtype=np.uint64) * _MIX)
    spread = hashes[:, None] * factors + added
    return np.asarray((spread >> np.uint64(32)).min(axis=0), np.uint32)


def _codes(text: str) -> Words:
    data = text.encode("utf-32-le", "surrogatepass")
    return np.frombuffer(data, np.uint32).astype(np.uint64)
