"""The tables of retrieval, the cascade, policies, service and store, from benchmarks/results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from _results import ABSENT, figures_of, number, result, source

KINDS = ("sqlite", "postgresql")


def store() -> Iterator[str]:
    """Events into the databases and out of them."""
    figures = figures_of("store")
    yield "| events per CPU-second | SQLite | PostgreSQL and its server |"
    yield "|---|---|---|"
    rows = {
        "recorded, 1,000 a batch": "events_per_cpu_second_{}_1000",
        "recorded, 10 a batch": "events_per_cpu_second_{}_10",
        "compacted into Parquet": "compacted_per_cpu_second_{}",
    }
    for name, key in rows.items():
        cells = [number(figures.get(key.format(kind)), ",.0f") for kind in KINDS]
        yield f"| {name} | {' | '.join(cells)} |"
    cells = [number(figures.get(f"bytes_per_event_id_{kind}"), ".0f") for kind in KINDS]
    yield f"| bytes that remember an event_id | {' | '.join(cells)} |"
    yield ""
    yield result("store").get("protocol", f"The store is {ABSENT}.")
    yield from source("store")


def stops() -> Iterator[str]:
    """What a history of stops under kills and steps of clocks holds."""
    names = ("operations", "kills", "freezes", "steps", "in force", "violations")
    heads = (*names[:3], "steps of clocks", "stops in force everywhere", "violations")
    yield f"| store | {' | '.join(heads)} |"
    yield "|---|---|---|---|---|---|---|"
    for row in result("stops").get("rows", []):
        cells = [number(row[name], ",d") for name in names]
        yield f"| {row['store']} | {' | '.join(cells)} |"
    yield ""
    yield result("stops").get("protocol", f"The history is {ABSENT}.")
    yield from source("stops")


def tired_ads() -> Iterator[str]:
    """How often ads are called tired, by season and number of ads."""
    yield "| season | ads | called tired, of those that are not | of those that are |"
    yield "|---|---|---|---|"
    for row in result("tired_ads").get("rows", []):
        cells = [number(row[name], ".1%") for name in ("wrong", "found")]
        yield f"| {row['season']} | {row['ads']} | {' | '.join(cells)} |"
    figures = figures_of("tired_ads")
    for name, key in {"one look": "one_look", "any of nine looks": "nine_looks"}.items():
        share = number(figures.get(f"wrong_thompson_{key}"), ".1%")
        yield f"| a wave, shown by Thompson sampling, {name} | 45 | {share} | |"
    yield ""
    yield result("tired_ads").get("protocol", f"The tired ads are {ABSENT}.")
    yield from source("tired_ads")


def cycle_kills() -> Iterator[str]:
    """What was found after kills of `adwright cycle`."""
    figures = figures_of("cycle_kills")
    shown = {
        "kills": "kills",
        "of these together with the step that ran": "kills_with_the_step",
        "cycles that were gone on with to their end": "cycles_come_to_their_end",
        "of these with the end of an undisturbed one": "ends_like_undisturbed",
        "things that were wrong after a kill": "wrong",
    }
    yield "| | |"
    yield "|---|---|"
    for name, key in shown.items():
        yield f"| {name} | {number(figures.get(key), ',d')} |"
    yield ""
    rows = result("cycle_kills").get("rows", [])
    at = ", ".join(f"{row['step']} {row['kills']}" for row in rows)
    yield f"What was running: {at}."
    yield ""
    yield result("cycle_kills").get("protocol", f"The kills are {ABSENT}.")
    yield from source("cycle_kills")


def loop_kills() -> Iterator[str]:
    """What is left of ads, moves and money after kills."""
    names = (
        "kills",
        "ads",
        "moves",
        "impressions",
        "of_ads",
        "clicks",
        "lost",
        "wrong",
        "over_cap",
    )
    heads = (
        "kills",
        "ads",
        "moves",
        "places",
        "with an ad",
        "clicks",
        "lost",
        "wrong",
        "over a cap",
    )
    yield f"| processes | {' | '.join(heads)} |"
    yield f"|---|{'---|' * len(heads)}"
    for row in result("loop_kills").get("rows", []):
        cells = [number(row[name], ",d") for name in names]
        yield f"| {row['processes']} | {' | '.join(cells)} |"
    yield ""
    yield result("loop_kills").get("protocol", f"The trial is {ABSENT}.")
    yield from source("loop_kills")


def decision_cost() -> Iterator[str]:
    """What ads add to a decision."""
    figures = figures_of("decision_cost")
    heads = ("CPU-ms without", "with", "more CPU", "p99 ms without", "with", "places with an ad")
    yield f"| model | {' | '.join(heads)} |"
    yield "|---|---|---|---|---|---|---|"
    for model in ("popularity", "item-item"):
        word = model.replace("-", "_")
        keys = ("cpu_ms_A", "cpu_ms_B", "more_cpu", "p99_ms_A", "p99_ms_B", "shown")
        forms = (".2f", ".2f", ".0%", ".1f", ".1f", ".0%")
        cells = [
            number(figures.get(f"{word}_{key}"), form)
            for key, form in zip(keys, forms, strict=True)
        ]
        yield f"| {model} | {' | '.join(cells)} |"
    yield ""
    yield result("decision_cost").get("protocol", f"The cost is {ABSENT}.")
    yield from source("decision_cost")


def service() -> Iterator[str]:
    """Latency by rate, overload, and kill -9."""
    figures, rows = figures_of("service"), result("service").get("rows", [])
    heads = ("requests per second", "p50 ms", "p99 ms", "shed", "fine, coarse, popular")
    yield f"| {' | '.join(heads)} | CPU-ms per decision |"
    yield "|---|---|---|---|---|---|"
    for row in sorted((r for r in rows if r["part"] != "kill"), key=lambda r: r["rate"]):
        name = f"{row['rate']:g}"
        if row["part"] in ("overload", "recovered"):
            name += f" ({row['part']})"
        shed = row["statuses"].get("429", 0) / row["requests"]
        cells = [number(row[key], ".1f") for key in ("p50_ms", "p99_ms")]
        answered = max(sum(row["stages"].values()), 1)
        shares = [
            row["stages"].get(name, 0) / answered for name in ("fine", "coarse", "popularity")
        ]
        cells += [f"{shed:.1%}", ", ".join(f"{share:.0%}" for share in shares)]
        cells += [number(row["cpu_ms_a_request"], ".1f")]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    names = {
        "highest rate without shedding, 99% within 50 ms": "capacity_rps",
        "the same, with 99% of the answers by the fine stage": "capacity_fine_rps",
        "kills": "kills",
        "events acknowledged": "acknowledged",
        "of these found once": "found_once",
        "found more than once": "found_more",
    }
    yield "| figure | value |"
    yield "|---|---|"
    for name, key in names.items():
        yield f"| {name} | {number(figures.get(key), ',.0f')} |"
    yield ""
    yield result("service").get("protocol", f"The service is {ABSENT}.")
    yield from source("service")


def exploration() -> Iterator[str]:
    """What is given up where a share was stated."""
    heads = ("log", "model", "given up, expected", "of what was taken (95% interval)")
    heads += ("ten best kept", "before, softmax at 0.5", "of 1,000 count", "ECE")
    yield f"| {' | '.join(heads)} |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in result("exploration").get("rows", []):
        cells = [row["log"], row["model"]]
        if "refused" in row:
            cells += ["refused: tells no item from another", "", ""]
        else:
            span = f"{row['taken_low']:.1%} to {row['taken_high']:.1%}"
            cells += [f"{row['expected']:.2%}", f"{row['taken']:.1%} ({span})"]
            cells += [f"{row['best_kept']:.0%}" if "best_kept" in row else ""]
        blunt, ece = row.get("softmax_before_best_kept"), row.get("ece")
        cells += [
            "" if blunt is None else f"{blunt:.0%}",
            number(row.get("ess_foretold"), ",.0f") if row.get("ess_foretold") else "",
            "" if ece is None else f"{ece:.4f}",
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield result("exploration").get("protocol", f"Exploration is {ABSENT}.")
    yield from source("exploration")


def creatives() -> Iterator[str]:
    """Clicks lost while headlines are chosen, real tests replayed."""
    found = result("upworthy_creatives")
    horizons = (500, 1000, 3000)
    heads = ("clicks lost a test, of impressions", *(f"{horizon:,}" for horizon in horizons))
    yield f"| {' | '.join(heads)} | of the flat prior's, at 3,000 |"
    yield "|---|---|---|---|---|"
    for row in found.get("rows", []):
        if not row["system"].startswith("judge_"):
            cells = [f"{row[f'lost_{h}']:.2f}" for h in horizons]
            span = number(row["of_flat_3000_ci"], ".0%")
            yield f"| {row['title']} | {' | '.join(cells)} | {row['of_flat_3000']:.0%} ({span}) |"
    yield ""
    yield found.get("protocol", f"The choice of creatives is {ABSENT}.")
    yield from source("upworthy_creatives")


def creative_judges() -> Iterator[str]:
    """The same by how well a judge knows the headlines of a test."""
    found = result("upworthy_creatives")
    figures = figures_of("upworthy_creatives")
    heads = ("judge", "correlation within tests", "slope learnt", "clicks lost in 3,000")
    yield f"| {' | '.join(heads)} | of the flat prior's |"
    yield "|---|---|---|---|---|"
    for row in found.get("rows", []):
        name = row["system"]
        if name in ("level", "model") or name.startswith("judge_"):
            cells = [number(figures.get(f"correlation_{name}"), ".2f")]
            cells += [number(figures.get(f"slope_{name}"), ".2f")]
            if name == "level":
                cells = ["", ""]
            title = {"level": "none", "model": "the click model"}.get(name, "simulated")
            span = number(row["of_flat_3000_ci"], ".0%")
            cells += [f"{row['lost_3000']:.2f}", f"{row['of_flat_3000']:.0%} ({span})"]
            yield f"| {title} | {' | '.join(cells)} |"
    yield from source("upworthy_creatives")


def creative_sharpness() -> Iterator[str]:
    """What each sharpness lost on the stories for choices."""
    figures = figures_of("upworthy_creatives")
    horizons = (3000, 30_000)
    yield f"| sharpness | {' | '.join(f'clicks lost in {one:,}' for one in horizons)} |"
    yield "|---|---|---|"
    for sharpness in (1, 3, 5, 8):
        keys = [f"tried_{horizon}_sharpness_{sharpness}" for horizon in horizons]
        yield f"| {sharpness} | {' | '.join(number(figures.get(key), '.2f') for key in keys)} |"
    yield from source("upworthy_creatives")


def creative_propensities() -> Iterator[str]:
    """Frequencies of slates with creatives against their propensities."""
    found = result("creative_propensities")
    heads = ("kind", "slates told apart", "chi-square", "degrees of freedom", "p")
    yield f"| {' | '.join(heads)} | µs a place, kept | after an event |"
    yield "|---|---|---|---|---|---|---|"
    for row in found.get("rows", []):
        cells = [f"{row['cells']}", f"{row['chi_square']:.1f}", f"{row['freedom']}"]
        cells += [f"{row['p']:.2f}", f"{row['us_kept']:.1f}", f"{row['us_new']:.0f}"]
        yield f"| {row['kind']} | {' | '.join(cells)} |"
    yield ""
    yield found.get("protocol", f"The frequencies are {ABSENT}.")
    yield from source("creative_propensities")


def life_of_ads() -> Iterator[str]:
    """What the loop gains with simulated people."""
    found = result("life_of_ads")
    heads = ("run", "clicks an impression, static", "loop", "more by", "ads written", "stopped")
    yield f"| {' | '.join(heads)} | CPU-seconds |"
    yield "|---|---|---|---|---|---|---|"
    for row in found.get("rows", []):
        rates = [row[f"{arm}_clicked"] / row[f"{arm}_shown"] for arm in ("static", "loop")]
        span = f"{row['lift']:+.1%} ({row['lift_low']:+.1%} to {row['lift_high']:+.1%})"
        cells = [f"{rates[0]:.2%}", f"{rates[1]:.2%}", span, f"{row['written']}"]
        cells += [f"{row['stopped']}", f"{row['cpu_seconds']:.0f}"]
        yield f"| {row['run']} | {' | '.join(cells)} |"
    yield ""
    yield found.get("protocol", f"The loop is {ABSENT}.")
    yield from source("life_of_ads")


def offpolicy() -> Iterator[str]:
    """Each policy of Open Bandit valued on the other's log."""
    rows = result("offpolicy").get("rows", [])
    yield "| campaign | valued on | click rate, DR (95% interval) | its own rate | IPS | SNIPS |"
    yield "|---|---|---|---|---|---|"
    shown = [row for row in rows if row["direction"] != "simulated" and row["policy"] == "share"]
    shown += [row for row in rows if row["direction"] == "bts_to_random"]
    seen = set()
    for row in shown:
        key = (row["direction"], row["campaign"])
        if key in seen:
            continue
        seen.add(key)
        same = {r["estimator"]: r for r in shown if (r["direction"], r["campaign"]) == key}
        log, policy = row["direction"].split("_to_")
        low, high = (f"{end:.2%}" for end in same["dr"]["ci"])
        cells = [f"{same['dr']['value']:.2%} ({low} to {high})", f"{row['on_policy']:.2%}"]
        cells += [f"{same[name]['value']:.2%}" for name in ("ips", "snips")]
        yield f"| {row['campaign']}, {policy} | the log of {log} | {' | '.join(cells)} |"
    yield ""
    yield result("offpolicy").get("protocol", f"Off-policy estimates are {ABSENT}.")
    yield from source("offpolicy")


