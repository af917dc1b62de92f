"""Look at a catalogue again and again: what changed, what of it is suspicious, what moved a rank?

    watch = CatalogueWatch("watch/kettles.json", stack, target=target)
    print(watch.look(shop).text())

A look inspects each text that is new or changed since the last one, by a stack of defences, and
ranks the catalogue with the text of before in its place, all else as it is now: the difference is
what this one change did, whatever else changed. The first look has nothing to compare with and
ranks once. `usual.kept_guard` gives the guard that was fitted before, so that no new text has a say
in what is usual.

The state is written when a look is done, whole or not at all, and looks at one file wait for each
other. So a look that is cut off was none, and the next one sees its changes again. What a watch
cannot see are changes that were undone between two looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adwright.audit.catalogue.catalogue import ShopCatalogue
from adwright.audit.catalogue.orders import draw_orders
from adwright.audit.defences.stack import DefenceStack
from adwright.audit.targets.target import Ask, RankingCost, Target
from adwright.audit.watch.alerts import WatchAlert, WatchReport
from adwright.audit.watch.changes import TextEdit, text_edits
from adwright.audit.watch.state import WatchState, read_state, state_of, write_state
from adwright.core.atomic import locked
from adwright.core.config import Count, settings
from adwright.core.errors import ConfigError

Ranks = npt.NDArray[np.float64]


@settings
class WatchConfig:
    """orders: in which each ranking is made, for the mean. least_gain: ranks that a change must win
    to be suspicious by that alone. most_ranked: changes that are ranked in one look, the suspicious
    ones first; the rest is inspected only. seed: of the orders."""

    orders: Count = 5
    least_gain: float = 2.0
    most_ranked: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.least_gain > 0 or self.most_ranked < 0:
            raise ConfigError(
                "least_gain is above 0, and most_ranked 0 or more",
                where=f"WatchConfig({self.least_gain}, {self.most_ranked})",
                hint="correct the numbers",
            )


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
        orders = draw_orders(count, self._orders(count), seed=self._config.seed, purpose="score")
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

    def _orders(self, count: int) -> int:
        """As many as asked for, or all that few products have."""
        return min(self._config.orders, 2) if count == 2 else self._config.orders


def require_same(state: WatchState | None, shop: ShopCatalogue, path: Path) -> None:
    """Raise ConfigError where the state is of another catalogue."""
    if state is not None and state.catalogue != shop.name:
        raise ConfigError(
            f"the state is of the catalogue {state.catalogue!r}, and this is {shop.name!r}",
            where=str(path),
            hint="use a file for each catalogue",
        )
