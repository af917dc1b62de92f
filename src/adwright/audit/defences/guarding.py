"""The guard as a defence: a text that alarms is left out before the ranker reads the listing.

    cleaner = GuardCleaner(guard)
    cleaner.clean(listing)

The facts of the product stay, so that a false alarm costs a seller the text and not the place in
the list. Whether a text alarms depends on it and on the guard alone, never on the other sellers'
texts: so what is bounded by a certificate stays so. For that the guard is fixed beforehand; one
that is told of peers (`TextGuard.with_peers`) must be told of them before, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from adwright.audit.catalogue.listing import ShopListing
from adwright.audit.defences.guard.guard import TextGuard, TextVerdict, guard_texts


@dataclass(frozen=True)
class GuardCleaner:
    """guard: what judges. alpha: the share of honest texts that may alarm; the guard's own where it
    is None."""

    guard: TextGuard
    alpha: float | None = None

    @property
    def name(self) -> str:
        """Of the defence."""
        alpha = self.guard.config.alpha if self.alpha is None else self.alpha
        return f"guard at {alpha:.1%} false alarms"

    def clean(self, listing: ShopListing) -> ShopListing:
        """The listing with every text that alarms empty."""
        for verdict in self.verdicts(listing):
            if verdict.alarm:
                listing = listing.with_text(verdict.text.field, "")
        return listing

    def verdicts(self, listing: ShopListing) -> list[TextVerdict]:
        """A verdict for each text of the listing, in the order of its texts."""
        return self.guard.look(guard_texts([listing]), alpha=self.alpha)