def policy_value() -> Iterator[str]:
    """Open Bandit by the command line, and made-up slates."""
    rows = result("policy_value").get("rows", [])
    yield "| campaign | policy | valued on | value (95% interval) | its own rate | as good as |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        if row["kind"] == "open bandit":
            low, high = row["ci"]
            cells = [f"{row['value']:.2%} ({low:.2%} to {high:.2%})", f"{row['on_policy']:.2%}"]
            head = f"| {row['campaign']} | {row['policy']} | the log of {row['log']} "
            yield f"{head}| {' | '.join(cells)} | {row['effective']:,.0f} of 10,000 |"
    yield ""
    yield "| places | as good as, of 1,000 | told | interval holds the value, of the told |"
    yield "|---|---|---|---|"
    for row in rows:
        if row["kind"] == "slates":
            cells = [f"{row['effective']:,.0f}", f"{row['told']:.0%}"]
            cells.append(f"{row['covered']:.1%}" if row["told"] else "")
            yield f"| {row['places']} | {' | '.join(cells)} |"
    yield ""
    yield result("policy_value").get("protocol", f"Values of policies are {ABSENT}.")
    yield from source("policy_value")


def experiments() -> Iterator[str]:
    """How often a reading says what is not so."""
    yield "| users | effect | planned days | told | by one look each | true one held | CUPED |"
    yield "|---|---|---|---|---|---|---|"
    for row in result("experiments").get("rows", []):
        cells = [f"{row['effect']:.0%}", f"{row['planned_days']:,.0f}", f"{row['told']:.1%}"]
        cells += [f"{row['fixed']:.1%}", f"{row['covered']:.1%}", f"-{row['removed']:.0%} variance"]
        yield f"| {row['pace']} | {' | '.join(cells)} |"
    yield ""
    yield result("experiments").get("protocol", f"Readings of experiments are {ABSENT}.")
    yield from source("experiments")


