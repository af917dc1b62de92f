"""What needs no language model: the honest baselines of each part, on the same rows.

majority    the most frequent label of the training rows
tfidf       logistic regression on TF-IDF of words and pairs of words (scikit-learn)
nearest     the label (or attributes) of the training title that is nearest by MiniLM's vectors
overlap     of four reasons, the one whose words, weighted by TF-IDF, the two products share most
dictionary  attributes: of each name and value seen in training, those that stand in the title
template    one sentence into which the product's own facts are put, the same for every row
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adwright.authoring.checks.limits import limit_named
from adwright.authoring.checks.mending import template_text
from adwright.authoring.instructions.rows import AuthoringExample
from adwright.authoring.tasks import read_answer
from benchmarks.authoring._rows import Part, Rows, rows_of
from benchmarks.authoring._texts import measured_texts
from benchmarks.common.text_measures import pair_counts


def baselines_of(part: Part) -> tuple[str, ...]:
    """The names of what is compared there."""
    match part.name:
        case "intent":
            return ("majority", "overlap", "tfidf")
        case "attributes":
            return ("dictionary", "nearest")
        case _:
            return ("majority", "tfidf", "nearest") if part.form == "label" else ("template",)


def baseline(part: Part, name: str) -> dict[str, Any]:
    """The result of a baseline, in the form of a model's."""
    return BASELINES[name](part, rows_of(part))


def _label_result(chosen: Sequence[str], test: Sequence[AuthoringExample]) -> dict[str, Any]:
    places = [one.request.labels.index(label) for one, label in zip(test, chosen, strict=True)]
    gold = [one.request.labels.index(one.answer) for one in test]
    right = [int(a == b) for a, b in zip(places, gold, strict=True)]
    return {"chosen": places, "gold": gold, "right": right}


def _majority(part: Part, rows: Rows) -> dict[str, Any]:
    if part.name == "intent":
        # No reason comes twice; the place that is right most often does.
        place = Counter(o.request.labels.index(o.answer) for o in rows.train).most_common(1)[0][0]
        return _label_result([one.request.labels[place] for one in rows.test], rows.test)
    label = Counter(one.answer for one in rows.train).most_common(1)[0][0]
    return _label_result([label] * len(rows.test), rows.test)


def _tfidf(part: Part, rows: Rows) -> dict[str, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=10.0, max_iter=2000),
    )
    if part.name == "intent":
        texts = [_asked(one, label) for one in rows.train for label in one.request.labels]
        right = [int(label == one.answer) for one in rows.train for label in one.request.labels]
        model.fit(texts, right)
        chosen = []
        for one in rows.test:
            likely = model.predict_proba([_asked(one, label) for label in one.request.labels])
            chosen.append(one.request.labels[int(likely[:, 1].argmax())])
        return _label_result(chosen, rows.test)
    model.fit([_title(one) for one in rows.train], [one.answer for one in rows.train])
    return _label_result([str(c) for c in model.predict([_title(o) for o in rows.test])], rows.test)


def _overlap(part: Part, rows: Rows) -> dict[str, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True)
    words.fit([_asked(one, one.answer) for one in rows.train])
    chosen = []
    for one in rows.test:
        asked = words.transform([_both(one)])
        near = (words.transform(one.request.labels) @ asked.T).toarray()[:, 0]
        chosen.append(one.request.labels[int(near.argmax())])
    return _label_result(chosen, rows.test)


def _nearest(part: Part, rows: Rows) -> dict[str, Any]:
    from adwright.lm.sentence_encoder import SentenceEncoder

    encoder = SentenceEncoder()
    known = encoder.encode([_title(one) for one in rows.train])
    asked = encoder.encode([_title(one) for one in rows.test])
    found = [rows.train[at] for at in (asked @ known.T).argmax(1).tolist()]
    if part.form == "label":
        return _label_result([one.answer for one in found], rows.test)
    return _pairs_result([read_answer(one.request, one.answer).pairs for one in found], rows)


def _dictionary(part: Part, rows: Rows) -> dict[str, Any]:
    seen: dict[str, Counter[str]] = {}
    for one in rows.train:
        for name, value in read_answer(one.request, one.answer).pairs:
            seen.setdefault(value.casefold(), Counter())[name] += 1
    given = []
    for one in rows.test:
        title = f" {one.request.product.title.casefold()} "
        there = [value for value in seen if f" {value} " in title]
        given.append(tuple((seen[value].most_common(1)[0][0], value) for value in there))
    return _pairs_result(given, rows)


def _pairs_result(given: Sequence[tuple[tuple[str, str], ...]], rows: Rows) -> dict[str, Any]:
    wanted = [read_answer(one.request, one.answer).pairs for one in rows.test]
    return {"pairs": pair_counts(given, wanted).tolist(), "invalid": [0] * len(rows.test)}


def _template(part: Part, rows: Rows) -> dict[str, Any]:
    limit = limit_named(part.limit) if part.limit else None
    written = [template_text(one.request, lambda _: True, limit) for one in rows.test]
    return measured_texts(written, part, rows.test)


def _title(example: AuthoringExample) -> str:
    product = example.request.product
    return " ".join(filter(None, (product.title, product.brand)))


def _both(example: AuthoringExample) -> str:
    return " ".join((example.request.product.title, *(v for _, v in example.request.values)))


def _asked(example: AuthoringExample, label: str) -> str:
    return f"{_both(example)} {label}"


BASELINES: Mapping[str, Callable[[Part, Rows], dict[str, Any]]] = {
    "majority": _majority,
    "tfidf": _tfidf,
    "overlap": _overlap,
    "nearest": _nearest,
    "dictionary": _dictionary,
    "template": _template,
}
