from __future__ import annotations

import numpy as np
import pytest
import torch

from adwright.delivery.stages.protocols import Shortlist
from adwright.delivery.stages.vector_scorer import VectorScorer
from adwright.delivery.stages.vector_source import QueryVectors
from adwright.models.retrieval.multi_interest import combine
from adwright.training.retrieval.artifact import RetrieverArtifact
from tests.support.delivery.cascade_parts import hcn, histories, request, two_tower

LISTS = [np.array([4, 2, 9]), np.array([], np.int64), np.array([12])]


@pytest.mark.parametrize("artifact", [two_tower(), hcn()], ids=["two_tower", "hcn"])
def test_scores_are_the_models_own(artifact: RetrieverArtifact) -> None:
    known = histories()
    crowd = known.crowd([request("u1"), request("u2"), request("nobody")])
    stage = VectorScorer(QueryVectors(artifact, known))
    found = stage.score(crowd, Shortlist.of(LISTS))
    vectors = stage.queries(crowd)
    wanted = [
        float(combine(torch.from_numpy(mine @ artifact.vectors[c]), *artifact.weighting, dim=0))
        for mine, codes in zip(vectors, LISTS, strict=True)
        for c in codes
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert not stage.probability


def test_cost_is_one_product_a_candidate() -> None:
    known = histories()
    stage = VectorScorer(QueryVectors(hcn(), known))
    crowd = known.crowd([request("u1"), request("u2"), request("nobody")])
    cost = stage.cost(crowd, Shortlist.of(LISTS))
    assert cost.flops == 2 * 4 * 3 * hcn().vectors.shape[1]
