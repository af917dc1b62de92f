"""The tables of the audit: how far texts push products, and what the guard finds of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from _results import ABSENT, figures_of, number, result, source

CATALOGUES = {"coffee_machines": "coffee machines", "books": "books", "cameras": "cameras"}
TIERS = {
    "T0": "T0, templates",
    "T1": "T1, search on ranks",
    "T2": "T2, by gradient",
    "T3": "T3, by gradient, fluent",
    "random": "control: random tokens",
    "name": "control: the name again",
    "truthful": "control: a truthful sentence",
    "T4": "T4, search through the stack",
    "T4-gradient": "T4, by gradient through the stack",
    "T4-facts": "T4, search of facts through the stack",
    "any": "any",
}
DEFENCES = {
    "none": "none",
    "normalise": "normalised",
    "extract": "typed facts alone",
    "averaged": "mean of five orders",
    "isolated": "each listing alone",
    "rating": "no model: by rating",
}


def attacks() -> Iterator[str]:
    """Net of each kind of attack, beside the published figures of other models."""
    rows = [row for row in _rows() if row.get("kind", "attack") == "attack"]
    yield "| products | model | texts | net, all runs | best run | first before | first after |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        net = number(row["net"], ".1f")
        if row.get("net_low") is not None:
            net += f" ({row['net_low']:.1f} to {row['net_high']:.1f})"
        cells = [CATALOGUES[row["catalogue"]], row["model"], TIERS[row["tier"]], net]
        cells += [_percent(row, key) for key in ("best", "first_before", "first_after")]
        yield f"| {' | '.join(cells)} |"
    if not rows:
        yield f"| all | | | {ABSENT} | | | |"
    yield ""
    yield result("visibility").get("protocol", f"Attacks on the public catalogues are {ABSENT}.")
    yield from source("visibility")


def products() -> Iterator[str]:
    """The coffee machines one by one, under the attack by gradient."""
    rows = _of_kind("product")
    yield "| product | net | mean rank before | after | first before | first after |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        cells = [row["product"], number(row["net"], ".1f")]
        cells += [number(row[key], ".2f") for key in ("rank_before", "rank_after")]
        cells += [_percent(row, key) for key in ("first_before", "first_after")]
        yield f"| {' | '.join(cells)} |"
    if not rows:
        yield f"| all | {ABSENT} | | | | |"


def defences() -> Iterator[str]:
    """What each text does to the coffee machines behind each defence, and what that costs."""
    found = {
        (row["defence"], row["tier"]): row
        for row in _of_kind("defence")
        if row["catalogue"] == "coffee_machines"
    }
    yield (
        "| defence | texts | net | less the net of random tokens | first before | first after "
        "| NDCG@10 lost |"
    )
    yield "|---|---|---|---|---|---|---|"
    for defence, tier in ((a, b) for a in DEFENCES for b in TIERS if (a, b) in found):
        row = found[defence, tier]
        cells = [DEFENCES[defence], TIERS[tier], _span(row, "net"), _span(row, "minus_control")]
        cells += [_percent(row, key) for key in ("first_before", "first_after")]
        cells.append(f"{row['ndcg_loss']:.1f}%" if row["ndcg_loss"] is not None else "")
        yield f"| {' | '.join(cells)} |"
    if not found:
        yield f"| all | | {ABSENT} | | | | |"


def others() -> Iterator[str]:
    """T2 behind each defence on the other catalogues, and what each costs there."""
    rows = [
        row
        for row in _of_kind("defence")
        if row["catalogue"] != "coffee_machines" and row["tier"] in ("T2", "any")
    ]
    yield "| products | defence | net of T2 | less the net of random tokens | NDCG@10 lost |"
    yield "|---|---|---|---|---|"
    for catalogue, defence in ((a, b) for a in CATALOGUES for b in DEFENCES):
        for row in rows:
            if (row["catalogue"], row["defence"]) == (catalogue, defence):
                cells = [CATALOGUES[catalogue], DEFENCES[defence]]
                cells += [_span(row, "net"), _span(row, "minus_control")]
                cells.append(f"{row['ndcg_loss']:.1f}%" if row["ndcg_loss"] is not None else "")
                yield f"| {' | '.join(cells)} |"
    if not rows:
        yield f"| all | | {ABSENT} | | |"


def certificates() -> Iterator[str]:
    """What certificates cost, and that no attack was outside of one."""
    found = figures_of("certificate")
    if not found:
        yield f"What certificates cost is {ABSENT}."
        return
    yield (
        f"Bounds of a million products take {found['certificate_million_bounds_cpu_seconds']:.1f} "
        f"CPU-seconds, and the whole certificate, signed, written and read back with every bound "
        f"computed anew, {found['certificate_million_cpu_seconds']:.0f}. Of "
        f"{found['certificate_attacks']:,} attacks on lists of 2 to 25 products, by one, by three "
        f"and by all, {found['certificate_attacks_outside']} were outside of their bounds."
    )
    yield from source("certificate")


def pace() -> Iterator[str]:
    """Candidates a second of the attack by gradient, beside nanoGCG; minutes of a small audit."""
    found = figures_of("pace")
    if not found:
        yield f"The pace of the attack by gradient is {ABSENT}."
        return
    yield (
        f"The attack by gradient tries {found['gcg_candidates_per_cpu_second_350']:.1f} candidates "
        f"per CPU-second in a prompt of 350 tokens, nanoGCG 0.3.0 on the same weights and prompt "
        f"{found['nanogcg_candidates_per_cpu_second_350']:.1f}: "
        f"{found['gcg_pace_over_nanogcg']:.1f} times as many. It looks at each with what lies "
        f"between the text and the answer kept as it was, and reads the best one exactly; reading "
        f"all exactly, it is {found['gcg_exact_pace_over_nanogcg']:.1f} times as fast."
    )
    yield from source("pace")
    audit = figures_of("visibility")
    if "audit_minutes_ci" in audit:
        yield ""
        yield (
            f"An audit as continuous integration may run it, {audit['tiers_run']} tiers with few "
            f"calls, two of four coffee machines pushed, without defences and behind them, takes "
            f"{audit['audit_minutes_ci']:.1f} CPU-minutes (`benchmarks/audit/pushed/ci.py`)."
        )


def guard() -> Iterator[str]:
    """What the guard alarms on in catalogues that it was not developed on, seeds together."""
    kinds = ("templates", "fluent", "gradient", "certain")
    yield f"| catalogue | seeds | honest texts that alarm | {' | '.join(kinds)} |"
    yield "|---|---|---|---|---|---|---|"
    rows = [row for row in result("strangers").get("rows", ()) if row["room"] == "guard"]
    pairs = (("false_alarms_count", "honest"), *((f"{kind}_found", kind) for kind in kinds))
    for row in rows:
        told = [f"{row[top] / row[of]:.1%} of {row[of]:,}" for top, of in pairs]
        yield f"| {row['set']} | {row['seeds']} | {' | '.join(told)} |"
    if not rows:
        yield f"| all | {ABSENT} | | | | | |"
    yield from source("strangers")


def _rows() -> Sequence[Mapping[str, Any]]:
    rows: Sequence[Mapping[str, Any]] = result("visibility").get("rows", ())
    return rows


def _of_kind(kind: str) -> list[Mapping[str, Any]]:
    return [row for row in _rows() if row.get("kind") == kind]


def _span(row: Mapping[str, Any], key: str) -> str:
    value, low, high = (row.get(f"{key}{end}") for end in ("", "_low", "_high"))
    return "" if value is None else f"{value:.1f} ({low:.1f} to {high:.1f})"


def _percent(row: Mapping[str, Any], key: str) -> str:
    return "" if row.get(key) is None else number(row[key], ".1f")


AUDIT: Mapping[str, Callable[[], Iterator[str]]] = {
    "visibility-attacks": attacks,
    "visibility-products": products,
    "visibility-defences": defences,
    "visibility-others": others,
    "visibility-pace": pace,
    "visibility-certificates": certificates,
    "visibility-guard": guard,
}
