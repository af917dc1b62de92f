"""Attacks on certificates of real catalogues, by texts and by products that join.

For each kind of ranker a list of products is certified for a request that one of their descriptions
answers: the request names words of it that few others have. An attack then gives one or two of the
products another text out of a pool (the request again and again, praise, orders, the words of
rivals, gibberish, nothing, a text that is too long), and adds up to two products that are made of
the request and of rivals' facts. Every score is the ranker's own, of the product by itself, so that
a list is put together from scores that are known. outside: of attacks, those in which any product
stands outside of what the certificate says. honest_gain: ranks that the real description brings
within eps, over none, to the product that answers the request. The certificate and its eps are what
`adwright audit certify` writes by its defaults, but for the shop's own rule, a function, which
takes eps as the command does.
"""

from __future__ import annotations

import csv
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from adwright.audit.attacks.search import templates
from adwright.audit.catalogue import ShopCatalogue, ShopListing
from adwright.audit.certificate.certificate import (
    BoundedScores,
    RankCertificate,
    colluding_bounds,
    rank_bounds,
    read_signed,
)
from adwright.audit.defences.stack import BoundedTarget, IsolatedTarget
from adwright.audit.targets.search import search_target
from adwright.audit.targets.target import FunctionTarget, Target
from adwright.metrics.text.agreement import words_of
from benchmarks.strangers._guard import products
from benchmarks.strangers.kit import run_command

_EACH, _ADDED, _TOGETHER = 1200, 2, 2
#: Products of a list, and lists, by the kind of ranker.
KINDS = {"embedding": (12, 2), "mixture": (12, 2), "own": (25, 2), "likelihood": (5, 1)}


def figures(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Attacks tried and outside over all kinds, and thousandths of ranks gained by honest texts."""
    rng = np.random.default_rng(seed)
    rows = [one for one in products(name) if len(one[1]) > 60 and one[0].strip()]
    found = {"attacks": 0, "outside": 0, "honest_products": 0, "honest_gain_milliranks": 0}
    for kind, (count, lists) in KINDS.items():
        for _ in range(lists):
            shop = _shop(name, [rows[at] for at in rng.permutation(len(rows))[: 2 * count]], count)
            _attacked(kind, shop, found, rng, folder)
    return {"kinds": ", ".join(KINDS), **found}


def _shop(name: str, rows: list[tuple[str, str]], count: int) -> ShopCatalogue:
    """Products of names of their own; the request is answered by the first one's description."""
    several = dict(rows)
    listings = tuple(
        ShopListing(title, {}, {"Description": text}) for title, text in several.items()
    )[:count]
    others = {word for one in listings[1:] for word in words_of(" ".join(one.texts.values()))}
    title = set(words_of(listings[0].name))
    rare = [
        word
        for word in dict.fromkeys(words_of(listings[0].texts["Description"]))
        if word not in others and word not in title and len(word) > 3 and word.isalpha()
    ]
    return ShopCatalogue(name, f"I am looking for something with {' '.join(rare[:4])}", listings)


def _ranker(kind: str, shop: ShopCatalogue) -> Target:
    if kind in ("embedding", "mixture"):
        return search_target("embedding" if kind == "embedding" else "mixture", shop, offline=True)
    if kind == "likelihood":
        from adwright.audit.targets.likelihood import LikelihoodTarget
        from adwright.lm.open_model import LmSpec, open_lm

        return LikelihoodTarget(open_lm(LmSpec(engine="torch", offline=True)))

    def own(listings: Any, request: str) -> list[float]:
        """A shop's own rule: words of the request that are there, short names first."""
        asked = set(words_of(request))
        return [
            len(asked & set(words_of(one.shown()))) / len(asked) - len(one.name) / 400
            for one in listings
        ]

    return FunctionTarget(own, name="the shop's own")


def _certified(kind: str, shop: ShopCatalogue, folder: Path) -> RankCertificate:
    """What the command writes by its defaults."""
    file, out = folder / "shop.csv", folder / f"{kind}.json"
    with file.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("Name", "Description"))
        rows.writerows((one.name, one.texts["Description"]) for one in shop.listings)
    run_command(
        *("audit", "certify", file, "--ranker", kind, "--request", shop.request, "--force"),
        *("--columns", "name=Name,texts=Description", "--out", out, "--key", folder / "key.pem"),
    )
    return read_signed(out)


