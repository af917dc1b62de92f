"""What the verbs of `adwright tune` share."""

from __future__ import annotations

import inspect
from typing import Any, get_args

from adwright.cli import tune as app
from adwright.cli import tune as offsite
from adwright.cli import tune as options
from adwright.cli import tune as revive


def test_a_loss_has_four_digits_or_is_a_dash() -> None:
    assert options.as_loss(1.23456) == "1.2346"
    assert options.as_loss(0.0) == "0.0000"
    assert options.as_loss(None) == "-"


def test_an_option_reads_alike_in_all_verbs() -> None:
    verbs = (app.run, offsite.own, offsite.train, revive.cloud, revive.device)
    helps: dict[str, set[Any]] = {}
    for verb in verbs:
        for name, each in inspect.signature(verb, eval_str=True).parameters.items():
            if name in ("model", "data", "group", "epochs", "batch", "rate", "max_length", "port"):
                helps.setdefault(name, set()).add(get_args(each.annotation)[1].help)
    assert len(helps) == 8
    assert all(len(found) == 1 for found in helps.values())
