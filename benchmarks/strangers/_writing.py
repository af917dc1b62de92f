"""What `adwright author write` makes of a stranger's catalogue by its defaults, as readers see it.

34 products of a catalogue a seed, drawn by the command's own --sample: 306 of three catalogues and
three seeds. The reader's rules are written apart from the product's checks: a length, a verb, no
loop, no word twice in a headline, no cut word, no end that leads nowhere, the name with its first
word, no words that nobody can say, no notes of the trade, no figure and no capitalised word that
the row lacks. Counted beside them, as no error: headlines that are words of the name alone, those
that add an order (shop, discover) and no fact, and texts with a number of a part.

Planted: values of two attributes exchanged, and parts that no row has, in sentences of ours, and
the same sentences where they are right, which must raise no alarm; who wrote the sentences knows
the checks. Pairs: the command's texts beside title and attributes in a row, and beside the model's
own words, judged blindly by two judges that ship with the package, of clicks (headlines of news)
and of recall (sentences); neither chose among the texts.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from adwright.authoring.checks.verdict import check
from adwright.authoring.tasks import AuthoringRequest, Product, task_named
from adwright.creative.judges import open_judge
from adwright.creative.records.ad_record import AdRecord
from adwright.demos.ads import JUDGES
from adwright.demos.shelf import shelf_product

SAMPLE, FREE = 34, 4
_LIMITS = {"headline": 30, "description": 600}
Row = dict[str, str]

#: Of each set: its columns as the command names them.
_COLUMNS = {
    "dummyjson": "attributes=weight,attributes=warrantyInformation",
    "abt-buy": "",
    "walmart-amazon": "attributes=modelno",
    "journey": "attributes=Size,attributes=Department",
    "ikea": "id=item_id,title=name,description=short_description,attributes=designer,"
    "attributes=depth,attributes=height,attributes=width",
    "nike": "attributes=subtitle",
    "amazon-google": "brand=maker",
}
_VERBS = frozenset(
    (
        "is",
        "are",
        "was",
        "has",
        "have",
        "can",
        "will",
        "comes",
        "includes",
        "offers",
        "holds",
        "keeps",
        "makes",
        "gives",
        "meet",
        "choose",
        "discover",
        "shop",
        "get",
        "find",
        "take",
        "see",
        "look",
        "features",
        "fits",
        "works",
        "brings",
        "helps",
        "does",
        "contains",
        "weighs",
        "provides",
        "lets",
        "uses",
        "adds",
        "turns",
        "designed",
        "supports",
        "measures",
        "delivers",
        "know",
        "combines",
        "enjoy",
        "allows",
        "made",
    )
)
_ENDS = frozenset(
    (
        "a",
        "an",
        "the",
        "and",
        "or",
        "with",
        "for",
        "of",
        "in",
        "on",
        "at",
        "by",
        "to",
        "from",
        "than",
        "that",
        "which",
        "is",
        "are",
        "its",
        "your",
    )
)


def figures(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Counts of one catalogue and seed."""
    rows = list(rows_of(name))
    texts, said = written(name, rows, seed, folder)
    by_id = {row["id"]: row for row in rows}
    counts: Counter[str] = Counter()
    for key, text in texts.items():
        wrong = read(text, key[1], by_id[key[0]])
        counts["texts"] += 1
        counts["usable"] += not wrong
        counts.update(_beside(text, key[1], by_id[key[0]]))
        counts.update(wrong)
    report = json.loads((folder / "out" / "report.json").read_text("utf-8"))
    planted = _planted([by_id[one] for one in dict.fromkeys(key[0] for key in texts)])
    pairs = _pairs(name, rows, texts, by_id, seed, folder)
    return {
        "command": said,
        "rows": len(rows),
        "wanted": report["written"] + report["failed"],
        "left_out": report["failed"],
        "said_usable": report["usable"],
        "texts": counts["texts"],
        "usable": counts["usable"],
        "loops": counts["loop"],
        "cut": counts["cut"],
        "stumps": counts["stump"],
        "headlines": sum(key[1] == "headline" for key in texts),
        **{name: counts[name] for name in _BESIDE},
        "wrong": {k: v for k, v in counts.items() if k not in ("texts", "usable", *_BESIDE)},
        **planted,
        **pairs,
        "examples": [[*key, text] for key, text in list(texts.items())[:20]],
    }


