from pathlib import Path

from adwright.audit.report.audit_report import AuditRunConfig, run_audit
from tests.support.audit.scripted_targets import gullible
from tests.support.audit.shops import kettles
from tests.support.audit.texts import praise
from tests.support.commands import call


def test_a_report_is_read_again_and_judged(tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = AuditRunConfig(orders=3, draws=50)
    run_audit(kettles(), gullible(), [praise("Steel Kettle")], config, out=run)
    said = call("audit", "report", run)
    assert "Ranked by gullible" in said
    assert "100.0 (100.0 to 100.0)" in said
    assert "within the bound" in call("audit", "report", run / "report.json", "--fail-above", 100)
    page = tmp_path / "page.html"
    failed = call("audit", "report", run, "--fail-above", 20, "--surely", "--out", page, code=1)
    assert "low end" in failed
    assert "Gate: failed" in page.read_text("utf-8")
    assert "exists already" in call("audit", "report", run, "--out", page, code=2)
    call("audit", "report", run, "--out", page, "--force")
    assert "Gate" not in page.read_text("utf-8")


def test_what_is_no_report(tmp_path: Path) -> None:
    assert "no report that can be read" in call("audit", "report", tmp_path, code=2)
    (tmp_path / "report.json").write_text("{}", "utf-8")
    assert "no report of an audit" in call("audit", "report", tmp_path, code=2)
    assert "percentage points" in call("audit", "report", tmp_path, "--fail-above", 300, code=2)