def measured(row: Mapping[str, Any], key: str, form: str = ".4f") -> str:
    """A value of a row with its interval; nothing where the row has none."""
    if key not in row:
        return ""
    value, low, high = (format(number, form) for number in row[key])
    return f"{value} ({low} to {high})"


def hcn() -> Iterator[str]:
    """HCN and its peers."""
    measures = {
        "recall@50": "all/recall50",
        "unseen recall@50": "unseen/recall50",
        "NDCG@10": "all/ndcg10",
        "cosine of a user's vectors": "redundancy",
        "fine ten in the coarse 50": "fine10",
        "the same, with counts": "fine10_blended",
    }
    yield f"| model | {' | '.join(measures)} |"
    yield "|---|" + "---|" * len(measures)
    for row in result("hcn").get("rows", []):
        yield f"| {row['model']} | {' | '.join(measured(row, k) for k in measures.values())} |"
    figures = figures_of("hcn")
    others = {
        "k1": "HCN with K=1",
        "merged": "HCN with one list",
        "comirec": "ComiRec-SA",
        "mind": "MIND",
    }
    keys = {
        "recall@50": "all_recall50",
        "tail recall@50": "tail_recall50",
        "unseen recall@50": "unseen_recall50",
        "NDCG@10": "all_ndcg10",
    }
    yield ""
    yield f"| HCN with K=4, ahead of | {' | '.join(keys)} |"
    yield "|---|" + "---|" * len(keys)
    for other, name in others.items():
        cells = []
        for key in keys.values():
            lead = f"{key}_hcn_minus_{other}"
            interval = number(figures.get(f"{lead}_ci"), "+.4f")
            cells.append(f"{number(figures.get(lead), '+.4f')} ({interval})")
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    yield f"10,000 candidates take {number(figures.get('score_10k_cpu_ms'), '.2f')} CPU-ms."
    yield ""
    yield result("hcn").get("protocol", f"HCN is {ABSENT}.")
    yield from source("hcn")


