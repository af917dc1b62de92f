"""Labels by `adwright author write --slots category --train COLUMN` on a stranger's table.

Seven of ten rows have their label, the others get one by the command; beside them stand the most
frequent label, TF-IDF with logistic regression, and the nearest known row. Of labels with fewer
than five rows none is asked.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from adwright.authoring.writer.labelling import TrainedLabels, sentence_vectors
from benchmarks.strangers._writing import data_home, rows_of
from benchmarks.strangers.kit import Held

MOST, LEAST, SHARE = 1200, 5, 0.7
#: Tables of each kind, of one seed.
_NULLS = 34


def held(name: str, seed: int, folder: Path) -> Held:
    """What the command said of the rows whose label was kept from it."""
    rng = np.random.default_rng(seed)
    rows = list(_rows(name))
    often = Counter(label for _, label in rows)
    rows = [one for one in rows if often[one[1]] >= LEAST]
    drawn = rng.permutation(len(rows))[:MOST]
    rows = [rows[at] for at in drawn]
    known = int(SHARE * len(rows))
    table, out = folder / "labels.csv", folder / "out"
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "title", "label"])
        for at, (text, label) in enumerate(rows):
            writer.writerow([f"r{at}", text, label if at < known else ""])
    words = ["author", "write", str(table), "--out", str(out), "--slots", "category"]
    words += ["--train", "label", "--seed", str(seed)]
    done = subprocess.run(
        [sys.executable, "-m", "adwright", *words], capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 3):
        raise RuntimeError(f"adwright {' '.join(words)}\n{done.stdout}{done.stderr}")
    given = {}
    for line in (out / "drafts.jsonl").read_text("utf-8").splitlines():
        told = json.loads(line)
        if "draft" in told:
            given[told["draft"][0]] = told["text"]
    said = " ".join(json.loads((out / "report.json").read_text("utf-8"))["said"])
    expected = re.search(r"expect accuracy (-?[\d.]+) \((-?[\d.]+) to (-?[\d.]+)\)", said)
    low = [float(one) for one in expected.groups()] if expected else [0.0, 0.0, 1.0]
    kept = re.search(r"(\S+) is kept", said)
    labels = sorted({label for _, label in rows} | set(given.values()))
    code = {label: at for at, label in enumerate(labels)}
    truth = np.array([code[label] for _, label in rows])
    ours = np.array([code[given.get(f"r{at}", labels[0])] for at in range(known, len(rows))])
    train, test = [one for one, _ in rows[:known]], [one for one, _ in rows[known:]]
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    first, second = vectors.fit_transform(train), vectors.transform(test)
    logistic = LogisticRegression(max_iter=500, C=10.0).fit(first, truth[:known])
    most = np.bincount(truth[:known]).argmax()
    nearest = np.asarray((second @ first.T).argmax(1)).ravel()
    return Held(
        room="labels",
        set=name,
        seed=seed,
        command="adwright " + " ".join(words).replace(str(folder), ""),
        kept=kept[1] if kept else "nothing",
        told=low[0],
        told_low=low[1],
        told_high=low[2],
        measure="accuracy",
        truth=truth[known:],
        ours=ours,
        rules={
            "majority": np.full(len(test), most),
            "tf-idf, logistic": logistic.predict(second),
            "nearest": truth[:known][nearest],
        },
        units=drawn[known:],
        more={"labels": float(len(labels)), "known": float(known)},
    )


def nulls(seed: int, folder: Path) -> dict[str, int]:
    """What is said of `_NULLS` tables of titles whose labels were drawn by lot, and of as many in
    which a word tells the label of six in ten. By what the command calls, vectors kept."""
    counts = {"told_nothing": 0, "without": 0, "found": 0, "with": 0}
    encode = sentence_vectors()
    kept: dict[str, npt.NDArray[np.float32]] = {}
    titles = sorted({text for text, _ in _rows("pricerunner")})

    def vectors(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        new = [one for one in texts if one not in kept]
        kept.update(zip(new, encode(new) if encode else [], strict=True))
        return np.stack([kept[one] for one in texts])

    titles = [titles[at] for at in np.random.default_rng(seed).permutation(len(titles))[:600]]
    for turn in range(_NULLS):
        rng = np.random.default_rng([seed, turn])
        labels = [f"label {at}" for at in rng.choice(5, 200, p=[0.4, 0.3, 0.1, 0.1, 0.1])]
        texts = [titles[at] for at in rng.permutation(len(titles))[: len(labels)]]
        told = [
            f"{text} kind{label[-1]}" if rng.random() < 0.6 else text
            for text, label in zip(texts, labels, strict=True)
        ]
        for some, key, total in ((texts, "told_nothing", "without"), (told, "found", "with")):
            found = TrainedLabels.fit(some, labels, sentences=vectors, seed=seed).choice.kept
            counts[total] += 1
            counts[key] += (found is None) == (key == "told_nothing")
    return counts


def _rows(name: str) -> Iterator[tuple[str, str]]:
    """Texts with their labels."""
    match name:
        case "pricerunner":
            path = data_home() / name / "offers.csv"
            with path.open(encoding="utf-8", newline="") as stream:
                seen: set[str] = set()
                for row in csv.reader(stream):
                    # Offers of a product hardly differ: one of each, so that none is on both sides.
                    if row[3] not in seen:
                        seen.add(row[3])
                        yield row[1], row[-1]
        case "medium":
            (path,) = sorted((data_home() / name).glob("*.csv"))
            with path.open(encoding="utf-8", errors="replace", newline="") as stream:
                for cells in csv.DictReader(stream):
                    if cells.get("title") and cells.get("publication"):
                        yield cells["title"], cells["publication"]
        case _:
            for one in rows_of(name):
                if one.get("category"):
                    told = one.get("short_description") or one.get("brand", "")
                    yield f"{one['title']} {told}".strip(), one["category"]
