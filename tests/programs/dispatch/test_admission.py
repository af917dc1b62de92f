"""What is let in, and when others may come."""

from __future__ import annotations

import pickle

import pytest

from adwright.core.errors import ConfigError
from adwright.programs.dispatch.terms import Admission, AdmissionBounds, OverloadedError


def admission_of(**bounds: int | None) -> Admission:
    return Admission(AdmissionBounds(**bounds), lambda tokens: tokens / 10)


def test_so_many_tokens_are_let_in_and_the_error_says_when_there_is_room() -> None:
    admission = admission_of(all_tokens=1_000)
    admission.let_in("a", 600)
    admission.let_in("b", 400)
    with pytest.raises(OverloadedError, match=r"1,000 tokens to do all together") as caught:
        admission.let_in("c", 300)
    assert caught.value.retry_after == 30.0
    assert pickle.loads(pickle.dumps(caught.value)).retry_after == 30.0  # noqa: S301
    admission.let_go("a", 600)
    admission.let_in("c", 300)
    assert admission.by_tenant == {"b": 400, "c": 300}
    admission.let_go("c", 300)
    admission.let_go("b", 400)
    assert (admission.tokens, admission.by_tenant) == (0, {})


def test_one_tenant_is_bounded_by_itself() -> None:
    admission = admission_of(all_tokens=None, tenant_tokens=100)
    admission.let_in("a", 90)
    with pytest.raises(OverloadedError, match="of one tenant"):
        admission.let_in("a", 20)
    admission.let_in("b", 100)


def test_who_comes_alone_is_let_in_however_much_it_is() -> None:
    """Else it would wait for ever: what can never fit is refused elsewhere."""
    admission = admission_of(all_tokens=100, tenant_tokens=50)
    admission.let_in("a", 5_000)
    assert admission.tokens == 5_000


def test_chains_on_the_engines_are_bounded_by_tenant() -> None:
    admission = admission_of(tenant_in_flight=100)
    assert admission.has_room("a", 500)
    admission.begin("a", 80)
    assert not admission.has_room("a", 30)
    assert admission.has_room("a", 20)
    assert admission.has_room("b", 30)
    admission.end("a", 80)
    assert admission.in_flight == {}
    assert admission_of().has_room("a", 10**9)


def test_bounds_are_positive() -> None:
    with pytest.raises(ConfigError, match="tenant_tokens must be at least 1"):
        AdmissionBounds(tenant_tokens=0)
