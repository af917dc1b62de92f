"""The tables of lives and stop rules, from benchmarks/results/survival.json and replay.json."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from _results import ABSENT, figures_of, number, result, source

TERMS = ("short", "long", "overall")
#: Models of the table, by the ends of their keys, in its order.
MODELS = {
    "two_terms": "two terms",
    "one_head": "one head",
    "two_ratio": "two terms, weighted by click rate (ratio)",
    "two_clipped": "two terms, weighted (clipped)",
    "two_smoothed": "two terms, weighted (smoothed)",
    "without_numbers": "without numbers",
    "without_categories": "without categories",
    "without_words": "without words",
    "without_place": "without place",
    "with_clocks": "with numbers that tell the week",
    "without_common_effects": "without effects of a week",
    "boosting_on_the_hazard_scikit_learn": "boosting on the hazard, scikit-learn",
    "deephit_pycox": "DeepHit, pycox",
    "logistic_hazard_pycox": "logistic hazard, pycox",
    "cox_network_torchsurv": "Cox network, torchsurv",
    "cox_lifelines": "Cox, lifelines",
    "kaplan_meier_by_category": "Kaplan-Meier by category",
}
TASKS = {
    "chain": "any store, first week",
    "new_products": "the same, products not in training",
    "fourth_week": "any store, fourth week",
    "store": "a store, first week",
}
RULES = {
    "value_model": "curves, and expected value per cost",
    "model": "curves, and value per cost as it was",
    "rate_rule": "value per cost alone, no network",
}


def lives() -> Iterator[str]:
    """C of each model on the main task, and how its chances fit."""
    figures, rows = figures_of("survival"), result("survival").get("rows", [])
    yield "| model | C, short | C, long | C, overall | Brier score | D-calibration, worst decile |"
    yield "|---|---|---|---|---|---|"
    for key, name in MODELS.items():
        cells = [_with_ends(figures, f"chain_c_{term}_{key}") for term in TERMS]
        cells += [
            _mean(rows, "chain", (key, name), column) for column in ("brier", "d_calibration_worst")
        ]
        if any(cells):
            yield f"| {name} | {' | '.join(cells)} |"
    yield "| paper, two terms weighted by click rate, its own data | .896 | .939 | .792 | | |"
    yield "| paper, conventional, its own data | | | .531 | | |"
    yield ""
    yield "| two terms, at | Brier score | D-calibration, worst decile | of DeepHit |"
    yield "|---|---|---|---|"
    for task, said in TASKS.items():
        cells = [_mean(rows, task, ("two_terms",), key) for key in ("brier", "d_calibration_worst")]
        cells.append(_mean(rows, task, ("DeepHit, pycox",), "d_calibration_worst"))
        if any(cells):
            yield f"| {said} | {' | '.join(cells)} |"
    yield ""
    yield result("survival").get("protocol", f"Lives are {ABSENT}.")
    yield from source("survival")


def lives_leads() -> Iterator[str]:
    """Differences of the two terms, by task."""
    figures = figures_of("survival")
    yield "| task | two terms above | C, short | C, long | C, overall |"
    yield "|---|---|---|---|---|"
    found = False
    for task, said in TASKS.items():
        for key, name in MODELS.items():
            cells = [
                _with_ends(figures, f"{task}_c_{term}_two_terms_minus_{key}", "+.4f")
                for term in TERMS
            ]
            if any(cells):
                found = True
                yield f"| {said} | {name} | {' | '.join(cells)} |"
    if not found:
        yield f"| {ABSENT} | | | | |"


def replay() -> Iterator[str]:
    """What each stop rule saved at the same sales kept."""
    figures = figures_of("replay")
    yield "| rule | weeks saved | wrongly stopped by its own threshold |"
    yield "|---|---|---|"
    saved = {
        "value_model": "weeks_saved_model",
        "model": "weeks_saved_curves_alone",
        "rate_rule": "weeks_saved_rate_rule",
    }
    for key, name in RULES.items():
        weeks = number(figures.get(saved[key]), ",.0f")
        yield f"| {name} | {weeks} | {number(figures.get(f'own_wrongly_stopped_{key}'), '.1%')} |"
    yield f"| the best fatigue rule | {number(figures.get('weeks_saved_best_rule'), ',.0f')} | |"
    yield ""
    kept, weeks = figures.get("sales_kept"), figures.get("weeks")
    yield f"At {number(kept, '.1%')} of the sales kept, of {number(weeks, ',.0f')} display weeks."
    for lead in result("replay").get("leads", []):
        ends = [lead["low"], lead["high"]]
        yield (
            f"- {lead['a']} less {lead['b']}: {lead['value']:+.2%} of all display weeks "
            f"({number(ends, '+.2%')}); {lead['measure']}."
        )
    yield ""
    yield result("replay").get("protocol", f"The replay is {ABSENT}.")
    yield from source("replay")


def _mean(rows: Sequence[Mapping[str, Any]], task: str, names: tuple[str, ...], key: str) -> str:
    """The mean over seeds of a column of the rows of a model, by any of its names."""
    mine = [row for row in rows if row["task"] == task and row["model"] in names]
    found = [row[key] for row in mine if row.get(key) is not None]
    return f"{sum(found) / len(found):.4f}" if found else ""


def _with_ends(figures: Mapping[str, Any], key: str, form: str = ".4f") -> str:
    value, ends = figures.get(key), figures.get(f"{key}_ci")
    if value is None:
        return ""
    return format(value, form) if ends is None else f"{value:{form}} ({number(ends, form)})"


LIFETIME: Mapping[str, Callable[[], Iterator[str]]] = {
    "lives": lives,
    "lives-leads": lives_leads,
    "replay": replay,
}
