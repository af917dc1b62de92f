"""Labels out of a closed list: by what rows that have one teach, or by a model's scores.

    found = TrainedLabels.fit(texts, labels)        # majority, nearest, TF-IDF, or their mixture
    found.predict(["Green tea, 80 bags"])           # ["Teas"]
    scored_labels(model, requests)                  # without a labelled row

A label is scored by how much likelier the product makes it than it is anyway (Holtzman et al.,
"Surface form competition", EMNLP 2021), so that a frequent word does not win everywhere. What is
trained is chosen by `metrics.choosing`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from adwright.authoring.tasks import AuthoringRequest, Product, messages_of, shown_labels
from adwright.core.errors import AdwrightError
from adwright.lm.engine.generation import LanguageModel, Prompt
from adwright.metrics.choosing import Candidate, Choice, accuracy_of, choose, imitating_folds

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
#: Words and pairs that are kept, the most frequent; rows that are learned from; the ridge.
_WORDS, _ROWS, _RIDGE = 6000, 3000, 0.3
_ANY = Product("any", "product")


def label_text(product: Product) -> str:
    """What of a product tells its label."""
    facts = " ".join(value for _, value in product.attributes)
    return " ".join((product.title, product.brand, facts, product.description[:500]))


@dataclass(frozen=True, eq=False)
class TrainedLabels:
    """What was kept of majority, nearest and TF-IDF. names: of the labels."""

    names: tuple[str, ...]
    choice: Choice
    _predict: Callable[[Sequence[str]], Floats]

    @classmethod
    def fit(cls, texts: Sequence[str], labels: Sequence[str], *, seed: int = 0) -> TrainedLabels:
        """Learn from texts with their labels, [N] each. Raises DataError for less than two rows."""
        kept = np.random.default_rng(seed).permutation(len(texts))[:_ROWS]
        texts, labels = [texts[at] for at in kept], [labels[at] for at in kept]
        names = tuple(sorted(set(labels)))
        truth = np.array([names.index(one) for one in labels])
        vocabulary = _vocabulary(texts)
        rows = _vectors(texts, vocabulary)
        candidates = [
            Candidate("majority", _Rule(rows, truth, len(names), "majority"), simple=True),
            Candidate("nearest", _Rule(rows, truth, len(names), "nearest"), simple=True),
            Candidate("tf-idf", _Rule(rows, truth, len(names), "tf-idf")),
        ]
        folds = imitating_folds(len(texts), seed=seed)
        hot = np.eye(len(names))[truth]
        choice = choose(candidates, hot, folds, accuracy_of(truth), seed=seed)
        every = np.arange(len(texts))
        parts = choice.parts or {"majority": 1.0}
        kinds = {one: _Rule(rows, truth, len(names), one).weights(every) for one in parts}

        def predict(asked: Sequence[str]) -> Floats:
            shown = _vectors(asked, vocabulary)
            scores = {one: np.asarray(shown @ w[:-1] + w[-1]) for one, w in kinds.items()}
            return choice.predict(scores) if choice.parts else scores["majority"]

        return cls(names, choice, predict)

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The label of each."""
        return [self.names[int(at)] for at in self._predict(texts).argmax(1)] if texts else []


@dataclass(frozen=True, eq=False)
class _Rule:
    """Fits linear scores of labels on some rows."""

    rows: Floats
    truth: Rows
    classes: int
    kind: str

    def __call__(self, train: Rows) -> Callable[[Rows], Floats]:
        weights = self.weights(train)
        return lambda asked: np.asarray(self.rows[asked] @ weights[:-1] + weights[-1])

    def weights(self, train: Rows) -> Floats:
        """[D + 1, K], the constant last."""
        found = np.zeros((self.rows.shape[1] + 1, self.classes))
        share = np.bincount(self.truth[train], minlength=self.classes) / len(train)
        own, hot = self.rows[train], np.eye(self.classes)[self.truth[train]]
        if self.kind == "majority":
            found[-1] = share
        elif self.kind == "nearest":
            centres = own.T @ hot
            found[:-1] = centres / np.maximum(np.linalg.norm(centres, axis=0), 1e-12)
        else:
            inner = own @ own.T + _RIDGE * np.eye(len(train))
            found[:-1] = own.T @ np.linalg.solve(inner, hot - share)
            found[-1] = share
        return found


def _terms(text: str) -> list[str]:
    words = re.findall(r"[^\W_]+", text.casefold())
    return [*words, *(f"{one} {other}" for one, other in pairwise(words))]


def _vocabulary(texts: Sequence[str]) -> dict[str, tuple[int, float]]:
    """Term -> its column and inverse document frequency."""
    counts = Counter(term for text in texts for term in set(_terms(text)))
    often = [one for one in counts.most_common(_WORDS) if one[1] > 1] or counts.most_common(_WORDS)
    many = len(texts)
    return {
        term: (at, float(np.log((1 + many) / (1 + count)) + 1))
        for at, (term, count) in enumerate(often)
    }


def _vectors(texts: Sequence[str], vocabulary: dict[str, tuple[int, float]]) -> Floats:
    """[N, D], of length 1."""
    found = np.zeros((len(texts), len(vocabulary)))
    for row, text in enumerate(texts):
        for term, count in Counter(_terms(text)).items():
            if term in vocabulary:
                at, idf = vocabulary[term]
                found[row, at] = (1 + np.log(count)) * idf
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12))


def scored_labels(model: LanguageModel, requests: Sequence[AuthoringRequest]) -> list[str] | None:
    """The label of each request that its product makes likelier most; None where the model's server
    tells no likelihoods."""
    prompts: list[Prompt] = []
    texts: list[str] = []
    for request in requests:
        shown = shown_labels(request)
        prompts += [messages_of(request)] * len(shown)
        texts += shown
    bare = [replace(one, product=_ANY) for one in requests]
    prompts += [messages_of(one) for one in bare for _ in one.labels]
    try:
        scores = np.asarray(model.score(prompts, [*texts, *texts]).log_likelihood, np.float64)
    except AdwrightError:
        return None
    with_it, without = np.split(scores, 2)
    found, at = [], 0
    for request in requests:
        own = slice(at, at + len(request.labels))
        at += len(request.labels)
        found.append(request.labels[int((with_it[own] - without[own]).argmax())])
    return found
