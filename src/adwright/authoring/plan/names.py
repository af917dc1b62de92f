"""A product's name as a text may say it: letter for letter, and shorter where a slot is short.

    naming = Naming(expansions={"plstc": "plastic"})
    found = naming.name(product)
    found.within(30)            # "Speaker System AM53BK", of "Bose Acoustimass 5 Series III ..."
    found.why                   # why there is none, such as codes that nobody has expanded

A shorter name is a part of the name in one piece: up to a separator or a preposition, then without
the words before its noun (in languages whose noun comes first, without those behind it). It begins
and ends with no word that leads nowhere, and with no number whose unit was left out. What a part
says that the whole does not ("leather" of faux leather) the checks find.

Names of tills are codes ("PLSTC CTLRYTBLCLTH"): words that nobody can say. A table that a person
approves expands them; a product whose name still has one is left out, which is said.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from adwright.authoring.checks.policy import judge_language, plain_text, scripts_of
from adwright.authoring.tasks import Product
from adwright.core.atomic import atomic_write_text
from adwright.core.config import read_toml
from adwright.core.errors import FileUnreadableError, SchemaError
from adwright.metrics.text.mentions import language_of, lexicon

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_TOKEN = re.compile(r"[^\s/,;()\[\]|]+")
_VOWELS = frozenset("aeiouáàâäãåāæéèêëēíìîïīóòôöõøōœúùûüūýÿ")
_SEPARATOR = re.compile(r"(?<!\s)(?:\s++[-–—|•·~]+\s+|\s*+[|•;]\s*|\s*+[(\[{]|\s++w/\s?)|,\s+|:\s+")
_HANGS = re.compile(r"\s(?:for|with|without|from|in|by|featuring|including|w)\s", re.I)
_MARKS = " ,;:-–—|/•·&+"
_PAIRS = (("(", ")"), ("[", "]"), ("{", "}"), ("“", "”"), ("«", "»"))
#: Languages whose noun comes first.
_NOUN_FIRST = frozenset(("fr", "es", "it", "pt", "ro", "ca", "gl", "id", "ms", "vi", "he", "ar"))
#: Letters of another script than Latin from which on a name is not English.
_FOREIGN = 2
#: Latin letters that English names hardly have.
_ACCENTED = re.compile(r"[äöüßñãõåøæœçğşıłżźćęąěščřžő]", re.I)


@cache
def grammar() -> Mapping[str, Any]:
    """How names and facts are read and said, and the frames: grammar.toml."""
    return read_toml(Path(__file__).with_name("grammar.toml"))


@cache
def known_words(name: str) -> frozenset[str]:
    """A list of words of the grammar."""
    return frozenset(grammar()["words"][name])


@dataclass(frozen=True)
class SayableName:
    """forms: the name, then shorter ones, the longest first; none where it cannot be said, and
    `why` says why. whole: those of them that end where the name has a border, and begin where it
    begins. language: of its words, "" where that cannot be told."""

    forms: tuple[str, ...]
    language: str = "en"
    why: str = ""
    whole: tuple[str, ...] = ()

    def within(self, most: int) -> str:
        """The longest form of at most so many characters; "" for none."""
        return next((one for one in self.forms if len(one) <= most), "")


@dataclass(frozen=True)
class Naming:
    """Makes names. expansions: what codes mean, in small letters, that a person has approved."""

    expansions: Mapping[str, str] = field(default_factory=dict)

    def name(self, product: Product) -> SayableName:
        """The name of a product, in its forms."""
        title = " ".join(plain_text(product.title[:2000]).split()).strip(" ,;:-–—|/•·")
        title = self._expanded(title)
        language = language_of_product(product)
        if not any(one.isalpha() for one in title):
            return SayableName((), language, "its name has no word")
        codes = code_words(title)
        if codes:
            said = ", ".join(codes[:3])
            why = f"its name has codes that nobody has expanded ({said}): adwright author codes"
            return SayableName((), language, why)
        if is_shouted(title):
            title = recased(title, product.brand)
        forms = tuple(shorter_forms(title, language, product.brand))
        borders = [at for one in (_SEPARATOR, _HANGS) for at in map(_start, one.finditer(title))]
        whole = {title, *(title[:at].strip(_MARKS) for at in borders)}
        return SayableName(forms, language, "", tuple(one for one in forms if one in whole))

    def _expanded(self, title: str) -> str:
        if not self.expansions:
            return title

        def put(found: re.Match[str]) -> str:
            word = found.group()
            told = self.expansions.get(word.casefold())
            if told is None:
                return word
            return told.upper() if word.isupper() else told

        return _WORD.sub(put, title)


def _start(found: re.Match[str]) -> int:
    return found.start()


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
        spoken = [one for one in _WORD.findall(words) if len(one) > 1]
        verdict = judge_language(" ".join(spoken), product.locale)
        if (verdict.sure and len(set(spoken)) > 5) or _reads_as_another(words):
            return verdict.found if verdict.found != "en" else ""
    return told


def _reads_as_another(text: str) -> bool:
    """Whether a text without an English word of the commonest has accents and such words of
    another language."""
    words = {word.casefold() for word in _WORD.findall(text)}
    english = words & {"the", "and", "of", "for", "with", "in", "to", "is", "by", "on", "your"}
    others = words & {
        *("und", "mit", "für", "aus", "der", "die", "das", "et", "avec", "pour", "les", "des"),
        *("du", "el", "los", "las", "con", "para", "della", "met", "voor", "het", "och", "med"),
    }
    return not english and bool(others) and (len(others) > 1 or bool(_ACCENTED.search(text)))


def code_words(name: str) -> tuple[str, ...]:
    """The words of a name that nobody can say, as they are written."""
    shouted = is_shouted(name)
    # With a figure it is a model, which is said as it is.
    plain = (one for one in _TOKEN.findall(name) if not any(sign.isdigit() for sign in one))
    words = (word for one in plain for word in _WORD.findall(one))
    return tuple(dict.fromkeys(one for one in words if _is_code(one, shouted)))


def _is_code(word: str, shouted: bool) -> bool:
    low = word.casefold().replace("'", "").replace("’", "")
    if low in known_words("read") or low in lexicon("en").units or not ("a" <= low[:1] <= "z"):
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


def is_shouted(name: str) -> bool:
    """Whether its longer words are in capitals."""
    words = [one for one in _WORD.findall(name) if len(one) > 3]
    if not words:
        words = [one for one in _WORD.findall(name) if len(one) > 2]
        return len(words) > 1 and all(one.isupper() for one in words)
    upper = sum(one.isupper() for one in words)
    return upper > 0.7 * len(words) and (len(words) > 1 or len(_WORD.findall(name)) > 1)


def recased(name: str, brand: str = "") -> str:
    """A name in capitals as people write it: the same letters."""
    own: dict[str, str] = {one.casefold(): one for one in _WORD.findall(brand) if not one.isupper()}

    def put(found: re.Match[str]) -> str:
        word: str = found.group()
        low = word.casefold()
        before = name[found.start() - 1] if found.start() else " "
        if low in own:
            return own[low]
        if before.isdigit() or not word.isupper():
            return word
        if low in known_words("small"):
            return low if found.start() else low.capitalize()
        is_read = low in known_words("read") or low in lexicon("en").units
        spoken = any(one in _VOWELS or one == "y" for one in low)
        if len(low) <= 3 and (is_read or not spoken or low in ("usb", "led", "aaa", "uhd", "abs")):
            return word
        return word if is_read else word[:1] + word[1:].lower()

    return _WORD.sub(put, name)


def shorter_forms(name: str, language: str = "en", brand: str = "") -> Iterator[str]:
    """The name and its shorter forms, each once, the longest first."""
    found = {name: None}
    ends = [one.start() for one in _SEPARATOR.finditer(name)]
    heads = [name[:at] for at in reversed(ends)]
    found |= dict.fromkeys(heads)
    head = next((one for one in reversed(heads) if _says_enough(one, brand)), name)
    if language == "en":
        hangs = [one.start() for one in _HANGS.finditer(head)]
        parts = [head[:at] for at in reversed(hangs)]
        found |= dict.fromkeys(parts)
        core = next((one for one in reversed(parts) if _says_enough(one, brand)), head)
    else:
        core = head
    words = core.split(" ")
    many = range(1, len(words))
    if language in _NOUN_FIRST:
        found |= dict.fromkeys(" ".join(words[:-at]) for at in many)
    elif language:
        found |= dict.fromkeys(" ".join(words[at:]) for at in many)
    tidy = (one.strip(_MARKS) for one in found)
    fits = [one for one in tidy if one == name or _stands(one, name, brand)]
    yield from dict.fromkeys(sorted(fits, key=lambda one: (-len(one), one)))


def _stands(part: str, name: str, brand: str) -> bool:
    """Whether a part of a name can stand for it."""
    words = part.split(" ")
    if len(words) < 2:
        return False
    first, last = words[0].casefold().strip(".,"), words[-1].casefold().strip(".,")
    if (
        first in known_words("leads")
        or last in known_words("leads")
        or not _says_enough(part, brand)
    ):
        return False
    quoted = part.count('"') % 2 and not re.search(r'\d"', part)
    if quoted or any(part.count(a) != part.count(b) for a, b in _PAIRS):
        return False
    at = name.find(part)
    before = name[:at].split(" ")[-2:-1] if at > 0 else []
    behind = name[at + len(part) :].lstrip()
    if before and (before[0][-1:].isdigit() or before[0].casefold() in known_words("denies")):
        return False  # what belongs to a number, or is denied
    if at > 0 and first in known_words("behind"):
        return False
    if at > 0 and (not first[:1].isalnum() or first.replace(".", "").isdecimal()):
        return False
    # A number whose unit comes behind the cut says something else.
    is_whole = _SEPARATOR.match(name, at + len(part)) or not behind[:1].isalnum()
    return bool(is_whole) or not last[-1:].isdigit()


def _says_enough(part: str, brand: str) -> bool:
    words = [one for one in _WORD.findall(part) if len(one) > 2]
    if not words or part.strip().casefold() == brand.strip().casefold():
        return False
    return len(words) > 1 or len(words[0]) > 4 or not part.isascii()


# --------------------------------------------------------------------------------------------------
# The table of a shop's codes: proposed from its own names, approved by a person.
#
#     code,expansion,count,approved
#     plstc,plastic,14,yes
#     frzn,frozen,9,

_COLUMNS = ("code", "expansion", "count", "approved")
_YES = frozenset(("yes", "y", "1", "true", "x", "ja", "oui"))


def proposed_codes(products: Sequence[Product]) -> list[tuple[str, str, int]]:
    """(code, what it may mean, in how many names it stands), the most frequent first.

    What it may mean is the commonest word of the catalogue that has all its letters in their
    order and begins with its first; "" where there is none.
    """
    counts: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for product in products:
        codes = {one.casefold() for one in code_words(product.title)}
        counts.update(codes)
        texts = (product.title, product.description[:2000], product.category)
        every = (one.casefold() for text in texts for one in _WORD.findall(text))
        words.update(one for one in every if one not in codes and len(one) > 3)
    found = []
    for code, count in counts.most_common():
        letters = re.compile(".*".join(map(re.escape, code)))
        fits = [one for one in words if one[0] == code[0] and letters.match(one)]
        near = [one for one in fits if len(one) <= 2 * len(code) + 1 and one not in counts]
        best = min(near, key=lambda one: (one[-1] != code[-1], -words[one], len(one)), default="")
        found.append((code, best, count))
    return found


def write_codes(path: Path, rows: Sequence[tuple[str, str, int]], kept: Mapping[str, str]) -> None:
    """Write the table for a person to approve; what was approved before stays so."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(_COLUMNS)
    for code, expansion, count in rows:
        table.writerow([code, kept.get(code, expansion), count, "yes" if code in kept else ""])
    for code in kept.keys() - {one for one, _, _ in rows}:
        table.writerow([code, kept[code], 0, "yes"])
    atomic_write_text(path, out.getvalue())


def read_codes(path: Path) -> dict[str, str]:
    """The expansions that a person has approved, by their codes in small letters.

    Raises FileUnreadableError where there is no such file, SchemaError without a needed column.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileUnreadableError(
            f"the table of codes cannot be read: {error}",
            file=str(path),
            hint="`adwright author codes` writes one",
        ) from error
    missing = [name for name in ("code", "expansion", "approved") if rows and name not in rows[0]]
    if missing:
        raise SchemaError("the table of codes lacks a column", file=str(path), column=missing[0])
    return {
        (row["code"] or "").strip().casefold(): " ".join((row["expansion"] or "").split())
        for row in rows
        if (row["approved"] or "").strip().casefold() in _YES and (row["expansion"] or "").strip()
    }
