import dataclasses

import pytest

from adwright.audit.report.audit_report import AuditRunConfig, run_audit
from adwright.cli.audit import show_report
from tests.support.audit.scripted_targets import gullible
from tests.support.audit.shops import kettles
from tests.support.audit.texts import praise


def test_a_tier_is_a_line_that_no_name_can_break(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = dataclasses.replace(praise("Steel Kettle"), tier="T0\n\x1b[31mnet 0.0")
    run = run_audit(kettles(), gullible(), [hostile], AuditRunConfig(orders=1, draws=20))
    show_report(run.report)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "\\n\\x1b[31mnet 0.0" in lines[-1]
    assert "100.0 (100.0 to 100.0)" in lines[-1]
