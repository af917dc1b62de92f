"""What the click rate benchmark compares: rules of ours, rules and boosting of scikit-learn, peers.

Each learns from the training rows alone, chooses its settings on a fifth of their stories, and says
the rate of the rows held out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from adwright.creative.records.encoders import VectorStore
from adwright.creative.response.outcomes import CreativeOutcomes, stories_of, story_folds
from adwright.lm.sentence_encoder import SentenceEncoder
from benchmarks.creative._clickrate_cells import FOLDS, SCRATCH, Answer, Cell, Task, log_rates
from benchmarks.creative._clickrate_ours import ours, ours_key
from benchmarks.creative._clickrate_peer import PEER_KEY, autoint

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
#: Of a task and the rows of training: what is learnt from, and what makes the same of other rows.
Inputs = Callable[[Task, Whole], tuple[Any, Callable[[Whole], Any]]]
STRENGTHS = (1.0, 2.0, 4.0, 8.0)
_BOOSTING: dict[str, Any] = {"learning_rate": 0.05, "max_leaf_nodes": 15, "max_features": 0.1}
_ROUNDS = 300


@dataclass(frozen=True)
class System:
    """title: in tables. key: of its settings; another key is another cell. answer: learns from the
    rows of a cell, and says the rates of those held out; None where it cannot be had here."""

    title: str
    key: str
    answer: Callable[[Task, Cell], Answer | None]


def text_slots(outcomes: CreativeOutcomes) -> list[list[str]]:
    """[3][N]: headline, lede and excerpt of each creative."""
    titles = [record.title for record in outcomes.records]
    ledes = list(outcomes.ledes)
    words = [record.words for record in outcomes.records]
    rest = [text.removeprefix(lede).strip() for text, lede in zip(words, ledes, strict=True)]
    return [titles, ledes, rest]


def vectors_of(outcomes: CreativeOutcomes) -> NDArray[np.float32]:
    """float32 [N, 3, 384] of all-MiniLM-L6-v2 by slot, 0 where it is empty; computed once."""
    store, encoder = VectorStore(SCRATCH / "vectors"), SentenceEncoder()
    made = [store.vectors(slot, encoder) for slot in text_slots(outcomes)]
    return np.nan_to_num(np.stack(made, 1))


def _rule(of: Callable[[CreativeOutcomes], Floats]) -> Callable[[Task, Cell], Answer]:
    """Least squares of the log rate on what `of` makes of creatives: float64 [N, D], D may be 0."""

    def answer(task: Task, cell: Cell) -> Answer:
        train, held = task.split(cell.seed, cell.part)
        start = time.process_time()
        known = task.outcomes.take(train)
        x = np.concatenate([np.ones((len(train), 1)), of(known)], 1)
        weights = np.linalg.lstsq(x, log_rates(known), rcond=None)[0][1:]
        level = _level(x[:, 1:] @ weights, known)
        trained = time.process_time()
        rates = np.exp(of(task.outcomes.take(held)) @ weights + level)
        return Answer(rates, trained - start, time.process_time() - trained)

    return answer


def _lengths(outcomes: CreativeOutcomes) -> Floats:
    """float64 [N, 4]: ln(1 + characters) of the title and of the other text, and their squares."""
    size = [(len(record.title), len(record.words)) for record in outcomes.records]
    log = np.log1p(np.array(size, np.float64))
    return np.concatenate([log, log**2], 1)


def _nothing(outcomes: CreativeOutcomes) -> Floats:
    return np.empty((len(outcomes), 0))


def _inner(outcomes: CreativeOutcomes, rows: Whole, seed: int) -> tuple[Whole, Whole]:
    """Places among the training rows: learn, and choose settings; parted by story."""
    stories = stories_of(outcomes.take(rows))
    fold = story_folds(stories, FOLDS, seed=seed)
    return np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)


def _ridge(inputs: Inputs, *, dense: bool = False, **solver: Any) -> Callable[[Task, Cell], Answer]:
    """Ridge regression of scikit-learn on what `inputs` makes of the two sides' rows. dense: of
    vectors, which are kept between cells, so making them is not in the seconds."""

    def answer(task: Task, cell: Cell) -> Answer:
        if dense:
            vectors_of(task.outcomes)
        train, held = task.split(cell.seed, cell.part)
        start = time.process_time()
        x, encode = inputs(task, train)
        y = log_rates(task.outcomes)[train]
        learn, choose = _inner(task.outcomes, train, cell.seed)
        errors = {}
        for strength in STRENGTHS:
            model = Ridge(strength, **solver).fit(x[learn], y[learn])
            errors[strength] = float(np.mean((model.predict(x[choose]) - y[choose]) ** 2))
        model = Ridge(min(errors, key=errors.__getitem__), **solver).fit(x, y)
        level = _level(model.predict(x), task.outcomes.take(train))
        trained = time.process_time()
        rates = np.exp(model.predict(encode(held)) + level)
        return Answer(rates, trained - start, time.process_time() - trained)

    return answer


def _level(logs: Floats, outcomes: CreativeOutcomes) -> float:
    """What is added so that the clicks of training are expected, as the rules of ours have it."""
    return float(np.log(outcomes.clicks.sum() / (outcomes.impressions @ np.exp(logs))))


def _tfidf(slots: Callable[[CreativeOutcomes], Sequence[Sequence[str]]]) -> Inputs:
    def inputs(task: Task, train: Whole) -> tuple[Any, Callable[[Whole], Any]]:
        words, sides = [], []
        texts = slots(task.outcomes)
        for slot in texts:
            words.append(TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True))
            sides.append(words[-1].fit_transform([slot[row] for row in train]))

        def encode(rows: Whole) -> Any:
            made = [
                one.transform([slot[row] for row in rows])
                for one, slot in zip(words, texts, strict=True)
            ]
            return sparse.hstack(made).tocsr()

        return sparse.hstack(sides).tocsr(), encode

    return inputs


def _one_text(outcomes: CreativeOutcomes) -> list[list[str]]:
    return [[" ".join(parts) for parts in zip(*text_slots(outcomes), strict=True)]]


def _dense(task: Task, train: Whole) -> tuple[Any, Callable[[Whole], Any]]:
    flat = vectors_of(task.outcomes).reshape(len(task.outcomes), -1)
    return flat[train], lambda rows: flat[rows]


def _boosting(task: Task, cell: Cell) -> Answer:
    """Gradient boosting of scikit-learn on the vectors; as many rounds as choose themselves."""
    train, held = task.split(cell.seed, cell.part)
    vectors_of(task.outcomes)  # kept, so that making them is not in the seconds
    start = time.process_time()
    x, encode = _dense(task, train)
    y = log_rates(task.outcomes)[train]
    learn, choose = _inner(task.outcomes, train, cell.seed)

    def model(rounds: int) -> HistGradientBoostingRegressor:
        return HistGradientBoostingRegressor(
            max_iter=rounds, early_stopping=False, random_state=cell.seed, **_BOOSTING
        )

    tried = model(_ROUNDS).fit(x[learn], y[learn])
    errors = [float(np.mean((told - y[choose]) ** 2)) for told in tried.staged_predict(x[choose])]
    found = model(int(np.argmin(errors)) + 1).fit(x, y)
    level = _level(found.predict(x), task.outcomes.take(train))
    trained = time.process_time()
    rates = np.exp(found.predict(encode(held)) + level)
    return Answer(rates, trained - start, time.process_time() - trained)


def _autoint(task: Task, cell: Cell) -> Answer | None:
    train, held = task.split(cell.seed, cell.part)
    learn, choose = _inner(task.outcomes, train, cell.seed)
    parts = {"train": train[learn], "valid": train[choose], "test": held}
    return autoint(task, cell, parts, vectors_of(task.outcomes), text_slots(task.outcomes))


_SPARSE: dict[str, Any] = {"solver": "sparse_cg", "tol": 1e-4}
_RIDGES = {
    "one text": _ridge(_tfidf(_one_text), **_SPARSE),
    "fields": _ridge(_tfidf(text_slots), **_SPARSE),
    "vectors": _ridge(_dense, dense=True, solver="cholesky"),
}
SYSTEMS: Mapping[str, System] = {
    "constant": System("one rate for all", "1", _rule(_nothing)),
    "length": System("length of the text", "1", _rule(_lengths)),
    "tfidf_one_text": System("TF-IDF ridge of one text (scikit-learn)", "1", _RIDGES["one text"]),
    "tfidf": System("TF-IDF ridge by field (scikit-learn)", "1", _RIDGES["fields"]),
    "minilm_ridge": System("MiniLM vectors, ridge (scikit-learn)", "1", _RIDGES["vectors"]),
    "boosting": System("MiniLM vectors, boosting (scikit-learn)", "1", _boosting),
    "autoint_peer": System("AutoInt (DeepCTR-Torch)", PEER_KEY, _autoint),
    "ours": System("adwright", ours_key(), ours),
}
