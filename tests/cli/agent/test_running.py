"""What `do` and `replay` share."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from adwright.agent.language.problems import ScriptProblem
from adwright.agent.language.script import read_script
from adwright.agent.language.statements import check_script
from adwright.agent.run.runner import RunReport
from adwright.cli.agent.options import AppFiles
from adwright.cli.agent.running import (
    CONTRADICTED,
    REFUSED,
    STOPPED,
    RunOptions,
    end_by_verdict,
    show_script,
)
from tests.support.agent.shop_document import shop_document


def report(verdict: str, code: str = "") -> RunReport:
    problem = ScriptProblem(code, "why") if code else None  # type: ignore[arg-type]
    return RunReport(verdict, (), problem, (), (), (), (), shop_document(), 0, 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (report("contradicted", "expectation"), CONTRADICTED),
        (report("stopped", "refused"), REFUSED),
        (report("stopped", "cap"), REFUSED),
        (report("stopped", "identity"), STOPPED),
    ],
)
def test_exit_codes_follow_verdicts(found: RunReport, code: int) -> None:
    with pytest.raises(typer.Exit) as caught:
        end_by_verdict(found)
    assert caught.value.exit_code == code


@pytest.mark.parametrize("verdict", ["verified", "done", "dry"])
def test_what_went_well_is_no_exit(verdict: str) -> None:
    assert end_by_verdict(report(verdict)) is None


def test_a_script_is_shown_with_what_it_may_do(capsys: pytest.CaptureFixture[str]) -> None:
    script = read_script("param who: text\nset_text($mail__to, who)\ntap($mail__send)\n")
    show_script(check_script(script, shop_document()), "by hand", {"who": "ann"})
    said = capsys.readouterr().out
    assert "script, by hand:" in said
    assert "  tap($mail__send)" in said
    assert "  who = ann" in said
    assert "may write: message by $mail__send" in said


def test_options_have_careful_defaults() -> None:
    options = RunOptions(AppFiles(Path("shop.txt")))
    assert (options.dry, options.confirm_file, options.phone) == (False, None, False)
