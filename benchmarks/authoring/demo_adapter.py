"""Tune the adapter that ships with the demonstration, and measure it (about 8 CPU-minutes).

    python -m benchmarks.authoring.demo_adapter              train, measure, and put it into src
    python -m benchmarks.authoring.demo_adapter --measure    measure the one that is there
    python -m benchmarks.authoring.demo_adapter --show 20    texts of it for products held out

Rows are made of Complete Journey's products alone, which are CC0, see `_demo_rows`. Products of 60
types are held out: what the base and the adapter write for them is checked. The adapter goes to
weights/demo_writer/, which the package ships, with a model card beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from adwright.authoring.checks.verdict import check
from adwright.authoring.recipe import AuthoringRecipe, tune_author
from adwright.authoring.tasks import Product
from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.demos.ads import AD_SLOTS, ADAPTER
from adwright.lm.engine.generation import GenerationConfig, LanguageModel
from adwright.lm.open_model import LmSpec, open_lm
from benchmarks.authoring._demo_card import card
from benchmarks.authoring._demo_rows import (
    DemoRow,
    demo_products,
    demo_rows,
    turns,
    with_headline,
)
from benchmarks.common.result import RESULTS, write_result

SEED = 7
#: Products of the rows, each of another type; products of other types that are held out; of these,
#: that both models write for.
PRODUCTS, HELD_OUT, WRITTEN = 120, 60, 20
METHOD = {"rank": 2, "alpha": 8.0, "dropout": 0.0}
RATE, BATCH, TOKENS = 2e-3, 4, 320
SCRATCH = cache_folder() / "bench" / "demo-adapter"
NAME = "demo_adapter"


@dataclass(frozen=True)
class WrittenShares:
    """Of the texts that a model wrote: how many, shares that are grounded, that keep to the policy,
    and in which no check finds an error."""

    texts: int
    grounded: float
    policy: float
    faultless: float


def main(argv: Sequence[str] | None = None) -> None:
    """Train where asked for, measure, and write the result and the card."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--measure", action="store_true", help="train nothing")
    parser.add_argument("--show", type=int, default=0, help="texts to print; nothing else is done")
    asked = parser.parse_args(argv)
    rows, held = _rows()
    if asked.show:
        for product, slot, text in islice(_texts(held, adapter=ADAPTER), asked.show):
            print(f"{product.title} | {slot}: {text}")
        return
    training = _known() if asked.measure else _train(rows)
    _write(training, _shares(held), _shares(held, adapter=ADAPTER))


def _known() -> dict[str, Any]:
    """What the training of the adapter that is there took, as it was noted."""
    found = json.loads((RESULTS / f"{NAME}.json").read_text("utf-8"))
    return dict(found["rows"][0])


def _write(training: Mapping[str, Any], untuned: WrittenShares, tuned: WrittenShares) -> None:
    """The result, and the card that tells of it."""
    write_result(
        NAME,
        protocol="SmolLM2-135M-Instruct tuned by LoRA on texts that were put together from the "
        f"facts of a grocer's products; then both models write {tuned.texts} texts for products of "
        "other types, drawn as the demonstration does, and all checks of a text are made, before "
        "any repair. Rows: the training, then each model.",
        data="products of Complete Journey",
        seeds=[SEED],
        rows=[
            training,
            {"model": "untuned", **asdict(untuned)},
            {"model": "tuned", **asdict(tuned)},
        ],
        figures={
            "base_nll": training["base_nll"],
            "valid_nll": training["valid_nll"],
            "grounded_untuned": untuned.grounded,
            "grounded_tuned": tuned.grounded,
            "faultless_untuned": untuned.faultless,
            "faultless_tuned": tuned.faultless,
        },
    )
    atomic_write_text(ADAPTER / "README.md", card(training, asdict(untuned), asdict(tuned)))


def _rows() -> tuple[list[DemoRow], list[Product]]:
    """The rows to tune on, and products of other types."""
    frame = CompleteJourney.open().products().collect()
    every = demo_products(frame, seed=SEED, most=PRODUCTS + HELD_OUT)
    rows = list(demo_rows(every[:PRODUCTS], seed=SEED))
    return rows, [product for product, _ in every[PRODUCTS:]]


def _train(rows: Sequence[DemoRow]) -> dict[str, Any]:
    """Tune, put the adapter into the package, and say what it took."""
    data = SCRATCH / "rows.jsonl"
    lines = [json.dumps(row.line(), ensure_ascii=False) + "\n" for row in rows]
    data.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(data, "".join(lines))
    recipe = AuthoringRecipe(
        data,
        method="LoRA",
        settings=METHOD,
        rate=RATE,
        batch=BATCH,
        tokens=TOKENS,
        valid=0.06,
        seed=SEED,
        out=SCRATCH / "run",
    )
    begun = time.process_time()
    report = tune_author(recipe, overwrite=True)
    shutil.rmtree(ADAPTER / "tuned", ignore_errors=True)
    shutil.copytree(recipe.out / "tuned", ADAPTER / "tuned")
    return {
        "base": report.base,
        "method": report.method,
        "settings": dict(report.settings),
        "trainable": report.trainable,
        "rows": len(rows),
        "held_rows": report.held,
        "steps": report.steps,
        "tokens": report.tokens,
        "rate": RATE,
        "batch": BATCH,
        "seed": SEED,
        "base_nll": report.base_nll,
        "valid_nll": report.valid_nll,
        "cpu_seconds": round(time.process_time() - begun, 1),
        "bytes": sum(one.stat().st_size for one in (ADAPTER / "tuned").iterdir()),
    }


def _shares(held: Sequence[Product], adapter: Path | None = None) -> WrittenShares:
    slots = {slot.name: slot for slot in AD_SLOTS}
    found = [
        [
            one.rule
            for one in check(text, slots[name].wanted(product).request, slots[name].check)
            if one.severity == "error"
        ]
        for product, name, text in _texts(held[:WRITTEN], adapter=adapter)
    ]

    def without(family: str) -> float:
        return sum(not any(rule.startswith(family) for rule in one) for one in found) / len(found)

    return WrittenShares(len(found), without("grounding/"), without("policy/"), without(""))


def _texts(
    products: Sequence[Product], adapter: Path | None = None
) -> list[tuple[Product, str, str]]:
    """What a model writes for the products, slot by slot, before any check."""
    asked = LmSpec(engine="paged", adapter=str(adapter or ""), threads=1)
    with closing(open_lm(asked)) as model:
        return _asked(model, products)


def _asked(model: LanguageModel, products: Sequence[Product]) -> list[tuple[Product, str, str]]:
    written: dict[tuple[str, str], str] = {}
    for slot in AD_SLOTS:
        shown = [
            with_headline(one, written[one.id, "headline"]) if slot.name == "text" else one
            for one in products
        ]
        drawn = GenerationConfig(max_tokens=80, temperature=0.7, top_p=0.9, seed=SEED, stop=("\n",))
        answers = model.generate([turns(slot, one) for one in shown], drawn)
        for one, answer in zip(products, answers, strict=True):
            written[one.id, slot.name] = answer.text.strip()
    return [(one, slot.name, written[one.id, slot.name]) for one in products for slot in AD_SLOTS]


if __name__ == "__main__":
    main()