def cascade() -> Iterator[str]:
    """The cascade, its stages, and the ranking of everything."""
    figures, rows = figures_of("cascade"), result("cascade").get("rows", [])
    yield "| ranking | NDCG@10 (95% interval) | CPU-ms per request |"
    yield "|---|---|---|"
    for row in (row for row in rows if "ranking" in row):
        spent = figures.get(f"cpu_ms_{row['ranking']}")
        cost = "" if spent is None else number(spent, ",.1f")
        yield f"| {row['ranking']} | {measured(row, 'ndcg10')} | {cost} |"
    yield ""
    share = number(figures.get("ndcg_share_of_exhaustive"), ".1%")
    interval = number(figures.get("ndcg_share_of_exhaustive_ci"), ".1%")
    ratio = number(figures.get("cpu_ratio_exhaustive"), ".0f")
    yield f"The cascade keeps {share} ({interval}) of the exhaustive ranking's NDCG@10,"
    yield f"{ratio} times as fast."
    yield ""
    yield "| on every test basket | NDCG@10 (95% interval) |"
    yield "|---|---|"
    for row in (row for row in rows if "every" in row):
        yield f"| {row['every']} | {measured(row, 'ndcg10')} |"
    yield ""
    yield "| stage | items | exhaustive ten kept | bought items kept | CPU-ms | MFLOP | MB read |"
    yield "|---|---|---|---|---|---|---|"
    for row in (row for row in rows if "stage" in row):
        cells = [row["stage"], number(row["items"], ".0f")]
        cells += [measured(row, key) for key in ("recall_of_ten", "recall_of_bought")]
        cells += [number(row[key], ".2f") for key in ("cpu_ms", "mflop", "mbyte")]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield result("cascade").get("protocol", f"The cascade is {ABSENT}.")
    yield from source("cascade")


