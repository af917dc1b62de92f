"""Two policies side by side: each user meets one of them, always the same.

The arm is a hash of a salt and the user's id, so that every process, the service and whoever
reads its log agree on it without a table. Another salt assigns users anew, which keeps two
experiments independent. The log names the arm's own policy, and propensities are
those of that policy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import numpy as np

from adwright.core.errors import ConfigError
from adwright.delivery.decision import Candidates, Decision, Policy, Request

__all__ = ["ABSplit", "Arm", "SplitPolicy"]

Arm = Literal["A", "B"]


@dataclass(frozen=True)
class ABSplit:
    """How users are assigned to the arms. salt: names the experiment. share: of B, in [0, 1]."""

    salt: str = "a/b"
    share: float = 0.5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.share) and 0 <= self.share <= 1):
            raise ConfigError("the share of B lies in [0, 1]", where=f"share {self.share}")

    def arm(self, user_id: str) -> Arm:
        """The arm of a user: B where the hash, as a fraction of its range, is below the
        share."""
        # Lengths first, so that no two pairs of salt and user give the same bytes.
        text = f"{len(self.salt)}:{self.salt}{user_id}".encode("utf-8", "surrogatepass")
        digest = blake2b(text, digest_size=8).digest()
        return "B" if int.from_bytes(digest, "big") < self.share * 2**64 else "A"


class SplitPolicy:
    """A Policy that passes each request to `a` or `b`, by the user.

    Raises ConfigError where the two have one id: their decisions could not be told apart.
    """

    def __init__(self, a: Policy, b: Policy, split: ABSplit | None = None) -> None:
        if a.policy_id == b.policy_id:
            raise ConfigError(
                "both policies have the same id",
                where=f"policy {a.policy_id}",
                hint="give each its own policy_id, also to compare a policy with itself",
            )
        self.a, self.b = a, b
        self.split = ABSplit() if split is None else split

    @property
    def policy_id(self) -> str:
        """Id of the pair; decisions carry the id of the arm's policy."""
        return f"split({self.a.policy_id}, {self.b.policy_id})"

    def of(self, user_id: str) -> Policy:
        """The policy of this user's arm."""
        return self.b if self.split.arm(user_id) == "B" else self.a

    def decide(
        self, request: Request, candidates: Candidates, rng: np.random.Generator
    ) -> Decision:
        """The decision of the policy of the user's arm."""
        return self.of(request.user_id).decide(request, candidates, rng)
