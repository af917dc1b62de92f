"""Which setting is meant by a name that there is not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from adwright.core.config import (
    closest_name,
    names_at,
    suggesting,
)
from adwright.core.errors import ConfigError
from tests.core.config.test_declared import Fit


@dataclass(frozen=True)
class Whole:
    fit: Fit = field(default_factory=lambda: Fit(1))
    seed: int = 0


@suggesting
def train(task: str, *, fit: Fit | None = None, base: bool = False) -> str:
    """Answers with its task."""
    return task


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Fit(1, lr=0.1), "Fit takes no 'lr' [Fit] -> did you mean learning_rate?"),
        (lambda: Fit(1, epoch=3), "did you mean epochs?"),
        (lambda: Fit(1, rate=3), "did you mean optimiser=Optimiser(rate=...)?"),
        (lambda: Fit(1, zzz=3), "Fit takes no 'zzz' [Fit] -> it takes epochs, learning_rate, "),
        (
            lambda: train("a", epochs=1),
            "train takes no 'epochs' [train] -> did you mean fit=Fit(ep",
        ),
        (lambda: train("a", bass=True), "did you mean base?"),
    ],
)
def test_an_unknown_keyword_is_answered_with_the_one_that_was_meant(
    call: Any, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert message in str(caught.value)


def test_known_keywords_pass() -> None:
    assert train("a", fit=Fit(1)) == "a"
    assert Fit(epochs=2, learning_rate=0.5).learning_rate == 0.5
    with pytest.raises(TypeError, match="epochs"):
        Fit()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("lr", "learning_rate"),
        ("epoch", "epochs"),
        ("history", "max_history"),
        ("negativ_rate", "negative_rate"),
        ("zzz", None),
    ],
)
def test_the_closest_name(name: str, found: str | None) -> None:
    known = ["learning_rate", "epochs", "max_history", "negative_rate", "decay"]
    assert closest_name(name, known) == found


def test_the_names_at_a_place() -> None:
    assert names_at(Whole) == ["fit", "seed"]
    assert names_at(Whole, ("fit", "optimiser")) == ["rate", "kind"]
    assert names_at(Whole, ("seed",)) == []
    assert names_at(Whole, ("nowhere", "else")) == []
