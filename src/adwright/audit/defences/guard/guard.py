"""The guard: which texts look written for a ranker, with a p-value and the sentence that did it.

    guard = TextGuard.fit(guard_texts(shop.listings), np.random.default_rng(0))
    for one in guard.look(guard_texts(other.listings)):
        if one.alarm: print(one.in_words())
    print(guard.in_words())            # what it finds of attacks that it was not fitted on

A text is cut into sentences and windows of words, each of which gets a score, so that a push behind
an honest text is not diluted: the worst of them speaks for the text. The product's own name and
facts are read as "it", since a name of ten words would drown what is said of it. The score is a
logistic regression between the parts of honest texts and made-up attacks on them
(`rehearsed.toml`), on vectors of a small sentence encoder where it is installed, on hashed letters,
or on both: whichever finds most attacks of families left out behind texts of merchants (or
products) left out.
Where none finds more than chance would, "nothing" is kept, and only `certain` alarms.

Folds share no merchant where there are five or more, else no product. Each text is scored by the
model of the other folds, and these scores calibrate: so the share of false alarms is at most alpha
for texts that are like them, whatever the scores are worth. A product that was fitted to
is judged by the fold that did not see it, any other by the mean of all folds.

A guard is no boundary. What bounds the damage is `audit.certificate`.
"""

from __future__ import annotations

import math
import re
import tomllib
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from adwright.audit.catalogue import ShopListing
from adwright.audit.defences.normalise import normalised
from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.config import Count, Gt, Lt, from_jsonable, settings, to_jsonable
from adwright.core.errors import (
    ArtifactError,
    AssetError,
    ConfigError,
    DataError,
    MissingExtraError,
)
from adwright.core.hashing import sha256_bytes

Floats = npt.NDArray[np.float64]
#: What the score reads: vectors of sentences, hashed letters, the mean of both, or nothing.
Kept = Literal["vectors", "letters", "both", "nothing"]


@dataclass(frozen=True)
class GuardText:
    """text: that is looked at. rest: the other fields of its record, of which facts are the shop's
    own. name: of the product."""

    text: str
    rest: str = ""
    name: str = ""
    merchant: str = ""
    field: str = ""
    facts: str = ""


def guard_texts(listings: Sequence[ShopListing]) -> list[GuardText]:
    """The texts of all listings, field by field, each with the rest of its record."""
    found = []
    for one in listings:
        facts = [str(value) for value in one.attributes.values() if value is not None]
        for field, text in one.texts.items():
            others = [other for name, other in one.texts.items() if name != field]
            rest = " ".join(filter(None, (one.name, *facts, *others)))
            found.append(GuardText(text, rest, one.name, one.merchant, field, " ".join(facts)))
    return found


# --------------------------------------------------------------------------------------------------
# The parts of a text: its sentences, and windows over the long ones.

_END = re.compile(
    r"(?<=[.!?\u2026])\s+|(?<=[\u3002\uff01\uff1f\u061f\u0964])|(?<!\s)\s++[\u2022|*]\s+"
)
_LONG, _WINDOW, _STEP, _MOST_PARTS = 22, 14, 7, 400


def parts_of(text: str) -> list[tuple[int, str]]:
    """Where each part begins, and the part; a text without a word is one part."""
    found: list[tuple[int, str]] = []
    start = 0
    for end in [*(one.end() for one in _END.finditer(text)), len(text)]:
        words = [*re.finditer(r"\S{1,40}", text[start:end])]
        if len(words) <= _LONG:
            found += [(start, text[start:end].strip())] if words else []
        else:
            for at in range(0, len(words) - _WINDOW + _STEP, _STEP):
                some = words[at : at + _WINDOW]
                found.append(
                    (
                        start + some[0].start(),
                        text[start + some[0].start() : start + some[-1].end()],
                    )
                )
        start = end
    return found[:_MOST_PARTS] or [(0, text)]


# --------------------------------------------------------------------------------------------------
# Made-up attacks: sentences of families, and texts without order as searches over tokens end in.

