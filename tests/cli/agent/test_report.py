"""adwright agent report."""

from __future__ import annotations

from tests.cli.agent.conftest import Shop
from tests.support.commands import call


def test_a_run_is_read_again(shop: Shop) -> None:
    task = ("agent", "do", "How many offers are there?", "--document", "shop.txt", "--no-model")
    mark = call(*task, "--folder", "run").partition("mark:")[2].split()[0]
    page = shop.folder / "run/report.html"
    page.unlink()
    said = call("agent", "report", "run", "--mark", mark)
    assert "How many offers are there?" in said
    assert "unchanged since the run" in said
    assert "not compared" not in said
    assert page.is_file()
    assert "not compared" in call("agent", "report", "run", "--out", "page.html")
    assert "exists already" in call("agent", "report", "run", "--out", "page.html", code=2)
    call("agent", "report", "run", "--out", "page.html", "--force")
    assert "its mark is" in call("agent", "report", "run", "--mark", "0" * 64, code=2)


def test_what_was_changed_is_told(shop: Shop) -> None:
    call("agent", "do", "How many offers?", "--document", "shop.txt", "--no-model", "--folder", "r")
    trace = shop.folder / "r/trace.jsonl"
    trace.write_text(trace.read_text("utf-8").replace('"2"', '"3"'), "utf-8")
    said = call("agent", "report", "r", code=2)
    assert "the trace is broken" in said
    assert "line" in said
    assert "no run that came to its end" in call("agent", "report", ".", code=2)