def delivery() -> Iterator[str]:
    """The few numbers of delivery that the first page shows."""
    rows = {
        "NDCG@10 that the cascade keeps of the fine ranker's own, had it ranked everything": (
            *("cascade", "ndcg_share_of_exhaustive"),
            ".1%",
        ),
        "how many times less processor time it takes": ("cascade", "cpu_ratio_exhaustive", ".0f"),
        "its NDCG@10 ahead of personal frequency, 95% interval, one training": (
            *("cascade", "every_ndcg10_cascade_minus_personal_frequency_ci"),
            "+.4f",
        ),
        "cosine of a user's four vectors, HCN": ("hcn", "redundancy_hcn", ".2f"),
        "the same, ComiRec-SA": ("hcn", "redundancy_comirec", ".2f"),
        "recall@50 of HSTU, trained on whole histories": (
            *("hstu_quality", "cj_recall50_hstu"),
            ".3f",
        ),
        "the same, personal frequency": ("hstu_quality", "cj_recall50_frequency", ".3f"),
        "HSTU with stochastic length at 8,192 tokens, times as fast as a Transformer": (
            *("hstu_speed", "ratio_8192_sl16"),
            ".0f",
        ),
        "99th percentile of a decision at 100 per second, ms": ("service", "p99_ms_100", ".1f"),
        "events acknowledged under kill -9": ("service", "acknowledged", ",d"),
        "of these in the log exactly once": ("service", "found_once", ",d"),
    }
    yield "| figure | value |"
    yield "|---|---|"
    for name, (file, key, form) in rows.items():
        yield f"| {name} | {number(figures_of(file).get(key), form)} |"


