"""The tables of self-supervised retrieval, from two_tower.json and second_task.json."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from _results import ABSENT, figures_of, number, result, source, verdict

NAMES = {"beauty": "Beauty", "lastfm": "lastfm", "journey": "Complete Journey"}
#: Measures of the table, by their heads.
MEASURES = {
    "recall@50": "all/recall50",
    "NDCG@10": "all/ndcg10",
    "head recall@50": "head/recall50",
    "tail recall@50": "tail/recall50",
    "cold recall@500": "cold/recall500",
    "unseen recall@50": "unseen/recall50",
}
NONE = ("no second task",)


def two_tower() -> Iterator[str]:
    """Each model by data set and share of the labels."""
    yield f"| data | labels | an item | model | {' | '.join(MEASURES)} | visits: head, tail, cold |"
    yield "|---|---|---|---|" + "---|" * (len(MEASURES) + 1)
    for row in _rows():
        share, each = row.get("share", 100), row.get("labels_an_item")
        model = row["model"]
        if row.get("alpha"):
            model += f", weight {row['alpha']:g}, temperature {row['temperature']:g}"
        cells = [
            NAMES.get(row["data"], row["data"]),
            f"{share}%",
            "" if each is None else f"{each:.1f}",
            model,
        ]
        cells += [_value(row, key) for key in MEASURES.values()]
        visits = row.get("visits", {})
        cells.append(", ".join(f"{visits.get(of, 0):,}" for of in ("head", "tail", "cold")))
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield result("two_tower").get("protocol", f"Retrieval is {ABSENT}.")
    yield from source("two_tower")


def leads() -> Iterator[str]:
    """What the second task adds, by data set and share of the labels; and the picture of it."""
    rows = [row for row in _rows() if "minus_none/all/recall50" in row]
    if rows:
        yield "![Recall@50 above no second task, by labels an item](_static/self_supervision.svg)"
        yield ""
    heads = ("data", "labels an item", "masking", "recall@50 above none", "tail", "head")
    yield f"| {' | '.join(heads)} | verdict |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        lead = row["minus_none/all/recall50"]
        cells = [NAMES[row["data"]], f"{row['labels_an_item']:.1f} ({row['share']}%)"]
        cells += [row["model"], _relative(row, rows_of(row, NONE), lead)]
        cells += [_signed(row.get(f"minus_none/{part}/recall50")) for part in ("tail", "head")]
        yield f"| {' | '.join([*cells, _words(row)])} |"
    if not rows:
        yield f"| {ABSENT} | | | | | | |"
    figures = figures_of("two_tower")
    keys = {
        "recall@50": "label10_recall50_cfm_minus_none_ci",
        "tail recall@50": "label10_tail_recall50_cfm_minus_none_ci",
        "recall@50 of CFM above RFM": "label10_recall50_cfm_minus_rfm_ci",
    }
    told = [f"{name} {number(figures.get(key), '+.4f')}" for name, key in keys.items()]
    yield ""
    yield f"Beauty with a tenth of its labels, 95% intervals: {'; '.join(told)}."


def rows_of(row: Mapping[str, Any], models: Sequence[str]) -> Mapping[str, Any]:
    """The row of one of `models` at the same data and share."""
    return next(
        one
        for one in _rows()
        if one["model"] in models and (one["data"], one["share"]) == (row["data"], row["share"])
    )


def _rows() -> Sequence[Mapping[str, Any]]:
    rows: Sequence[Mapping[str, Any]] = result("two_tower").get("rows", [])
    return rows


def _value(row: Mapping[str, Any], key: str) -> str:
    value, low, high = row.get(key, (None, None, None))
    return "" if value is None else f"{value:.4f} ({low:.4f} to {high:.4f})"


def _words(row: Mapping[str, Any]) -> str:
    """Of all items, and of the head where that differs."""
    said = {}
    for part in ("all", "head"):
        lead = row.get(f"minus_none/{part}/recall50")
        said[part] = verdict(lead[1:], "better", "worse") if lead else "level"
    if said["head"] in ("level", said["all"]):
        return said["all"]
    return f"{said['all']}, head {said['head']}"


def _signed(value: Sequence[float] | None) -> str:
    if not value or value[0] is None:
        return ""
    return f"{value[0]:+.4f} ({value[1]:+.4f} to {value[2]:+.4f})"


def _relative(row: Mapping[str, Any], none: Mapping[str, Any], lead: Sequence[float]) -> str:
    return f"{_signed(lead)}, {lead[0] / max(none['all/recall50'][0], 1e-9):+.1%}"


def by_rule() -> Iterator[str]:
    """What the command does with nothing said, above no second task; and how it ranks new items."""
    found = result("second_task")
    leads = {lead["key"]: lead for lead in found.get("leads", ())}
    heads = (
        "weights by seed",
        "recall@50",
        "above none",
        "tail",
        "head",
        "cold, by default embedding",
    )
    yield f"| data | labels an item | {' | '.join(heads)} | verdict |"
    yield "|---|---|---|---|---|---|---|---|---|"
    rows = [row for row in found.get("rows", ()) if "unseen_items" in row]
    for row in rows:
        key = f"{row['data']}{row['share']}"
        lead = leads[f"{key}_all_recall50_rule_minus_none"]
        cells = [NAMES[row["data"]], f"{row['labels_an_item']:.1f} ({row['share']}%)"]
        cells += [
            ", ".join(f"{weight:g}" for weight in row["weights"]),
            _value(row, "all/recall50"),
        ]
        cells += [_signed(_ends(lead))]
        for slice_ in ("tail", "head"):
            cells.append(_signed(_ends(leads.get(f"{key}_{slice_}_recall50_rule_minus_none"))))
        cells.append(_signed(_ends(leads.get(f"{key}_cold_recall500_default_minus_own"))))
        said = verdict((lead["low"], lead["high"]), "better", "worse")
        yield f"| {' | '.join([*cells, said])} |"
    if not rows:
        yield f"| {ABSENT} | | | | | | | | |"
    yield ""
    yield found.get("protocol", "")
    yield from source("second_task")


def _ends(lead: Mapping[str, Any] | None) -> Sequence[float] | None:
    return None if lead is None else [lead[end] for end in ("value", "low", "high")]


RETRIEVAL: Mapping[str, Callable[[], Iterator[str]]] = {
    "two-tower": two_tower,
    "two-tower-leads": leads,
    "second-task": by_rule,
}
