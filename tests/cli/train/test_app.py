from __future__ import annotations

from typer.testing import CliRunner

from adwright.cli.train import app


def test_every_model_has_its_verb() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    verbs = ("din", "sequence", "hstu", "sasrec", "item-item", "popularity", "two-tower", "hcn")
    for verb in (*verbs, "cascade"):
        assert verb in shown
