from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from adwright.core.errors import ResumeError
from adwright.core.journal import append_rows, read_rows
from adwright.creative.memory.seed.sampling import write_ads
from adwright.creative.memory.seed.texts.brief import AdBrief
from adwright.lm.engine.generation import LanguageModel, Usage
from tests.support.creative.seed_rounds import CONFIG
from tests.support.writing import Teller

BRIEFS = [AdBrief(f"b{at}", brand=f"Brand {at}") for at in range(5)]
ASKED = replace(CONFIG, batch=2, tokens=40)


def opening(model: Teller) -> Callable[[], contextmanager[LanguageModel]]:  # type: ignore[valid-type]
    @contextmanager
    def opened() -> Iterator[LanguageModel]:
        yield model

    return opened


def echoing() -> Teller:
    return Teller(lambda prompt, call: prompt.splitlines()[1].removeprefix("Brand: ") + " is warm")


def test_each_brief_gets_its_ads_in_batches(tmp_path: Path) -> None:
    model, told = echoing(), list[Usage]()
    found = write_ads(
        BRIEFS, opening(model), ASKED, tmp_path / "x", samples=3, seed=7, told=told.append
    )
    assert found is not None
    assert [one.brief.id for one in found] == [one.id for one in BRIEFS]
    assert found[3].texts == ("Brand 3 is warm",) * 3
    assert found[3].cut == (False,) * 3
    assert [(count, config.seed) for count, config in model.calls] == [(6, 7), (6, 13), (3, 19)]
    assert {config.temperature for _, config in model.calls} == {ASKED.temperature}
    assert sum(one.completion_tokens for one in told) == 15 * len("Brand 3 is warm ")


def test_what_has_no_end_is_noted(tmp_path: Path) -> None:
    short = replace(ASKED, tokens=5)
    found = write_ads(BRIEFS[:1], opening(echoing()), short, tmp_path / "x", samples=1, seed=0)
    assert found is not None
    assert (found[0].texts, found[0].cut) == (("Brand",), (True,))


def test_only_what_is_missing_is_written(tmp_path: Path) -> None:
    """Whole batches stay; a batch that was cut off is asked for again as it was."""
    whole, parts = tmp_path / "a", tmp_path / "b"
    write_ads(BRIEFS, opening(echoing()), ASKED, whole, samples=2, seed=1)
    parts.write_bytes(b"\n".join(whole.read_bytes().split(b"\n")[:3]) + b"\n{")
    model = echoing()
    found = write_ads(BRIEFS, opening(model), ASKED, parts, samples=2, seed=1)
    assert [(count, config.seed) for count, config in model.calls] == [(4, 5), (2, 9)]
    assert parts.read_bytes() == whole.read_bytes()
    never = Teller(lambda prompt, call: 1 / 0)  # type: ignore[arg-type, return-value]
    assert write_ads(BRIEFS, opening(never), ASKED, parts, samples=2, seed=1) == found


def test_a_spent_budget_ends_it_between_batches(tmp_path: Path) -> None:
    lines, calls = tmp_path / "x", list[int]()

    def spent() -> bool:
        calls.append(1)
        return len(calls) > 2

    asked = {"samples": 1, "seed": 0}
    assert write_ads(BRIEFS, opening(echoing()), ASKED, lines, spent=spent, **asked) is None
    assert len(read_rows(lines, dict)) == 4
    assert write_ads(BRIEFS, opening(echoing()), ASKED, lines, **asked) is not None


def test_a_file_of_other_briefs_is_refused(tmp_path: Path) -> None:
    lines = tmp_path / "x"
    append_rows(lines, [{"brief": "other", "texts": [], "cut": []}])
    with pytest.raises(ResumeError, match="'other' where 'b0' is due"):
        write_ads(BRIEFS, opening(echoing()), ASKED, lines, samples=1, seed=0)
