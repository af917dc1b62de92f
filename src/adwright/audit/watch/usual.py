"""What is usual in a catalogue, for a watch: a guard that no new text had a say in.

    guard = kept_guard("watch/kettles.json", shop)

At the first look it is fitted to the texts of the catalogue, and lies from then on beside the state
(`watch/kettles.guard`), an artifact: later looks judge by what was usual then. So what a look let
through, or what nobody acted on, does not become usual by the next one. `refit` takes the texts of
the last look as usual, once somebody has gone through them; honest texts of one's own are better.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adwright.audit.catalogue.catalogue import ShopCatalogue
from adwright.audit.catalogue.listing import ShopListing
from adwright.audit.defences.guard.guard import TextGuard, guard_texts
from adwright.audit.defences.guard.kept import GUARD_KIND, load_guard, save_guard
from adwright.audit.watch.state import WatchState, read_state
from adwright.audit.watch.watch import require_same
from adwright.core.artifacts import load_artifact


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
    if folder.exists() and not refit and _is_of(folder, digest):
        return load_guard(folder)
    if honest is None:
        guard = known_guard(state, shop, seed=seed)
    else:
        guard = _fitted(honest.listings, seed)
    save_guard(guard, folder, data_hash=digest, seed=seed, overwrite=True)
    return guard


def known_guard(state: WatchState | None, shop: ShopCatalogue, *, seed: int = 0) -> TextGuard:
    """A guard fitted to the texts of the last look, or on the first one to those of the catalogue.
    Raises DataError where there are too few."""
    listings: Sequence[ShopListing] = shop.listings
    if state is not None:
        listings = [
            ShopListing(name, one.attributes, one.texts, one.merchant)
            for name, one in state.listings.items()
        ]
    return _fitted(listings, seed)


def _fitted(listings: Sequence[ShopListing], seed: int) -> TextGuard:
    return TextGuard.fit(guard_texts(listings), np.random.default_rng(seed))


def _is_of(folder: Path, digest: str) -> bool:
    """Whether the guard was fitted to the honest products of this digest, or none are asked for."""
    return not digest or load_artifact(folder, kind=GUARD_KIND).data_hash == digest
