"""Goes over a catalogue's changes since the last time, and lists the texts worth a look."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from adwright.audit.catalogue import Fact, ShopCatalogue, ShopListing, draw_orders
from adwright.audit.defences.guard.guard import (
    GUARD_KIND,
    TextGuard,
    guard_texts,
    load_guard,
    save_guard,
)
from adwright.audit.defences.stack import DefenceStack, Inspection
from adwright.audit.targets.target import Ask, RankingCost, Target
from adwright.core.artifacts import load_artifact
from adwright.core.atomic import atomic_write_text, locked
from adwright.core.config import Count, Gt, Natural, settings
from adwright.core.errors import ConfigError, FileUnreadableError
from adwright.core.regular import memory_bytes, read_regular

# --------------------------------------------------------------------------------------------------
# What a watch remembers of a catalogue: its facts, its texts and its ranks, in one JSON file.
#
#     state = read_state("watch/kettles.json")       # None the first time
#     write_state(state_of(shop, ranks), "watch/kettles.json")
#
# The file is written whole or not at all. It holds what sellers wrote, so that the next look can
# rank with the text of before; keep it where the catalogue itself may be kept.

STATE_FORMAT = "adwright-watch/1"


@dataclass(frozen=True)
class KnownListing:
    """A product as it was. rank: mean over orders, None where it was not ranked."""

    attributes: Mapping[str, Fact]
    texts: Mapping[str, str]
    merchant: str
    rank: float | None


@dataclass(frozen=True)
class WatchState:
    """catalogue, target: whose look it was, and by what it was ranked. looks: made so far.
    listings: by name."""

    catalogue: str
    target: str
    looks: int
    listings: Mapping[str, KnownListing]


def state_of(
    shop: ShopCatalogue, ranks: Sequence[float] | None, *, target: str, looks: int
) -> WatchState:
    """The state after a look. ranks: mean of each listing, None where nothing was ranked."""
    known = {
        one.name: KnownListing(
            dict(one.attributes),
            dict(one.texts),
            one.merchant,
            None if ranks is None else float(ranks[row]),
        )
        for row, one in enumerate(shop.listings)
    }
    return WatchState(shop.name, target, looks, known)


def write_state(state: WatchState, path: str | Path) -> None:
    """Write the file, whole or not at all. Raises ResourceError as `atomic_write_text`."""
    text = json.dumps({"format": STATE_FORMAT, **asdict(state)}, indent=1, ensure_ascii=True)
    atomic_write_text(path, text + "\n")


def read_state(path: str | Path) -> WatchState | None:
    """The state of a file; None where there is none. Raises FileUnreadableError for a file that is
    no state of a watch."""
    try:
        data: dict[str, Any] = json.loads(read_regular(path, most=memory_bytes()))
        if data["format"] != STATE_FORMAT:
            raise ValueError(f"its format is not {STATE_FORMAT}")
        known = {
            name: KnownListing(
                dict(one["attributes"]),
                {field: str(text) for field, text in one["texts"].items()},
                str(one["merchant"]),
                None if one["rank"] is None else float(one["rank"]),
            )
            for name, one in data["listings"].items()
        }
        return WatchState(str(data["catalogue"]), str(data["target"]), int(data["looks"]), known)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileUnreadableError(
            f"this is no state of a watch: {error}"[:300],
            file=str(path),
            hint="move it away to begin anew",
        ) from error


# --------------------------------------------------------------------------------------------------
# What sellers changed since the last time.
#
# for edit in text_edits(state, shop): print(edit.in_words())

#: new: a product or field that was not there. changed: another text. removed: an empty one now.
EditKind = Literal["new", "changed", "removed"]


@settings
class TextEdit:
    """row, name, merchant, field: whose text. before: empty where there was none. facts_changed:
    attributes of the same product that are others now, too."""

    row: int
    name: str
    merchant: str
    field: str
    before: str
    after: str
    kind: EditKind
    facts_changed: tuple[str, ...] = ()

    def in_words(self) -> str:
        """One line."""
        seller = f" of {self.merchant}" if self.merchant else ""
        facts = f", and so are {', '.join(self.facts_changed)}" if self.facts_changed else ""
        return f"{self.name}{seller}, {self.field}: the text is {self.kind}{facts}"


def text_edits(state: WatchState | None, shop: ShopCatalogue) -> list[TextEdit]:
    """Texts that differ from the state, in the order of the catalogue; all of them without one."""
    known = {} if state is None else state.listings
    found = []
    for row, one in enumerate(shop.listings):
        was = known.get(one.name)
        facts = (
            ()
            if was is None
            else tuple(
                name
                for name in dict.fromkeys([*one.attributes, *was.attributes])
                if one.attributes.get(name) != was.attributes.get(name)
            )
        )
        for named, text in one.texts.items():
            before = None if was is None else was.texts.get(named)
            if text == (before or ""):
                continue
            kind: EditKind = "removed" if not text else "changed" if before else "new"
            found.append(
                TextEdit(row, one.name, one.merchant, named, before or "", text, kind, facts)
            )
    return found


# --------------------------------------------------------------------------------------------------
# What a watch says of a changed text, and when it is worth a look.
#
# report.alerts[0].in_words() print(report.text())

_SHOWN = 160


@dataclass(frozen=True)
class WatchAlert:
    """edit: what changed. found: what the defences say of the new text. with_before, with_after:
    mean ranks of its product with the text of before and the new one, all else as it is now; None
    on the first look. least_gain: ranks from which on a gain alone is worth a look."""

    edit: TextEdit
    found: Inspection
    with_before: float | None
    with_after: float | None
    least_gain: float

    @property
    def gain(self) -> float:
        """Ranks that the change won; 0 where it was not ranked."""
        if self.with_before is None or self.with_after is None:
            return 0.0
        return self.with_before - self.with_after

    @property
    def suspicious(self) -> bool:
        """Whether a defence alarms, or the change won many ranks."""
        return self.found.alarm or self.gain >= self.least_gain

    def in_words(self) -> str:
        """One line for a person."""
        said = [self.edit.in_words()]
        if self.found.alarm:
            said.append(self.found.in_words().partition(": ")[2])
        if self.with_before is not None and self.with_after is not None:
            said.append(f"rank {self.with_before:.1f} before, {self.with_after:.1f} with it")
        # As Python writes it, so that no text of a seller can change the report that is about it.
        said.append(ascii(self.edit.after[:_SHOWN]))
        return "; ".join(said)


@dataclass(frozen=True)
class WatchReport:
    """One look. first: there was nothing to compare with. listings: of the catalogue. gone:
    products that are no longer there. alerts: all changed texts, the suspicious ones first.
    cost: of the rankings."""

    catalogue: str
    first: bool
    listings: int
    gone: tuple[str, ...]
    alerts: tuple[WatchAlert, ...]
    cost: RankingCost = field(default_factory=RankingCost)

    @property
    def suspicious(self) -> tuple[WatchAlert, ...]:
        """Those that are worth a look."""
        return tuple(one for one in self.alerts if one.suspicious)

    def text(self) -> str:
        """A head, and a line for each text that is worth a look."""
        seen = "texts seen for the first time" if self.first else "texts changed"
        head = (
            f"{self.catalogue}: {self.listings:,} products, {len(self.alerts):,} {seen}, "
            f"{len(self.suspicious):,} suspicious"
        )
        head += f", {len(self.gone):,} products gone" if self.gone else ""
        return "\n".join([head, *(f"  {one.in_words()}" for one in self.suspicious)])

    def to_json(self) -> str:
        """All alerts as JSON."""
        rows = [
            {
                **asdict(one.edit),
                "suspicious": one.suspicious,
                "p": None if one.found.verdict is None else one.found.verdict.p,
                "part": "" if one.found.verdict is None else one.found.verdict.part,
                "certain": list(one.found.certain),
                "changes": list(one.found.seen.changes),
                "hidden": list(one.found.seen.hidden),
                "rank_before": one.with_before,
                "rank_after": one.with_after,
            }
            for one in self.alerts
        ]
        whole = {
            "catalogue": self.catalogue,
            "first": self.first,
            "listings": self.listings,
            "gone": list(self.gone),
            "cost": asdict(self.cost),
            "texts": rows,
        }
        return json.dumps(whole, indent=1) + "\n"


Ranks = npt.NDArray[np.float64]


@settings
class WatchConfig:
    """orders: in which each ranking is made, for the mean. least_gain: ranks that a change must win
    to be suspicious by that alone. most_ranked: changes that are ranked in one look, the suspicious
    ones first; the rest is inspected only. seed: of the orders."""

    orders: Count = 5
    least_gain: Annotated[float, Gt(0)] = 2.0
    most_ranked: Natural = 50
    seed: int = 0


class CatalogueWatch:
    """path: of the state. stack: what inspects texts. target: what ranks, None to inspect only."""

    def __init__(
        self,
        path: str | Path,
        stack: DefenceStack,
        *,
        target: Target | None = None,
        config: WatchConfig | None = None,
    ) -> None:
        self._path = Path(path)
        self._stack = stack
        self._target = target
        self._config = WatchConfig() if config is None else config

    def look(self, shop: ShopCatalogue) -> WatchReport:
        """What changed since the last look. Raises ConfigError where the state is of another
        catalogue, FileUnreadableError where it is none."""
        with locked(self._path.with_name(f".{self._path.name}.lock")):
            state = read_state(self._path)
            require_same(state, shop, self._path)
            report, ranks = self._report(shop, state)
            looks = 1 if state is None else state.looks + 1
            name = "" if self._target is None else self._target.name
            write_state(state_of(shop, ranks, target=name, looks=looks), self._path)
        return report

    def _report(
        self, shop: ShopCatalogue, state: WatchState | None
    ) -> tuple[WatchReport, list[float] | None]:
        edits = text_edits(state, shop)
        changed = sorted({one.row for one in edits})
        found = {
            (one.name, one.field): one
            for one in self._stack.inspect([shop.listings[row] for row in changed])
        }
        # The suspicious ones first, of which the most can be ranked.
        edits.sort(key=lambda one: not found[one.name, one.field].alarm)
        ranked = [] if state is None else edits[: self._config.most_ranked]
        now, before, cost = self._ranks(shop, ranked)
        alerts = [
            WatchAlert(
                one,
                found[one.name, one.field],
                before.get((one.row, one.field)),
                float(now[one.row]) if now is not None and (one.row, one.field) in before else None,
                self._config.least_gain,
            )
            for one in edits
        ]
        alerts.sort(key=lambda one: (not one.suspicious, -one.gain, one.edit.row))
        names = set(shop.names)
        gone = () if state is None else tuple(one for one in state.listings if one not in names)
        report = WatchReport(shop.name, state is None, len(shop), gone, tuple(alerts), cost)
        return report, None if now is None else now.tolist()

    def _ranks(
        self, shop: ShopCatalogue, edits: Sequence[TextEdit]
    ) -> tuple[Ranks | None, dict[tuple[int, str], float], RankingCost]:
        """Mean ranks as it is now; of each edit the rank of its product with the text of before;
        the cost."""
        if self._target is None:
            return None, {}, RankingCost()
        count = len(shop)
        # Two products have two orders.
        most = min(self._config.orders, 2) if count == 2 else self._config.orders
        orders = draw_orders(count, most, seed=self._config.seed, purpose="score")
        asks = [Ask(shop.listings, shop.request, order) for order in orders]
        for one in edits:
            other = shop.listings[one.row].with_text(one.field, one.before)
            listings = shop.with_listing(one.row, other).listings
            asks += [Ask(listings, shop.request, order) for order in orders]
        answers = self._target.rank(asks)
        ranks = np.array([one.ranks(count) for one in answers], np.float64)
        means = ranks.reshape(len(edits) + 1, len(orders), count).mean(1)
        cost = sum((one.cost for one in answers), RankingCost())
        before = {
            (one.row, one.field): float(means[at, one.row]) for at, one in enumerate(edits, start=1)
        }
        return means[0], before, cost


def require_same(state: WatchState | None, shop: ShopCatalogue, path: Path) -> None:
    """Raise ConfigError where the state is of another catalogue."""
    if state is not None and state.catalogue != shop.name:
        raise ConfigError(
            f"the state is of the catalogue {state.catalogue!r}, and this is {shop.name!r}",
            where=str(path),
            hint="use a file for each catalogue",
        )


# --------------------------------------------------------------------------------------------------
# What is usual in a catalogue, for a watch: a guard that no new text had a say in.
#
#     guard = kept_guard("watch/kettles.json", shop)
#
# At the first look it is fitted to the texts of the catalogue, and lies from then on beside the
# state (`watch/kettles.guard`), an artifact: later looks judge by what was usual then. So what a
# look let through, or what nobody acted on, does not become usual by the next one. `refit` takes
# the texts of the last look as usual, once somebody has gone through them; honest texts of one's
# own are better.


def guard_beside(state: str | Path) -> Path:
    """The folder of the guard of a watch's state."""
    return Path(state).with_suffix(".guard")


