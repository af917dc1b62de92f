"""The tables of authoring: limits of platforms, and what was measured (authoring.json)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from _results import ABSENT, number, result, source

#: Parts of the benchmark, with the measure of each.
PARTS = {
    "pricerunner": ("offers into categories (PriceRunner)", "accuracy"),
    "walmart": ("offers into categories (Walmart-Amazon)", "accuracy"),
    "intent": ("purchase intention (IntentionQA)", "accuracy"),
    "attributes": ("attribute values (AE-110k)", "f1"),
    "descriptions": ("descriptions (Abt-Buy)", "rouge_l"),
    "ads": ("ads (Complete Journey)", "rouge_l"),
    "answers": ("answers on a product", "rouge_l"),
    "titles": ("titles for a query, not tuned on", "rouge_l"),
}
SYSTEMS = {
    "untuned": "SmolLM2-135M, untuned",
    "shots": "the same, examples in the prompt",
    "one": "tuned, one model for all",
    "each": "tuned, one model a task",
    "majority": "most frequent label",
    "tfidf": "TF-IDF and logistic regression",
    "nearest": "MiniLM, nearest neighbour",
    "overlap": "most words in common",
    "dictionary": "dictionary of known values",
    "template": "text of a template",
}
MEASURES = {"accuracy": "accuracy", "f1": "exact F1", "rouge_l": "ROUGE-L"}

BASIS = {
    "platform": "{read}, by the platform",
    "guides": "{read}, by guides",
    "unverified": "not verified",
}


def limits() -> Iterator[str]:
    """What each field takes, and how far that was verified."""
    from adwright.authoring.checks.limits import all_limits

    yield "| field | at most | shown | an ad has | verified | page that decides |"
    yield "|---|---|---|---|---|---|"
    for one in all_limits():
        texts = f"{one.fewest_texts} to {one.most_texts}" if one.most_texts else ""
        page = f"[{one.source}]({one.url})" if one.url else one.source
        verified = BASIS[one.basis].format(read=one.read)
        most = f"{one.most:,}{' in width' if one.unit == 'width' else ''}"
        yield f"| `{one.name}` | {most} | {one.visible or ''} | {texts} | {verified} | {page} |"


def measured() -> Iterator[str]:
    """Each system on each part."""
    yield "| task | system | measure | grounded as written | when mended | with a wrong number |"
    yield "|---|---|---|---|---|---|"
    rows = {(row["part"], row["system"]): row for row in result("authoring").get("rows", ())}
    for part, (said, measure) in PARTS.items():
        for system, name in SYSTEMS.items():
            row = rows.get((part, system))
            if row is not None:
                cells = [_share(row, key) for key in ("grounded", "grounded_after", "number")]
                value = f"{MEASURES[measure]} {_spread(row, measure)}"
                yield f"| {said} | {name} | {value} | {' | '.join(cells)} |"
    yield ""
    yield str(result("authoring").get("protocol", f"Authoring is {ABSENT}."))
    yield from source("authoring")


def _spread(row: Mapping[str, Any], key: str) -> str:
    if key not in row:
        return ""
    trained = row["system"] in ("one", "each")
    seeds = ", one training" if trained and row["seeds"] == 1 else ""
    return f"{number(row[key], '.3f')} ± {number(row[f'{key}_spread'], '.3f')}{seeds}"


def _share(row: Mapping[str, Any], key: str) -> str:
    return f"{row[key]:.0%}" if key in row else ""


AUTHORING: Mapping[str, Callable[[], Iterator[str]]] = {
    "author-limits": limits,
    "authoring": measured,
}
