from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from adwright.core.config import load_toml
from adwright.core.errors import ConfigError
from adwright.delivery.policy.rules import ItemCounts
from adwright.delivery.policy.settings import ItemVectors, PolicySettings
from adwright.delivery.policy.slate_policy import SlatePolicy
from tests.support.delivery.policy_requests import NOON, candidates, request

GROUPS = """
[campaigns]
one = ["a", "b"]
[categories]
x = ["a", "b"]
y = ["c"]
"""


def settings(tmp_path: Path, text: str) -> PolicySettings:
    path = tmp_path / "serving.toml"
    path.write_text(text)
    return load_toml(path, PolicySettings)


def slate(policy: SlatePolicy, **changes: object) -> tuple[str, ...]:
    asked = request(**{"k": 4, **changes})
    return policy.decide(asked, candidates(), np.random.default_rng(0)).item_ids


def built(tmp_path: Path, text: str, vectors: ItemVectors | None = None) -> SlatePolicy:
    """The policy of the settings, after "a" was shown to ann."""
    policy, records = settings(tmp_path, text + GROUPS).build(vectors=vectors)
    shown = policy.decide(request(k=1), candidates(), np.random.default_rng(0))
    records.observe(shown.impressions())
    return policy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("a", "b", "c", "d")),
        ("[[caps]]\nlimit = 1", ("b", "c", "d")),
        ("[[caps]]\nlimit = 2", ("a", "b", "c", "d")),
        ('[[caps]]\nlimit = 2\nper = "campaign"', ("a", "c", "d")),
        ('[[caps]]\nlimit = 9\n[[caps]]\nlimit = 1\nper = "category"', ("c", "d")),
        ("[pacing]\ngain = 0.0\nbudget.one = 2.0", ("a", "c", "d")),
        ("[pacing]\ngain = 0.0\ncost = 0.5\nbudget.one = 2.0", ("a", "b", "c", "d")),
        ("[diversity]\nweight = 0.1", ("a", "c", "b", "d")),
        ('[diversity]\nmethod = "dpp"\nweight = 0.5', ("a", "c", "d", "b")),
        ("[diversity]\nweight = 0.0\nmax_per_category = 1", ("a", "c", "d")),
    ],
)
def test_each_setting_changes_the_slate(
    tmp_path: Path, text: str, expected: tuple[str, ...]
) -> None:
    assert slate(built(tmp_path, text)) == expected


def test_a_flight_has_a_start_and_an_end(tmp_path: Path) -> None:
    text = "[pacing]\nstart = 2024-03-02T00:00:00Z\nend = 2024-03-03T00:00:00Z\nbudget.one = 2.0"
    assert slate(built(tmp_path, text)) == ("c", "d")


def test_diversity_can_go_by_the_models_vectors(tmp_path: Path) -> None:
    vectors = ["a", "b", "c", "d"], np.array([[1.0, 0], [0, 1], [1, 0], [1, 1]])
    text = '[diversity]\nweight = 0.2\nsimilarity = "vectors"'
    assert slate(built(tmp_path, text, vectors)) == ("a", "b", "c", "d")
    with pytest.raises(ConfigError, match=r"no item vectors \[key diversity.similarity"):
        built(tmp_path, text)


def test_thompson_learns_from_evidence_since_training(tmp_path: Path) -> None:
    text = 'policy_id = "bandit"\n[policy]\nkind = "thompson"\nstrength = 1.0\n[evidence]\n'
    chosen = settings(tmp_path, text + 'response = "purchase"')
    policy, records = chosen.build(known_until=NOON)
    assert policy.policy_id == "bandit"
    assert (records.since, records.kinds) == (NOON, {"impression", "purchase"})
    before = policy.propensity(request(k=1), candidates(), ["d"])
    row = {"item_id": "d", "time": NOON}
    records.observe([{**row, "kind": kind} for kind in ("impression", "purchase")] * 5)
    (after,) = policy.propensity(request(k=1), candidates(), ["d"])
    assert after > 2 * before[0]
    # Events of before the training are in the scores already.
    records.observe([{**row, "kind": "impression", "time": NOON.replace(hour=1)}] * 5)
    assert policy.propensity(request(k=1), candidates(), ["d"])[0] == after
    counts = ItemCounts(response="purchase")
    counts.record([{**row, "kind": kind} for kind in ("impression", "purchase")] * 5)
    same, _ = settings(tmp_path, text).build()
    assert same.propensity(request(k=1), candidates(), ["d"]) == pytest.approx(before)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("sed = 1", "key sed"),
        ("seed = -1", "key seed"),
        ('policy_id = "a\\nb"', "key policy_id"),
        ("[[caps]]\nlimitt = 1", "key caps.0.limitt"),
        ('[[caps]]\nper = "basket"', "key caps.0.per"),
        ("[[caps]]\nlimit = 0", "limit must be at least 1, not 0"),
        ('[[caps]]\nper = "campaign"', "key campaigns"),
        ('[[caps]]\nper = "category"', "key categories"),
        ("[pacing]\ncost = 1.0", "key pacing.budget"),
        ("[pacing]\nbudget.two = 1.0\n[campaigns]\none = ['a']", "key pacing.budget.two"),
        ('[pacing]\nbudget.one = "much"', "key pacing.budget.one"),
        ("[pacing]\nbudget.one = 1.0\nstart = 2024-03-02T00:00:00Z", "start 2024"),
        ("[diversity]\nwight = 1.0", "key diversity.wight"),
        ("[diversity]\nmax_per_category = -1", "max_per_category must not be negative"),
        ("[diversity]\nweight = 1.0", "key categories"),
        ("explore = 1.0", "key explore, 1"),
        ("explore = 0.1\n[policy]\nkind = 'softmax'", "key explore, policy softmax"),
        ("[evidence]", "key evidence, policy greedy"),
        ("[creatives]\nfloor = 1.5", "floor must be at most 1, not 1.5"),
        ("[creatives]\nkind = 'ucb'", "key creatives.kind"),
        ('[policy]\nkind = "thompson"\n[evidence]\nresponse = "nod"', "key evidence.response"),
        ("[campaigns]\none = ['a']\ntwo = ['a']", "key campaigns.two"),
    ],
)
def test_wrong_settings_are_refused_with_file_and_key(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        settings(tmp_path, text)
    assert "serving.toml" in str(error.value)
    assert key in str(error.value)


def test_the_example_of_the_documentation_holds_every_setting(tmp_path: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "policies.md"
    blocks = re.findall(r"^```toml\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    text = max(blocks, key=len)
    found = settings(tmp_path, text)
    written = tomllib.loads(text)
    # explore stands in place of a policy.
    assert {*written, "explore"} == {each.name for each in fields(PolicySettings)}
    for name, part in (
        ("policy", found.policy),
        ("caps", found.caps[0]),
        ("pacing", found.pacing),
        ("diversity", found.diversity),
        ("evidence", found.evidence),
        ("creatives", found.creatives),
    ):
        table = written[name][0] if name == "caps" else written[name]
        names = {each.name for each in fields(part)}  # type: ignore[arg-type]
        # The family normal has a spread; a flight instead of days a start and an end; epsilon is
        # of another kind, and without a trust it is learnt.
        assert names - table.keys() <= {"spread", "start", "end", "epsilon", "prior_trust"}
    policy, records = found.build()
    assert policy.policy_id == "spring trial"
    assert [each.name for each in policy.adjustments] == [
        "frequency cap",
        "frequency cap",
        "budget pacing",
        "diversity",
        "category limit",
    ]
    assert records.kinds == {"impression", "click"}
