"""Items of many tenants that wait, and what each tenant has in work: whose turn is it?

    queue: TenantQueue[Job] = TenantQueue()
    queue.put("shop", job)
    while (tenant := queue.next(lambda one: queue.work[one] < 2)) is not None:
        begin(queue.pop(tenant))
        queue.work.add(tenant)

A long line of one tenant never stands before another's: who is served comes last in turn. Who may
come at all, and in which other order, is a policy that its owner passes. Nothing here locks.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class TenantCounts(Counter[str]):
    """How much each tenant has of something; who has nothing is not there."""

    def add(self, tenant: str, amount: int = 1) -> None:
        """Count so much more, or less."""
        self[tenant] += amount
        if not self[tenant]:
            del self[tenant]


class TenantQueue(Generic[T]):
    """Items by tenant, each tenant's in the order they came. Items are hashable, and each is put
    once. work: what its owner counts as in work."""

    def __init__(self) -> None:
        self.work = TenantCounts()
        # Tenants in the order of their turns.
        self._lines: OrderedDict[str, OrderedDict[T, None]] = OrderedDict()

    def __len__(self) -> int:
        """Items of all tenants."""
        return sum(map(len, self._lines.values()))

    def __iter__(self) -> Iterator[T]:
        return (item for line in self._lines.values() for item in line)

    @property
    def tenants(self) -> tuple[str, ...]:
        """Those that have items, in the order of their turns."""
        return tuple(self._lines)

    def waits(self, tenant: str) -> int:
        """Items of one tenant."""
        return len(self._lines.get(tenant, ()))

    def put(self, tenant: str, item: T) -> None:
        """Add an item behind the tenant's others; a tenant that had none comes last in turn."""
        self._lines.setdefault(tenant, OrderedDict())[item] = None

    def next(
        self, may: Callable[[str], bool], rank: Callable[[str], Any] | None = None
    ) -> str | None:
        """Whose turn it is of those that may; by `rank` where there is one, lowest first."""
        lines = self._lines if rank is None else sorted(self._lines, key=rank)
        return next((tenant for tenant in lines if may(tenant)), None)

    def head(self, tenant: str) -> T:
        """The tenant's first item."""
        return next(iter(self._lines[tenant]))

    def pop(self, tenant: str) -> T:
        """Take the tenant's first item, who comes last from now on."""
        item = self.head(tenant)
        self._lines.move_to_end(tenant)
        self.drop(tenant, item)
        return item

    def take(self, tenant: str, size: int, cost: Callable[[T], int] = lambda _: 1) -> list[T]:
        """Take the items of one turn: as many as cost no more than `size`, a heavier one alone."""
        items = list[T]()
        while tenant in self._lines:
            size -= cost(self.head(tenant))
            if items and size < 0:
                break
            items.append(self.pop(tenant))
        return items

    def drop(self, tenant: str, item: T) -> bool:
        """Take one item out of the line; whether it stood there."""
        line = self._lines.get(tenant, OrderedDict[T, None]())
        if item not in line:
            return False
        del line[item]
        if not line:
            del self._lines[tenant]
        return True

    def drop_last(self, tenant: str) -> T:
        """Take the tenant's last item."""
        item = next(reversed(self._lines[tenant]))
        self.drop(tenant, item)
        return item

    def drain(self, tenant: str) -> list[T]:
        """Take all items of a tenant."""
        return list(self._lines.pop(tenant, ()))
