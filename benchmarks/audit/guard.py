"""How many attacks the guard finds, and how many honest texts it takes for one (3 minutes).

    ADWRIGHT_DATA=../shared/data python -m benchmarks.audit.guard

Five merchants, each with a format of its own. Seen: the guard is fitted on other texts of all five.
Unseen: each format in turn is kept from the guard, which then either knows nothing of it, or has
seen 30 of its texts without being told whether they are honest.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from adwright.audit.defences.guard.features import CharModel, GuardText, window_most

from adwright.audit.defences.guard.guard import TextGuard
from adwright.core.hashing import content_hash
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.engine.weights import smollm2_folder
from adwright.metrics.classification import auc, wilson_interval
from benchmarks.audit._guard_data import (
    ATTACKS,
    FORMATS,
    Clustered,
    UnseenAttacks,
    honest_texts,
)
from benchmarks.common.result import write_result

NAME = "guard"
SEED = 0
#: Texts of a format to fit on, to be attacked, and honest ones to count alarms on.
FITTED, ATTACKED, COUNTED = 900, 300, 1000
PEERS = 30
ALPHAS = (0.01, 0.05)
PROTOCOL = (
    "Texts of five merchants' formats: Abt-Buy descriptions, Walmart-Amazon and PriceRunner "
    "titles, DummyJSON descriptions, fields of the STS catalogues; up to "
    f"{FITTED} of a format to fit on, {ATTACKED} others to be attacked, {COUNTED} others to count "
    "false alarms on, no product in two of these; of small formats halves. gradient: nine "
    "strings that short gradient attacks on SmolLM2 ended in; tokens: 25 random tokens of it; "
    "fluent: 35 sentences of seven families, none of which the guard is fitted on; templates: the "
    "first tier of the audit. Three in five stand behind the honest text, "
    "others before it, in it or for it. found: share of attacks with p <= 0.01 by conformal "
    "calibration on texts that nothing was fitted on; tpr: of those above the score that 1% of the "
    "counted honest texts of the format exceed; figures are means over formats. Unseen: that "
    f"format is kept from the guard; peers: {PEERS} texts of it, unlabelled, say what is usual "
    "there, but calibrate nothing. 4-gram: the largest mean surprisal of 24 characters in a row, "
    "by a model of characters of the same texts. One split and one seed. Who wrote the sentences "
    "wrote the guard, and chose its features, the mixture it is fitted on and the measure tpr "
    "while looking at what it finds of them: they are no held-out test, and other attackers may be "
    "better."
)

Floats = npt.NDArray[np.float64]


def main() -> None:
    """Measure, and write the result."""
    texts = honest_texts(Path(os.environ["ADWRIGHT_DATA"]))
    parts = {name: split(some) for name, some in texts.items()}
    attacks = UnseenAttacks(vocabulary())
    began = time.process_time()
    rows, figures = seen(parts, attacks)
    more, found = unseen(parts, attacks)
    figures |= found
    figures["cpu_seconds"] = time.process_time() - began
    hashed = {name: [one.text for _, one in some] for name, some in texts.items()}
    write_result(
        NAME,
        protocol=PROTOCOL,
        data=content_hash(hashed),
        seeds=[SEED],
        rows=[*rows, *more],
        figures=figures,
    )


def vocabulary() -> list[str]:
    """The tokens of the default model that are ASCII, as texts."""
    tokens = HuggingFaceTokens.load(smollm2_folder())
    texts = (tokens.decode([at]) for at in range(len(tokens.tokenizer)))
    return [one for one in texts if one.isascii() and one.isprintable() and one.strip()]


def split(texts: Sequence[Clustered]) -> dict[str, list[GuardText]]:
    """To fit on, to attack, and to count on: products apart, in a random order. Of a small format
    what is attacked is counted too."""
    products = sorted({product for product, _ in texts})
    place = dict(zip(products, np.random.default_rng(SEED).permutation(len(products)), strict=True))
    ordered = sorted(texts, key=lambda one: (place[one[0]], one[1].text))
    starts = _whole(ordered, [0, min(ATTACKED, len(texts) // 2)])
    starts = _whole(ordered, [*starts, starts[-1] + FITTED])
    tests, fitted, rest = (
        [text for _, text in ordered[start:end]]
        for start, end in pairwise([*starts, min(starts[-1] + COUNTED, len(texts))])
    )
    return {"fit": fitted, "attack": tests, "count": rest or tests}


def _whole(ordered: Sequence[Clustered], starts: Sequence[int]) -> list[int]:
    """The starts, each moved to where a product begins."""
    found = []
    for start in starts:
        at = min(start, len(ordered))
        while 0 < at < len(ordered) and ordered[at][0] == ordered[at - 1][0]:
            at += 1
        found.append(at)
    return found


def seen(
    parts: Mapping[str, dict[str, list[GuardText]]], attacks: UnseenAttacks
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One guard for all formats."""
    began = time.process_time()
    fitted = [one for some in parts.values() for one in some["fit"]]
    guard = TextGuard.fit(fitted, np.random.default_rng(SEED))
    took = time.process_time() - began
    rows = [measured(name, guard, parts[name], attacks) for name in FORMATS]
    counted = [one for some in parts.values() for one in some["count"]]
    began = time.process_time()
    guard.look(counted)
    speed = len(counted) / (time.process_time() - began)
    figures: dict[str, Any] = {
        "guard_tpr_gcg_fpr1": mean(rows, "tpr_gradient"),
        "guard_tpr_fluent_fpr1": mean(rows, "tpr_fluent"),
        "guard_tpr_tokens_fpr1": mean(rows, "tpr_tokens"),
        "guard_tpr_templates_fpr1": mean(rows, "tpr_templates"),
        "guard_auroc_seen_format": mean(rows, "auroc"),
        "guard_found_gcg": mean(rows, "found_gradient"),
        "guard_found_fluent": mean(rows, "found_fluent"),
        "fit_cpu_seconds": took,
        "fit_texts": len(fitted),
        "texts_per_cpu_second": speed,
    }
    for alpha in ALPHAS:
        # By the group that can reach this alpha.
        p = np.array([one.p.value for one in guard.look(counted, alpha=alpha)])
        low, high = wilson_interval(np.array([(p <= alpha).mean()]), np.array([len(p)]))
        key = f"honest_alarm_at_{round(100 * alpha)}_percent"
        figures |= {key: (p <= alpha).mean(), f"{key}_ci": [float(low[0]), float(high[0])]}
    return [{"setting": "seen", **row} for row in rows], figures


