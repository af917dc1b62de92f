"""By what terms the dispatcher works: all that can be chosen, with a default for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.programs.dispatch.admission import AdmissionBounds
from adwright.programs.dispatch.canary import CanaryTerms
from adwright.programs.dispatch.keeper import KeeperBounds
from adwright.programs.scheduling.order import OrderTerms
from adwright.programs.scheduling.placement import PlacementTerms

__all__ = ["DispatchTerms"]

_NO_WEIGHTS: Mapping[str, float] = {}


@settings
class DispatchTerms:
    """weights: of tenants, 1 where not given. order, placement: see there. cache_quota: tokens of
    prefixes that a tenant may hold on an engine; None: all. admission: what may wait. keeper: when
    engines are dead, and when they are started again. canary: None: caches are not checked.
    call_seconds: that one attempt may take. retry_seconds: until the first error of a chain is
    followed by another attempt; twice as long after each further one. stop_seconds: that a
    cancelled call may take to end. one_domain: there is only one who shares prefixes, so that
    engines which keep those of all together may be used.
    Raises ConfigError for seconds, a quota or a weight that is not positive.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: _NO_WEIGHTS)
    order: OrderTerms = field(default_factory=OrderTerms)
    placement: PlacementTerms = field(default_factory=PlacementTerms)
    cache_quota: int | None = None
    admission: AdmissionBounds = field(default_factory=AdmissionBounds)
    keeper: KeeperBounds = field(default_factory=KeeperBounds)
    canary: CanaryTerms | None = field(default_factory=CanaryTerms)
    call_seconds: float = 600.0
    retry_seconds: float = 0.1
    stop_seconds: float = 10.0
    one_domain: bool = False

    def __post_init__(self) -> None:
        positive = {
            name: getattr(self, name) for name in ("call_seconds", "retry_seconds", "stop_seconds")
        }
        positive |= {f"weights of {tenant}": weight for tenant, weight in self.weights.items()}
        if self.cache_quota is not None:
            positive["cache_quota"] = self.cache_quota
        for name, value in positive.items():
            if not value > 0:
                raise ConfigError(f"{name} must be above 0", where=f"DispatchTerms {name} {value}")