def kept_guard(
    path: str | Path,
    shop: ShopCatalogue,
    *,
    honest: ShopCatalogue | None = None,
    refit: bool = False,
    seed: int = 0,
) -> TextGuard:
    """The guard beside the state `path`; where there is none, it is fitted and kept there.

    honest: fit it to these products, unless the one that is there was. refit: fit it anew, without
    `honest` as `known_guard` does. seed: of the split, where it is fitted.
    Raises ConfigError where the state is of another catalogue, DataError where there are too few
    texts to fit a guard, ArtifactError where what lies there is no guard of this release.
    """
    state, folder = read_state(path), guard_beside(path)
    require_same(state, shop, Path(path))
    digest = "" if honest is None else honest.digest()
    # Fitted to these honest products, or none are asked for.
    fits = folder.exists() and (
        not digest or load_artifact(folder, kind=GUARD_KIND).data_hash == digest
    )
    if fits and not refit:
        return load_guard(folder)
    if honest is None:
        guard = known_guard(state, shop, seed=seed)
    else:
        guard = _fitted(honest.listings, seed)
    save_guard(guard, folder, data_hash=digest, seed=seed, overwrite=True)
    return guard


def known_guard(state: WatchState | None, shop: ShopCatalogue, *, seed: int = 0) -> TextGuard:
    """Guard fitted on the catalogue's earlier state only, so that new texts cannot influence it; on
    the first look to those of the catalogue. Raises DataError where there are too few."""
    listings: Sequence[ShopListing] = shop.listings
    if state is not None:
        listings = [
            ShopListing(name, one.attributes, one.texts, one.merchant)
            for name, one in state.listings.items()
        ]
    return _fitted(listings, seed)


def _fitted(listings: Sequence[ShopListing], seed: int) -> TextGuard:
    return TextGuard.fit(guard_texts(listings), np.random.default_rng(seed))