def read(text: str, slot: str, row: Row) -> set[str]:
    """What a reader finds wrong with a text; nothing where it can be used."""
    wrong = set()
    source = " ".join(row.values()).lower()
    words = re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text)
    low = [one.lower() for one in words]
    if not words or len(text) > _LIMITS[slot]:
        wrong.add("length")
    if slot == "description":
        ends = text.rstrip()[-1:] in (".", "!", "?", "。")
        spoken = any(one in _VERBS for one in low) or not text.isascii()
        wrong |= (set() if ends else {"cut"}) | (set() if spoken else {"verb"})
    if low and low[-1] in _ENDS and not row["title"].lower().rstrip(" .").endswith(low[-1]):
        wrong.add("stump")
    fours = Counter(zip(low, low[1:], low[2:], low[3:], strict=False))
    parts = [one.strip().lower() for one in re.split(r"(?<=[.!?])\s", text) if len(one) > 15]
    if len(set(parts)) < len(parts) or (fours and max(fours.values()) > 2):
        wrong.add("loop")
    name = re.findall(r"[^\W_]+", row["title"].lower())
    plain = re.findall(r"[^\W_]+", text.lower())
    if not set(name) & set(plain):
        wrong.add("name")
    first = [one for one in name if one.isalpha() and one not in ("the", "a", "an", "new")]
    if first and first[0] not in plain:
        wrong.add("front")
    long = [one for one in low if len(one) > 3]
    clauses = (re.findall(r"[^\W_]+", one.lower()) for one in re.split(r"[.!?:|]", text))
    if any(one == other for part in clauses for one, other in pairwise(part)) or (
        slot == "headline" and len(set(long)) < len(long)
    ):
        wrong.add("again")
    unsaid = [one for one in low if len(one) > 4 and one.isascii() and one.isalpha()]
    if any(not set(one) & set("aeiouy") for one in unsaid) or _TRADE.search(text):
        wrong.add("code")
    figures_there = {_figure(one) for one in re.findall(r"\d+(?:[.,]\d+)*", source)}
    if any(_figure(one) not in figures_there for one in re.findall(r"\d+(?:[.,]\d+)*", text)):
        wrong.add("figure")
    known = set(re.findall(r"[^\W_]+", source))
    inner = re.findall(r"(?<=[a-z,] )[A-Z][^\W_]+", text)
    if any(one.lower() not in known for one in inner):
        wrong.add("unknown name")
    if re.search(
        r"^\W*(?:title|headline|description)\s*:|<|>|\*\*|\{|\}|&\w+;", text, re.IGNORECASE
    ):
        wrong.add("markup")
    return wrong


#: Counted and no error.
_BESIDE = ("name_only", "order_only", "part_number")
_TRADE = re.compile(r"\bnot auth\b|\btd not\b|\bupsell\b|retail pack|\boem\b", re.IGNORECASE)


def _beside(text: str, slot: str, row: Row) -> set[str]:
    """What is no error: words of the name alone, with an order before it; a number of a part."""
    name = set(re.findall(r"[^\W_]+", row["title"].lower()))
    words = re.findall(r"[^\W_]+", text.lower())
    more = [one for one in words if one not in name]
    found = set()
    if slot == "headline" and not more:
        found.add("name_only")
    elif slot == "headline" and set(more) <= _VERBS | {"today", "now"}:
        found.add("order_only")
    mixed = [one for one in words if re.search(r"\d", one) and re.search(r"[a-z]", one)]
    if any(len(one) > 6 for one in mixed):
        found.add("part_number")
    return found


def _figure(text: str) -> str:
    plain = text.replace(",", ".")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


# --------------------------------------------------------------------------------------------------
# The sets, as tables.


def data_home() -> Path:
    """Where the sets lie."""
    return Path(os.environ["ADWRIGHT_DATA"])


