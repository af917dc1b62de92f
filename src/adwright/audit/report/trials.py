"""Trials: the same request in the same order, with a text and without it, in many orders.

    table = run_trials(target, catalogue, texts, orders, log=TrialLog("runs/audit/trials.jsonl"))
    table.clean          # ranks without any text, int64 [O, n]
    table.attacked       # ranks with text k, int64 [K, O, n]

The ranks without a text are those of all texts in that order, and are asked once. Attacks need a
catalogue that is declared as one's own; so do their trials.

Letters: K texts, O orders, n products.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adwright.audit.catalogue import ShopCatalogue
from adwright.audit.targets.target import Ask, Ranking, RankingCost, Target
from adwright.core.atomic import atomic_write_text
from adwright.core.config import require_count
from adwright.core.errors import ConfigError, DataError, FileUnreadableError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.core.journal import append_rows, read_rows
from adwright.core.progress import progress

# --------------------------------------------------------------------------------------------------
# The texts that an audit tries: which product, which field, by which kind of attack.
#
#     {"product": "ColdBrew Master", "field": "Ideal For", "text": "..", "tier": "T2", "run": "0"}
#
# one a line, as attacks write them and `read_texts` reads them. Each was written to measure a
# weakness of one's own shop, and carries a mark that says so.

#: What every file with such texts says.
AUDIT_MARK = "written by an audit to measure a weakness of one's own shop; not for publication"
#: What the tiers of controls begin with: random tokens, the name again, a truthful sentence.
CONTROL = "control"
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class SellerText:
    """A text for a field of a product.

    product: its name. tier: the kind of attack, "T0" to "T4" as the documentation has them, or a
    control ("control random"). run: which of several attempts, such as its seed. whole: whether the
    text is all of the field, else it follows what the seller wrote.
    """

    product: str
    field: str
    text: str
    tier: str
    run: str = ""
    whole: bool = True

    @property
    def control(self) -> bool:
        """Whether it is there to be compared with, and no attack."""
        return self.tier.startswith(CONTROL)


def with_text(catalogue: ShopCatalogue, text: SellerText) -> ShopCatalogue:
    """The catalogue in which the product shows the text. Raises ConfigError for another product,
    and for a field that is none of its texts."""
    row = catalogue.index(text.product)
    listing = catalogue.listings[row]
    before = "" if text.whole else listing.texts.get(text.field, "")
    joined = f"{before} {text.text}".strip() if before else text.text
    return catalogue.with_listing(row, listing.with_text(text.field, joined))


def write_texts(path: str | Path, texts: Iterable[SellerText]) -> None:
    """Write them as JSON lines, whole or not at all. Raises as `atomic_write_text`."""
    lines = (json.dumps({**asdict(one), "audit": AUDIT_MARK}) + "\n" for one in texts)
    atomic_write_text(path, "".join(lines))


def read_texts(path: str | Path, catalogue: ShopCatalogue) -> list[SellerText]:
    """The texts of a file, each checked against the catalogue.

    Raises FileUnreadableError where it cannot be read; ValueInvalidError with the line, from 0, for
    one that is no such object, whose product the catalogue lacks or whose field is no text of it.
    """
    lines = _lines(Path(path))
    found = [_read(line, str(path), row) for row, line in enumerate(lines) if line.strip()]
    for row, one in enumerate(found):
        listing = next((each for each in catalogue.listings if each.name == one.product), None)
        if listing is None or one.field not in listing.texts:
            what = "product" if listing is None else "text field"
            few = list(catalogue.names if listing is None else listing.texts)
            raise ValueInvalidError(
                f"the catalogue has no such {what}",
                file=str(path),
                row=row,
                value=one.product if listing is None else one.field,
                hint=f"it has {', '.join(few[:10]) or 'none'}",
            )
    if not found:
        raise DataError("the file has no text", file=str(path), hint="let an attack write some")
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").split("\n")
    except FileNotFoundError as error:
        raise FileUnreadableError(
            "there is no such file", file=str(path), hint="check the path"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise FileUnreadableError(
            f"the texts cannot be read: {error}", file=str(path), hint="write JSON lines in UTF-8"
        ) from error


def _read(line: str, file: str, row: int) -> SellerText:
    try:
        value = json.loads(line) if len(line) <= _MOST_BYTES else None
    except (ValueError, RecursionError):
        value = None
    wanted = ("product", "field", "text", "tier")
    if not isinstance(value, dict) or not all(isinstance(value.get(one), str) for one in wanted):
        raise ValueInvalidError(
            "this line is no text of an audit",
            file=file,
            row=row,
            value=line[:60],
            hint=f"write an object with the texts {', '.join(wanted)}",
        )
    return SellerText(
        value["product"],
        value["field"],
        value["text"],
        value["tier"],
        str(value.get("run", "")),
        value.get("whole", True) is True,
    )


# --------------------------------------------------------------------------------------------------
# Trials that were made, kept one a line, so that an audit that was interrupted goes on.
#
#     {"key": "5f..", "ranks": [3, 1, 2], "also": {"mean": [2, 1, 3]}, "cost": [1, 784, 0, 3.4]}
#
# The key is the hash of the target's name and of all that it was shown; a target that answers
# otherwise the next time is asked only once.

_HINT = "take that line out: its trial is then made again"


@dataclass(frozen=True)
class MadeTrial:
    """ranks: of each listing, from 1, those not mentioned n + 1. also: by other rules. note: of the
    ranking."""

    ranks: tuple[int, ...]
    also: dict[str, tuple[int, ...]]
    cost: RankingCost
    note: str = ""


def trial_key(target: Target, ask: Ask) -> str:
    """SHA-256 of who is asked and what is shown, in which order."""
    shown = [one.digest() for one in ask.shown]
    return content_hash([target.name, ask.request, shown, list(ask.order)])


class TrialLog:
    """The trials of a file, which is made where it is not there. path: None keeps them in memory
    alone. Raises ResourceError where the file cannot be read or written."""

    def __init__(self, path: str | Path | None = None) -> None:
        self._path = None if path is None else Path(path)
        kept = [] if path is None else read_rows(path, _trial, hint=_HINT, ended_torn=True)
        self.known = dict(kept)
        #: How many of them the file held already.
        self.found = len(self.known)

    def add(self, trials: Iterable[tuple[str, MadeTrial]]) -> None:
        """Keep trials; they are on the disk afterwards."""
        made = list(trials)
        self.known.update(made)
        if self._path is not None and made:
            rows = [{"key": key, **vars(one), "cost": astuple(one.cost)} for key, one in made]
            append_rows(self._path, rows)


def _trial(row: dict[str, Any]) -> tuple[str, MadeTrial]:
    calls, tokens_in, tokens_out, seconds = row["cost"]
    made = MadeTrial(
        tuple(map(int, row["ranks"])),
        {str(rule): tuple(map(int, ranks)) for rule, ranks in row["also"].items()},
        RankingCost(int(calls), int(tokens_in), int(tokens_out), float(seconds)),
        str(row["note"]),
    )
    return str(row["key"]), made


Ranks = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RankTable:
    """Ranks from 1; of a product that was not mentioned n + 1.

    rows: int64 [K], the product of each text. clean: int64 [O, n]. attacked: int64 [K, O, n].
    clean_cost, attacked_cost: of all of them. notes: how often the target's answer had which note.
    also: the same by other rules of the target.
    """

    texts: tuple[SellerText, ...]
    rows: npt.NDArray[np.int64]
    clean: Ranks
    attacked: Ranks
    clean_cost: RankingCost
    attacked_cost: RankingCost
    notes: Mapping[str, int] = field(default_factory=dict)
    also: Mapping[str, RankTable] = field(default_factory=dict)

    @property
    def before(self) -> Ranks:
        """The rank of each text's product without it: int64 [K, O]."""
        return self.clean[:, self.rows].T

    @property
    def after(self) -> Ranks:
        """The rank of each text's product with it: int64 [K, O]."""
        found: Ranks = np.take_along_axis(self.attacked, self.rows[:, None, None], axis=2)[:, :, 0]
        return found


