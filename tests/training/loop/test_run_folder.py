"""The folder of a run: begun once, resumed by the same alone, one checkpoint at a time."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, ResumeError
from adwright.core.version import __version__
from adwright.training.loop.run_folder import RunFolder, RunPosition, different_settings

ASKED = {"fit": {"epochs": 3, "stream": {"window": 8}}, "data_hash": "abc"}
TENSORS = {"model/w": torch.arange(6.0).view(2, 3), "adam/0/step": torch.tensor(3.0)}
LINE = {"epoch": 1, "recall": 0.5}


def begun(path: Path) -> RunFolder:
    run = RunFolder(path, ASKED, "test-checkpoint", about={"protocol": "made up"})
    run.begin(RunPosition(), {}, TENSORS)
    return run


def names(run: RunFolder) -> list[str]:
    return sorted(path.name for path in run.path.iterdir())


def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"already holds a run.*resume it"):
        run.require_new()
    with pytest.raises(ConfigError, match=r"already holds a run"):
        run.begin(RunPosition(), {}, TENSORS)


def test_config_says_what_was_asked_for_and_by_what(tmp_path: Path) -> None:
    found = json.loads(begun(tmp_path / "run").config.read_text())
    versions = {"adwright": __version__, "torch": torch.__version__}
    assert found == {**ASKED, "protocol": "made up", **versions}


def test_only_the_same_run_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with pytest.raises(ResumeError, match=r"holds no run.*check the path"):
        RunFolder(path, ASKED, "test-checkpoint").require_same()
    # What is kept for readers alone may differ: another version resumes the run.
    begun(path).require_same()
    RunFolder(path, ASKED, "test-checkpoint", about={"protocol": "other"}).require_same()
    fit = {"epochs": 3, "stream": {"window": 9}}
    for asked, words in (
        ({**ASKED, "data_hash": "abd"}, "data_hash was 'abc' and is now 'abd'"),
        ({**ASKED, "fit": fit, "data_hash": ""}, "fit.stream.window was 8 and is now 9"),
        ({**ASKED, "validate": "given"}, "validate was None and is now 'given'"),
        ({"data_hash": "abc"}, "fit.epochs was 3 and is now None"),
    ):
        with pytest.raises(ResumeError, match=rf"another config, model or data: .*{words}"):
            RunFolder(path, asked, "test-checkpoint", about={"protocol": ""}).require_same()


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    at = RunPosition(epoch=1, step=3, steps=7, loss_sum=0.1, best=0.4, records=(LINE,))
    own = {"position": {"window": 2}, "curve": [[3, 0.5]]}
    run.save(at, own, TENSORS, at.records)
    found, values, tensors = run.load()
    assert (found, values) == (at, own)
    assert {name: value.tolist() for name, value in tensors.items()} == {
        name: value.tolist() for name, value in TENSORS.items()
    }
    # Writable, since training goes on in them.
    tensors["model/w"] += 1
    (saved,) = run.path.glob("checkpoint-*")
    assert load_artifact(saved).data_hash == "abc"
    assert json.loads(run.metrics.read_text("utf-8")) == LINE


def test_only_the_latest_checkpoint_stays(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    places = (
        RunPosition(steps=9),
        RunPosition(steps=9, records=(LINE,)),
        RunPosition(epoch=1, steps=9, records=(LINE,)),
        RunPosition(epoch=1, steps=10, records=(LINE,)),
        # A run that went back has fewer steps than before.
        RunPosition(epoch=1, steps=9, rollbacks=1, records=(LINE,)),
        RunPosition(epoch=1, steps=11, rollbacks=1, records=(LINE,)),
    )
    for at in places:
        run.save(at, {}, TENSORS, at.records)
        assert len(list(run.path.glob("checkpoint-*"))) == 1
        assert run.load()[0] == at
    # That place was kept already.
    run.save(places[-1], {"more": 1}, TENSORS)
    assert run.load()[1] == {}


def test_a_folder_without_a_checkpoint_or_of_another_kind_is_no_run(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    for other in (
        RunFolder(run.path, ASKED, "other"),
        RunFolder(tmp_path / "nothing", ASKED, "test-checkpoint"),
    ):
        with pytest.raises(ResumeError, match=r"no checkpoint that can be read"):
            other.load()
    (saved,) = run.path.glob("checkpoint-*")
    data = bytearray((saved / "tensors.safetensors").read_bytes())
    data[-1] ^= 1
    (saved / "tensors.safetensors").write_bytes(data)
    with pytest.raises(ResumeError, match=r"no checkpoint that can be read.*SHA-256 differs"):
        run.load()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"fit": 3, "data_hash": ""}'])
def test_a_damaged_config_is_no_run(tmp_path: Path, text: str) -> None:
    run = begun(tmp_path / "run")
    run.config.write_text(text)
    with pytest.raises(ResumeError, match="holds no run"):
        run.require_same()


def test_a_start_that_was_killed_is_no_run(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    run.save(RunPosition(steps=3), {}, TENSORS)
    run.config.unlink()
    (run.path / ".config.json.0123456789abcdef.tmp").write_text("{")
    with pytest.raises(ResumeError, match="holds no run"):
        run.require_same()
    run.begin(RunPosition(), {}, TENSORS)
    assert names(run) == ["checkpoint-000000000-0000", "config.json", "metrics.jsonl"]


def test_what_a_kill_left_behind_goes(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    first = next(run.path.glob("checkpoint-*"))
    kept = first.rename(tmp_path / "kept")
    run.save(RunPosition(steps=5), {}, TENSORS)
    kept.rename(first)
    (run.path / ".checkpoint-1.0123456789abcdef.tmp").mkdir()
    assert run.load()[0].steps == 5
    # Killed between the checkpoint and its lines, too.
    run.tidy([LINE])
    assert names(run) == ["checkpoint-000000005-0000", "config.json", "metrics.jsonl"]
    assert json.loads(run.metrics.read_text()) == LINE


def test_a_run_of_the_last_release_is_taken_up(tmp_path: Path) -> None:
    """Its checkpoint counted the lines of metrics.jsonl, or held them."""
    run = begun(tmp_path / "run")
    run.metrics.write_text(f"{json.dumps(LINE)}\n{json.dumps({'later': 1})}\n")
    old = {"batches": 7, "best_gauc": 0.6, "records": 1, "rows": 70}
    old["position"] = {"epoch": 1, "window": 0, "batch": 0}
    tensors = {name: value.numpy() for name, value in TENSORS.items()}
    save_artifact(
        run.path / "checkpoint-000000007-0001",
        kind="test-checkpoint",
        config=old,
        tensors=tensors,
        clock=FixedClock(),
    )
    at, own, found = run.load({"batches": "steps", "best_gauc": "best"})
    assert at == RunPosition(epoch=1, steps=7, best=0.6, records=(LINE,))
    assert own == {"rows": 70, "position": old["position"]}
    assert found.keys() == TENSORS.keys()
    later = {**asdict(at), "records": [LINE]}
    save_artifact(
        run.path / "checkpoint-000000008-0001",
        kind="test-checkpoint",
        config={"at": later, "own": {}, "more": 1},
        tensors=tensors,
    )
    with pytest.raises(ResumeError, match="more than is known: more"):
        run.load()


def folder_of(path: Path, asked: dict[str, Any]) -> RunFolder:
    about = {"protocol": "made up"}
    return RunFolder(path, asked, "test-checkpoint", about=about, grows=("fit.epochs",))


def test_all_settings_that_differ_are_named(tmp_path: Path) -> None:
    path = tmp_path / "run"
    begun(path)
    fit = {"epochs": 4, "stream": {"window": 9}}
    asked = {"fit": fit, "data_hash": "abd"}
    with pytest.raises(ResumeError) as caught:
        folder_of(path, asked).require_same()
    assert "fit.epochs was 3 and is now 4; fit.stream.window was 8 and is now 9 [" in str(
        caught.value
    )
    many = {f"s{n}": n for n in range(9)}
    with pytest.raises(ResumeError, match="; and 3 more"):
        folder_of(path, {**ASKED, **many}).require_same()


def test_of_some_settings_there_may_be_more(tmp_path: Path) -> None:
    path = tmp_path / "run"
    begun(path)
    more = {**ASKED, "fit": {"epochs": 5, "stream": {"window": 8}}}
    run = folder_of(path, more)
    run.require_same()
    assert run.grown == [("fit.epochs", 3, 5)]
    assert json.loads(run.config.read_text())["fit"]["epochs"] == 3
    run.tidy([])
    assert json.loads(run.config.read_text())["fit"]["epochs"] == 5
    folder_of(path, more).require_same()
    # Of thousands, such as of pictures, there may be parts.
    folder_of(path, {**ASKED, "fit": {"epochs": 5.5, "stream": {"window": 8}}}).require_same()
    less = folder_of(path, ASKED)
    with pytest.raises(ResumeError, match=r"epochs was 5 and is now 3.*--stop-now"):
        less.require_same()


def test_different_settings_are_flat_and_hashes_come_last() -> None:
    before = {"fit": {"whole": 1, "rate": 2}, "data_hash": "a"}
    now = {"fit": {"all": 2, "rate": 2}, "data_hash": "b"}
    assert different_settings(before, now, {"whole": "all"}) == [("fit.all", 1, 2)]
    now["fit"]["all"] = 1
    assert different_settings(before, now, {"whole": "all"}) == [("data_hash", "a", "b")]
    assert different_settings(now, now) == []
    assert different_settings({}, {"new": 1}) == [("new", None, 1)]
