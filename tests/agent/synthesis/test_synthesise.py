"""Tasks of the shop in a file that is gone on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adwright.agent.synthesis.intents import IntentConfig
from adwright.agent.synthesis.synthesise import (
    SynthesisConfig,
    SynthesisReport,
    document_hash,
    is_held_state,
    read_synthesised,
    synthesise,
)
from adwright.core.clock import SystemClock
from adwright.core.errors import ConfigError, DataError, ResourceError
from tests.agent.synthesis.test_intents import KNOWN
from tests.support.agent.disposable_shop import DisposableShop
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import shop_document

DOCUMENT = shop_document()
CONFIG = SynthesisConfig(IntentConfig(most=9, seed=3))


def make(
    path: Path, config: SynthesisConfig = CONFIG, app: DisposableShop | None = None, **more: object
) -> SynthesisReport:
    shop = app or DisposableShop()
    return synthesise(DOCUMENT, shop, path, config, clock=SystemClock(), known=KNOWN, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "rows.jsonl"
    make(path)
    return path


def test_tasks_say_where_they_come_from(made: Path) -> None:
    tasks = read_synthesised(made)
    assert len(tasks) == 9
    one = tasks[0]
    assert (one.app, one.document, one.seed) == ("shop", document_hash(DOCUMENT), 0)
    assert [each.use for each in one.wordings] == ["learn"] * 3 + ["judge"]
    assert one.script.endswith(")\n")


def test_what_is_done_is_not_done_again(made: Path) -> None:
    shop = DisposableShop()
    report = make(made, app=shop)
    assert shop.started == 0
    assert report.kept + sum(report.refused.values()) == 9
    assert report.tasks == 4 * report.kept


def test_a_run_that_was_cut_off_goes_on(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    text = made.read_text("utf-8")
    path.write_text(text[: len(text) // 2], "utf-8")
    before = len(read_synthesised(path))
    assert 0 < before < 9
    make(path)
    assert {one.key for one in read_synthesised(path)} == {
        one.key for one in read_synthesised(made)
    }


def test_what_is_refused_is_kept_with_its_cause(tmp_path: Path) -> None:
    def lying(app: ShopApp) -> None:
        app.lie = "silent"

    path = tmp_path / "rows.jsonl"
    config = SynthesisConfig(IntentConfig(kinds=("set",), a_form=4))
    report = make(path, config, DisposableShop(lying))
    assert (report.kept, set(report.refused)) == (0, {"stored: nothing"})
    # After two failures with the same button nobody tries again.
    assert report.refused["stored: nothing"] == 2
    assert report.left > 0
    assert all(one.cause == "stored: nothing" for one in read_synthesised(path))


def test_settings_change_what_is_made(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    few = replace(CONFIG, learn=1, judge=0, held=1, seed=5, intents=IntentConfig(most=2))
    make(path, few)
    for one in read_synthesised(path):
        assert (len(one.wordings), one.held, one.seed) == (1, True, 5)
    assert make(tmp_path / "none.jsonl", seconds=-1.0).left == 9
    assert not (tmp_path / "none.jsonl").exists()


def test_states_are_held_by_their_names() -> None:
    held = [is_held_state("shop", f"state{n}", 4, 0) for n in range(200)]
    assert 25 < sum(held) < 80
    assert held != [is_held_state("shop", f"state{n}", 4, 1) for n in range(200)]
    assert not any(is_held_state("shop", f"state{n}", 0, 0) for n in range(20))


def test_a_document_is_the_same_wherever_its_app_lives() -> None:
    assert document_hash(replace(DOCUMENT, origins=("http://x",))) == document_hash(DOCUMENT)
    assert document_hash(replace(DOCUMENT, version="2")) != document_hash(DOCUMENT)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for text in ("no json\n", "[]\n", '{"key": 1}\n'):
        path.write_text(text)
        with pytest.raises(DataError, match="no task"):
            read_synthesised(path)
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(DataError, match="cannot be read"):
        read_synthesised(path)
    assert read_synthesised(tmp_path / "none") == ()
    with pytest.raises(ConfigError):
        SynthesisConfig(learn=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError):
        make(tmp_path / "file" / "rows.jsonl")