def _attacked(
    kind: str, shop: ShopCatalogue, found: dict[str, int], rng: np.random.Generator, folder: Path
) -> None:
    ranker, few = _ranker(kind, shop), kind == "likelihood"
    alone, listings, count = IsolatedTarget(ranker), list(shop.listings), len(shop)
    if kind == "own":
        eps = alone.usual_eps(listings, shop.request)
        made = None
    else:
        made = _certified(kind, shop, folder)
        eps = made.eps
    bounded = BoundedTarget(alone, alone, eps)
    scores = bounded.scores(listings, shop.request)
    if made is not None and not np.allclose(
        scores.honest, np.add(made.facts, np.clip(made.texts, -eps, eps)), atol=1e-6
    ):
        raise RuntimeError(f"{kind}: the certificate is of other scores")
    pool = _pool(shop, rng)[: 4 if few else None]
    terms = np.array([
        bounded.scores([one.with_text("Description", text) for one in listings], shop.request).texts
        for text in pool
    ])  # fmt: skip
    joining = _joining(shop, rng)[: 3 if few else None]
    new = bounded.scores(joining, shop.request).honest
    one, several = rank_bounds(scores), colluding_bounds(scores, _TOGETHER)
    for _ in range(_EACH):
        who = rng.permutation(count)[: int(rng.integers(1, _TOGETHER + 1))]
        texts = scores.texts.copy()
        texts[who] = terms[rng.integers(0, len(pool), len(who)), who]
        joined = new[rng.integers(0, len(new), int(rng.integers(0, _ADDED + 1)))]
        now = BoundedScores(scores.facts, texts, eps).honest
        every = np.concatenate((now, joined))
        best = 1 + (every[None] > now[:, None]).sum(1)
        worst = (every[None] >= now[:, None]).sum(1)
        mine = np.isin(np.arange(count), who)
        # Of those who write, the best; of the others, the worst, by as many as join.
        least = np.where(mine, one.best if len(who) == 1 else several.best, several.best)
        inside = np.where(mine, best >= least, worst <= several.worst + len(joined))
        found["attacks"] += 1
        found["outside"] += not inside.all()
    bare = scores.facts.copy()
    honest = np.sort(np.delete(scores.honest, 0))
    before, after = (
        1 + len(honest) - int(np.searchsorted(honest, value, side="right"))
        for value in (bare[0], scores.honest[0])
    )
    found["honest_products"] += 1
    found["honest_gain_milliranks"] += 1000 * (before - after)


def _pool(shop: ShopCatalogue, rng: np.random.Generator) -> list[str]:
    names = shop.names
    slots = {"name": names[0], "other": names[1], "third": names[-1]}
    ordered = [text.format(**slots) for some in templates().values() for text in some]
    letters = "".join(chr(one) for one in rng.integers(33, 127, 200))
    return [
        " ".join([shop.request] * 8),
        "",
        ordered[0],
        "word " * 9000 if len(names) > 5 else letters,
        letters,
        *ordered[1:8],
        *(one.texts["Description"] for one in shop.listings[:6]),
        " ".join(names),
    ]


def _joining(shop: ShopCatalogue, rng: np.random.Generator) -> list[ShopListing]:
    asked = shop.request
    some = [
        ShopListing(f"New {at} {asked}"[:200], {"Kind": asked}, {"Description": asked * at})
        for at in range(1, 4)
    ]
    copies = [
        ShopListing(f"{one.name} deluxe", {"Price": "$1"}, {"Description": asked})
        for one in shop.listings[:6]
    ]
    return [some[0], copies[0], copies[1], *some[1:], *copies[2:]]


if __name__ == "__main__":
    print(figures(os.environ.get("SET", "dummyjson"), 0, Path(tempfile.mkdtemp())))
