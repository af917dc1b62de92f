"""The codes of the items that requests exclude.

Thousands may be excluded from every request, such as all that is stopped: looking each of them up
for each request would take longer than the models. So what was looked up is remembered, and the
set of the request before, which is often the very same, is not even gone through again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["ExcludedCodes"]

Ints = NDArray[np.int64]
#: Ids that are remembered, known to the catalogue or not; beyond, all are forgotten.
_MOST = 1_000_000


class ExcludedCodes:
    """Looks up sets of ids.

    codes: gives the int64 [N] codes of N ids, 0 for an unknown one.
    """

    def __init__(self, codes: Callable[[Sequence[str]], Ints], *, most: int = _MOST) -> None:
        self._codes = codes
        self._most = most
        self._known: dict[str, int] = {}
        self._last = (frozenset[str](), np.zeros(0, np.int64))

    def of(self, ids: frozenset[str]) -> Ints:
        """int64 [E], rising: the codes of those of the ids that are known."""
        last, found = self._last
        if ids is last:
            return found
        known = self._known
        new = [one for one in ids if one not in known]
        if len(known) + len(new) > self._most:
            known, new = {}, list(ids)
            self._known = known
        if new:
            known.update(zip(new, self._codes(new).tolist(), strict=True))
        found = np.sort(np.fromiter(map(known.__getitem__, ids), np.int64, len(ids)))
        found = found[np.searchsorted(found, 1) :]
        found.flags.writeable = False
        self._last = ids, found
        return found