#: Texts without order: of words, of pieces of words, of code, of all.
_MIXTURES = {"words": (6, 1, 1), "pieces": (1, 5, 1), "code": (2, 1, 4), "all": (2, 2, 2)}


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("rehearsed.toml").read_text("utf-8"))


def families() -> tuple[str, ...]:
    """The names of the families."""
    fluent = list(_table()["fluent"])
    # Spread, so that no fold leaves out two kinds of gibberish.
    for at, name in enumerate(_MIXTURES):
        fluent.insert(at * 4, f"gibberish of {name}")
    return tuple(fluent)


def rehearsed(one: GuardText, family: str, rng: np.random.Generator) -> str:
    """An attack of a family for a product: one or two sentences, or 10 to 30 pieces."""
    table = _table()
    if family not in table["fluent"]:
        return _gibberish(family.rpartition(" ")[2], int(rng.integers(10, 31)), rng)
    words = [word for word in (one.name or one.text).split() if word.isalpha()] or ["product"]
    slots = {"name": one.name or words[0], "kind": words[-1].lower()}
    some = table["fluent"][family]
    said = []
    for at in rng.permutation(len(some))[: 1 + (rng.random() < 0.4)]:
        drawn = {
            name: values[int(rng.integers(len(values)))] for name, values in table["words"].items()
        }
        said.append(some[at].format(**slots, **drawn))
    text = " ".join(one[:1].upper() + one[1:] for one in said)
    # Attackers take on the format of their merchant.
    return text.lower() if one.text == one.text.lower() and rng.random() < 0.6 else text


def _gibberish(mixture: str, count: int, rng: np.random.Generator) -> str:
    kinds = [_table()["gibberish"][name].split() for name in ("words", "pieces", "code")]
    share, joined = rng.dirichlet(_MIXTURES[mixture]), rng.uniform(0.2, 0.6)
    made: list[str] = []
    for kind in rng.choice(3, count, p=share).tolist():
        one = kinds[kind][int(rng.integers(len(kinds[kind])))]
        change = rng.random()
        one = one.capitalize() if change < 0.25 else one.upper() if change < 0.32 else one
        # A token often begins without a blank.
        made.append(one if rng.random() < joined else f" {one}")
    return "".join(made).strip()


# --------------------------------------------------------------------------------------------------
# What is read of a part.

_WIDTH, _COUNTED, _REMEMBERED = 512, 1 << 14, 50_000
_SIGNS = re.compile(r"[^\w\s.,;:'\"!?()/&%$\u20ac\u00a3+-]")
_JOINS = re.compile(r"[a-z][A-Z]|[^\W\d_][^\w\s'\u2019./&-][^\W\d_]|[^\w\s.,'\"!?)]{2,}")
_ADDRESS = frozenset(
    ("you", "your", "yours", "yourself", "we", "our", "us", "i", "my", "me", "he", "she", "they")
)


def _few(
    part: str,
    rest: frozenset[str],
    pairs: Mapping[tuple[str, str], int],
    usual: Floats,
    texts: int,
    own: bool,
) -> list[float]:
    """pairs: of words that follow one another in the whole text. own: the part is of one of the
    texts that `usual` counts."""
    words = re.findall(r"\w+", part.lower())
    size, long = max(len(words), 1), max(len(part), 1)
    runs = _runs(part)
    seen = np.maximum(usual[runs] - own, 0) if runs else np.zeros(1)
    return [
        float(np.log((texts + 1) / (seen + 1)).mean()) / 4,
        float((seen < 3).mean()) * 2,
        len(_SIGNS.findall(part)) / long * 10,
        len(_JOINS.findall(part)) / size * 2,
        sum(word in rest for word in words) / size,
        sum(map(str.isdigit, part)) / long * 3,
        sum(word in _ADDRESS for word in words) / size * 5,
        float(np.log1p(size)) / 3,
        1 - len(set(words)) / size,
        float(np.log(max((max(pairs[one], 1) for one in pairwise(words)), default=1))),
    ]


