"""The guard: which texts look written for a ranker, with a p-value and reasons a person can read.

    guard = TextGuard.fit(guard_texts(shop.listings), np.random.default_rng(0))
    for one in guard.look(guard_texts(other.listings)):
        if one.alarm: print(one.in_words())

Honest texts are split in three, within each merchant and field, all texts of a name in one part:
calibration on a product that was learned from would make others look suspicious. On the first part
the general model of characters is learned, on the second what is usual in each format (`formats`)
and a logistic regression between these texts and made-up attacks on them (`rehearsal`), on the
third nothing: they calibrate (`conformal`), so that the share of false alarms is at most alpha for
texts that are like them, whatever the scores are worth.

A guard is no boundary. It finds gibberish nearly always and fluent attacks often; a text that reads
like an honest one passes. What bounds the damage is `audit.certificate`.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from adwright.audit.catalogue import ShopListing
from adwright.audit.defences.guard.features import (
    FEATURES,
    CharModel,
    GuardText,
    NgramTable,
    text_features,
)
from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.config import Count, Gt, Lt, from_jsonable, settings, to_jsonable
from adwright.core.errors import ArtifactError, ConfigError, DataError

# --------------------------------------------------------------------------------------------------
# P-values that need no model to be right: conformal calibration by group, with fallback.
#
#     calibration = Calibration.of(scores, groups)               # of honest texts, none fitted on
#     found = calibration.p_value(3.1, ("acme", "title"), alpha=0.01)
#     found.value, found.group, found.rows
#
# A text's p-value is the share of honest texts of its group, itself included, that look at least as
# suspicious:
#
#     p = (1 + #{i in group: s_i >= s}) / (n + 1)
#
# Where the text is exchangeable with them, p <= alpha happens with a probability of at most alpha,
# whatever the scores are (Vovk, Gammerman and Shafer 2005; by group: Mondrian). The groups are,
# from
# the narrowest: merchant and field, the field, all. A group of n texts knows no p below 1 / (n +
# 1);
# so the narrowest group that can reach alpha is taken. A wider one is right on average over it, and
# not for each merchant: `group` says which it was.

#: Merchant and field of a text.
TextGroup = tuple[str, str]


@dataclass(frozen=True)
class PValue:
    """value: in (0, 1]. group: "merchant and field", "field" or "all". rows: honest texts in it."""

    value: float
    group: str
    rows: int


@dataclass(frozen=True)
class Calibration:
    """Scores of honest texts by group, each list ascending; the group of all has the key ()."""

    scores: Mapping[tuple[str, ...], tuple[float, ...]]

    @classmethod
    def of(cls, scores: Sequence[float], groups: Sequence[TextGroup]) -> Calibration:
        """The calibration of texts that nothing was fitted on. Raises DataError for a score that is
        no number."""
        found: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
        for row, (score, group) in enumerate(zip(scores, groups, strict=True)):
            if not np.isfinite(score):
                raise DataError("a score is no finite number", row=row, column="scores")
            for _, key in _keys(group):
                found[key].append(float(score))
        return cls({key: tuple(sorted(some)) for key, some in found.items()})

    def p_value(self, score: float, group: TextGroup, *, alpha: float) -> PValue:
        """Of a text by the narrowest group that can reach `alpha`, or else by the largest there
        is. Raises ConfigError for an alpha outside of (0, 1)."""
        require_alpha(alpha)
        best: PValue | None = None
        for name, key in _keys(group):
            some = self.scores.get(key, ())
            rows = len(some)
            if best is None or rows > best.rows:
                value = (1 + rows - bisect_left(some, score)) / (rows + 1)
                best = PValue(value, name, rows)
            if (rows + 1) * alpha >= 1 - 1e-9:
                break
        return best if best is not None else PValue(1.0, "all", 0)


def require_alpha(alpha: float) -> None:
    """Raise ConfigError for a share of false alarms that is not between 0 and 1."""
    if not 0 < alpha < 1:
        raise ConfigError("alpha is between 0 and 1", where=f"alpha {alpha!r}", hint="such as 0.01")


def _keys(group: TextGroup) -> Iterator[tuple[str, tuple[str, ...]]]:
    merchant, field = group
    yield "merchant and field", ("merchant", merchant, field)
    yield "field", ("field", field)
    yield "all", ()


# --------------------------------------------------------------------------------------------------
# What is usual in one merchant's field, so that only what is unusual there counts.
#
#     formats = Formats.learn(model, texts)              # of honest texts
#     formats = formats.with_peers(texts)                # of a merchant that was never seen
#     formats.unusual(texts)                             # [N, F]: features in spreads of their
# format
#
# Each merchant and field with enough texts has a model of characters over the general one, and of
# each feature the median and the spread (from the 10th to the 90th percentile), both of which hold
# though some of the texts are attacks. A feature then counts as (value - median) / spread, within
# 8. Fewer texts, or none, fall back to the field, then to all.
#
# Whatever is learned of texts is cross-fitted: features of one half come from the models of the
# other half, since a model is never surprised by what it has seen. Letters: N texts, F features.

Floats = npt.NDArray[np.float64]
Change = Callable[[Sequence[GuardText]], Sequence[GuardText]]

#: Texts of a merchant and field from which on they are a format of their own.
ENOUGH = 12
_FOLDS = 2
_FARTHEST = 8.0
#: Of the spread over all texts, below which no spread is taken to be: a feature that is always 0
#: in a format should not count without end when it is not.
_FLOOR = 0.15
_LOCAL_ORDER = 4


@dataclass(frozen=True, eq=False)
class TextFormat:
    """local: the model of its characters. middle, spread: [F] of its features."""

    local: CharModel
    middle: Floats
    spread: Floats


@dataclass(frozen=True, eq=False)
class Formats:
    """general: the model of all texts. known: formats by ("merchant", merchant, field), ("field",
    field) and (). least: [F], below which no spread is."""

    general: CharModel
    known: Mapping[tuple[str, ...], TextFormat]
    least: Floats

    @classmethod
    def learn(cls, general: CharModel, texts: Sequence[GuardText]) -> Formats:
        """The formats of honest texts, of which there is at least one."""
        everything = _cross_fitted(general, texts)
        least = _FLOOR * everything.std(0) + 1e-3
        first = TextFormat(general, *_middle(everything))
        found = cls(general, {(): first}, least)
        return found.with_peers(texts, fields=True)

    def with_peers(self, texts: Sequence[GuardText], *, fields: bool = False) -> Formats:
        """The same with the formats of these texts too, which need not be known to be honest: so
        that a merchant that was never seen is compared with itself.

        fields: learn what fields are like over all merchants as well.
        """
        groups: defaultdict[tuple[str, ...], list[GuardText]] = defaultdict(list)
        for one in texts:
            for key in _formats_keys(one):
                if key and (fields or key[0] == "merchant"):
                    groups[key].append(one)
        made = {
            key: TextFormat(_local(self.general, some), *_middle(_cross_fitted(self.general, some)))
            for key, some in groups.items()
            if len(some) >= ENOUGH
        }
        return replace(self, known={**self.known, **made})

    def unusual(self, texts: Sequence[GuardText]) -> Floats:
        """[N, F] features in spreads from the middle of their format."""
        found = np.zeros((len(texts), len(FEATURES)))
        for key, rows in self._by_format(texts).items():
            some = [texts[row] for row in rows]
            found[rows] = self._spreads(
                text_features(some, self.general, self.known[key].local), self.known[key]
            )
        return found

    def cross_fitted(self, texts: Sequence[GuardText], change: Change) -> tuple[Floats, Floats]:
        """[N, F] twice, for texts that the formats were learned of: of them, and of what `change`
        makes of them, by models of the other half."""
        plain, changed = (np.zeros((len(texts), len(FEATURES))) for _ in range(2))
        for key, rows in self._by_format(texts).items():
            some = [texts[row] for row in rows]
            form = self.known[key]
            other = list(change(some))
            plain[rows] = self._spreads(_cross_fitted(self.general, some), form)
            changed[rows] = self._spreads(_cross_fitted(self.general, some, other), form)
        return plain, changed

    def _spreads(self, features: Floats, form: TextFormat) -> Floats:
        scaled = (features - form.middle) / np.maximum(form.spread, self.least)
        return np.clip(scaled, -_FARTHEST, _FARTHEST)

    def _by_format(self, texts: Sequence[GuardText]) -> dict[tuple[str, ...], list[int]]:
        found: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for row, one in enumerate(texts):
            found[next(key for key in _formats_keys(one) if key in self.known)].append(row)
        return dict(found)


def _formats_keys(one: GuardText) -> Iterator[tuple[str, ...]]:
    if one.merchant:
        yield ("merchant", one.merchant, one.field)
    yield ("field", one.field)
    yield ()


def _local(general: CharModel, texts: Sequence[GuardText]) -> CharModel:
    words = [one.text for one in texts]
    if not any(words):
        return general
    return CharModel.fit(words, order=_LOCAL_ORDER, base=general)


def _cross_fitted(
    general: CharModel, texts: Sequence[GuardText], looked_at: Sequence[GuardText] | None = None
) -> Floats:
    """[N, F] features of `looked_at`, by default the texts themselves, each by a local model of the
    texts of the other fold."""
    looked_at = texts if looked_at is None else looked_at
    found = np.zeros((len(texts), len(FEATURES)))
    fold = np.arange(len(texts)) % _FOLDS
    for one in range(_FOLDS):
        rows = np.flatnonzero(fold == one).tolist()
        others = [texts[row] for row in np.flatnonzero(fold != one).tolist()]
        local = _local(general, others)
        found[rows] = text_features([looked_at[row] for row in rows], general, local)
    return found


def _middle(features: Floats) -> tuple[Floats, Floats]:
    low, middle, high = np.quantile(features, (0.1, 0.5, 0.9), axis=0)
    # Of a normal distribution, the spread would be its standard deviation.
    return middle, (high - low) / 2.563


# --------------------------------------------------------------------------------------------------
# Logistic regression with weights of rows and a ridge, by Newton's method.
#
#     weights = fit_logistic(features, labels, rows, ridge=0.01)
#     scores = features @ weights[1:] + weights[0]
#
# Minimises  sum_n w_n log(1 + exp(-y_n x_n' b)) / sum_n w_n + ridge / 2 |b without the intercept|^2
# with y in {-1, 1}. A guard has some thirty features: each step solves one small system. Letters: N
# rows, F features.

_STEPS, _SMALL = 50, 1e-8


def fit_logistic(features: Floats, labels: Floats, rows: Floats, *, ridge: float) -> Floats:
    """[1 + F]: the intercept and a weight for each feature.

    features: [N, F], labels: [N] of 0 and 1, both among them, rows: [N] weights above 0. ridge:
    above 0, else the best may be at infinity.
    """
    x = np.concatenate((np.ones((len(features), 1)), features), axis=1)
    share = rows / rows.sum()
    penalty = np.full(x.shape[1], ridge)
    penalty[0] = 1e-10
    weights = np.zeros(x.shape[1])
    loss = _loss(x, labels, share, penalty, weights)
    for _ in range(_STEPS):
        chance = 0.5 * (1 + np.tanh(0.5 * (x @ weights)))
        slope = x.T @ (share * (chance - labels)) + penalty * weights
        curve = (x * (share * chance * (1 - chance))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(curve, slope)
        # Half the step until the loss falls: Newton's may go too far from afar.
        size = 1.0
        while (then := _loss(x, labels, share, penalty, weights - size * step)) > loss:
            size /= 2
            if size < _SMALL:
                return weights
        weights, fell, loss = weights - size * step, loss - then, then
        if fell < _SMALL * max(loss, _SMALL):
            break
    return weights


def _loss(x: Floats, labels: Floats, share: Floats, penalty: Floats, weights: Floats) -> float:
    margin = (2 * labels - 1) * (x @ weights)
    return float(share @ np.logaddexp(0, -margin) + 0.5 * penalty @ weights**2)


# --------------------------------------------------------------------------------------------------
# Made-up attacks, so that a guard can be fitted without a real one.
#
#     attacked = rehearse(texts, np.random.default_rng(0))
#
# Gibberish is what searches over tokens produce: pieces of words, code and marks without order, in
# several mixtures. Fluent text is what a person or a model would write: orders, claims, reviews,
# comparisons, floods of keywords, out of rehearsed.toml. Each is put behind, before or into an
# honest text, or takes its place. They serve to fit a guard and nothing else: no ranker is asked,
# and no text is searched for. The families and their mixture are our choice.

#: Fluent text is harder to find, and weighs twice as much (our choice).
_KINDS = ("gibberish", "fluent", "fluent")

_PUNCTUATION = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'


def rehearse(texts: Sequence[GuardText], rng: np.random.Generator) -> list[GuardText]:
    """Each text with an attack in it, the kinds in turn."""
    words = sorted({word for one in texts for word in one.text.split()})
    if not words:
        raise DataError("there is no text to attack", hint="give ordinary texts")
    made = []
    for row, one in enumerate(texts):
        if _KINDS[row % len(_KINDS)] == "gibberish":
            attack = gibberish(words, int(rng.integers(8, 31)), rng)
        else:
            attack = _fluent(one, rng)
        made.append(replace(one, text=inserted(one.text, attack, rng)))
    return made


def gibberish(words: Sequence[str], count: int, rng: np.random.Generator) -> str:
    """`count` pieces without order. words: of ordinary texts, which are in some mixtures."""
    code, pieces = (
        _table("rehearsed.toml")["gibberish"][name].split() for name in ("code", "pieces")
    )
    share = rng.dirichlet((1.0, 1.0, 0.6, 0.3))
    made: list[str] = []
    for kind in rng.choice(4, count, p=share).tolist():
        match kind:
            case 0:
                one = words[int(rng.integers(len(words)))]
            case 1:
                one = pieces[int(rng.integers(len(pieces)))]
            case 2:
                one = code[int(rng.integers(len(code)))]
            case _:
                size = int(rng.integers(1, 4))
                one = "".join(_PUNCTUATION[at] for at in rng.integers(0, len(_PUNCTUATION), size))
        change = rng.random()
        one = one.capitalize() if change < 0.15 else one.upper() if change < 0.22 else one
        # A token often begins without a blank.
        made.append(one if rng.random() < 0.35 else f" {one}")
    return "".join(made).strip()


def inserted(text: str, attack: str, rng: np.random.Generator) -> str:
    """The attack behind the text (most often), before it, inside, or in its place."""
    place = rng.random()
    if place < 0.6 or not text:
        return f"{text} {attack}".strip()
    if place < 0.75:
        return f"{attack} {text}"
    if place < 0.9:
        return attack
    words = text.split()
    cut = int(rng.integers(0, len(words) + 1))
    return " ".join([*words[:cut], attack, *words[cut:]])


@cache
def fluent_families() -> dict[str, tuple[str, ...]]:
    """Sentences with {name} and {kind}, by family; read once."""
    return {name: tuple(some) for name, some in _table("rehearsed.toml")["fluent"].items()}


@cache
def _table(name: str) -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath(name).read_text("utf-8"))


def _fluent(one: GuardText, rng: np.random.Generator) -> str:
    """One to three sentences, of a family or of several."""
    families = list(fluent_families().values())
    family = families[int(rng.integers(len(families)))]
    said = []
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.3:
            family = families[int(rng.integers(len(families)))]
        said.append(family[int(rng.integers(len(family)))])
    words = [word for word in (one.name or one.text).split() if word.isalpha()] or ["product"]
    kind = words[int(rng.integers(len(words)))]
    text = " ".join(dict.fromkeys(said)).replace("{name}", one.name or kind).replace("{kind}", kind)
    # Attackers take on the format of their merchant.
    return text.lower() if one.text == one.text.lower() and rng.random() < 0.6 else text


_PARTS = 3
#: Honest texts without which there is no guard.
_FEWEST = 30
#: Made-up attacks are repeated until there are so many.
_ATTACKS = 1000
_REASONS = 3


@settings
class GuardConfig:
    """alpha: share of honest texts that may alarm. order: of the model of characters. most_texts:
    of a merchant and field that are learned from. ridge: of the regression."""

    alpha: Annotated[float, Gt(0), Lt(1)] = 0.01
    order: Count = 5
    most_texts: Count = 3000
    ridge: Annotated[float, Gt(0)] = 0.002


@dataclass(frozen=True)
class TextVerdict:
    """text: what was looked at. score: the higher the more suspicious. p: how rare such a score is
    among honest texts. alarm: p is at most alpha. reasons: what raised the score most."""

    text: GuardText
    score: float
    p: PValue
    alarm: bool
    reasons: tuple[str, ...]

    def in_words(self) -> str:
        """One sentence."""
        where = ", ".join(filter(None, (self.text.name, self.text.field))) or "a text"
        group = {"merchant and field": "of this merchant and field", "field": "of this field"}
        among = f"{self.p.rows} honest texts {group.get(self.p.group, 'of all fields')}"
        said = f"{where}: {'suspicious' if self.alarm else 'not suspicious'}, p {self.p.value:.3f}"
        why = f"; {', '.join(self.reasons)}" if self.alarm and self.reasons else ""
        return f"{said} among {among}{why}"


@dataclass(frozen=True, eq=False)
class TextGuard:
    """formats: what is usual. weights: [1 + F] of the regression. calibration: of honest texts."""

    formats: Formats
    weights: Floats
    calibration: Calibration
    config: GuardConfig

    @classmethod
    def fit(
        cls,
        texts: Sequence[GuardText],
        rng: np.random.Generator,
        config: GuardConfig | None = None,
    ) -> TextGuard:
        """A guard for texts such as these, which are honest; empty ones are left out.

        Raises DataError for fewer than 30 texts that hold something.
        """
        config = GuardConfig() if config is None else config
        parts = _parts([one for one in texts if one.text.strip()], rng, config.most_texts)
        if sum(map(len, parts)) < _FEWEST:
            raise DataError(
                f"a guard needs {_FEWEST} honest texts, and there are {sum(map(len, parts))}",
                hint="give the texts of more listings",
            )
        if min(map(len, parts)) < _FEWEST // (2 * _PARTS):
            raise DataError(
                "too many of the honest texts are of one product",
                hint="give the texts of more products",
            )
        general, usual, held = parts
        words = [text for one in general for text in (one.text, one.rest)]
        model = CharModel.fit(words, order=config.order)
        formats = Formats.learn(model, usual)
        weights = _regression(formats, usual, rng, config.ridge)
        made = cls(formats, weights, Calibration({}), config)
        scores = made.scores(held)
        groups = [(one.merchant, one.field) for one in held]
        return replace(made, calibration=Calibration.of(scores.tolist(), groups))

    @property
    def can_alarm(self) -> bool:
        """Whether there are honest texts enough for a p-value of at most alpha. Of n texts that
        calibrate, a third of those it was fitted to, none is below 1 / (n + 1)."""
        rows = len(self.calibration.scores.get((), ()))
        return (rows + 1) * self.config.alpha >= 1 - 1e-9

    def with_peers(self, texts: Sequence[GuardText]) -> TextGuard:
        """The same guard, which knows how these texts are usually written: for a merchant that it
        was not fitted on. They need not be honest, as long as most of them are."""
        kept = [one for one in texts if one.text.strip()]
        return replace(self, formats=self.formats.with_peers(kept))

    def scores(self, texts: Sequence[GuardText]) -> Floats:
        """[N] log-odds of an attack as the regression has them."""
        found: Floats = self.formats.unusual(texts) @ self.weights[1:] + self.weights[0]
        return found

    def look(self, texts: Sequence[GuardText], *, alpha: float | None = None) -> list[TextVerdict]:
        """A verdict for each text; an empty one never alarms. alpha: another share of false alarms
        than the config's."""
        alpha = self.config.alpha if alpha is None else alpha
        require_alpha(alpha)
        unusual = self.formats.unusual(texts)
        scores = unusual @ self.weights[1:] + self.weights[0]
        found = []
        for one, score, row in zip(texts, scores.tolist(), unusual, strict=True):
            p = self.calibration.p_value(score, (one.merchant, one.field), alpha=alpha)
            if not one.text.strip():
                p = replace(p, value=1.0)
            found.append(TextVerdict(one, score, p, p.value <= alpha, self._reasons(row)))
        return found

    def _reasons(self, unusual: Floats) -> tuple[str, ...]:
        part = unusual * self.weights[1:]
        order = np.argsort(-part)[:_REASONS]
        said = _table("marks.toml")["said"]
        return tuple(said[FEATURES[at]] for at in order if part[at] > 0.5)


