from __future__ import annotations

from pathlib import Path

import pytest

from adwright.core.errors import ResourceError
from adwright.creative.lifetime.retire import open_retirement
from adwright.creative.lifetime.stop_list import RetirementList
from adwright.demos.folder import DemoPart
from adwright.demos.retirement import retirement_demo
from tests.support.data.small_life_log import SmallLives


def test_it_trains_replays_and_lists(tmp_path: Path) -> None:
    lives, out = SmallLives(200), tmp_path / "out"
    first = retirement_demo(DemoPart(out), before=13, epochs=1, lives=lives)
    assert first.past.periods == (13, 20)
    assert first.found.facts.period == 20
    assert first.page.is_file()
    assert "Value kept against cost saved" in first.page.read_text("utf-8")
    assert RetirementList.open(out / "list").id == first.found.id
    assert open_retirement(out).id == first.found.facts.model_id
    again = retirement_demo(DemoPart(out), before=13, epochs=1, lives=lives)
    assert again.found.units.equals(first.found.units)
    assert {"replay the rule", "list what to stop"} <= set(first.seconds)


def test_it_takes_no_folder_of_another(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ResourceError, match="no demonstration made"):
        retirement_demo(DemoPart(tmp_path), lives=SmallLives(20))
