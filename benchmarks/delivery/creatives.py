"""What the choice of creatives and off-policy values reach, in one table of others' results (1 s).

python -m benchmarks.delivery.creatives
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks.common.result import RESULTS, Figure, write_result

HORIZON = 3000
PROTOCOL = (
    "Gathered from upworthy_creatives (clicks lost in the first 3,000 impressions a test with "
    "the click model's prior, as a share of what Thompson sampling loses with a flat prior, and "
    "of what it loses with the prior of the site's headlines and draws as sharp; intervals over "
    "stories and seeds), policy_value (logs of Open Bandit on which the interval holds what the "
    "other policy earned) and creative_propensities (the least p of the joint tests of "
    "frequencies against propensities, of four kinds of choice)."
)


def main() -> None:
    """Write benchmarks/results/creatives.json."""
    upworthy, value, chances = (
        json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
        for name in ("upworthy_creatives", "policy_value", "creative_propensities")
    )
    rows: dict[str, dict[str, Any]] = {row["system"]: row for row in upworthy["rows"]}
    leads = {row["key"]: row for row in upworthy["leads"]}
    lead = leads[f"lost_{HORIZON}_model_minus_site_sharp"]
    site = rows["site_sharp"][f"lost_{HORIZON}"]
    kinds = {k: v for k, v in chances["figures"].items() if k.startswith("p_")}
    figures: dict[str, Figure] = {
        "clicks_lost_ours_over_flat_ci": rows["model"][f"of_flat_{HORIZON}_ci"],
        "clicks_lost_ours_over_level_ci": [1 + lead["low"] / site, 1 + lead["high"] / site],
        "covered": value["figures"]["covered"],
        "tried": value["figures"]["tried"],
        "propensity_p": min(kinds.values()),
    }
    write_result(
        "creatives",
        protocol=PROTOCOL,
        data=upworthy["data"],
        seeds=upworthy["seeds"],
        rows=[{"kind": kind.removeprefix("p_"), "p": p} for kind, p in kinds.items()],
        figures=figures,
    )


if __name__ == "__main__":
    main()
