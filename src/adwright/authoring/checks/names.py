"""A product's name in the forms that a text may say, the longest first.

    shorter_forms("Bose Acoustimass 5 Speaker System - AM53BK", brand="Bose")
    # "Bose Acoustimass 5 Speaker System - AM53BK", "Bose Acoustimass 5 Speaker System", ...
    says_name("Shop speaker system AM53BK", product)       # False: its front is gone

A shorter name keeps the front of the name and its noun, word for word and in their order. It ends
where the name has a border: a dash, a comma, a bracket, "with", "for". Numbers of parts, measures
and colours may be left out, and where the front is the product's brand, what stands between that
and the two to four last words. It ends with no word that leads nowhere, and nothing that turns what
follows it (faux, replacement) is left out. Languages other than English have the borders alone.

Names in small letters or capitals alone get the capitals of a title.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path

from adwright.authoring.checks.policy import judge_language, plain_text, scripts_of
from adwright.authoring.tasks import Product
from adwright.core.config import read_toml
from adwright.metrics.text.mentions import language_of, lexicon

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_TOKEN = re.compile(r"[^\s/,;()\[\]|]+")
_VOWELS = frozenset("aeiouáàâäãåāæéèêëēíìîïīóòôöõøōœúùûüūýÿ")
_SEPARATOR = re.compile(
    r"(?<!\s)(?:\s++[-–—|•·~]+\s+(?!\w\s)|\s*+[|•;]\s*|\s*+[(\[{]|\s++w/\s?)|,\s+|:\s+"
)
_HANGS = re.compile(
    r"\s(?:for|with|without|from|in|by|featuring|including|w|fits|compatible|aus|mit|für|von"
    r"|avec|pour|en|con|para|per|met|voor)\s",
    re.IGNORECASE,
)
_MARKS = " ,;:-–—|/•·&+"
_PAIRS = (("(", ")"), ("[", "]"), ("{", "}"), ("“", "”"), ("«", "»"))
_MEASURE = re.compile(
    r"(?<!\S)\d[\d.,]*(?:\s?[x×/-]\s?\d[\d.,]*)*(?:\s?['\"”″]|[\s-]?(?:gb|mb|tb|mah|mhz|ghz|mp"
    r"|megapixels?|inch(?:es)?|in|cm|mm|m|ft|feet|foot|oz|lbs?|watts?|w|volts?|v|ml|l|g|kg|hours?|hz"
    r"|ct|count|pin|dpi|rpm|meters?|metres?|yards?)\.?)(?!\S)",
    re.IGNORECASE,
)
#: A measure, or a number.
_SIZE = re.compile(rf"{_MEASURE.pattern}|(?<!\S)\d[\d.,]*(?:\s?[x×]\s?\d[\d.,]*)*(?!\S)", re.I)
_GENERATION = re.compile(r"(?<!\S)\d+(?:st|nd|rd|th) (?:generation|gen)(?!\S)", re.IGNORECASE)
#: Words behind the brand of a name whose middle may go, and characters of a title that are read.
_MOST_WORDS, _READ = 7, 2000
#: Words of others between those of a name, in a sentence: "Watch Series 4 in Gold".
_BETWEEN = 2
_TITLES = ("mr", "mrs", "dr", "st", "jr", "sr", "ltd", "vs", "ms")
#: Letters of another script than Latin from which on a name is not English.
_FOREIGN = 2
#: Latin letters that English names hardly have.
_ACCENTED = re.compile(r"[äöüßñãõåøæœçğşıłżźćęąěščřžő]", re.I)


@cache
def name_words(name: str) -> frozenset[str]:
    """A list of names.toml."""
    return frozenset(read_toml(Path(__file__).with_name("names.toml"))[name])


@cache
def _written() -> dict[str, str]:
    return {one.casefold(): one for one in name_words("written")}


@cache
def _notes() -> re.Pattern[str]:
    every = "|".join(sorted(map(re.escape, name_words("notes")), key=len, reverse=True))
    return re.compile(rf"[\s,;:-]*[(\[]?(?<!\w)(?:{every})(?!\w)[)\]]?", re.IGNORECASE)


def full_name(product: Product, language: str = "en") -> str:
    """The title in one line, without notes of the trade, as people write it."""
    title = " ".join(plain_text(product.title[:_READ]).split())
    title = re.sub(r"(?<=[\w]) \.(?=\d)", ".", title)  # "usb2 .0"
    bare = _notes().sub("", title)
    if product.brand:
        bare = re.sub(rf"^new-(?={re.escape(product.brand)})", "", bare, flags=re.I)
    title = (bare if WORD.search(bare) else title).strip(" ,;:-–—|/•·")
    if not title.isascii() and language != "en":
        return recased(title, product.brand) if is_shouted(title) else title
    if is_shouted(title):
        return recased(title, product.brand)
    return titled(title, product.brand) if language == "en" else title


@lru_cache(4096)
def name_forms(product: Product) -> tuple[str, ...]:
    """The name of a product and its shorter forms, each once, the longest first."""
    language = language_of_product(product)
    return tuple(shorter_forms(full_name(product, language), language, product.brand))


@lru_cache(4096)
def last_forms(product: Product) -> tuple[str, ...]:
    """Its brand and noun alone, the longest first: for where no other form fits."""
    language = language_of_product(product)
    return tuple(shortest_forms(full_name(product, language), language, product.brand))


def says_name(text: str, product: Product) -> bool:
    """Whether a text names its product: by a form of the name, in a sentence with two other words
    among it at most ("Watch Series 4 in Gold"); or in words of its own, with the half of those of
    the name, but not three in a row without the first: that is a name whose front was cut."""
    if says_form(text, product):
        return True
    said, title = _plain(text), _plain(product.title)
    rows = {tuple(title[at : at + 3]) for at in range(len(title) - 2)}
    rowed = any(tuple(said[at : at + 3]) in rows for at in range(len(said) - 2))
    if rowed and title[0] not in said:
        return False
    words = {one for one in title if len(one) > 2} or set(title)
    shared = {one for one in words if one in said or one.rstrip("s") in said or f"{one}s" in said}
    if not shared:
        return not words or "".join(title) in "".join(said)
    return 2 * len(shared) >= min(len(words), 4)


def says_form(text: str, product: Product) -> bool:
    """Whether a text says a form of the name, with two other words among it at most."""
    said, forms = _plain(text), (*name_forms(product), *last_forms(product))
    return any(_stands_in(_plain(one), said) for one in forms)


def is_bare(text: str, product: Product) -> bool:
    """Whether a text is a form of the name, and nothing else."""
    forms = (*name_forms(product), *last_forms(product))
    return _plain(text) in [_plain(one) for one in forms]


def _stands_in(form: list[str], said: list[str]) -> bool:
    if not form:
        return False
    for start in (at for at, one in enumerate(said) if one == form[0]):
        at, other = start, 0
        for word in form:
            while at < len(said) and said[at] != word and other < _BETWEEN:
                at, other = at + 1, other + 1
            if at >= len(said) or said[at] != word:
                break
            at += 1
        else:
            return True
    return False


def _plain(text: str) -> list[str]:
    return [one.casefold() for one in re.findall(r"[^\W_]+", text)]


# --------------------------------------------------------------------------------------------------
# Shorter names.


def shorter_forms(name: str, language: str = "en", brand: str = "") -> Iterator[str]:
    """The name and its shorter forms, each once, the longest first; of each part of the name that
    has its front and its noun."""
    found = {name: None} | dict.fromkeys(_heads(name))
    if language == "en":
        flat = not _has_capitals_of_its_own(name)
        for one in list(found):
            found |= dict.fromkeys(_lean(one, brand, flat=flat))
    yield from _fit(found, name, brand)


def shortest_forms(name: str, language: str = "en", brand: str = "") -> Iterator[str]:
    """The brand in front and the noun, without what stands between: for where nothing else fits."""
    if language != "en":
        return
    head = [*_heads(name), name][0] if not _heads(name) else _heads(name)[-1]
    lean = _lean(head, brand, flat=not _has_capitals_of_its_own(name))[-1]
    yield from _fit(dict.fromkeys(_brand_and_noun(lean, brand)), name, brand)


def _heads(name: str) -> list[str]:
    """Its parts up to a border, the longest first."""
    found = (one for mark in (_SEPARATOR, _HANGS) for one in mark.finditer(name))
    # "2.5 in or 3.5 in": a measure.
    measured = re.compile(r"\d in$", re.IGNORECASE)
    ends = {one.start() for one in found if not measured.search(one.string[: one.end() - 1])}
    return [name[:at].strip(_MARKS) for at in sorted(ends, reverse=True)]


def _fit(found: Iterable[str], name: str, brand: str) -> Iterator[str]:
    tidy = [" ".join(one.strip(_MARKS).split()) for one in found]
    fits = [one for one in tidy if _is_tidy(one) and (one == name or _stands(one, name, brand))]
    yield from dict.fromkeys(sorted(fits, key=lambda one: (-len(one), one)))


def _has_capitals_of_its_own(name: str) -> bool:
    """Whether capitals say anything of it: "Black Ops" among other words."""
    return not name.islower() and not name.istitle()


def _lean(part: str, brand: str, *, flat: bool) -> list[str]:
    """Without numbers of parts, then without colours, then without measures: each shorter."""
    words = part.split(" ")
    last = len(words)
    while last > 1 and is_part_number(words[last - 1]):
        last -= 1
    named = " ".join(words[:last])
    kept = words[:1] + [one for one in words[1:last] if not is_part_number(one)]
    without = " ".join(kept).strip(_MARKS)
    if len(kept) < last:  # of "Verbatim 95237 - Flash Drive"
        front = re.escape(brand.split(" ", maxsplit=1)[0])
        without = re.sub(rf"^({front}) - ", r"\1 ", without, flags=re.IGNORECASE)
    kept = without.split(" ")
    terms = lexicon("en").terms

    def is_coloured(word: str) -> bool:
        found = terms.get(word.casefold(), ())
        return any(one.kind == "colour" and not one.rest for one in found)

    def is_colour(at: int) -> bool:
        known = is_coloured(kept[at])
        joins = {"and", "or", "&", "on", "/", "+", "in"}
        beside = {kept[at - 1].casefold(), kept[at + 1].casefold() if at + 1 < len(kept) else ""}
        return known and not beside & joins and (flat or at == len(kept) - 1)

    plain = " ".join(one for at, one in enumerate(kept) if at == 0 or not is_colour(at))
    short = [named, without, plain, *_before_sizes(without, is_coloured)]
    for one in (without, plain):
        # What it begins with stays.
        front, _, rest = one.partition(" ")
        bare = f"{front} {_GENERATION.sub(' ', _MEASURE.sub(' ', rest))}"
        short.append(" ".join(bare.split()).strip(_MARKS))
    return short


def _before_sizes(part: str, is_coloured: Callable[[str], bool]) -> Iterator[str]:
    """What stands before its first size, where behind are sizes, colours and one word at most."""
    for found in _SIZE.finditer(part):
        behind = _SIZE.sub(" ", part[found.start() :]).split()
        rest = [one for one in behind if not is_coloured(one) and one[:1].isalnum()]
        if len(rest) < (2 if _MEASURE.match(found.group().strip()) else 1):
            yield part[: found.start()].strip(_MARKS)
            return


def is_part_number(word: str) -> bool:
    """Whether a word is a number of a part: figures among letters, or many of them."""
    bare = word.strip("()[],.;:#").casefold()
    if not any(one.isdigit() for one in bare) or len(bare) < 5 or _MEASURE.fullmatch(bare):
        return False
    if re.fullmatch(r"\d+(?:-\d+)*", bare):
        return len(bare) > (6 if "-" in bare else 4)
    figures, letters = re.sub(r"\D", "", bare), re.sub(r"[^a-z]", "", bare)
    said = bool(set(letters) & _VOWELS)
    if re.fullmatch(r"[\d.,]+-?[a-z]+", bare):  # 301239u, not 8-port
        many = len(figures) > 4 and len(letters) < 3
        return many or (len(letters) > 4 and not said)
    if re.fullmatch(r"[a-z]{4,}\d{1,4}", bare):  # not office2007
        return not said or len(letters) - len(set(letters) & _VOWELS) > 4
    return not re.fullmatch(r"[\d./:x-]+", bare)


def _brand_and_noun(part: str, brand: str) -> Iterator[str]:
    """The brand that it begins with, and its last words: four, three, two."""
    words, own = part.split(" "), brand.casefold().split()
    same = [one.casefold() == other for one, other in zip(words, own, strict=False)]
    own = own[: same.index(False)] if False in same else own
    if not own or len(words) - len(own) > _MOST_WORDS:
        return
    if words[-1].casefold() in name_words("vague"):
        return
    for many in (4, 3, 2):
        gone = words[len(own) : -many]
        if not gone or len(own) + many >= len(words):
            continue
        low = {one.casefold().strip(",.") for one in (*gone, words[-many])}
        low |= {one.casefold() for one in words[-many:-1] if one.casefold() in ("plus", "-")}
        if low & {"and", "&", "or", "/", "+", "of", "plus", "-"} or low & name_words("denies"):
            continue
        if low & name_words("whose"):
            continue
        first, before = words[-many], gone[-1].casefold()
        if any(one.isdecimal() for one in (before, *words[-many:])):
            continue
        if before in name_words("wants") or first.casefold() in name_words("leads"):
            continue
        if first.casefold() in name_words("behind") or not first[:2].isalpha() or len(first) < 2:
            continue
        yield " ".join((*words[: len(own)], *words[-many:]))


def _is_tidy(part: str) -> bool:
    """Whether no mark stands alone, and what opens is closed."""
    words = part.split(" ")
    alone = [one for one in words if not any(sign.isalnum() for sign in one)]
    quoted = part.count('"') % 2 and not re.search(r'\d"', part)
    pairs = all(part.count(a) == part.count(b) for a, b in _PAIRS)
    by = [at for at, one in enumerate(words) if one == "x"]
    crossed = all(at + 1 < len(words) and words[at + 1][:1].isdigit() for at in by)
    said = [one.casefold() for one in words if one not in alone]
    again = any(one == other for one, other in pairwise(said))
    odd = set(alone) - {"&", "+", "-", "–", "—", "|", "•", "·"}
    return pairs and not quoted and not odd and crossed and not again


def _stands(part: str, name: str, brand: str) -> bool:
    """Whether a part of a name can stand for it."""
    words = part.split(" ")
    if len(words) < 2 or not _says_enough(part, brand):
        return False
    long = [one.casefold() for one in words if len(one) > 3]
    if len(set(long)) < len(long):
        return False  # "DDR2 SDRAM Memory Module DDR2 SDRAM"
    last = words[-1].casefold().strip(".,")
    if last in name_words("leads") or last in name_words("wants"):
        return False
    if last in name_words("denies") or last.strip("'\"").replace(".", "").isdecimal():
        # A number at the end is a model where the name has it there, or goes on with a border.
        at = name.find(part)
        behind = name[at + len(part) :] if at >= 0 else "?"
        goes_on = re.match(r"\W*(?:or|and|x|to)\b", behind, re.IGNORECASE)
        border = _SEPARATOR.match(behind) or _HANGS.match(behind)
        is_border = not behind or (border is not None and not goes_on)
        return bool(is_border) and last not in name_words("denies")
    return True


def _says_enough(part: str, brand: str) -> bool:
    plain = " ".join(one for one in part.split(" ") if not is_part_number(one))
    words = [one for one in WORD.findall(plain) if len(one) > 2]
    own = brand.casefold().strip()
    if not words or plain.strip(_MARKS).casefold() in (own, own.split(" ")[0]):
        return False
    return len(words) > 1 or len(words[0]) > 4 or not part.isascii()


# --------------------------------------------------------------------------------------------------
# How a name is written.


def is_shouted(name: str) -> bool:
    """Whether its longer words are in capitals."""
    words = [one for one in WORD.findall(name) if len(one) > 3]
    if not words:
        words = [one for one in WORD.findall(name) if len(one) > 2]
        return len(words) > 1 and all(one.isupper() for one in words)
    upper = sum(one.isupper() for one in words)
    return upper > 0.7 * len(words) and (len(words) > 1 or len(WORD.findall(name)) > 1)


def recased(name: str, brand: str = "") -> str:
    """A name in capitals as people write it: the same letters."""
    own: dict[str, str] = {one.casefold(): one for one in WORD.findall(brand) if not one.isupper()}

    def put(found: re.Match[str]) -> str:
        word: str = found.group()
        low = word.casefold()
        before = name[found.start() - 1] if found.start() else " "
        if low in own:
            return own[low]
        if before.isdigit() or not word.isupper():
            return word
        if low in name_words("small"):
            return low if found.start() else low.capitalize()
        is_read = low in name_words("read") or low in lexicon("en").units
        spoken = any(one in _VOWELS or one == "y" for one in low)
        if low in _written():
            return _written()[low]
        if len(low) <= 3 and (is_read or not spoken):
            return word
        return word if is_read else word[:1] + word[1:].lower()

    return WORD.sub(put, name)


def titled(name: str, brand: str = "") -> str:
    """A name whose words are in small letters with the capitals of a title; words that have any
    capital stay as they are."""
    own = {one.casefold(): one for one in brand.split() if not one.islower()}
    words, small = name.split(" "), name_words("small")

    def put(at: int, word: str) -> str:
        low = word.casefold().strip(".,;:()[]'\"")
        if not word.islower() or not low:
            return word
        known = own.get(low) or _written().get(low)
        if known:
            return word.replace(low, known)
        if low in small and at > 0:
            return word
        if low == "x":
            return word if at + 1 < len(words) and words[at + 1][:1].isdigit() else "X"
        if any(one.isdigit() for one in low):
            return _figured(word)
        if low.isalpha() and len(low) <= 4 and not set(low) & (_VOWELS | {"y"}):
            return word if low in lexicon("en").units or low in _TITLES else word.upper()
        # After a hyphen or a stroke too: Three-Way.
        parts = enumerate(re.split(r"([-/(\[])", word))
        return "".join(one if number and one in small else _capital(one) for number, one in parts)

    return " ".join(put(at, one) for at, one in enumerate(words))


def _capital(word: str) -> str:
    return _written().get(word, word[:1].upper() + word[1:])


def _figured(word: str) -> str:
    """A word with figures: models in capitals, measures as they are, "8-port" as "8-Port"."""
    bare = word.strip(".,;:()[]'\"")
    measure = re.fullmatch(r"[\d.,]+(gb|mb|tb)", bare)
    if measure:
        return word.upper()
    joined = re.fullmatch(r"([\d./x]+)-([a-z]{3,})", bare)
    if joined:
        return word.replace(joined[2], joined[2].capitalize())
    letters = re.match("[a-z]+", bare)
    if letters and letters[0] in _written():
        return word.replace(letters[0], _written()[letters[0]], 1)
    if bare[0].isalpha() and re.fullmatch(r"[a-z]{1,4}[\d-]+[a-z\d/-]*", bare):
        return word.upper()
    return word[:1].upper() + word[1:] if bare[0].isalpha() else word


# --------------------------------------------------------------------------------------------------
# Codes of tills: words that nobody can say.


def code_words(name: str) -> tuple[str, ...]:
    """The words of a name that nobody can say, as they are written."""
    shouted = is_shouted(name)
    # With a figure it is a model, which is said as it is.
    plain = (one for one in _TOKEN.findall(name) if not any(sign.isdigit() for sign in one))
    words = (word for one in plain for word in WORD.findall(one))
    return tuple(dict.fromkeys(one for one in words if _is_code(one, shouted)))


def _is_code(word: str, shouted: bool) -> bool:
    low = word.casefold().replace("'", "").replace("’", "")
    if low in name_words("read") or low in _written() or low in lexicon("en").units:
        return False
    if not ("a" <= low[:1] <= "z"):
        return False
    vowels = [at for at, one in enumerate(low) if one in _VOWELS or (one == "y" and at > 0)]
    if not vowels:
        # Short capitals among other words are a brand or a model.
        least = 3 if shouted else 5 if word.isupper() else 4
        return len(low) >= least
    runs = re.split("[" + "".join(sorted(_VOWELS)) + "]", low)
    longest = max(map(len, runs))
    if all(low[at] == "y" for at in vowels) and longest >= 5 and low != "rhythm":
        return True
    return longest >= 7 or (longest == 6 and 5 * len(vowels) < len(low))


# --------------------------------------------------------------------------------------------------
# Its language.


def language_of_product(product: Product) -> str:
    """The language of its words: what its locale says, unless its letters or its commonest words
    say another one; "" for another one that cannot be told."""
    told = language_of(product.locale)
    words = " ".join((product.title, product.description[:500]))
    scripts = scripts_of(words)
    latin, others = scripts.get("Latin", 0), sum(scripts.values()) - scripts.get("Latin", 0)
    title = scripts_of(product.title)
    if told == "en":
        foreign = sum(title.values()) - title.get("Latin", 0)
        if (foreign >= _FOREIGN and foreign > title.get("Latin", 0)) or others > max(latin, 8):
            return ""
        spoken = [one for one in WORD.findall(words) if len(one) > 1]
        verdict = judge_language(" ".join(spoken), product.locale)
        accents = bool(_ACCENTED.search(words))
        if (verdict.sure and len(set(spoken)) > 5 and accents) or _reads_as_another(words):
            return verdict.found if verdict.found != "en" else ""
    return told


def _reads_as_another(text: str) -> bool:
    """Whether a text without an English word of the commonest has accents and such words of
    another language."""
    words = {word.casefold() for word in WORD.findall(text)}
    english = words & {"the", "and", "of", "for", "with", "in", "to", "is", "by", "on", "your"}
    others = words & {
        *("und", "mit", "für", "aus", "der", "die", "das", "et", "avec", "pour", "les", "des"),
        *("du", "el", "los", "las", "con", "para", "della", "met", "voor", "het", "och", "med"),
    }
    return not english and bool(others) and (len(others) > 1 or bool(_ACCENTED.search(text)))