def index() -> Iterator[str]:
    """Recall of the vector indexes at several times the exact product's speed."""
    figures, rows = figures_of("index"), result("index").get("rows", [])
    factors = (10, 5, 2)
    heads = " | ".join(f"at {times} times exact's speed" for times in factors)
    yield f"| vectors | index | recall@100 {heads} | built in CPU-s | bytes per vector beside it |"
    yield "|---|---|" + "---|" * (len(factors) + 2)
    for built in (row for row in rows if row["part"] == "build"):
        of = (built["world"], built["index"])
        searches = [
            row for row in rows if row["part"] == "search" and (row["world"], row["index"]) == of
        ]
        cells = [f"{built['world']}, {built['vectors']:,}", built["index"]]
        for times in factors:
            fast = [row for row in searches if row["times_exact"] >= times]
            best = max(fast, key=lambda row: row["recall"], default=None)
            shown = best and best.get("recall_fresh", best["recall"])
            cells.append("slower" if best is None else number(shown))
        cells.append(number(built["build_cpu_seconds"], ".0f"))
        cells.append(number(built["structure_bytes"] / built["vectors"], ".0f"))
        yield f"| {' | '.join(cells)} |"
    yield ""
    names = {
        "exact, queries per CPU-second in batches": ("exact_qps", ",.0f"),
        "exact, one by one": ("exact_qps_one_by_one", ",.0f"),
        "approximate, in batches": ("qps", ",.0f"),
        "approximate, one by one": ("qps_one_by_one", ",.0f"),
        "recall@100, a filter allows 1% of the ids": ("recall100_filter_1_percent", ".4f"),
        "recall@100, a filter allows 10%": ("recall100_filter_10_percent", ".4f"),
        "recall@100, a filter allows 40%": ("recall100_filter_40_percent", ".4f"),
        "queries per CPU-second, a filter allows 10%": ("qps_filter_10_percent", ",.0f"),
        "the same, 40%": ("qps_filter_40_percent", ",.0f"),
        "the same, 40%, exact": ("exact_qps_filter_40_percent", ",.0f"),
        "recall@100 of users with four vectors each": ("recall100_four_vectors", ".4f"),
        "adding a vector, CPU-microseconds": ("add_us", ".0f"),
        "adding one where memory has to grow": ("add_us_with_room", ".0f"),
        "removing a vector": ("remove_us", ".1f"),
        "recall@100 after a change of 2% of the vectors": ("recall100_after_changes", ".4f"),
        "bytes per vector on the disk": ("disk_bytes_per_vector", ".0f"),
        "loading, CPU-seconds": ("load_cpu_seconds", ".1f"),
    }
    yield "| first index of the table | value |"
    yield "|---|---|"
    for name, (key, form) in names.items():
        yield f"| {name} | {number(figures.get(key), form)} |"
    yield ""
    yield result("index").get("protocol", f"The indexes are {ABSENT}.")
    yield from source("index")