def guard_texts(listings: Sequence[ShopListing]) -> list[GuardText]:
    """The texts of all listings, field by field, each with the rest of its record."""
    found = []
    for one in listings:
        facts = [str(value) for value in one.attributes.values() if value is not None]
        for field, text in one.texts.items():
            others = [other for name, other in one.texts.items() if name != field]
            rest = " ".join(filter(None, (one.name, *facts, *others)))
            found.append(GuardText(text, rest, one.name, one.merchant, field))
    return found


def _parts(
    texts: Sequence[GuardText], rng: np.random.Generator, most: int
) -> tuple[list[GuardText], ...]:
    """Three parts, each with about a third of every merchant and field, of which `most` are taken.
    Texts of one name share a part."""
    groups: defaultdict[tuple[str, str], list[GuardText]] = defaultdict(list)
    for at in rng.permutation(len(texts)).tolist():
        one = texts[at]
        if len(groups[one.merchant, one.field]) < most:
            groups[one.merchant, one.field].append(one)
    parts: tuple[list[GuardText], ...] = tuple([] for _ in range(_PARTS))
    part_of: dict[str, int] = {}
    # Small groups begin at different parts, so that none is left with their first texts alone.
    for start, some in enumerate(groups.values()):
        sizes = [0] * _PARTS
        for one in some:
            least = min(range(_PARTS), key=lambda at: (sizes[at], (at - start) % _PARTS))
            part = part_of.setdefault(one.name, least) if one.name else least
            sizes[part] += 1
            parts[part].append(one)
    return parts