def _runs(text: str) -> list[int]:
    padded = f" {text.lower()} "
    return [
        zlib.crc32(padded[at : at + 3].encode("utf-8", "replace")) % _COUNTED
        for at in range(len(padded) - 2)
    ]


def _letters(part: str) -> Floats:
    """[512] hashed runs of three to five letters, of length 3."""
    found = np.zeros(_WIDTH)
    for word in re.findall(r"\w+|[^\w\s]+", part.lower()):
        padded = f" {word} "
        for size in (3, 4, 5):
            for at in range(len(padded) - size + 1):
                hashed = zlib.crc32(padded[at : at + size].encode("utf-8", "replace"))
                found[hashed % _WIDTH] += 1.0 if hashed & 0x10000 else -1.0
    length = np.linalg.norm(found)
    return found / length * 3 if length else found


@cache
def _encoder() -> tuple[dict[str, Any], Any]:
    """Vectors of parts that are known, and the small sentence encoder where it is on this machine,
    else None."""
    try:
        from adwright.lm.sentence_encoder import SentenceEncoder

        return {}, SentenceEncoder(longest=64, offline=True)
    except (AssetError, MissingExtraError):
        return {}, None


def _wide(kind: str, parts: Sequence[str]) -> Floats:
    """[N, F] vectors of parts, each of length 3 or so."""
    if kind == "letters":
        return np.array([_letters(one) for one in parts]).reshape(len(parts), _WIDTH)
    known, encoder = _encoder()
    new = [one for one in dict.fromkeys(parts) if one not in known]
    if len(known) + len(new) > _REMEMBERED:
        known.clear()
        new = list(dict.fromkeys(parts))
    if new:
        known.update(zip(new, 4 * np.asarray(encoder.encode(new), np.float32), strict=True))
    return np.array([known[one] for one in parts], np.float64).reshape(len(parts), -1)