#: Titles of the simple rules, as item_item.json has them, with their heads in the table.
RULES = {
    "Popularity": "popularity",
    "Popularity lately": "lately",
    "Popularity by category": "by category",
    "Personal frequency": "frequency",
    "Last items again": "last again",
    "Item-item": "**item-item**",
}


def rules() -> Iterator[str]:
    """NDCG@10 of each rule on each log, and implicit's best item-item model."""
    rows = result("item_item").get("rows", ())
    yield f"| log | users | {' | '.join(RULES.values())} | implicit's item-item |"
    yield "|---|---|" + "---|" * (len(RULES) + 1)
    for log in dict.fromkeys(row["log"] for row in rows):
        here = {row["rule"]: row for row in rows if row["log"] == log}
        cells = [_ndcg(here.get(title)) for title in RULES]
        peers = [row for title, row in here.items() if title.startswith("implicit")]
        cells.append(_ndcg(max(peers, key=lambda row: row["ndcg10"], default=None)))
        yield f"| {log} | {here['Item-item']['people']:,} | {' | '.join(cells)} |"
    if not rows:
        yield f"| {ABSENT} |" + " |" * (len(RULES) + 2)
    yield ""
    yield result("item_item").get("protocol", f"The rules are {ABSENT}.")
    yield from source("item_item")


def next_item() -> Iterator[str]:
    """What `train cascade` serves of the event that was hidden, by minutes, and peers."""
    rows = result("next_item").get("rows", ())
    yield "| log | what | users | seeds | NDCG@10 | minutes of the processor, all of the command |"
    yield "|---" * 6 + "|"
    for row in (one for one in rows if "ndcg10" in one):
        served = row["name"] == "served"
        what = f"`train cascade --minutes {row['kind']}`" if served else row["name"]
        ndcg = f"{row['ndcg10'][0]:.4f} ({number(row['ndcg10'][1:])})"
        spent = ", ".join(f"{one / 60:.1f}" for one in row["cpu"])
        yield f"| {row['set']} | {what} | {row['users']:,} | {row['seeds']} | {ndcg} | {spent} |"
    yield ""
    yield "| decisions a second | by all that serves | p50 ms | p99 ms | refused | CPU-ms each |"
    yield "|---" * 6 + "|"
    for load in (load for one in rows for load in one.get("loads", ())):
        refused = load["statuses"].get("429", 0)
        yield (
            f"| {load['rate']} | {load['full_share']:.1%} | {load['p50_ms']:.0f} | "
            f"{load['p99_ms']:.0f} | {refused} | {load['cpu_ms_a_request']:.1f} |"
        )
    yield ""
    yield result("next_item").get("protocol", f"These are {ABSENT}.")
    yield from source("next_item")


def rules_beside() -> Iterator[str]:
    """A network of other results beside item-item, on the same log."""
    sequences, towers = figures_of("hstu_quality"), result("two_tower").get("rows", ())
    beauty = [row for row in towers if (row.get("data"), row.get("share")) == ("beauty", 100)]
    masked = [row["all/ndcg10"][0] for row in beauty if row["model"].startswith("correlated")]
    networks = {
        "beauty": ("two towers, correlated masking", max(masked, default=None)),
        "ml-latest-small": ("HSTU, 2 blocks", sequences.get("small_position_ndcg10")),
        "ml-1m": ("HSTU, large", sequences.get("ml1m_hstu_large_ndcg10")),
        "complete-journey": ("HSTU with a part for own items", sequences.get("cj_ndcg10_hstu")),
    }
    figures = figures_of("item_item")
    yield "| log | network | its NDCG@10 | item-item |"
    yield "|---|---|---|---|"
    for log, (name, value) in networks.items():
        rule = figures.get(f"{log.replace('-', '_')}_ndcg10")
        yield f"| {log} | {name} | {number(value)} | {number(rule)} |"
    yield ""
    yield (
        "Generated from `hstu_quality.json`, `two_tower.json` and `item_item.json` under "
        "`benchmarks/results/`."
    )


