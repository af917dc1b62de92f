"""Judges of pictures that a stand-in of the encoder looks for, and a shop with such pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from adwright.core.clock import SystemClock
from adwright.creative.editor.guard import EditLog, FileEditor
from adwright.creative.editor.job import JobTools
from adwright.creative.editor.job_faces import plain_guard
from adwright.creative.editor.job_judges import AskedJudges
from adwright.creative.editor.provenance import SigningKey, made_test_key
from adwright.creative.judges import open_judge
from tests.support.data.judged_pictures import Brightness, picture_judges, shop_windows

pytest.importorskip("PIL", reason="the extra creative is not installed")


@pytest.fixture(scope="session")
def bright_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of judges a, b, c and d, trained on the mean colours of pictures."""
    home = tmp_path_factory.mktemp("bright")
    return picture_judges(home, ("a", "b", "c", "d"), encoder=Brightness())


@pytest.fixture(scope="session")
def bright(bright_runs: dict[str, Path]) -> AskedJudges:
    """An ensemble of a, b and c, with d as the second judge."""
    judges = {name: open_judge(path) for name, path in bright_runs.items()}
    several = (judges["a"], judges["b"], judges["c"])
    return AskedJudges((("click_rate", several),), judges["d"], Brightness(), colours=False)


@pytest.fixture(scope="session")
def key() -> SigningKey:
    return made_test_key(SystemClock())


@pytest.fixture
def tools(bright: AskedJudges, key: SigningKey, tmp_path: Path) -> JobTools:
    """Those of a job without faces."""
    clock = SystemClock()
    log = EditLog(tmp_path / "job" / "edits.jsonl", clock)
    return JobTools(bright, FileEditor(plain_guard(log), key, clock, "Ada"), clock)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with ads.csv, five pictures, one of which is broken, and an ad of politics."""
    home = tmp_path / "shop"
    home.mkdir()
    for at, picture in enumerate(shop_windows(4, seed=7)):
        Image.fromarray(picture).save(home / f"{at}.png")
    (home / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    rows = ["id,headline,image", *(f"w{at},Window {at},{at}.png" for at in range(3))]
    rows += ["bad,Bad,bad.png", "none,No picture,", "vote,Vote for Ada,3.png"]
    (home / "ads.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return home