def fit_logistic(features: Floats, labels: Floats, rows: Floats, *, ridge: float) -> Floats:
    """[1 + F]: the intercept and a weight for each feature of a logistic regression with weighted
    rows and a ridge, by Newton's method; the intercept has next to no ridge."""
    x = np.concatenate((np.ones((len(features), 1)), features), axis=1)
    share, signs = rows / rows.sum(), 2 * labels - 1
    penalty = np.full(x.shape[1], ridge)
    penalty[0] = 1e-10
    weights = np.zeros(x.shape[1])

    def loss(of: Floats) -> float:
        return float(share @ np.logaddexp(0, -signs * (x @ of)) + 0.5 * penalty @ of**2)

    now = loss(weights)
    for _ in range(50):
        chance = 0.5 * (1 + np.tanh(0.5 * (x @ weights)))
        slope = x.T @ (share * (chance - labels)) + penalty * weights
        curve = (x * (share * chance * (1 - chance))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(curve, slope)
        size = 1.0
        # Half the step until the loss falls: Newton's may go too far from afar.
        while (then := loss(weights - size * step)) > now:
            size /= 2
            if size < 1e-8:
                return weights
        weights, fell, now = weights - size * step, now - then, then
        if fell < 1e-7 * max(now, 1e-8):
            break
    return weights


# --------------------------------------------------------------------------------------------------
# P-values that need no model to be right: the share of honest texts, none of which the model that
# scored them was fitted on, that look at least as suspicious (Vovk, Gammerman and Shafer 2005).

_FOLDS = 5
#: Honest texts without which there is no guard, and attacks that are made at least.
_FEWEST, _ATTACKS = 30, 1200


@settings
class GuardConfig:
    """alpha: share of honest texts that may alarm. most_texts: of a field that are learned from.
    ridge: of the regression. kinds: that are tried; vectors only where the encoder is there."""

    alpha: Annotated[float, Gt(0), Lt(1)] = 0.01
    most_texts: Count = 800
    ridge: Annotated[float, Gt(0)] = 0.0003
    kinds: tuple[Literal["vectors", "letters"], ...] = ("vectors", "letters")


@dataclass(frozen=True)
class TextVerdict:
    """text: what was looked at. score: the higher the more suspicious. p: how rare such a score is
    among `rows` honest texts, those of its field where there are enough. alarm: p is at most alpha.
    part: which had the score."""

    text: GuardText
    score: float
    p: float
    rows: int
    alarm: bool
    part: str

    def in_words(self) -> str:
        """One sentence."""
        where = ", ".join(filter(None, (self.text.name, self.text.field))) or "a text"
        said = f"{where}: {'suspicious' if self.alarm else 'not suspicious'}, p {self.p:.3f} among "
        why = f"; most of all {self.part[:120]!a}" if self.alarm else ""
        return f"{said}{self.rows} honest texts{why}"


@dataclass(frozen=True, eq=False)
class TextGuard:
    """kept: what the score reads. weights: by kind [K, 1 + F], a model a fold. usual: honest texts
    with each run of letters. folds: of products that were fitted, and own: texts, by their hash.
    honest: scores by field, "" for all, ascending. found: of attacks of families left out, by the
    family, the share that alarms."""

    kept: str
    weights: Mapping[str, Floats]
    usual: Floats
    texts: int
    folds: Mapping[int, int]
    own: frozenset[int]
    honest: Mapping[str, Floats]
    found: Mapping[str, float]
    config: GuardConfig

    @classmethod
    def fit(
        cls, texts: Sequence[GuardText], rng: np.random.Generator, config: GuardConfig | None = None
    ) -> TextGuard:
        """A guard for texts such as these, which are honest; empty ones are left out.

        Raises DataError for fewer than 30 texts that hold something, or all of one product.
        """
        config = GuardConfig() if config is None else config
        some = _chosen(texts, rng, config.most_texts)
        if len(some) < _FEWEST:
            raise DataError(
                f"a guard needs {_FEWEST} honest texts, and there are {len(some)}",
                hint="give the texts of more listings",
            )
        fold = _fold_of(some, rng)
        if len(set(fold)) < _FOLDS:
            raise DataError(
                "too many of the honest texts are of one product",
                hint="give the texts of more products",
            )
        usual = np.zeros(_COUNTED)
        for one in some:
            usual[list(set(_runs(one.text)))] += 1
        groups = [families()[at::_FOLDS] for at in range(_FOLDS)]
        tried = []
        for _ in range(-(-_ATTACKS // len(some))):
            for row, one in enumerate(some):
                family = groups[fold[row]][int(rng.integers(len(groups[fold[row]])))]
                tried.append((row, family, unnamed(rehearsed(one, family, rng), one)))
        rehearsal = _Rehearsal(some, np.array(fold), usual, tried)
        kinds = [one for one in config.kinds if one != "vectors" or _encoder()[1] is not None]
        weights: dict[str, Floats] = {}
        odds: dict[str, tuple[Floats, Floats]] = {}
        for kind in kinds:
            weights[kind], odds[kind] = rehearsal.fitted(kind, config.ridge)
        if len(kinds) > 1:
            honest, attacked = (np.mean([odds[kind][at] for kind in kinds], 0) for at in (0, 1))
            odds["both"] = honest, attacked
        made = cls(
            "nothing", weights, usual, len(some),
            {_hashed(one.name): at for one, at in zip(some, fold, strict=True)},
            frozenset(_hashed(one.text) for one in some), {}, {}, config,
        )  # fmt: skip
        best, most = made, 3 * config.alpha
        for kept, of_parts in odds.items():
            found = made._judged(kept, some, *rehearsal.of_texts(of_parts), tried)
            if (share := float(np.mean(list(found.found.values())))) > most:
                best, most = found, share
        return best

    def _judged(
        self,
        kept: str,
        texts: Sequence[GuardText],
        honest: Floats,
        attacked: Floats,
        tried: Sequence[tuple[int, str, str]],
    ) -> TextGuard:
        """With honest scores, and what is found by them."""
        by_field: dict[str, list[float]] = {"": []}
        for one, score in zip(texts, honest.tolist(), strict=True):
            by_field[""].append(score)
            by_field.setdefault(one.field, []).append(score)
        sorted_by = {field: np.sort(scores) for field, scores in by_field.items()}
        made = replace(self, kept=kept, honest=sorted_by)
        alarms: dict[str, list[bool]] = {}
        for (row, family, _), score in zip(tried, attacked.tolist(), strict=True):
            p, _ = made._p(score, texts[row].field, self.config.alpha)
            alarms.setdefault(family, []).append(p <= self.config.alpha)
        return replace(made, found={one: float(np.mean(some)) for one, some in alarms.items()})

    @property
    def can_alarm(self) -> bool:
        """Whether it kept anything, and there are honest texts enough for a p-value of at most
        alpha: of n texts none is below 1 / (n + 1)."""
        rows = max((len(one) for one in self.honest.values()), default=0)
        return self.kept != "nothing" and (rows + 1) * self.config.alpha >= 1 - 1e-9

    def in_words(self) -> str:
        """What it reads, and what it finds of what it was not fitted on."""
        if not self.can_alarm and (self.texts + 1) * self.config.alpha < 1:
            alpha = self.config.alpha
            return (
                f"The guard cannot alarm: it needs {1 / alpha:.0f} honest texts for {alpha:.0%} of "
                "false alarms; only what is certain alarms."
            )
        if self.kept == "nothing":
            return (
                "Nothing tells attacks from these texts better than chance does; "
                "only what is certain alarms."
            )
        ordered = sorted(self.found.items(), key=lambda one: one[1])
        fluent = [share for name, share in ordered if not name.startswith("gibberish")]
        other = [share for name, share in ordered if name.startswith("gibberish")]
        read = {"vectors": "vectors of sentences", "letters": "letters"}.get(
            self.kept, "vectors of sentences and letters"
        )
        return (
            f"The guard reads {read}. At {self.config.alpha:.0%} of false alarms, and behind these "
            f"texts, it finds {np.mean(fluent):.0%} of fluent attacks of families that it was not "
            f"fitted on (least of {ordered[0][0]!r}: {ordered[0][1]:.0%}) and {np.mean(other):.0%} "
            f"of texts without order. {self._promised()} What it does not find passes; what bounds "
            "that is a certificate."
        )

    def _promised(self) -> str:
        """How many honest texts may alarm: those that decide it are few themselves."""
        rows = max(map(len, self.honest.values()))
        most = most_alarms(rows, self.config.alpha)
        return (
            f"By {rows:,} honest texts only more than {most:.1%} of false alarms can be ruled out "
            "(19 of 20 times)."
        )

    def scores(self, texts: Sequence[GuardText]) -> Floats:
        """[N] log-odds of an attack, of the worst part of each text."""
        return np.array([score for score, _ in self._scored(texts)])

    def look(self, texts: Sequence[GuardText], *, alpha: float | None = None) -> list[TextVerdict]:
        """A verdict for each text; an empty one never alarms. alpha: another share of false alarms
        than the config's."""
        alpha = self.config.alpha if alpha is None else alpha
        require_alpha(alpha)
        found = []
        for one, (score, part) in zip(texts, self._scored(texts), strict=True):
            p, rows = self._p(score, one.field, alpha) if one.text.strip() else (1.0, 0)
            found.append(TextVerdict(one, score, p, rows, p <= alpha, part))
        return found

    def _p(self, score: float, field: str, alpha: float) -> tuple[float, int]:
        """The p-value, and of how many honest texts: of the field where they can reach alpha."""
        some = self.honest.get(field, np.zeros(0))
        if (len(some) + 1) * alpha < 1 - 1e-9:
            some = self.honest.get("", some)
        above = len(some) - int(np.searchsorted(some, score, side="left"))
        return (1 + above) / (len(some) + 1), len(some)

    def _scored(self, texts: Sequence[GuardText]) -> list[tuple[float, str]]:
        kinds = {"both": ("vectors", "letters"), "nothing": ()}.get(self.kept, (self.kept,))
        read = [_plain(one) for one in texts]
        parts = [[part for _, part in parts_of(one.text)] for one in read]
        known = [_hashed(one.text) in self.own for one in read]
        odds = np.zeros(sum(map(len, parts)))
        starts = np.cumsum([0, *map(len, parts)])
        for kind in kinds:
            x = _features(kind, read, parts, self.usual, self.texts, known)
            each = x @ self.weights[kind][:, 1:].T + self.weights[kind][:, 0]  # [N, K]
            for row, one in enumerate(read):
                some = each[starts[row] : starts[row + 1]]
                fold = self.folds.get(_hashed(one.name)) if one.name else None
                mean = some.mean(1) if fold is None else some[:, fold]
                odds[starts[row] : starts[row + 1]] += mean / len(kinds)
        found = []
        for row, some_parts in enumerate(parts):
            of = odds[starts[row] : starts[row + 1]]
            worst = int(np.argmax(of))
            found.append((_of_text(of), some_parts[worst]))
        return found


def most_alarms(rows: int, alpha: float) -> float:
    """The share of honest texts that alarm at most, in 19 of 20 draws of `rows` texts that the
    threshold is taken from: with k = alpha (rows + 1) it is distributed as Beta(k, rows + 1 - k)
    (Vovk 2012, conditional validity)."""
    k = int(alpha * (rows + 1) + 1e-9)
    low, high = 0.0, 1.0
    for _ in range(50):
        share = (low + high) / 2
        # That fewer than k of so many texts are above it.
        logs = (
            math.lgamma(rows + 1) - math.lgamma(one + 1) - math.lgamma(rows - one + 1)
            + one * math.log(share) + (rows - one) * math.log1p(-share)
            for one in range(k)
        )  # fmt: skip
        low, high = (share, high) if sum(map(math.exp, logs)) > 0.05 else (low, share)
    return high


def require_alpha(alpha: float) -> None:
    """Raise ConfigError for a share of false alarms that is not between 0 and 1."""
    if not 0 < alpha < 1:
        raise ConfigError("alpha is between 0 and 1", where=f"alpha {alpha!r}", hint="such as 0.01")


def _of_text(odds: Floats) -> float:
    """The score of a text by those of its parts: the worst, less what many parts bring."""
    return float(odds.max() - _MANY * np.log(len(odds)))


_MANY = 0.5


def _plain(one: GuardText) -> GuardText:
    """As a person sees it, and without the product's own name: a long one would drown what is said
    of it."""
    return replace(one, text=unnamed(normalised(one.text).text, one))


_NAMED = re.compile(r"\w+(?:[^\w\s]\w+)*")
NAMELESS = "it"


def unnamed(text: str, one: GuardText) -> str:
    """With NAMELESS for runs of two or more words that the name or the facts have in this order."""
    pairs = {
        pair
        for given in (one.name, one.facts)
        for pair in pairwise(found.lower() for found in _NAMED.findall(given))
    }
    words = [*_NAMED.finditer(text)]
    made: list[str] = []
    at, row = 0, 0
    while row < len(words) - 1:
        last = row
        while last < len(words) - 1 and (
            (words[last].group().lower(), words[last + 1].group().lower()) in pairs
            and not re.search(r"[.!?;]\s", text[words[last].end() : words[last + 1].start()])
        ):
            last += 1
        if last > row:
            made += [text[at : words[row].start()], NAMELESS]
            at = words[last].end()
        row = last + 1
    return "".join(made) + text[at:]


def _hashed(text: str) -> int:
    return int(sha256_bytes(text.encode("utf-8", "surrogatepass"))[:15], 16)


def _features(
    kind: str,
    texts: Sequence[GuardText],
    parts: Sequence[Sequence[str]],
    usual: Floats,
    count: int,
    own: Sequence[bool],
) -> Floats:
    """[N, F] of all parts of all texts."""
    few = []
    for one, some, known in zip(texts, parts, own, strict=True):
        rest = frozenset(re.findall(r"\w+", f"{one.name} {one.rest}".lower()))
        pairs = Counter(pairwise(re.findall(r"\w+", one.text.lower())))
        few += [_few(part, rest, pairs, usual, count, known) for part in some]
    wide = _wide(kind, [part for some in parts for part in some])
    return np.concatenate((np.array(few).reshape(len(wide), -1), wide), axis=1)


class _Rehearsal:
    """Honest texts and attacks behind them, cut into parts. tried: text, family, attack.
    The fold of an attack is that of its text, whose models know neither."""

    def __init__(
        self,
        texts: Sequence[GuardText],
        fold: npt.NDArray[np.int64],
        usual: Floats,
        tried: Sequence[tuple[int, str, str]],
    ) -> None:
        self.texts, self.fold, self.usual, self.tried = texts, fold, usual, tried
        self.parts = [[part for _, part in parts_of(one.text)] for one in texts]
        self.attacks: list[list[str]] = []
        for row, _, attack in tried:
            before = texts[row].text
            behind = parts_of(f"{before} {attack}")
            # What lies at least by half in the attack.
            some = [part for at, part in behind if at + len(part) / 2 >= len(before)]
            self.attacks.append(some or [attack])

    def fitted(self, kind: str, ridge: float) -> tuple[Floats, tuple[Floats, Floats]]:
        """Weights [K, 1 + F], and log-odds of all honest and attacked parts by the model of the
        other folds."""
        rows = [row for row, _, _ in self.tried]
        count = len(self.texts)
        honest = _features(kind, self.texts, self.parts, self.usual, count, [True] * count)
        behind = [
            replace(self.texts[row], text=f"{self.texts[row].text} {attack}")
            for row, _, attack in self.tried
        ]
        attacked = _features(kind, behind, self.attacks, self.usual, count, [False] * len(rows))
        x = np.concatenate((honest, attacked))
        sizes = [*map(len, self.parts), *map(len, self.attacks)]
        fold = np.repeat(np.concatenate((self.fold, self.fold[rows])), sizes)
        labels = np.repeat([0.0, 1.0], [len(honest), len(attacked)])
        share = np.repeat(1 / np.array(sizes), sizes)
        share[labels == 0] /= count
        share[labels == 1] /= len(rows)
        weights, odds = [], np.zeros(len(x))
        for one in range(_FOLDS):
            seen = fold != one
            weights.append(fit_logistic(x[seen], labels[seen], share[seen], ridge=ridge))
            odds[~seen] = x[~seen] @ weights[-1][1:] + weights[-1][0]
        return np.array(weights), (odds[: len(honest)], odds[len(honest) :])

    def of_texts(self, odds: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
        """Scores of honest texts, and of attacked ones, from those of their parts."""
        honest, attacked = (
            np.split(some, np.cumsum([len(one) for one in parts])[:-1])
            for some, parts in zip(odds, (self.parts, self.attacks), strict=True)
        )
        behind = [
            _of_text(np.concatenate((honest[row], attack)))
            for (row, _, _), attack in zip(self.tried, attacked, strict=True)
        ]
        return np.array([_of_text(one) for one in honest]), np.array(behind)


def _chosen(texts: Sequence[GuardText], rng: np.random.Generator, most: int) -> list[GuardText]:
    """Those that hold something, `most` of each field, as a person sees them."""
    seen: Counter[str] = Counter()
    found = []
    for at in rng.permutation(len(texts)).tolist():
        one = texts[at]
        if seen[one.field] < most and (plain := _plain(one)).text.strip():
            seen[one.field] += 1
            found.append(plain)
    return found


def _fold_of(texts: Sequence[GuardText], rng: np.random.Generator) -> list[int]:
    """A fold of each text: those of a merchant together where there are enough of about one size,
    else those of a name."""
    sizes = Counter(one.merchant for one in texts)
    by_merchant = len(sizes) >= _FOLDS and max(sizes.values()) <= len(texts) / 2
    keys = [one.merchant if by_merchant else one.name or one.text for one in texts]
    counts = Counter(keys)
    room, fold_of = [0] * _FOLDS, dict[str, int]()
    several = sorted(counts)
    for at in rng.permutation(len(several)).tolist():
        least = room.index(min(room))
        fold_of[several[at]] = least
        room[least] += counts[several[at]]
    return [fold_of[one] for one in keys]


# --------------------------------------------------------------------------------------------------
# A guard that was fitted, as an artifact: so that what is usual stays what it was.
#
#     save_guard(guard, "watch/kettles.guard")
#     load_guard("watch/kettles.guard").look(texts)      # says what the guard itself does
#
# It holds weights, scores, hashes of names and texts, and how many texts have which letters: the
# texts themselves cannot be read from it.

GUARD_KIND = "text-guard"
_FORMAT = 3


def save_guard(
    guard: TextGuard,
    folder: str | Path,
    *,
    data_hash: str = "",
    seed: int = 0,
    overwrite: bool = False,
) -> str:
    """Write the artifact; returns its id. data_hash, seed: of the texts, and of how they were
    split. Raises as `save_artifact`."""
    fields = list(guard.honest)
    tensors: dict[str, npt.NDArray[Any]] = {"usual": guard.usual}
    tensors |= {f"weights/{kind}": some for kind, some in guard.weights.items()}
    tensors |= {f"honest/{at}": guard.honest[field] for at, field in enumerate(fields)}
    tensors["names"] = np.array(list(guard.folds), np.int64)
    tensors["folds"] = np.array(list(guard.folds.values()), np.int64)
    tensors["own"] = np.array(sorted(guard.own), np.int64)
    config = {
        "format": _FORMAT,
        "guard": to_jsonable(guard.config),
        "kept": guard.kept,
        "texts": guard.texts,
        "fields": fields,
        "kinds": list(guard.weights),
        "found": dict(guard.found),
    }
    return save_artifact(
        folder, kind=GUARD_KIND, config=config, tensors=tensors, data_hash=data_hash, seed=seed,
        overwrite=overwrite,
    )  # fmt: skip


def load_guard(folder: str | Path) -> TextGuard:
    """The guard of an artifact. Raises as `load_artifact`, and ArtifactError where it is not what
    `save_guard` of this release writes, or the encoder of sentences that it reads by is missing."""
    found = load_artifact(folder, kind=GUARD_KIND)
    config, tensors = found.config, found.tensors
    try:
        if config.get("format") != _FORMAT:
            raise ValueError("another release fitted it")
        if config["kept"] in ("vectors", "both") and _encoder()[1] is None:
            raise ValueError("it reads by the encoder of sentences, which is not installed")
        weights = {kind: _floats(tensors[f"weights/{kind}"]) for kind in config["kinds"]}
        honest = {
            str(field): _floats(tensors[f"honest/{at}"])
            for at, field in enumerate(config["fields"])
        }
        names, folds = tensors["names"].tolist(), tensors["folds"].tolist()
        return TextGuard(
            config["kept"], weights, _floats(tensors["usual"]), int(config["texts"]),
            dict(zip(names, folds, strict=True)), frozenset(tensors["own"].tolist()), honest,
            {str(name): float(share) for name, share in config["found"].items()},
            from_jsonable(GuardConfig, config["guard"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ArtifactError(
            f"this is no guard that can be used: {error}"[:200],
            where=str(folder),
            hint="fit it anew",
        ) from error


def _floats(values: npt.NDArray[Any]) -> Floats:
    found = values.astype(np.float64)
    if not np.isfinite(found).all():
        raise ValueError("its numbers are not finite")
    return found