def _ndcg(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    return f"{row['ndcg10']:.4f} ({number(row['ndcg10_ci'])})"


def funnel() -> Iterator[str]:
    """From a log to its first answer: what serves beside rules, parts and peers, and the cost."""
    figures, rows = figures_of("funnel"), result("funnel").get("rows", [])
    lines = [row for row in rows if "served_ahead" in row]
    ended = {(row["set"], row["peer"]): row["note"] for row in rows if row.get("note")}
    kinds = {"served": "serves", "rule": "rule", "part": "own part", "peer": "other library"}
    yield "| log | what | | NDCG@10 (95% interval) | recall@50 | what serves is ahead by |"
    yield "|---|---|---|---|---|---|"
    for name in dict.fromkeys(row["set"] for row in lines):
        mine = [row for row in lines if row["set"] == name and row["kind"] in kinds]
        for row in sorted(mine, key=lambda row: -row["ndcg10"][0]):
            served = row["kind"] == "served"
            title = f"**what serves** ({len(row['seeds'])} seeds)" if served else row["name"]
            if (name, row["name"]) in ended:
                title += f", {ended[name, row['name']].partition(',')[0]}"
            cells = [title, kinds[row["kind"]], measured(row, "ndcg10")]
            cells += [f"{row['recall50'][0]:.4f}"]
            cells += ["" if served else measured(row, "served_ahead", "+.4f")]
            yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    yield "| log | minutes | CPU-seconds | of these training | peak memory, GB |"
    yield "|---|---|---|---|---|"
    commands = [row for row in rows if "command" in row]
    for name in dict.fromkeys(row["set"] for row in commands):
        mine = [row for row in commands if row["set"] == name]
        runs = len({row["seed"] for row in mine})
        wall, cpu = (sum(row[key] for row in mine) / runs for key in ("wall", "cpu"))
        training = sum(row["cpu"] for row in mine if "train" in row["command"]) / runs
        peak = max(row["peak_mb"] for row in mine) / 1e3
        yield f"| {name} | {wall / 60:.1f} | {cpu:,.0f} | {training:,.0f} | {peak:.1f} |"
    yield ""
    keys = ("sets", "sets_not_below_best_rule", "sets_best_of_all")
    sets, kept, best = (number(figures.get(key), "d") for key in keys)
    yield f"Of {sets} logs what serves is not below the best rule or an own part on {kept}, and"
    yield f"beyond the interval ahead of every rule and library on {best}."
    yield ""
    yield result("funnel").get("protocol", f"The cascade of a log is {ABSENT}.")
    yield from source("funnel")


DELIVERY: Mapping[str, Callable[[], Iterator[str]]] = {
    "cascade": cascade,
    "creative-judges": creative_judges,
    "creative-propensities": creative_propensities,
    "life-of-ads": life_of_ads,
    "creative-sharpness": creative_sharpness,
    "creatives": creatives,
    "cycle-kills": cycle_kills,
    "delivery": delivery,
    "exploration": exploration,
    "funnel": funnel,
    "hcn": hcn,
    "index": index,
    "offpolicy": offpolicy,
    "policy-value": policy_value,
    "experiments": experiments,
    "rules": rules,
    "rules-beside": rules_beside,
    "next-item": next_item,
    "decision-cost": decision_cost,
    "loop-kills": loop_kills,
    "service": service,
    "stops": stops,
    "tired-ads": tired_ads,
    "store": store,
}
