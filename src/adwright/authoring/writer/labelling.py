"""Labels out of a closed list: by what rows that have one teach, or by a model's scores.

    found = TrainedLabels.fit(texts, labels, sentences=SentenceEncoder().encode)
    found.predict(["Green tea, 80 bags"])           # ["Teas"], None where nothing tells them
    nearest_labels(encode, requests)                # without a labelled row
    scored_labels(model, requests)                  # the same, by a large model

Learners read TF-IDF of words and pairs, of pieces of words, or vectors of sentences. Which of them,
or their mixture, or none, is kept is chosen by `metrics.choosing` on rows held out, as those are
that want a label. Without such rows it is the label whose name is nearest to the product as a
sentence; or by a model the one that the product makes likelier most, a token of it, than it is
anyway (Holtzman et al., "Surface form competition", EMNLP 2021), so that neither a frequent nor a
long one wins everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from adwright.authoring.tasks import AuthoringRequest, Product, messages_of, shown_labels
from adwright.core.errors import AdwrightError, AssetError, MissingExtraError
from adwright.core.progress import say
from adwright.lm.engine.generation import LanguageModel, Prompt
from adwright.metrics.choosing import (
    Candidate,
    HonestChoice,
    accuracy_of,
    choose,
    imitating_folds,
)

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
#: [N, D] of N texts, an array or a sparse matrix of scipy.
Block: TypeAlias = Any
Predict = Callable[[Block], Floats]
Encode = Callable[[Sequence[str]], npt.NDArray[np.float32]]
#: Rows that are learned from, and the penalty of a ridge.
_ROWS, _RIDGE = 3000, 0.2
_ANY = Product("any", "product")


def label_text(product: Product) -> str:
    """What of a product tells its label."""
    facts = " ".join(value for _, value in product.attributes)
    return " ".join((product.title, product.brand, facts, product.description[:500]))


def sentence_vectors() -> Encode | None:
    """What reads sentences; None without the extra `lm`, or where its weights cannot be had."""
    from adwright.lm.sentence_encoder import SentenceEncoder

    try:
        return SentenceEncoder().encode
    except (AssetError, MissingExtraError) as error:
        say(f"labels are learned without vectors of sentences: {error}")
        return None


@dataclass(frozen=True, eq=False)
class TrainedLabels:
    """What is kept. names: of the labels. read: a block of any texts, by its name. served: of each
    part its block, and what it says of it."""

    names: tuple[str, ...]
    choice: HonestChoice
    read: Mapping[str, Callable[[Sequence[str]], Block]]
    served: Mapping[str, tuple[str, Predict]]

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        labels: Sequence[str],
        *,
        sentences: Encode | None = None,
        seed: int = 0,
    ) -> TrainedLabels:
        """Learn from texts with their labels, [N] each. sentences: encodes [N, D], of length 1.
        Raises DataError for less than two rows."""
        rows = np.random.default_rng(seed).permutation(len(texts))[:_ROWS]
        texts = [texts[at] for at in rows]
        names, truth = np.unique([labels[at] for at in rows], return_inverse=True)
        read: dict[str, Callable[[Sequence[str]], Block]] = {
            "words": _tf_idf(texts, token_pattern=r"(?u)\b\w+\b", ngram_range=(1, 2)),
            "letters": _tf_idf(texts, analyzer="char_wb", ngram_range=(2, 5)),
        }
        if sentences is not None:
            read["sentences"] = sentences
        blocks = {name: one(texts) for name, one in read.items()}
        learners = {name: one for name, one in _LEARNERS.items() if one[0] in blocks}

        def fit(name: str, some: Rows) -> Predict:
            block, learn = learners[name]
            return learn(blocks[block][some], truth[some], len(names))

        def candidate(name: str) -> Candidate:
            def learned(some: Rows) -> Callable[[Rows], Floats]:
                made, block = fit(name, some), blocks[learners[name][0]]
                return lambda asked: made(block[asked])

            return Candidate(name, learned, simple=name in _RULES)

        choice = choose(
            [candidate(name) for name in learners],
            np.eye(len(names))[truth],
            imitating_folds(len(texts), seed=seed),
            accuracy_of(truth),
            chance=float(np.bincount(truth).max() / len(truth)),
            seed=seed,
        )
        every = np.arange(len(texts))
        served = {name: (learners[name][0], fit(name, every)) for name in choice.parts}
        return cls(tuple(names.tolist()), choice, read, served)

    def predict(self, texts: Sequence[str]) -> list[str] | None:
        """The label of each; None where nothing tells them."""
        if not texts or self.choice.kept is None:
            return None if texts else []
        blocks = {block: self.read[block](texts) for block, _ in self.served.values()}
        scores = {name: one(blocks[block]) for name, (block, one) in self.served.items()}
        return [self.names[at] for at in self.choice.predict(scores).argmax(1).tolist()]


def _tf_idf(texts: Sequence[str], **how: Any) -> Callable[[Sequence[str]], Block]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    made = TfidfVectorizer(sublinear_tf=True, max_features=100_000, **how)
    try:
        made.fit(texts)
    except ValueError:  # not a term in all of them
        return lambda asked: np.zeros((len(asked), 1))
    transform: Callable[[Sequence[str]], Block] = made.transform
    return transform


def _majority(x: Block, y: Rows, classes: int) -> Predict:
    share = np.bincount(y, minlength=classes) / len(y)
    return lambda asked: np.tile(share, (asked.shape[0], 1))


def _logistic(x: Block, y: Rows, classes: int) -> Predict:
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(y)) < 2:
        return _majority(x, y, classes)
    model = LogisticRegression(C=10.0, max_iter=200, tol=1e-3).fit(x, y)

    def predict(asked: Block) -> Floats:
        found = np.zeros((asked.shape[0], classes))
        found[:, model.classes_] = model.predict_proba(asked)
        return found

    return predict


def _nearest(x: Block, y: Rows, classes: int) -> Predict:
    return lambda asked: np.eye(classes)[y[_dense(asked @ x.T).argmax(1)]]


def _ridge(x: Block, y: Rows, classes: int) -> Predict:
    """Least squares on the labels, by products of rows."""
    share = np.bincount(y, minlength=classes) / len(y)
    inner = _dense(x @ x.T) + _RIDGE * np.eye(len(y))
    weight = np.linalg.solve(inner, np.eye(classes)[y] - share)
    return lambda asked: np.asarray(share + _dense(asked @ x.T) @ weight)


def _dense(block: Block) -> Floats:
    return np.asarray(block.toarray() if hasattr(block, "toarray") else block, np.float64)


#: Name -> what it reads, and how it learns of a block and codes of K labels. From the simplest on.
_LEARNERS: Mapping[str, tuple[str, Callable[[Block, Rows, int], Predict]]] = {
    "majority": ("words", _majority),
    "tf-idf": ("words", _logistic),
    "nearest": ("words", _nearest),
    "letters": ("letters", _ridge),
    "sentences": ("sentences", _logistic),
}
_RULES = ("majority", "tf-idf", "nearest")


def nearest_labels(encode: Encode, requests: Sequence[AuthoringRequest]) -> list[str]:
    """The label of each request whose vector is nearest to that of its product."""
    names = sorted({label for one in requests for label in one.labels})
    place = {name: at for at, name in enumerate(names)}
    near = encode([label_text(one.product) for one in requests]) @ encode(names).T
    return [
        max(one.labels, key=lambda label: float(row[place[label]]))
        for one, row in zip(requests, near, strict=True)
    ]


def scored_labels(model: LanguageModel, requests: Sequence[AuthoringRequest]) -> list[str] | None:
    """The label of each request that its product makes likelier most, a token of it; None where the
    model's server tells no likelihoods."""
    shown = {one.labels: shown_labels(one) for one in requests}
    bare = {replace(one, product=_ANY).labels: replace(one, product=_ANY) for one in requests}
    asked = [*bare.values(), *requests]
    prompts: list[Prompt] = [messages_of(one) for one in asked for _ in one.labels]
    texts = [text for one in asked for text in shown[one.labels]]
    try:
        scores = model.score(prompts, texts).token_logprobs
    except AdwrightError:
        return None
    means = np.array([np.mean(one) if len(one) else 0.0 for one in scores])
    parts = np.split(means, np.cumsum([len(one.labels) for one in asked])[:-1])
    anyway = dict(zip(bare, parts, strict=False))
    return [
        one.labels[int((own - anyway[one.labels]).argmax())]
        for one, own in zip(requests, parts[len(bare) :], strict=True)
    ]