def _regression(
    formats: Formats, texts: Sequence[GuardText], rng: np.random.Generator, ridge: float
) -> Floats:
    """[1 + F] weights between texts and attacks on them; each merchant and field weighs the same,
    and honest texts as much as attacks."""
    counts = Counter((one.merchant, one.field) for one in texts)
    share = np.array([1 / counts[one.merchant, one.field] for one in texts])
    rounds = -(-_ATTACKS // len(texts))
    features: list[Floats] = []
    labels: list[Floats] = []
    rows: list[Floats] = []
    for number in range(rounds):
        plain, attacked = formats.cross_fitted(texts, lambda some: rehearse(some, rng))
        features += [attacked] if number else [plain, attacked]
        labels += [np.ones(len(texts))] if number else [np.zeros(len(texts)), np.ones(len(texts))]
        rows += [share / rounds] if number else [share, share / rounds]
    return fit_logistic(
        np.concatenate(features), np.concatenate(labels), np.concatenate(rows), ridge=ridge
    )


# --------------------------------------------------------------------------------------------------
# A guard that was fitted, as an artifact: so that what is usual stays what it was.
#
#     save_guard(guard, "watch/kettles.guard")
#     load_guard("watch/kettles.guard").look(texts)      # says what the guard itself does
#
# It holds counts of characters, middles and spreads of features, weights and scores: of the texts
# themselves no more can be read from it than runs of as many characters as the model's order. A
# guard that another release fitted on other features is refused, since its weights are of something
# else.

GUARD_KIND = "text-guard"
_COLUMNS = ("grams", "counts", "histories", "totals", "followers")
Arrays = dict[str, npt.NDArray[Any]]


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
    formats = guard.formats
    arrays: Arrays = {"weights": guard.weights, "least": formats.least}
    _put(arrays, "general", formats.general)
    for at, form in enumerate(formats.known.values()):
        arrays |= {f"format/{at}/middle": form.middle, f"format/{at}/spread": form.spread}
        if form.local is not formats.general:
            _put(arrays, f"format/{at}", form.local)
    for at, scores in enumerate(guard.calibration.scores.values()):
        arrays[f"scores/{at}"] = np.asarray(scores, np.float64)
    config = {
        "guard": to_jsonable(guard.config),
        "features": list(FEATURES),
        "general": formats.general.order,
        "formats": [
            {"key": list(key), "order": 0 if one.local is formats.general else one.local.order}
            for key, one in formats.known.items()
        ],
        "groups": [list(key) for key in guard.calibration.scores],
    }
    return save_artifact(
        folder,
        kind=GUARD_KIND,
        config=config,
        tensors=arrays,
        data_hash=data_hash,
        seed=seed,
        overwrite=overwrite,
    )


def load_guard(folder: str | Path) -> TextGuard:
    """The guard of an artifact. Raises as `load_artifact`, and ArtifactError where it is not what
    `save_guard` writes, or of other features than this release has."""
    found = load_artifact(folder, kind=GUARD_KIND)
    config, arrays = found.config, found.tensors
    if config.get("features") != list(FEATURES):
        raise ArtifactError(
            "the guard was fitted on other features",
            where=str(folder),
            hint="fit it anew with this release",
        )
    try:
        return _guard(config, arrays)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ArtifactError(
            f"this is no whole guard: {error!r}"[:200], where=str(folder), hint="fit it anew"
        ) from error


def _guard(config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> TextGuard:
    width = len(FEATURES)
    general = _model(arrays, "general", int(config["general"]), None)
    known = {}
    for at, one in enumerate(config["formats"]):
        order, place = int(one["order"]), f"format/{at}"
        local = _model(arrays, place, order, general) if order else general
        middle, spread = (
            _floats(arrays, f"{place}/{name}", width) for name in ("middle", "spread")
        )
        known[tuple(map(str, one["key"]))] = TextFormat(local, middle, spread)
    if () not in known:
        raise ValueError("there is no format of all texts")
    scores = {
        tuple(map(str, key)): tuple(sorted(_floats(arrays, f"scores/{at}").tolist()))
        for at, key in enumerate(config["groups"])
    }
    return TextGuard(
        Formats(general, known, _floats(arrays, "least", width)),
        _floats(arrays, "weights", 1 + width),
        Calibration(scores),
        from_jsonable(GuardConfig, config["guard"]),
    )


def _put(arrays: Arrays, place: str, model: CharModel) -> None:
    for order, table in enumerate(model.tables):
        for name in _COLUMNS:
            arrays[f"{place}/{order}/{name}"] = getattr(table, name)


def _model(
    arrays: Mapping[str, npt.NDArray[Any]], place: str, order: int, base: CharModel | None
) -> CharModel:
    tables = []
    for at in range(order):
        grams, counts, histories, totals, followers = (
            arrays[f"{place}/{at}/{name}"] for name in _COLUMNS
        )
        if len(grams) != len(counts) or not len(histories) == len(totals) == len(followers) > 0:
            raise ValueError(f"the table {place}/{at} has columns of several lengths")
        tables.append(NgramTable(grams, counts, histories, totals, followers))
    return CharModel(tuple(tables), base)


def _floats(
    arrays: Mapping[str, npt.NDArray[Any]], name: str, size: int | None = None
) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = arrays[name].astype(np.float64)
    if found.ndim != 1 or (size is not None and len(found) != size) or not np.isfinite(found).all():
        raise ValueError(f"{name} is not {size if size is not None else 'a row of'} finite numbers")
    return found
