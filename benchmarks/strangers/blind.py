"""Blind pairs: what `adwright author write` makes, beside a template and the model's free text.

    python -m benchmarks.strangers.blind pairs FOLDER                 draw them (half an hour)
    python -m benchmarks.strangers.blind verdicts FOLDER one.csv two.csv

20 products of each catalogue and seed, of those with both texts, and 4 beside free text: ads of a
headline and a description, in drawn order and on drawn sides, with the row that they were made of.
A reader gets `pairs.csv` alone, and says of each pair which ad should rather be published: a, b or
neither, as a column `better` beside `pair`. The readers were two language models (agents), each on
its own, who knew neither the maker of a text nor the other reader. A template is the title, cut at
30 characters, and the title with brand and category in a row; free text is what the embedded model
(SmolLM2, 135M) writes. Shares are of pairs with a winner; intervals: 95%, over products.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adwright.core.hashing import content_hash
from adwright.core.progress import say
from benchmarks.common.result import Figure, write_result
from benchmarks.strangers._writing import FREE, rows_of, template, written
from benchmarks.strangers.kit import of_role

NAME, SEEDS, EACH = "blind_pairs", (0, 1, 2), 20
_FREE_WORDS = ("--by", "free", "--no-repair", "--model", "smollm2")
_COLUMNS = ("pair", "row", "a_headline", "a_description", "b_headline", "b_description")


def drawn(name: str, seed: int, folder: Path) -> list[dict[str, Any]]:
    """The pairs of one catalogue and seed."""
    rows = list(rows_of(name))
    by_id = {row["id"]: row for row in rows}
    ours = _ads(written(name, rows, seed, folder)[0])
    some = list(ours)[:EACH]
    few = [by_id[one] for one in some[:FREE]]
    free = _ads(written(name, few, seed, folder, *_FREE_WORDS)[0])
    against = [("template", one, template(by_id[one])) for one in some]
    against += [("free", one, free[one]) for one in some[:FREE] if one in free]
    return [
        {"set": name, "seed": seed, "against": kind, "product": one, "row": by_id[one],
         "ours": ours[one], "theirs": theirs}
        for kind, one, theirs in against
    ]  # fmt: skip


def _ads(texts: dict[tuple[str, str], str]) -> dict[str, tuple[str, str]]:
    """The products that have both texts."""
    return {
        one: (text, texts[one, "description"])
        for (one, slot), text in texts.items()
        if slot == "headline" and (one, "description") in texts
    }


def draw_all(folder: Path) -> None:
    """Draw what is missing; write the sheet for readers and, beside it, whose text is where."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs: list[dict[str, Any]] = []
    for name in of_role("writing", "reported"):
        for seed in SEEDS:
            kept = folder / f"{name}-{seed}.json"
            if not kept.exists():
                with tempfile.TemporaryDirectory(prefix="blind-") as place:
                    kept.write_text(json.dumps(drawn(name, seed, Path(place))), "utf-8")
            pairs += json.loads(kept.read_text("utf-8"))
            say(f"{name}, seed {seed}: {len(pairs)} pairs so far")
    rng = random.Random(0)
    rng.shuffle(pairs)
    key = []
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as stream:
        sheet = csv.writer(stream)
        sheet.writerow(_COLUMNS)
        for at, pair in enumerate(pairs):
            side = rng.choice("ab")
            first, second = pair["ours"], pair["theirs"]
            if side == "b":
                first, second = second, first
            facts = "; ".join(f"{k}: {v[:300]}" for k, v in pair["row"].items() if v and k != "id")
            sheet.writerow((at, facts, *first, *second))
            key.append({k: pair[k] for k in ("set", "seed", "against", "product")} | {"ours": side})
    (folder / "key.json").write_text(json.dumps(key), "utf-8")


def count(folder: Path, sheets: Sequence[Path]) -> None:
    """Open the key, and write how often each reader took ours."""
    key = json.loads((folder / "key.json").read_text("utf-8"))
    said = []
    for sheet in sheets:
        with sheet.open(encoding="utf-8", newline="") as stream:
            verdict = {int(row["pair"]): row["better"].strip() for row in csv.DictReader(stream)}
        wrong = set(range(len(key))) ^ set(verdict) or set(verdict.values()) - {"a", "b", "neither"}
        if wrong:
            raise SystemExit(f"{sheet}: not one of a, b, neither for each pair: {sorted(wrong)}")
        said.append([verdict[at] for at in range(len(key))])
    rows: list[dict[str, Any]] = []
    figures: dict[str, Figure] = {}
    for against in ("template", "free"):
        for name in (*of_role("writing", "reported"), "all"):
            at = [
                i for i, one in enumerate(key)
                if one["against"] == against and name in (one["set"], "all")
            ]  # fmt: skip
            won, lost = (
                np.array([[(said[r][i] == key[i]["ours"]) if mine else
                           said[r][i] not in (key[i]["ours"], "neither") for i in at]
                          for r in range(len(said))], float).reshape(len(said), -1)
                for mine in (True, False)
            )  # fmt: skip
            agree = np.mean([said[0][i] == said[-1][i] for i in at]) if at else 0.0
            rows.append(
                {"set": name, "against": against, "pairs": len(at), "agree": float(agree)}
                | {f"won_{r}": int(won[r].sum()) for r in range(len(said))}
                | {f"lost_{r}": int(lost[r].sum()) for r in range(len(said))}
                | {"share": _share(won, lost)}
            )
            if name == "all":
                figures[f"won_{against}"] = rows[-1]["share"][0]
                figures[f"agree_{against}"] = float(agree)
    figures["pairs"] = len(key)
    write_result(
        NAME,
        protocol=str(__doc__).rpartition("\n\n")[2].replace("\n", " ").strip(),
        data=content_hash([[one["set"], one["product"]] for one in key]),
        seeds=list(SEEDS),
        rows=rows,
        figures=figures,
    )


def _share(won: np.ndarray, lost: np.ndarray) -> list[float]:
    """Of pairs with a winner, how often ours, over readers; with its interval over products."""
    if not (won + lost).sum():
        return [0.5, 0.0, 1.0]
    draws = np.random.default_rng(0).integers(0, won.shape[1], (2000, won.shape[1]))
    tops, wholes = won.sum(0)[draws].sum(1), (won + lost).sum(0)[draws].sum(1)
    low, high = np.quantile(tops / np.maximum(wholes, 1), [0.025, 0.975])
    return [float(won.sum() / (won + lost).sum()), float(low), float(high)]


def main() -> None:
    """Draw pairs, or count verdicts."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("verb", choices=("pairs", "verdicts"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("sheets", type=Path, nargs="*")
    asked = parser.parse_args()
    if asked.verb == "pairs":
        draw_all(asked.folder)
    else:
        count(asked.folder, asked.sheets)


if __name__ == "__main__":
    main()
