"""Scripts that are broken, hostile or random, and requests that go where they must not.

    python -m benchmarks.agent.fuzz [--cases 200000]

Each of the random texts, by seeds from 0 on, and of the known escapes is read, checked against a
document and, where it passes, run in memory: it must end in a result or in an error of the
language, never in an error of Python, and must do nothing but what verbs do. Scripts that pass are
printed and read again. The table of URLs is put to the origin rules. Written: how many there were,
and how many got through.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from decimal import Decimal

from adwright.agent.language.kinds import VERBS, ArgumentValue
from adwright.agent.language.problems import RunBudget, ScriptError
from adwright.agent.language.script import print_script, read_script
from adwright.agent.language.statements import check_script, run_script
from adwright.agent.policy.origins import check_origin
from adwright.core.clock import FixedClock
from adwright.core.hashing import content_hash
from benchmarks.common.result import write_result
from tests.support.agent.escapes import ESCAPES
from tests.support.agent.origin_cases import CASES, RULES
from tests.support.agent.plain_world import PlainWorld
from tests.support.agent.random_scripts import damaged, scripts
from tests.support.agent.shop_document import shop_document

DOCUMENT = shop_document()
ARGUMENTS: dict[str, ArgumentValue] = {"a": "x", "b": 1, "row": True, "total": Decimal(2)}
_ACTS = frozenset(one.name for one in VERBS.values() if one.nature == "act")


def what_became_of(source: str) -> str:
    """ "read", "checked" or "run" for how far a text came, or "escape" for what must not be."""
    reached = "refused"
    world = PlainWorld(
        texts={"budget__total": "1,200.50", "mail__text": "Spring"},
        rows={"offers__rows": ["Spring 20%", "Autumn 10%"], "offers__edit": ["Edit"]},
    )
    try:
        script = read_script(source)
        reached = "read"
        if read_script(print_script(script)) != script:
            return "escape"
        checked = check_script(script, DOCUMENT)
        reached = "checked"
        given = {one.name: ARGUMENTS[one.name] for one in script.parameters}
        budget = RunBudget(steps=1_000)
        run_script(checked, DOCUMENT, world, given, clock=FixedClock(), budget=budget)
        reached = "run"
    except ScriptError:
        pass
    except KeyError:
        return reached if reached == "checked" else "escape"  # a parameter without a value here
    except BaseException as error:  # also RecursionError, MemoryError
        print(f"{type(error).__name__}: {error}: {source[:200]!r}", file=sys.stderr)
        return "escape"
    known = set(DOCUMENT.by_name)
    for verb, name, _ in world.done:
        if verb not in _ACTS or not set(name.replace("[", " ").replace("]", " ").split()) <= (
            known | {"", *map(str, range(9))}
        ):
            return "escape"
    return reached


def main() -> None:
    """Run all, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200_000)
    cases = parser.parse_args().cases
    start = time.process_time()
    counts: Counter[str] = Counter(what_became_of(one) for one in ESCAPES)
    for seed in range(cases):
        # Every fifth is a whole tree, so that many come to their end.
        source = print_script(scripts(seed)) if seed % 5 == 0 else damaged(seed)
        counts[what_became_of(source)] += 1
    bypassed = sum(
        check_origin(one.request(), RULES).allowed and one.code != "allowed" for one in CASES
    )
    figures = {
        "dsl_fuzz_cases": cases,
        "dsl_known_escapes": len(ESCAPES),
        "dsl_escapes": counts["escape"],
        "dsl_read": counts["read"] + counts["checked"] + counts["run"],
        "dsl_checked": counts["checked"] + counts["run"],
        "dsl_run": counts["run"],
        "allowlist_cases": len(CASES),
        "allowlist_to_refuse": sum(one.code != "allowed" for one in CASES),
        "allowlist_bypass": bypassed,
        "cpu_seconds": round(time.process_time() - start, 1),
    }
    write_result(
        "fuzz",
        protocol=" ".join((__doc__ or "").partition("]")[2].split()),
        data=content_hash([*map(ascii, ESCAPES), *(one.url for one in CASES)]),
        seeds=(0, cases - 1),
        rows=[{"outcome": name, "texts": count} for name, count in sorted(counts.items())],
        figures=figures,
    )


if __name__ == "__main__":
    main()
