from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adwright.core.errors import ArtifactError, ConfigError
from adwright.creative.editor.job.asked_judges import AskedJudges, opened_judges
from adwright.creative.editor.search.picture_judge import EnsembleJudge
from adwright.creative.records.verbal.record import AdRecord
from tests.support.data.judged_pictures import shop_windows

RECORD = AdRecord(kind="image", title="Bread")


def test_several_of_a_name_are_an_ensemble(bright: AskedJudges) -> None:
    pictures = shop_windows(2, seed=3)
    found = bright.of(RECORD)
    (ensemble,) = found.objectives
    assert isinstance(ensemble, EnsembleJudge)
    assert bright.several
    assert bright.names == ("click_rate",)
    members = ensemble.members(pictures)
    assert members.shape == (3, 2)
    np.testing.assert_allclose(ensemble.judge(pictures), members.mean(0))
    assert found.second is not None
    assert not np.allclose(found.second.judge(pictures), members.mean(0))
    assert len(found.searched) == 3
    assert found.second not in found.searched


def test_runs_are_opened(bright_runs: dict[str, Path]) -> None:
    with opened_judges([bright_runs["a"]], bright_runs["b"]) as one:
        assert not one.several
        assert not one.colours
        assert one.encoder is not None
        assert one.second is not None
        assert not isinstance(one.of(RECORD).objectives[0], EnsembleJudge)
        digest = one.digest
    with opened_judges([bright_runs["a"] / "model"]) as same:
        assert same.digest == (digest[0], "")
        assert same.of(RECORD).second is None


@pytest.mark.parametrize(
    ("names", "second", "several", "says"),
    [
        ((), None, False, "no judge"),
        (("a", "a"), None, False, "twice"),
        (("a", "b"), "b", False, "one of those"),
        (("a", "b"), None, True, "pareto takes"),
    ],
)
def test_judges_that_do_not_go_together_are_refused(
    bright_runs: dict[str, Path],
    names: tuple[str, ...],
    second: str | None,
    several: bool,
    says: str,
) -> None:
    folders = [bright_runs[name] for name in names]
    last = None if second is None else bright_runs[second] / "model"
    with (
        pytest.raises(ConfigError, match=says),
        opened_judges(folders, last, several_objectives=several),
    ):
        pass


def test_a_folder_without_a_judge(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no judge"), opened_judges([tmp_path]):
        pass