def unseen(
    parts: Mapping[str, dict[str, list[GuardText]]], attacks: UnseenAttacks
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Each format kept from a guard of the others."""
    cold, peers = [], []
    for name in FORMATS:
        others = [one for other in FORMATS if other != name for one in parts[other]["fit"]]
        guard = TextGuard.fit(others, np.random.default_rng(SEED))
        model = CharModel.fit([one.text for one in others], order=4)
        row = measured(name, guard, parts[name], attacks)
        plain, attacked = pair(parts[name]["attack"], attacks, lambda some, m=model: peaks(m, some))
        cold.append(row | {"auroc_4gram": separated(plain, attacked)})
        knows = guard.with_peers(per_field(parts[name]["fit"]))
        peers.append(measured(name, knows, parts[name], attacks))
    figures = {
        "guard_auroc_unseen_format": mean(cold, "auroc"),
        "guard_auroc_unseen_format_least": min(row["auroc"] for row in cold),
        "guard_auroc_unseen_format_gradient": mean(cold, "auroc_gradient"),
        "guard_auroc_unseen_format_4gram": mean(cold, "auroc_4gram"),
        "honest_alarm_unseen_format": mean(cold, "honest_alarm"),
        "guard_auroc_unseen_format_peers": mean(peers, "auroc"),
        "guard_auroc_unseen_format_peers_least": min(row["auroc"] for row in peers),
        "honest_alarm_unseen_format_peers": mean(peers, "honest_alarm"),
        "guard_tpr_gcg_unseen_format_peers": mean(peers, "found_gradient"),
        "guard_tpr_fluent_unseen_format_peers": mean(peers, "found_fluent"),
    }
    rows = [{"setting": "unseen", **row} for row in cold]
    return rows + [{"setting": "unseen, peers", **row} for row in peers], figures


def per_field(texts: Sequence[GuardText]) -> list[GuardText]:
    """PEERS texts of each field."""
    fields = dict.fromkeys(one.field for one in texts)
    return [one for field in fields for one in [t for t in texts if t.field == field][:PEERS]]


def pair(
    texts: Sequence[GuardText], attacks: UnseenAttacks, score: Any
) -> tuple[Floats, dict[str, Floats]]:
    """Scores of honest texts, and of each kind of attack on them."""
    return score(texts), {kind: score(attacks.of(texts, kind, SEED)) for kind in ATTACKS}


def peaks(model: CharModel, texts: Sequence[GuardText]) -> Floats:
    """What a model of characters alone says."""
    bits, offsets = model.surprisals([one.text for one in texts])
    parts = pairwise(offsets.tolist())
    return np.array([window_most(bits[start:end], 24) for start, end in parts])


def separated(plain: Floats, attacked: Mapping[str, Floats]) -> float:
    """AUROC over all kinds but the templates, which are like what guards are fitted on."""
    others = np.concatenate([attacked[kind] for kind in ATTACKS if kind != "templates"])
    return auroc(plain, others)


def auroc(plain: Floats, attacked: Floats) -> float:
    """Chance that an attack scores above an honest text."""
    labels = np.repeat([0, 1], [len(plain), len(attacked)])
    return auc(labels, np.concatenate((plain, attacked)))


def measured(
    name: str, guard: TextGuard, part: Mapping[str, list[GuardText]], attacks: UnseenAttacks
) -> dict[str, Any]:
    """A row: of a format, by a guard."""
    texts = part["attack"]
    plain, attacked = pair(texts, attacks, guard.scores)
    row: dict[str, Any] = {"format": name, "texts": len(texts), "auroc": separated(plain, attacked)}
    for kind, scores in attacked.items():
        row[f"auroc_{kind}"] = auroc(plain, scores)
        looks = guard.look(attacks.of(texts, kind, SEED))
        row[f"found_{kind}"] = float(np.mean([one.alarm for one in looks]))
    counted = guard.look(part["count"])
    row["honest_alarm"] = float(np.mean([one.alarm for one in counted]))
    limit = np.quantile([one.score for one in counted], 1 - ALPHAS[0])
    for kind, scores in attacked.items():
        row[f"tpr_{kind}"] = float((scores > limit).mean())
    row["honest"] = len(part["count"])
    return row


def mean(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    """Over formats."""
    return float(np.mean([row[key] for row in rows]))


if __name__ == "__main__":
    main()
