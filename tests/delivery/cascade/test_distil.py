"""Distillation targets are the fine stage's logits of what the sources find for training visits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.delivery.cascade.build import distil
from adwright.delivery.stages.histories import visit_requests
from adwright.delivery.stages.protocols import Shortlist
from tests.support.delivery.cascade_parts import deployment, task


def test_scores_are_the_logits_of_the_fine_stage() -> None:
    cascade, source = deployment().cascade(), task()
    found = distil(cascade, source, visits=20, items=6)
    assert cascade.fine is not None
    for n, visit in enumerate(found.visit):
        mine = slice(found.offsets[n], found.offsets[n + 1])
        codes = found.item[mine]
        batch = cascade.histories.batch(visit_requests(source, found.visit[n : n + 1]))
        p = cascade.fine.score(batch, Shortlist.of([codes]))
        np.testing.assert_allclose(found.score[mine], np.log(p / (1 - p)), rtol=1e-4, atol=1e-4)
        assert set(codes.tolist()) <= set(cascade.retrieve(batch).codes.tolist())
        assert len(set(codes.tolist())) == len(codes) == 6
        assert source.visit_end[visit] > source.user_offsets[source.visit_user[visit]]


def test_only_training_visits_teach() -> None:
    source = task()
    found = distil(deployment().cascade(), source, visits=1_000, items=3)
    assert set(found.visit.tolist()) <= set(source.visits("train").tolist())
    assert 0 < len(found.visit) < len(source.visits("train"))  # those without a past are left out


def test_half_is_what_the_person_had_most_often() -> None:
    cascade, source = deployment().cascade(), task()
    found = distil(cascade, source, visits=1_000, items=4)
    assert cascade.past is not None
    for n in range(len(found.visit)):
        batch = cascade.histories.batch(visit_requests(source, found.visit[n : n + 1]))
        own = set(cascade.past.find(batch, 2).codes.tolist())
        assert own <= set(found.item[found.offsets[n] : found.offsets[n + 1]].tolist())


@pytest.mark.parametrize("change", [{"visits": 3}, {"items": 2}, {"seed": 5}])
def test_each_argument_changes_the_targets(change: dict[str, int]) -> None:
    cascade = deployment().cascade()
    default = {"visits": 8, "items": 5, "seed": 0}
    one = distil(cascade, task(), **default)
    other = distil(cascade, task(), **default | change)
    assert one.hash != other.hash
    assert one.hash == distil(cascade, task(), **default).hash


def test_without_a_fine_stage_nobody_teaches() -> None:
    cascade = replace(deployment(), fine=None).cascade()
    with pytest.raises(ConfigError, match="fine stage"):
        distil(cascade, task(), visits=1, items=1)
