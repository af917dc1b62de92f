"""A queue that serves tenants in turn, so that a long line of one does not stand before another."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items of many tenants, in turn by cost: in a round each gets the same, whatever waits.

    size: the cost that a tenant may take in one turn; a heavier item goes alone. cost: of an
    item. Items are hashable, and each is put once. Holds no lock: whoever shares it does.
    """

    def __init__(self, size: Callable[[], int], cost: Callable[[T], int] = lambda _: 1) -> None:
        self._size = size
        self._cost = cost
        # Tenants in the order of their turns, the items of each in the order they came.
        self._lanes: OrderedDict[str, OrderedDict[T, None]] = OrderedDict()

    def __len__(self) -> int:
        """Items of all tenants."""
        return sum(map(len, self._lanes.values()))

    @property
    def tenants(self) -> int:
        """How many tenants have items."""
        return len(self._lanes)

    def waits(self, tenant: str) -> int:
        """Items of one tenant."""
        return len(self._lanes.get(tenant, ()))

    def put(self, tenant: str, item: T) -> None:
        """Add an item behind the tenant's others; a tenant that had none comes last in turn."""
        self._lanes.setdefault(tenant, OrderedDict())[item] = None

    def next(self, busy: Container[str] = ()) -> str | None:
        """Whose turn it is, of those that are not busy; None where none of them has an item."""
        return next((tenant for tenant in self._lanes if tenant not in busy), None)

    def take(self, tenant: str) -> list[T]:
        """The items of one turn of that tenant, who comes last from now on."""
        lane = self._lanes.get(tenant)
        if lane is None:
            return []
        items, left = list[T](), self._size()
        for item in lane:
            left -= self._cost(item)
            if items and left < 0:
                break
            items.append(item)
        for item in items:
            del lane[item]
        self._lanes.move_to_end(tenant)
        self._forget(tenant)
        return items

    def drop(self, tenant: str, item: T) -> bool:
        """Take one item out of the line; whether it stood there."""
        lane = self._lanes.get(tenant, OrderedDict[T, None]())
        if item not in lane:
            return False
        del lane[item]
        self._forget(tenant)
        return True

    def drain(self, tenant: str) -> list[T]:
        """Take all items of a tenant."""
        return list(self._lanes.pop(tenant, ()))

    def _forget(self, tenant: str) -> None:
        if not self._lanes[tenant]:
            del self._lanes[tenant]
