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

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from adwright.audit.catalogue.listing import ShopListing
from adwright.audit.defences.guard.char_model import CharModel
from adwright.audit.defences.guard.conformal import Calibration, PValue, require_alpha
from adwright.audit.defences.guard.features import FEATURES, GuardText
from adwright.audit.defences.guard.formats import Formats
from adwright.audit.defences.guard.logistic import fit_logistic
from adwright.audit.defences.guard.rehearsal import rehearse
from adwright.core.config import Count, settings
from adwright.core.errors import DataError

Floats = npt.NDArray[np.float64]

_PARTS = 3
#: Honest texts without which there is no guard.
_FEWEST = 30
#: Made-up attacks are repeated until there are so many.
_ATTACKS = 1000
_REASONS = 3
_SAID: Mapping[str, str] = {
    "peak": "a passage of unusual characters",
    "peak_over_text": "a passage unlike the rest of the text",
    "peak_over_record": "a passage unlike the other fields of the record",
    "mean": "unusual characters throughout",
    "mean_over_record": "written unlike the other fields of the record",
    "local_peak": "a passage unlike this merchant's other texts",
    "local_mean": "written unlike this merchant's other texts",
    "local_gap": "ordinary words in a place where this merchant has none",
    "odd_words": "words of odd shapes",
    "odd_words_over_record": "words of shapes that the other fields do not have",
    "signs": "many signs in a row",
    "signs_over_record": "signs that the other fields do not have",
    "change": "a change of style in the text",
    "length": "an unusual length",
    "repeats": "repeated words",
    "squeezed": "an unusual density",
    "own_name": "the product's name again and again",
    "sentences": "an unusual number of sentences",
    "meta_words": "words about lists, rankings or assistants",
    "order_words": "orders",
    "first_words": "claims of being first",
    "proof_words": "appeals to experts or to other buyers",
    "against_words": "comparisons with other products",
    "address_words": "words to the reader",
    "press_words": "words that press",
    "mark_share": "many words of persuasion",
    "mark_kinds": "persuasion of several kinds",
    "mark_peak": "a cluster of words of persuasion",
}


@settings
class GuardConfig:
    """alpha: share of honest texts that may alarm. order: of the model of characters. most_texts:
    of a merchant and field that are learned from. ridge: of the regression."""

    alpha: float = 0.01
    order: int = 5
    most_texts: Count = 3000
    ridge: float = 0.002

    def __post_init__(self) -> None:
        require_alpha(self.alpha)


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
        return replace(made, calibration=Calibration.of(scores, groups))

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
        return tuple(_SAID[FEATURES[at]] for at in order if part[at] > 0.5)


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
