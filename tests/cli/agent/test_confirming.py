"""Who says yes."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from adwright.agent.policy.confirmation import FieldChange, PendingChange
from adwright.cli.agent.confirming import ask_person, confirmer
from tests.support.agent.shop_document import shop_document

CHANGE = PendingChange(
    "offer_edit__save",
    "commit",
    "POST",
    "http://shop.test:8000/offers/7/",
    (FieldChange("name", "Spring", "Spring"), FieldChange("share", "10", "25\u202e")),
    1,
    documented=True,
)


@pytest.mark.parametrize("yes", [True, False])
def test_a_person_sees_the_request_and_decides(
    yes: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, object]] = []

    def confirm(text: str, default: object = None) -> bool:
        asked.append((text, default))
        return yes

    monkeypatch.setattr(typer, "confirm", confirm)
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    assert ask_person(CHANGE) is yes
    assert confirmer(None, shop_document())(CHANGE) is yes
    assert asked == [("Send it?", False)] * 2
    said = capsys.readouterr().err
    assert "nothing is sent yet: commit: POST /offers/7/" in said
    assert "by $offer_edit__save" in said
    assert "share: '10' -> '25\\u202e'" in said
    assert "1 fields as they were" in said


def test_to_break_off_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    def confirm(text: str, default: object = None) -> bool:
        raise typer.Abort

    monkeypatch.setattr(typer, "confirm", confirm)
    assert ask_person(CHANGE) is False


def test_a_file_decides_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "allow.toml"
    path.write_text('[[allow]]\nrequest = "POST /offers/{}/"\nchanges = ["share"]\n', "utf-8")
    decide = confirmer(path, shop_document())
    assert (decide(CHANGE), decide(CHANGE)) == (True, False)
    said = capsys.readouterr().err
    assert "allowed: commit" in said
    assert f"to allow it once, in {path}" in said
    assert 'request = "POST /offers/{}/"' in said
