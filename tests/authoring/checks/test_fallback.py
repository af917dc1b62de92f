from __future__ import annotations

from adwright.authoring.checks.limits import limit_named
from adwright.authoring.checks.mending import template_text
from adwright.authoring.tasks import AuthoringRequest, Product, task_named

TEA = Product(
    "1",
    "Mill Lane <b>Assam</b> tea with 80 bags in a tin",
    brand="Mill Lane",
    category="Tea",
    attributes=(("Weight", "250 g"), ("Note", "x" * 300), ("Tin", "steel.")),
)
ADS = AuthoringRequest(task_named("ads"), TEA)


def always(_: str) -> bool:
    return True


def test_facts_stand_one_after_the_other() -> None:
    title = "Mill Lane Assam tea with 80 bags in a tin"
    assert template_text(ADS, always) == f"{title}. Weight: 250 g. Tin: steel."
    assert template_text(ADS, lambda one: "250" not in one) == f"{title}. Tin: steel."


def test_a_title_is_a_title_alone() -> None:
    request = AuthoringRequest(task_named("titles"), TEA, (("query", "tea"),))
    assert template_text(request, always) == "Mill Lane Assam tea with 80 bags in a tin"


def test_it_fits_into_a_limit() -> None:
    limit = limit_named("google.headline")
    assert template_text(ADS, always, limit) == "Mill Lane Assam tea with 80"


def test_what_does_not_pass_is_not_returned() -> None:
    assert template_text(ADS, lambda one: len(one) < 10) == "Mill Lane"
    assert template_text(ADS, lambda one: one == "Tea") == "Tea"
    assert template_text(ADS, lambda _: False) == ""