def rows_of(name: str) -> Iterator[Row]:
    """The rows of a set, each with id and title."""
    home = data_home()
    match name:
        case "dummyjson":
            for one in json.loads((home / name / "products.json").read_text("utf-8")):
                kept = (
                    "title",
                    "description",
                    "brand",
                    "category",
                    "weight",
                    "warrantyInformation",
                )
                yield {"id": str(one["id"])} | {key: str(one.get(key) or "") for key in kept}
        case "abt-buy" | "walmart-amazon":
            yield from _records(home / name / "train.txt")
        case "ikea":
            with (home / name / "ikea.csv").open(encoding="utf-8-sig", newline="") as stream:
                seen = set()
                for row in csv.DictReader(stream, delimiter=";"):
                    if row["item_id"] not in seen:
                        seen.add(row["item_id"])
                        yield {"id": row["item_id"], "title": row["name"]} | {
                            key: row[key] or "" for key in row if key not in ("", "X1", "link")
                        }
        case "nike":
            with (home / name / "nike.csv").open(encoding="utf-8-sig", newline="") as stream:
                for at, row in enumerate(csv.DictReader(stream)):
                    yield {
                        "id": f"n{at}",
                        "title": row["Title"] or "",
                        "subtitle": row["Subtitle"] or "",
                        "description": row["Product Description"] or "",
                    }
        case "amazon-google":
            for file in ("Amazon.csv", "GoogleProducts.csv"):
                with (home / name / file).open(encoding="latin-1", newline="") as stream:
                    for cells in csv.reader(stream):
                        keys = ("id", "title", "description", "maker", "price")
                        yield dict(zip(keys, cells, strict=False))
        case "journey":
            from adwright.data.sources.complete_journey import CompleteJourney

            for named in CompleteJourney.open().products().collect().iter_rows(named=True):
                product = shelf_product(named)
                if product is not None:
                    own = {"Size": "", "Department": ""} | dict(product.attributes)
                    yield {
                        "id": product.id,
                        "title": product.title,
                        "category": product.category,
                        "Size": own["Size"],
                        "Department": own["Department"],
                    }


def _records(path: Path) -> Iterator[Row]:
    seen: set[str] = set()
    for line in path.read_text("utf-8").splitlines():
        for part in line.split("\t")[:2]:
            pairs = (one.partition(" VAL ") for one in part.split("COL ")[1:])
            row = {key.strip(): value.strip() for key, _, value in pairs}
            row["title"] = row.pop("name", row.get("title", ""))
            if row["title"] and row["title"] not in seen:
                seen.add(row["title"])
                yield {"id": f"r{len(seen)}"} | row


# --------------------------------------------------------------------------------------------------
# The command, run.


def written(
    name: str, rows: Sequence[Row], seed: int, folder: Path, *more: str
) -> tuple[dict[tuple[str, str], str], str]:
    """(product, slot) -> text, and the command without folders."""
    table, out = folder / "products.csv", folder / ("free" if more else "out")
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    words = ["author", "write", str(table), "--out", str(out), "--seed", str(seed)]
    words += ["--columns", _COLUMNS[name]] if _COLUMNS[name] else []
    words += more or ["--sample", str(SAMPLE)]
    done = subprocess.run(
        [sys.executable, "-m", "adwright", *words], capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 3):
        raise RuntimeError(f"adwright {' '.join(words)}\n{done.stdout}{done.stderr}")
    found = {}
    for line in (out / "drafts.jsonl").read_text("utf-8").splitlines():
        told = json.loads(line)
        if "draft" in told:
            found[told["draft"][0], told["draft"][1]] = told["text"]
    told_words = [one.replace(str(folder), "") for one in words]
    return found, "adwright " + " ".join(told_words)


# --------------------------------------------------------------------------------------------------
# Values of two attributes, exchanged; parts that no row has.

_FRAMES: Mapping[str, Sequence[str]] = {
    "width": ("It is {v} wide.", "The width comes to {v}.", "From side to side it has {v}."),
    "height": ("It stands {v} high.", "Its height is {v}.", "It rises to {v}."),
    "weight": (
        "It weighs {v}.",
        "With a weight of {v}, it is easy to move.",
        "It brings {v} to the scales.",
    ),
    "material": ("It is made of {v}.", "The material is {v}.", "It is built from {v}."),
    "colour": ("The colour is {v}.", "It comes in the colour {v}.", "It comes in {v}."),
    "capacity": ("It has a capacity of {v}.", "The capacity is {v}.", "There is room for {v}."),
}
_PARTS = (
    "a carrying case",
    "two batteries",
    "a remote control",
    "a cleaning cloth",
    "a wall bracket",
)
_WITH = (
    "It comes with {p}.",
    "In the box you will find {p}.",
    "It ships with {p}.",
    "It includes {p}.",
)
_VALUES: Mapping[str, Sequence[str]] = {
    "width": ("40 cm", "62 cm", "1.2 m", "15 in"),
    "height": ("80 cm", "95 cm", "30 in", "2.1 m"),
    "weight": ("5 kg", "750 g", "12 lb", "3.5 kg"),
    "material": ("oak", "steel", "cotton", "glass"),
    "colour": ("green", "black", "navy", "red"),
    "capacity": ("1.7 l", "500 ml", "16 GB", "2 l"),
}


