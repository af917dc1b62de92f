"""What the verbs of `adwright tune` share."""

from __future__ import annotations

from typing import Any

from typer.main import get_command

from adwright.cli.tune import app, as_loss


def test_a_loss_has_four_digits_or_is_a_dash() -> None:
    assert as_loss(1.23456) == "1.2346"
    assert as_loss(0.0) == "0.0000"
    assert as_loss(None) == "-"


def test_an_option_reads_alike_in_all_verbs() -> None:
    group: Any = get_command(app)
    verbs = [group.commands["run"]]
    verbs += [group.commands["offsite"].commands[name] for name in ("owner", "trainer")]
    verbs += [group.commands["split"].commands[name] for name in ("server", "client")]
    helps: dict[str, set[str]] = {}
    for each in (option for verb in verbs for option in verb.params):
        if each.name in ("model", "data", "group", "epochs", "batch", "rate", "max_length", "port"):
            helps.setdefault(each.name, set()).add(each.help)
    assert len(helps) == 8
    assert all(len(found) == 1 for found in helps.values())
