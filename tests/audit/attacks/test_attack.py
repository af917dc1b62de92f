from __future__ import annotations

import json

import numpy as np
import pytest

from adwright.audit.attacks.attack import Attack, generator_of, kept_generator
from adwright.audit.attacks.templates import TemplateAttack
from adwright.core.errors import ResumeError
from tests.support.audit.attacked import praise_feedback


def test_a_generator_goes_on_from_its_state_as_json() -> None:
    rng = np.random.default_rng(3)
    rng.random(5)
    kept = json.loads(json.dumps(kept_generator(rng)))
    assert generator_of(kept).random(4).tolist() == rng.random(4).tolist()


@pytest.mark.parametrize("state", [{}, {"bit_generator": "other"}, {"bit_generator": "PCG64"}])
def test_what_is_no_state_is_refused(state: dict[str, str]) -> None:
    with pytest.raises(ResumeError, match="generator"):
        generator_of(state)


def test_attacks_have_one_face() -> None:
    assert isinstance(TemplateAttack(praise_feedback(), model="m"), Attack)
