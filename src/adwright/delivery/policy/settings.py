"""Settings of how slates are filled: the file serving.toml of a tenant.

    seed = 7
    explore = 0.02            the share of the expected value that is given up to learn
    [policy]                  or the rule of a place; greedy without
    [[caps]]                  frequency caps, any number
    [pacing]                  budgets of campaigns
    [diversity]               variety down the slate
    [creatives]               which creative of an item is shown
    [evidence]                for Thompson sampling: learn from impressions and responses
    [campaigns], [categories] which items belong together

`docs/policies.md` has an example of each. Names that lead nowhere are refused: a budget of a
campaign without items would silently pace nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from adwright.core.clock import Clock
from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.data.schema import EventKind
from adwright.delivery.decision import Candidates
from adwright.delivery.experiments import ExperimentSettings
from adwright.delivery.policy.creatives import CreativeSettings
from adwright.delivery.policy.pacing import (
    BudgetPacer,
    BudgetPacingConfig,
    CategoryLimit,
    CategorySimilarity,
    Diversity,
    DiversityConfig,
    FrequencyCap,
    FrequencyCapConfig,
    Limit,
    PolicyRecords,
    Similarity,
    VectorSimilarity,
)
from adwright.delivery.policy.rules import (
    Exploration,
    GreedyConfig,
    ItemCounts,
    PolicyConfig,
    ThompsonConfig,
    reads_probabilities,
)
from adwright.delivery.policy.slate_policy import (
    Adjustment,
    SlatePolicy,
    build_policy,
    solve_exploration,
)

#: Ids of N items and their vectors [N, D].
ItemVectors = tuple[Sequence[str], NDArray[np.floating]]
_LONGEST_ID = 128


@settings
class EvidenceSettings:
    """Evidence for Thompson sampling between two trainings. response: the kind of event that counts
    as a success."""

    response: EventKind = "click"


@dataclass(frozen=True)
class PolicySettings:
    """The keys of serving.toml.

    explore: the share of the expected value that exploration may cost, above 0 and below 1; 0 for
    none. policy: in place of it, how the places are filled. policy_id: its name in the log; by
    default the policy's own. seed: of the policy's chance. caps, pacing, diversity: adjustments.
    evidence: for Thompson sampling. creatives: how one of an item's live ones is chosen. campaigns,
    categories: items of each, by name. experiment: arms beside all of this, see
    `delivery.experiments`.

    Raises ConfigError that names the key.
    """

    explore: float = 0.0
    policy: PolicyConfig = field(default_factory=GreedyConfig)
    policy_id: str = ""
    seed: int = 0
    caps: tuple[FrequencyCapConfig, ...] = ()
    pacing: BudgetPacingConfig | None = None
    diversity: DiversityConfig | None = None
    evidence: EvidenceSettings | None = None
    creatives: CreativeSettings = field(default_factory=CreativeSettings)
    experiment: ExperimentSettings | None = None
    campaigns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.explore < 1:
            raise ConfigError(
                "the share given up to explore lies between 0 and 1",
                where=f"key explore, {self.explore:g}",
                hint="0.02 gives up 2% of what is expected to be taken",
            )
        if self.explore and not isinstance(self.policy, GreedyConfig):
            raise ConfigError(
                "explore and a policy that explores in its own way exclude each other",
                where=f"key explore, policy {self.policy.kind}",
                hint="leave [policy] out, or explore",
            )
        if self.seed < 0:
            raise ConfigError("the seed must not be negative", where=f"key seed, {self.seed}")
        if len(self.policy_id) > _LONGEST_ID or not self.policy_id.isprintable():
            raise ConfigError(
                f"an id has at most {_LONGEST_ID} printable characters", where="key policy_id"
            )
        if self.evidence is not None and not isinstance(self.policy, ThompsonConfig):
            raise ConfigError(
                "only Thompson sampling learns from evidence",
                where=f"key evidence, policy {self.policy.kind}",
                hint='leave it out, or set policy.kind = "thompson"',
            )
        _group_of(self.campaigns, "campaigns")
        _group_of(self.categories, "categories")
        pers = {cap.per for cap in self.caps}
        by_category = self.diversity is not None and self.diversity.by_category
        for needed, table, name in (
            ("campaign" in pers, self.campaigns, "campaigns"),
            ("category" in pers or by_category, self.categories, "categories"),
        ):
            if needed and not table:
                raise ConfigError(
                    "the table of the items that belong together is missing",
                    where=f"key {name}",
                    hint=f'add [{name}] with lines such as spring = ["item-1", "item-2"]',
                )
        for name in sorted(set(self.pacing.budget if self.pacing else ()) - set(self.campaigns)):
            raise ConfigError(
                "a budget is of a campaign without items",
                where=f"key pacing.budget.{name}",
                hint=f"list its items as {name} below [campaigns]",
            )

    def build(
        self,
        *,
        known_until: datetime | None = None,
        vectors: ItemVectors | None = None,
        sample: Mapping[int, Sequence[Candidates]] | None = None,
        clock: Clock | None = None,
    ) -> tuple[SlatePolicy, PolicyRecords]:
        """The policy, and what keeps its limits and evidence up to date.

        known_until: events before this instant are in the scores already. vectors: of the
        model's items; None where it has none. sample: what the model offers to requests of so many
        places, in each of the stages in which it may answer; `explore` is solved for those of the
        first.
        Raises ConfigError where vectors are asked for and there are none, and for a policy that
        reads scores as probabilities where the sample's are none.
        """
        config = self._rule(sample or {})
        limits = self._limits()
        evidence = None
        if self.evidence is not None:
            evidence = ItemCounts(response=self.evidence.response, since=known_until)
        policy = build_policy(
            config,
            policy_id=self.policy_id,
            adjustments=[*limits, *self._variety(vectors)],
            evidence=evidence,
        )
        return policy, PolicyRecords(limits, evidence, clock=clock)

    @property
    def explores(self) -> bool:
        """Whether chance plays a part."""
        return self.explore > 0 or not isinstance(self.policy, GreedyConfig)

    def _rule(self, sample: Mapping[int, Sequence[Candidates]]) -> PolicyConfig | Exploration:
        key, found = f"key policy.kind, {self.policy.kind}", self.policy
        if self.explore:
            key = f"key explore, {self.explore:g}"
        elif not reads_probabilities(found):
            return found
        require_probabilities([one for lists in sample.values() for one in lists], key)
        if not self.explore:
            return found
        first = {k: [s for s in some if s.stage == some[0].stage] for k, some in sample.items()}
        return solve_exploration(self.explore, first)

    def _limits(self) -> list[Limit]:
        campaign = _group_of(self.campaigns, "campaigns")
        category = _group_of(self.categories, "categories")
        groups = {"item": None, "campaign": campaign, "category": category}
        limits: list[Limit] = [FrequencyCap(cap, of=groups[cap.per]) for cap in self.caps]
        if self.pacing is not None:
            limits.append(BudgetPacer(self.pacing, campaign=campaign))
        return limits

    def _variety(self, vectors: ItemVectors | None) -> list[Adjustment]:
        found: list[Adjustment] = []
        if self.diversity is None:
            return found
        category = _group_of(self.categories, "categories")
        if self.diversity.weight > 0:
            similarity: Similarity = CategorySimilarity(category)
            if self.diversity.similarity == "vectors":
                if vectors is None:
                    raise ConfigError(
                        "the model has no item vectors",
                        where="key diversity.similarity",
                        hint='use "category", or a cascade',
                    )
                similarity = VectorSimilarity(*vectors)
            found.append(Diversity(self.diversity, similarity))
        if self.diversity.max_per_category:
            found.append(CategoryLimit(self.diversity.max_per_category, category))
        return found


def require_probabilities(sample: Sequence[Candidates], where: str) -> None:
    """Raise ConfigError where a policy that reads scores as probabilities cannot read these."""
    raw = sorted({one.stage for one in sample if not one.probability})
    if raw:
        raise ConfigError(
            "the scores of this model are no probabilities, which this policy needs: it was saved "
            "before models were calibrated, or without visits to learn from (stage "
            f"{', '.join(raw)})",
            where=where,
            hint="train it again and publish that (a single network: publish it again with --log); "
            "or take epsilon_greedy, which needs none",
        )


def _group_of(groups: Mapping[str, Sequence[str]], key: str) -> dict[str, str]:
    """The group of each item. Raises ConfigError for an item in two groups."""
    found: dict[str, str] = {}
    for name, items in groups.items():
        for item_id in items:
            if found.setdefault(item_id, name) != name:
                raise ConfigError(
                    f"the item {item_id!r} is in two groups",
                    where=f"key {key}.{name}",
                    hint=f"it is in {found[item_id]} already",
                )
    return found
