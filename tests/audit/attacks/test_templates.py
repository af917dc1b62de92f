from __future__ import annotations

from typing import get_args

import pytest

from adwright.audit.attacks.templates import TEMPLATES, TemplateAttack, TemplateKind, template_texts
from adwright.core.errors import ConfigError, ResumeError
from tests.support.audit.attacked import praise_feedback, tea_goal


def test_every_kind_has_texts_about_the_product() -> None:
    found = template_texts(tea_goal())
    assert {kind for kind, _ in found} == set(get_args(TemplateKind)) == set(TEMPLATES)
    assert all("Black Tea" in text for _, text in found if "best best" not in text)
    assert not any("{" in text for _, text in found)
    assert all(text.startswith(" ") for _, text in found)


def test_kinds_can_be_chosen() -> None:
    assert {kind for kind, _ in template_texts(tea_goal(), ["hidden"])} == {"hidden"}
    with pytest.raises(ConfigError, match="unknown kind"):
        template_texts(tea_goal(), ["spam"])  # type: ignore[list-item]


def test_the_template_that_helps_most_is_kept() -> None:
    attack = TemplateAttack(praise_feedback(), model="counts")
    steps = list(attack.steps())
    assert len(steps) == sum(map(len, TEMPLATES.values()))
    assert "best" in steps[-1].text
    assert steps[-1].value == 1
    assert [one.value for one in steps] == sorted((one.value for one in steps), reverse=True)
    assert attack.tier == "T0"


def test_it_goes_on_behind_a_step() -> None:
    whole = list(TemplateAttack(praise_feedback(), model="m").steps())
    rest = list(TemplateAttack(praise_feedback(), model="m").steps(whole[4].state))
    assert rest == whole[5:]


def test_it_ends_with_its_budget() -> None:
    assert len(list(TemplateAttack(praise_feedback(calls=5), model="m").steps())) == 2


def test_another_state_is_refused() -> None:
    with pytest.raises(ResumeError):
        next(TemplateAttack(praise_feedback(), model="m").steps({"at": "x"}))
