"""What is kept of a run, and that a change of it is seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adwright.agent.operate.run_folder import (
    KeptRun,
    KeptTask,
    ReadRun,
    keep_run,
    read_run,
    set_aside,
    write_report,
)
from adwright.agent.operate.tasks import find_scripts, prepare_task
from adwright.agent.policy.gate import GateRules
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.runner import RunPolicy, RunReport, run_on_screen
from adwright.core.clock import FixedClock
from adwright.core.config import from_jsonable
from adwright.core.errors import AdwrightError, ArtifactCorruptError, ConfigError
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_driver import ShopDriver

TASK = 'Set the discount of "Spring" to 25'
KEPT = KeptTask(TASK, "plan", arguments=(("item", "Spring"),), tokens_in=3, tokens_out=4)


class PicturedShop(ShopDriver):
    """Its pictures are what a page takes for one."""

    def picture(self, masked: object = ()) -> bytes:
        return b"\x89PNG\r\n\x1a\n" + self._path.encode()


def kept(folder: Path, *, heal: bool = True) -> tuple[RunReport, str]:
    document = shop_document()
    app = ShopApp(labels={"Offers": "OFFERS"}, test_ids={"home-offers": "x"})
    ready = prepare_task(next(find_scripts(TASK, document)), TASK, document)
    report = run_on_screen(
        ready.checked,
        document,
        lambda gate: PicturedShop(app, gate),
        RunPolicy(GateRules(OriginRules((ORIGIN,))), heal=heal),
        ready.arguments,
        clock=FixedClock(),
        folder=folder,
        postconditions=ready.postconditions,
    )
    return report, keep_run(folder, report, ready.checked.script, KEPT)


def test_a_run_is_read_as_it_was(tmp_path: Path) -> None:
    report, mark = kept(tmp_path)
    found = read_run(tmp_path, mark)
    assert isinstance(found, ReadRun)
    assert (found.task, found.mark, found.report.verdict) == (KEPT, mark, "verified")
    assert (found.report.steps, found.report.written) == (report.steps, report.written)
    assert found.report.healed == report.healed
    assert read_run(tmp_path).mark == mark
    write_report(tmp_path / "again.html", found, tmp_path)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page == (tmp_path / "again.html").read_text("utf-8")
    assert "<title>Set the discount of" in page
    assert "share: &#39;10&#39; -&gt; &#39;25&#39;" in page
    assert page.count("<img") == len([one for one in report.steps if one.picture])


def test_no_more_of_the_app_is_kept_than_its_name(tmp_path: Path) -> None:
    kept(tmp_path)
    content = json.loads((tmp_path / "run.json").read_text("utf-8"))
    run = from_jsonable(KeptRun, content)
    assert (run.report.steps, run.report.document.elements) == ((), ())
    assert run.report.document.app == "shop"


@pytest.mark.parametrize("name", ["trace.jsonl", "run.json", "step-003.png"])
def test_a_change_is_seen(tmp_path: Path, name: str) -> None:
    _, mark = kept(tmp_path)
    path = tmp_path / name
    data = path.read_bytes()
    path.write_bytes(data.replace(b"Spring", b"Autumn") + b" ")
    with pytest.raises(ArtifactCorruptError):
        read_run(tmp_path, mark)
    path.unlink()
    with pytest.raises(AdwrightError):
        read_run(tmp_path, mark)


def test_another_run_in_its_place_is_seen(tmp_path: Path) -> None:
    _, mark = kept(tmp_path / "a")
    kept(tmp_path / "b", heal=False)
    (tmp_path / "a" / "trace.jsonl").write_bytes((tmp_path / "b" / "trace.jsonl").read_bytes())
    with pytest.raises(ArtifactCorruptError, match="not that of this run"):
        read_run(tmp_path / "a")
    assert read_run(tmp_path / "b").report.verdict == "stopped"
    with pytest.raises(ArtifactCorruptError, match="its mark is"):
        read_run(tmp_path / "b", mark)


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run that came to its end"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("[]", "utf-8")
    with pytest.raises(ArtifactCorruptError, match="cannot be read"):
        read_run(tmp_path)


def test_a_run_makes_room_for_another(tmp_path: Path) -> None:
    for number in (1, 2):
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "trace.jsonl").write_text(str(number))
        moved = set_aside(folder)
        assert (moved.name, folder.exists()) == (f"run-tried-{number}", False)
        assert (moved / "trace.jsonl").read_text() == str(number)
