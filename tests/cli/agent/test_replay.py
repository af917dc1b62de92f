"""adwright agent replay and verify."""

from __future__ import annotations

from adwright.agent.operate.policy_file import read_run
from tests.cli.agent.conftest import Shop
from tests.support.commands import call

TASK = 'Set the discount of "Spring" to 25'
ON = ("--document", "shop.txt")


def keep(shop: Shop) -> None:
    allowed = shop.allow("share")
    call("agent", "do", TASK, *ON, "--no-model", "--keep", "discount", "--confirm-file", allowed)
    shop.app.writes.clear()


def test_a_kept_task_is_done_again_with_other_values(shop: Shop) -> None:
    keep(shop)
    replay = ("agent", "replay", "discount", "item=Autumn", "share=7.5", *ON)
    assert "would send: commit: POST /offers/8/" in call(*replay, "--dry-run")
    assert "nobody can be asked" in call(*replay, code=1)
    assert shop.app.writes == []
    allowed = ("--confirm-file", shop.allow("share"))
    said = call(*replay, *allowed, "--folder", "run")
    assert "kept as discount, 0 tokens" in said
    assert shop.app.offers[8].share == "7.5"
    run = read_run(shop.folder / "run")
    assert (run.task.source, run.task.tokens_in, run.report.verdict) == ("replay", 0, "verified")
    assert dict(run.task.arguments) == {"item": "Autumn", "share": "7.5"}


def test_mistakes_are_told(shop: Shop) -> None:
    keep(shop)
    for words, said in (
        (("discont",), "did you mean discount?"),
        (("discount", "item=Autumn"), "'share' is missing"),
        (("discount", "item=Autumn", "share=many"), "no number"),
        (("discount", "Autumn"), "NAME=VALUE"),
        (("discount", "item=a", "item=b"), "once"),
    ):
        assert said in call("agent", "replay", *words, *ON, code=2)
    assert shop.app.writes == []
    text = shop.document.read_text("utf-8").replace('app "shop"', 'app "mill"', 1)
    shop.document.write_text(text, "utf-8")
    assert "of 'mill'" in call("agent", "verify", "discount", *ON, code=2)


def test_verify_looks_and_does_nothing(shop: Shop) -> None:
    keep(shop)
    verify = ("agent", "verify", "discount", *ON)
    said = call(*verify)
    assert "offers__rows" in said
    assert "there" in said
    (shop.folder / "shop.macros").rename(shop.folder / "kept")
    (shop.folder / "shop.policy.toml").rename(shop.folder / "p.toml")
    assert "no policy" in call(*verify, code=2)
    verify += ("--macros", "kept", "--policy", "p.toml")
    shop.app.offers.clear()
    assert "gone" in call(*verify, "--phone", code=1)
    assert shop.app.writes == []
