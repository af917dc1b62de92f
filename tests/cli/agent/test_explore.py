"""adwright agent explore."""

from __future__ import annotations

import pytest

from adwright.agent.document.text_format import read_document
from adwright.agent.operate.policy_file import load_policy
from tests.cli.agent.conftest import Shop
from tests.support.agent.shop_document import ORIGIN
from tests.support.commands import call

EXPLORE = ("agent", "explore", f"{ORIGIN}/", "--document", "own.txt")


def test_a_document_and_a_careful_policy_are_written_and_refreshed(shop: Shop) -> None:
    said = call(*EXPLORE)
    assert "wrote a careful policy" in said
    assert "0 unsafe" in said
    assert load_policy(shop.folder / "own.policy.toml").reach.origins == (ORIGIN,)
    first = read_document("own.txt")
    assert (first.app, first.version) == ("own", "1")
    assert "changes:" not in said
    shop.app.labels["Send"] = "Dispatch"
    said = call(*EXPLORE)
    assert "version 2" in said
    assert "Dispatch" in said or "dispatch" in said
    assert "1 had changed" in said
    assert shop.app.writes == []
    (shop.folder / "own.records" / "pages.jsonl").rename(shop.folder / "elsewhere")
    assert "exists already" in call(*EXPLORE, "--anew", code=2)
    call(*EXPLORE, "--anew", "--force", "--app", "Mill", "--records", "seen")
    assert read_document("own.txt").app == "Mill"
    assert (shop.folder / "seen" / "pages.jsonl").is_file()
    assert "no records of version" in call(*EXPLORE, "--records", "none", code=2)


def test_bounds_are_heeded(shop: Shop) -> None:
    mail = ("agent", "explore", f"{ORIGIN}/mail/", "--document", "own.txt", "--path", "/mail/")
    call(*mail)
    assert {one.url_template for one in read_document("own.txt").states} == {"/mail/"}
    said = call("agent", "explore", f"{ORIGIN}/", "--document", "c.txt", "--pages", 2)
    assert "2 known" in said
    assert "is no page" in call("agent", "explore", "shop", "--document", "b.txt", code=2)


@pytest.mark.parametrize("disposable", [True, False])
def test_links_that_speak_of_harm_are_left_unless_it_is_a_copy(
    shop: Shop, disposable: bool
) -> None:
    shop.app.labels["Budget"] = "Pay the bills"
    call(*EXPLORE, *(["--disposable"] if disposable else []), "--phone", "--seconds", 60)
    states = {one.url_template for one in read_document("own.txt").states}
    assert ("/budget/" in states) == disposable
    assert getattr(shop.settings[-1], "screen", "") == "phone"


def test_a_sign_in_is_named_by_variables_alone(shop: Shop) -> None:
    sign_in = ("--sign-in", f"{ORIGIN}/sign-in/")
    said = call(*EXPLORE, *sign_in, "--sign-in-field", "password=hunter22", code=2)
    assert "no name of an environment variable" in said
    assert "hunter22" not in said
    assert "where does one sign in?" in call(
        *EXPLORE, "--sign-in-field", "password=SHOP_PASSWORD", code=2
    )
    assert "at least one field" in call(*EXPLORE, *sign_in, code=2)
    call(*EXPLORE, *sign_in, "--sign-in-field", "password=SHOP_PASSWORD")
    entry = load_policy(shop.folder / "own.policy.toml").sign_in
    assert entry is not None
    assert dict(entry.fields) == {"password": "SHOP_PASSWORD"}
    other = call(*EXPLORE, *sign_in, "--sign-in-field", "password=OTHER", code=2)
    assert "says otherwise" in other