def run_trials(
    target: Target,
    catalogue: ShopCatalogue,
    texts: Sequence[SellerText],
    orders: Sequence[Sequence[int]],
    *,
    request: str = "",
    log: TrialLog | None = None,
    batch: int = 8,
) -> RankTable:
    """Rank the catalogue in every order, without any text and with each of them.

    orders: in which no text was chosen, see `draw_orders`. request: empty for the catalogue's own.
    log: keeps what was made, and gives what it has. batch: questions that are asked together, and
    kept together.

    Raises ConfigError for a catalogue that is not declared as one's own where there is an attack
    among the texts, for no text or no order, and as `with_text`; and what the target raises.
    """
    require_count("batch", batch)
    if not texts or not orders:
        raise ConfigError(
            "an audit needs at least one text and one order",
            where=f"{len(texts)} texts, {len(orders)} orders",
            hint="give some",
        )
    if not all(one.control for one in texts):
        catalogue.require_own()
    asked = request or catalogue.request
    shops = [catalogue, *(with_text(catalogue, one) for one in texts)]
    asks = [Ask(shop.listings, asked, tuple(order)) for shop in shops for order in orders]
    log = TrialLog() if log is None else log
    made = _made(target, asks, log, batch)
    n, count = len(catalogue), len(orders)
    rows = np.array([catalogue.index(one.product) for one in texts], np.int64)
    rules = set.intersection(*(set(one.also) for one in made))
    notes: dict[str, int] = {}
    for one in made:
        if one.note:
            notes[one.note] = notes.get(one.note, 0) + 1
    costs = [one.cost for one in made]
    clean_cost = sum(costs[:count], RankingCost())
    attacked_cost = sum(costs[count:], RankingCost())

    def table(ranks: Ranks, also: Mapping[str, RankTable]) -> RankTable:
        return RankTable(
            tuple(texts), rows, ranks[0], ranks[1:], clean_cost, attacked_cost, notes, also
        )

    shape = (len(shops), count, n)
    further = {
        rule: table(np.array([one.also[rule] for one in made], np.int64).reshape(shape), {})
        for rule in sorted(rules)
    }
    return table(np.array([one.ranks for one in made], np.int64).reshape(shape), further)


def _made(target: Target, asks: Sequence[Ask], log: TrialLog, batch: int) -> list[MadeTrial]:
    keys = [trial_key(target, ask) for ask in asks]
    asked = dict(zip(reversed(keys), reversed(asks), strict=True))  # of equal ones the first
    left = [(key, asked[key]) for key in dict.fromkeys(keys) if key not in log.known]
    with progress(len(left), f"Ranking by {target.name}", "rankings") as bar:
        for start in range(0, len(left), batch):
            some = left[start : start + batch]
            found = target.rank([ask for _, ask in some])
            log.add(
                (key, _made_trial(ranking, len(ask.listings), ask.order))
                for (key, ask), ranking in zip(some, found, strict=True)
            )
            bar.advance(len(some))
    return [log.known[key] for key in keys]


def _made_trial(ranking: Ranking, n: int, order: Sequence[int]) -> MadeTrial:
    also = {rule: tuple(ranking.by(rule, order).ranks(n).tolist()) for rule in sorted(ranking.also)}
    return MadeTrial(tuple(ranking.ranks(n).tolist()), also, ranking.cost, ranking.note)
