from __future__ import annotations

import json
from pathlib import Path

import pytest

from adwright.audit.attacks.run import AttackOutcome, run_attack
from adwright.audit.attacks.search import RankSearchConfig, SearchAttack
from adwright.audit.attacks.templates import TemplateAttack
from adwright.audit.report.trials import AUDIT_MARK, read_texts
from adwright.core.errors import ConfigError, FileUnreadableError, ResumeError
from tests.support.audit.attacked import praise_feedback, tea_goal, teas

CONFIG = RankSearchConfig(branch=6, steps=5)


def run(folder: Path | None, *, steps: int = 99, seed: int = 0) -> AttackOutcome:
    feedback = praise_feedback()
    attack = SearchAttack(feedback, CONFIG, model="m", seed=seed)
    left = iter(range(steps - 1, -1, -1))
    return run_attack(
        attack, feedback.meter, folder=folder, seed=seed, stop=lambda: next(left) == 0
    )


def test_a_job_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    first = run(tmp_path / "cut", steps=2)
    assert not first.ended
    assert not (tmp_path / "cut" / "texts.jsonl").exists()
    rest = run(tmp_path / "cut")
    assert (rest.text, rest.values) == (whole.text, whole.values)
    assert rest.ended
    assert len(rest.values) == CONFIG.steps
    # What was asked before the cut is asked anew only in part: the count goes on, not back.
    assert rest.spent.calls >= whole.spent.calls
    assert run(tmp_path / "cut").values == whole.values


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    run(tmp_path / "cut", steps=3)
    with (tmp_path / "cut" / "steps.jsonl").open("ab") as stream:
        stream.write(b'{"text": "half')
    assert run(tmp_path / "cut").values == whole.values


def test_what_it_writes_is_marked_and_can_be_audited(tmp_path: Path) -> None:
    outcome = run(tmp_path)
    asked = json.loads((tmp_path / "attack.json").read_text("utf-8"))
    assert asked["audit"] == AUDIT_MARK
    assert (asked["product"], asked["tier"], asked["model"]) == ("Black Tea", "T1", "m")
    assert AUDIT_MARK in (tmp_path / "texts.jsonl").read_text("utf-8")
    (text,) = read_texts(tmp_path / "texts.jsonl", teas())
    assert text == outcome.seller_text()
    assert text.text == "the morning" + outcome.text


def test_nothing_is_kept_without_a_folder() -> None:
    assert run(None).values == run(None).values


def test_another_attack_in_the_folder_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(ResumeError, match="its seed differs"):
        run(tmp_path, seed=1)
    feedback = praise_feedback()
    with pytest.raises(ResumeError, match="another attack"):
        run_attack(TemplateAttack(feedback, model="m"), feedback.meter, folder=tmp_path)
    with pytest.raises(ResumeError, match="its note differs"):
        run_attack(
            SearchAttack(feedback, CONFIG, model="m"), feedback.meter, folder=tmp_path,
            note={"orders": 3},
        )  # fmt: skip


@pytest.mark.parametrize("line", ["{}", "no json", '{"value": 1, "text": "a", "state": {}}'])
def test_damaged_steps_are_named(tmp_path: Path, line: str) -> None:
    run(tmp_path, steps=1)
    (tmp_path / "steps.jsonl").write_text(f"{line}\n", "utf-8")
    with pytest.raises(FileUnreadableError, match=r"steps\.jsonl"):
        run(tmp_path)
    (tmp_path / "attack.json").write_text("{", "utf-8")
    with pytest.raises(ResumeError, match=r"attack\.json"):
        run(tmp_path)


def test_the_catalogues_of_others_are_refused() -> None:
    feedback = praise_feedback()
    object.__setattr__(feedback.goal.catalogue, "own", False)
    with pytest.raises(ConfigError, match="not declared as your own"):
        run_attack(TemplateAttack(feedback, model="m"), feedback.meter)
    assert tea_goal().catalogue.own
