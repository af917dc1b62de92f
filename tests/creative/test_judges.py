import json
from pathlib import Path

import pytest

from adwright.core.artifacts import save_artifact
from adwright.core.errors import ArtifactError
from adwright.creative.judges import JUDGES, open_judge


def test_what_judges_no_ads_is_refused(tmp_path: Path) -> None:
    assert set(JUDGES) == {"click_rate", "memorability", "lifetime"}
    save_artifact(tmp_path / "other" / "model", kind="ranker", config={}, tensors={})
    with pytest.raises(ArtifactError, match="judges no ads"):
        open_judge(tmp_path / "other")
    with pytest.raises(ArtifactError):
        open_judge(tmp_path / "nothing")


def test_a_language_form_is_told_by_its_record(tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_text(json.dumps({"form": "language"}), "utf-8")
    with pytest.raises(ArtifactError, match="no language form"):
        open_judge(tmp_path)