def _planted(rows: Sequence[Row]) -> dict[str, int]:
    """Names of the set, each with two attributes of ours, exchanged, and a part that none has; and
    the same sentences where they are right."""
    kinds = list(_FRAMES)
    names = ("swaps", "swaps_found", "parts", "parts_found", "honest", "false_alarms_count")
    counts = Counter(dict.fromkeys(names, 0))
    for at, row in enumerate(rows):
        one, other = kinds[at % 6], kinds[(at + 1 + at // 6 % 5) % 6]
        if one == other:
            continue
        first, second = (_VALUES[kind][at // 4 % 4] for kind in (one, other))
        attributes = ((one, first), (other, second))
        product = Product(row["id"], row["title"], attributes=attributes)
        request = AuthoringRequest(task_named("descriptions"), product)
        for swapped in (False, True):
            values = (second, first) if swapped else (first, second)
            said = [
                _FRAMES[kind][(at + number) % 3].format(v=value)
                for number, (kind, value) in enumerate(zip((one, other), values, strict=True))
            ]
            counts["swaps" if swapped else "honest"] += 1
            found = _alarms(" ".join(said), request)
            counts["swaps_found" if swapped else "false_alarms_count"] += found
        part, frame = _PARTS[at % 5], _WITH[at // 5 % 4]
        bare = {"title": row["title"], "id": row["id"]}
        if set(part.split()) & set(" ".join(bare.values()).lower().split()) - {"a"}:
            continue
        for has in (False, True):
            more = (*attributes, ("includes", part)) if has else attributes
            told = replace(request, product=replace(product, attributes=more))
            counts["honest" if has else "parts"] += 1
            found = _alarms(frame.format(p=part), told)
            counts["false_alarms_count" if has else "parts_found"] += found
    return {
        "planted": counts["swaps"] + counts["parts"],
        "planted_found": counts["swaps_found"] + counts["parts_found"],
        **counts,
    }


def _alarms(text: str, request: AuthoringRequest) -> bool:
    rules = {found.rule for found in check(text, request)}
    return any(rule.startswith(("relation/", "grounding/")) for rule in rules)


# --------------------------------------------------------------------------------------------------
# Pairs, judged blindly.


def _pairs(
    name: str,
    rows: Sequence[Row],
    texts: Mapping[tuple[str, str], str],
    by_id: Mapping[str, Row],
    seed: int,
    folder: Path,
) -> dict[str, int]:
    """Of each judge and pair: how often the command's text is the better one."""
    judges = [open_judge(JUDGES / one) for one in ("clicks", "recall")]
    ids = [key[0] for key in texts if key[1] == "headline" and (key[0], "description") in texts]

    def values(ads: Sequence[tuple[str, str]]) -> list[Any]:
        records = [AdRecord(title=title, words=words) for title, words in ads]
        return [judge.judge(records).value for judge in judges]

    ours = [(texts[one, "headline"], texts[one, "description"]) for one in ids]
    template = [template(by_id[one]) for one in ids]
    won = _wins(values(ours), values(template))
    few = ids[:FREE]
    free, _ = written(
        name,
        [by_id[one] for one in few],
        seed,
        folder,
        *("--by", "free", "--no-repair", "--model", "smollm2"),
    )
    both = [one for one in few if (one, "headline") in free and (one, "description") in free]
    theirs = [(free[one, "headline"], free[one, "description"]) for one in both]
    mine = [(texts[one, "headline"], texts[one, "description"]) for one in both]
    free_won = _wins(values(mine), values(theirs)) if both else [(0, 0), (0, 0)]
    judged = {
        "free_texts": 2 * len(both),
        "free_usable": sum(
            not read(free[one, slot], slot, by_id[one]) for one in both for slot in _LIMITS
        ),
    }
    of = {"pairs": len(ids), "pairs_free": len(both)}
    for against, found in (("template", won), ("free", free_won)):
        for judge, (better, worse) in zip(("clicks", "recall"), found, strict=True):
            of |= {f"pairs_{against}_{judge}_won": better, f"pairs_{against}_{judge}_lost": worse}
    return of | judged


def _wins(ours: Sequence[Any], theirs: Sequence[Any]) -> list[tuple[int, int]]:
    """By judge: how often ours is better, and how often theirs; the rest are equal."""
    return [
        (int(np.sum(one > other)), int(np.sum(one < other)))
        for one, other in zip(ours, theirs, strict=True)
    ]


def template(row: Row) -> tuple[str, str]:
    """The title, and title with brand and category in a row."""
    more = [
        f"{key}: {row[key]}." for key in ("brand", "maker", "category", "designer") if row.get(key)
    ]
    return row["title"][:30], " ".join((f"{row['title']}.", *more))
