"""Whether texts that were found on one model move another, or with other wordings of a request.

    found = transferred(texts, {"a": target, "b": other}, catalogue, orders, found_on="a")
    found[0].net, found[0].kept

Texts found by gradient hardly transfer in "Manipulating LLMs to Increase Product Visibility" (net
3.5 on GPT-3.5 of 89.6 on the model itself); whoever audits a large model through a small one has to
say how much of a finding carries over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adwright.audit.catalogue.catalogue import ShopCatalogue
from adwright.audit.report.texts import SellerText
from adwright.audit.report.trials import RankTable, run_trials
from adwright.audit.targets.target import Target
from adwright.core.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Transfer:
    """Of all texts on one target and wording. net: share of trials with a better rank less those
    with a worse one. kept: net over that of the model and wording the texts were found on; None
    where that is 0. table: ranks of all trials."""

    target: str
    request: str
    net: float
    kept: float | None
    table: RankTable


def transferred(
    texts: Sequence[SellerText],
    targets: Mapping[str, Target],
    catalogue: ShopCatalogue,
    orders: Sequence[Sequence[int]],
    *,
    found_on: str,
    requests: Sequence[str] = (),
) -> list[Transfer]:
    """Try the texts on every target, in every wording; where they were found comes first.

    targets: by a name of one's own. orders: in which no text was chosen. found_on: the target that
    the texts were found on. requests: wordings, by default all of the catalogue; the first is the
    one they were found with. Raises ConfigError where `found_on` is no target, and as `run_trials`.
    """
    if found_on not in targets:
        raise ConfigError(
            "the model that the texts were found on is not among the targets",
            where=f"found_on {found_on!r}",
            hint=f"use one of {', '.join(targets)}",
        )
    asked = list(requests) or list(catalogue.requests)
    names = [found_on, *(name for name in targets if name != found_on)]
    found: list[Transfer] = []
    for name in names:
        for request in asked:
            table = run_trials(targets[name], catalogue, texts, orders, request=request)
            net = float(np.sign(table.before - table.after).mean())
            own = found[0].net if found else net
            found.append(Transfer(name, request, net, net / own if own else None, table))
    return found
