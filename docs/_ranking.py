"""The tables of ranking and of the way to its batches, written from benchmarks/results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from _results import ABSENT, figures_of, number, result, source, verdict

MODELS = {
    "din": "**DIN**",
    "base": "Base model (Embedding&MLP)",
    "logistic": "Logistic model of the counts",
    "frequency": "Personal frequency",
    "popularity": "Popularity",
}
#: Of the tasks of the defaults: one positive in so many rows.
POSITIVE = {"movielens": "1 in 2", "lastfm": "1 in 10", "beauty": "1 in 10", "journey": "1 in 50"}


def din_quality() -> Iterator[str]:
    """Group AUC of the models on the response task."""
    figures = figures_of("din")
    yield "| model | group AUC, test weeks (95% interval) | DIN ahead by (95% interval) |"
    yield "|---|---|---|"
    for key, name in MODELS.items():
        lead = "" if key == "din" else number(figures.get(f"gauc_din_minus_{key}_ci"), "+.4f")
        interval = figures.get(f"gauc_{key}_ci")
        beside = f" ({number(interval)})" if interval else ""
        yield f"| {name} | {number(figures.get(f'gauc_{key}'))}{beside} | {lead} |"
    yield ""
    yield f"Calibration error of DIN: {number(figures.get('ece_calibrated'))}."
    yield from source("din")


def din_choices() -> Iterator[str]:
    """What each choice is worth, on a third of the households."""
    found, figures = result("din"), figures_of("din")
    about = {row["variant"]: row["about"] for row in found.get("rows", ()) if "variant" in row}
    variants = [name for name in about if name.startswith("third_") and name != "third_din"]
    yield "| DIN with | group AUC | default ahead by (95% interval) | verdict |"
    yield "|---|---|---|---|"
    yield f"| its defaults | {number(figures.get('gauc_third_din'))} | | |"
    for name in variants:
        ends = figures.get(f"gauc_third_din_minus_{name}_ci")
        lead, said = number(ends, "+.4f"), verdict(ends, "default better", "default worse")
        yield f"| {about[name]} | {number(figures.get(f'gauc_{name}'))} | {lead} | {said} |"
    yield from source("din")


def mba() -> Iterator[str]:
    """What the mini-batch aware decay is worth at each epoch."""
    figures = figures_of("mba")
    yield "| epoch | no decay | with decay | with less without (95% interval) |"
    yield "|---|---|---|---|"
    for epoch in (1, 2, 3):
        of = f"mba_gauc_epoch{epoch}"
        none, decay = (number(figures.get(f"{of}_{name}")) for name in ("none", "mba"))
        lead = number(figures.get(f"{of}_minus_none_ci"), "+.4f")
        yield f"| {epoch} | {none} | {decay} | {lead} |"
    yield ""
    yield f"Group AUC; lambda, chosen on validation: {number(figures.get('mba_lambda'), 'g')}."
    yield from source("mba")


def din_peers() -> Iterator[str]:
    """DIN beside peer libraries, on the same rows."""
    found = result("din")
    rows = [row for row in found.get("rows", ()) if "library" in row]
    leads = {(lead["data"], lead["b"]): lead for lead in found.get("leads", ())}
    heads = ("training, rows per CPU-second", "scoring", "group AUC", "ours ahead by", "seeds")
    yield f"| data | library | {' | '.join(heads)} | peak memory, GB |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        speeds = (row["train_rows_per_cpu_second"], row["score_rows_per_cpu_second"])
        cells = (
            row["comparison"],
            row["library"],
            *(number(speed, ",.0f") for speed in speeds),
            number(row["gauc"]) if "gauc" in row else "speed only",
            _ahead(leads.get((row["comparison"], row["library"]))),
            str(row.get("seeds", 1)),
            number(max(row["peak_train_gb"], row["peak_score_gb"]), ".1f"),
        )
        yield f"| {' | '.join(cells)} |"
    if not rows:
        yield f"| {ABSENT} | | | | | | | |"
    yield from source("din")


def _ahead(lead: Mapping[str, Any] | None) -> str:
    """A lead with its interval and verdict; empty where there is none."""
    if lead is None:
        return ""
    ends = (lead["low"], lead["high"])
    return f"{lead['value']:+.4f} ({ends[0]:+.4f} to {ends[1]:+.4f}): {verdict(ends)}"


def din_defaults() -> Iterator[str]:
    """What a training with nothing said comes to, beside its parts and the rules."""
    found, figures = result("din_defaults"), figures_of("din_defaults")
    rows = [row for row in found.get("rows", ()) if row["saved"]]
    heads = ("DIN alone", "base model", "best rule")
    yield (
        "| task | positive | group AUC of what is saved | ahead of "
        + " | of ".join(heads)
        + " | calibration error |"
    )
    yield "|---|---|---|---|---|---|---|"
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        saved = ", ".join(dict.fromkeys(row["model"] for row in mine))
        rules = ("popularity", "frequency", "item_item", "logistic")
        best = min(rules, key=lambda rule: figures.get(f"{task}_lead_{rule}", 1.0))
        leads = (_lead(figures, f"{task}_lead_{other}") for other in ("din", "base", best))
        cells = (
            mine[0]["about"],
            POSITIVE.get(task, ""),
            f"{number(figures.get(f'{task}_gauc_saved'))} ({saved}; seeds: {len(mine)})",
            *leads,
            number(figures.get(f"{task}_ece")),
        )
        yield f"| {' | '.join(cells)} |"
    if not rows:
        yield f"| {ABSENT} | | | | | | |"
    yield from source("din_defaults")


def _lead(figures: Mapping[str, Any], key: str) -> str:
    """A lead with its interval."""
    interval = figures.get(f"{key}_ci")
    beside = f" ({number(interval, '+.4f')})" if interval else ""
    return f"{number(figures.get(key), '+.4f')}{beside}"


def din_defaults_protocol() -> Iterator[str]:
    """How these numbers came about."""
    yield result("din_defaults").get("protocol", f"The defaults are {ABSENT}.")


def din_protocol() -> Iterator[str]:
    """How the numbers of DIN came about."""
    yield result("din").get("protocol", f"DIN is {ABSENT}.")


def loader() -> Iterator[str]:
    """The way from Parquet to batches."""
    figures = figures_of("loader")
    rows = {
        "rows per CPU-second, Parquet to batch": ("rows_per_cpu_second", ",.0f"),
        "peak memory with a log ten times longer, ratio": ("rss_growth_at_10x", ".2f"),
        "group AUC of 10 million rows, CPU-seconds": ("gauc_10m_cpu_seconds", ".1f"),
    }
    yield "| figure | value |"
    yield "|---|---|"
    for name, (key, form) in rows.items():
        yield f"| {name} | {number(figures.get(key), form)} |"
    yield from source("loader")


def intervals() -> Iterator[str]:
    """How often each way to an interval claims what is not so."""
    ways = {
        "users": "over users alone",
        "percentile": "bootstrap of seeds, then users",
        "expanded": "the same, expanded for few seeds",
        "bootstrap_t": "bootstrap-t of the seeds",
        "paired_t": "Student's t of the seeds",
        "satterthwaite": "users and seeds added, one quantile",
        "cochran_cox": "**users and seeds added, a quantile each**",
        "paired": "the same, from differences seed by seed",
    }
    rows = [r for r in result("intervals").get("rows", ()) if r["spread"] == 1]
    cells = [(s, d) for s in (3, 5) for d in (0.001, 0.002, 0.004)]
    heads = [f"{seeds} seeds, {deviation:g}" for seeds, deviation in cells]
    yield f"| interval | {' | '.join(heads)} | most, unequal spreads too |"
    yield "|---|---|" + "---|" * len(cells)
    for way, name in ways.items():
        at = {(r["seeds"], r["deviation"]): r for r in rows if r["way"] == way}
        told = (_claims(at.get(cell)) for cell in cells)
        most = number(figures_of("intervals").get(f"most_claims_{way}"), ".1%")
        yield f"| {name} | {' | '.join(told)} | {most} |"
    yield ""
    yield result("intervals").get("protocol", f"The intervals are {ABSENT}.")
    yield from source("intervals")


_ROOMS = {
    "clicks": "`creative train clicks`",
    "recall": "`creative train memorability`",
    "lives": "`retire train`",
    "labels": "`author write --train`",
}
#: Of rooms that make something: what is counted, in words, and of how many.
_MADE = {
    "usable": ("texts that are usable", "texts"),
    "left_out": ("texts left out, which is said", "wanted"),
    "name_only": ("headlines of the name alone", "headlines"),
    "order_only": ("headlines of an order and the name", "headlines"),
    "loops": ("loops", "texts"),
    "cut": ("cut", "texts"),
    "stumps": ("stumps", "texts"),
    "planted_found": ("planted faults found", "planted"),
    "false_alarms_count": ("honest texts alarmed at", "honest"),
    "posters_intact": ("posters whole", "posters"),
    "overlays_legible": ("new lines legible", "overlays"),
    "templates_found": ("templates found", "templates"),
    "fluent_found": ("fluent attacks found", "fluent"),
    "gradient_found": ("gradient strings found", "gradient"),
    "certain_found": ("certainties found", "certain"),
    "outside": ("rankings outside of the bound", "attacks"),
}


_BLIND = "blind_pairs"


def strangers() -> Iterator[str]:
    """What rooms that predict do on sets of other makers, beside the best simple rule."""
    rows = [row for row in result("strangers").get("rows", ()) if "lead" in row]
    heads = ("command", "set", "seeds", "measure", "ours", "best rule", "ours less it", "told")
    heads = (*heads, "kept")
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        name = f"{row['set']}{'' if row['role'] == 'reported' else ', own'}"
        lead = f"{verdict(row['lead'][1:])}, {number(row['lead'][1:], '+.3f')}"
        rule = f"{row['rule'][0]:.3f} ({row['best_rule']})"
        told = f"{row['told'][0]:.3f} ({number(row['told'][1:], '.3f')})"
        ours = f"{row['ours'][0]:.3f} ({number(row['ours'][1:], '.3f')})"
        head = (_ROOMS[row["room"]], name, str(row["seeds"]), row["measure"])
        cells = (*head, ours, rule, lead, told)
        yield f"| {' | '.join(cells)} | {', '.join(row['kept'])} |"
    yield ""
    figures = figures_of("strangers")
    share = number(figures.get("ahead_share"), ".0%")
    yield (
        f"Measured so far: {number(figures.get('sets'), 'd')} of "
        f"{number(figures.get('sets_planned'), 'd')} sets. Behind the best rule: "
        f"{number(figures.get('behind'), 'd')}; ahead: {share}; what training told and what came "
        f"have intervals that meet in {number(figures.get('self_report_within'), 'd')}."
    )
    yield (
        "Simulated sets without anything to learn of which that was said: "
        f"{number(figures.get('nothing_said_share'), '.0%')}; with a signal that was found: "
        f"{number(figures.get('signal_found_share'), '.0%')}."
    )
    yield ""
    yield result("strangers").get("protocol", f"These sets are {ABSENT}.")
    yield from source("strangers")


def strangers_made() -> Iterator[str]:
    """What rooms that make something made of sets of other makers: counts, over seeds."""
    rows = [row for row in result("strangers").get("rows", ()) if "lead" not in row]
    yield "| room | set | seeds | what | count |"
    yield "|---|---|---|---|---|"
    for row in rows:
        for key, (said, of) in _MADE.items():
            if key in row and (whole := row.get(of)):
                count = f"{row[key]:,} of {whole:,} ({row[key] / whole:.1%})"
                yield f"| {row['room']} | {row['set']} | {row['seeds']} | {said} | {count} |"
    gain = figures_of("strangers").get("certificate_honest_gain")
    if gain is not None:
        yield ""
        yield f"Within the bounds of certificates, true texts gain {gain:.1f} ranks in the mean."
    yield from source("strangers")


def blind_pairs() -> Iterator[str]:
    """Ads of the writer beside templates and free text, as blind readers preferred them."""
    rows = result(_BLIND).get("rows", ())
    heads = ("beside", "set", "pairs", "won, first reader", "won, second", "ours, where one won")
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        won = [f"{row[f'won_{at}']} to {row[f'lost_{at}']}" for at in range(2)]
        share = f"{row['share'][0]:.0%} ({number(row['share'][1:], '.0%')})"
        against = {"template": "a template", "free": "free text"}[row["against"]]
        yield f"| {against} | {row['set']} | {row['pairs']} | {' | '.join(won)} | {share} |"
    yield ""
    yield result(_BLIND).get("protocol", f"These pairs are {ABSENT}.")
    yield from source(_BLIND)


def _claims(row: Mapping[str, Any] | None) -> str:
    return ABSENT if row is None else f"{row['claims']:.1%} ({row['width']:.4f})"


RANKING: Mapping[str, Callable[[], Iterator[str]]] = {
    "din-quality": din_quality,
    "din-choices": din_choices,
    "din-peers": din_peers,
    "mba": mba,
    "din-protocol": din_protocol,
    "din-defaults": din_defaults,
    "din-defaults-protocol": din_defaults_protocol,
    "intervals": intervals,
    "strangers": strangers,
    "strangers-made": strangers_made,
    "blind-pairs": blind_pairs,
    "loader": loader,
}
