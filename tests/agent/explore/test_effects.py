"""What acting on something may do."""

from __future__ import annotations

import pytest

from adwright.agent.explore.describe import effect_of, leaves_session, word_effect
from tests.support.agent.site.screens import node

FORM = {"form": "/f", "action": "http://h/offers/7/", "tag": "button"}
POST, GET = FORM | {"method": "POST"}, FORM | {"method": "GET"}


@pytest.mark.parametrize(
    ("role", "name", "facts", "effect"),
    [
        ("link", "Offers", {"href": "http://h/offers"}, "navigate"),
        ("link", "Delete", {"href": "http://h/offers/7/delete"}, "navigate"),
        ("link", "Log out", {"href": "http://h/logout"}, "commit"),
        ("link", "Write to us", {"href": "mailto:a@h"}, "message"),
        ("link", "Go", {"href": "javascript:go()"}, "unknown"),
        ("link", "Löschen", {"anchor": "#"}, "destructive"),
        ("link", "Go", {"anchor": "#"}, "unknown"),
        ("link", "Go", {"anchor": "#top"}, "read"),
        ("link", "Catalogue", {"anchor": "#", "expanded": "false"}, "read"),
        ("textbox", "Title", {"name": "title"}, "draft"),
        ("button", "Choose file", {"tag": "input", "type": "file"}, "draft"),
        ("heading", "Delete", {}, "read"),
        ("tab", "Delete", {}, "read"),
        ("button", "Save", POST, "commit"),
        ("button", "Search", GET, "navigate"),
        ("button", "Delete", POST, "destructive"),
        ("button", "OK", POST | {"action": "http://h/offers/7/delete/"}, "destructive"),
        ("button", "OK", POST | {"name": "cancel_order"}, "destructive"),
        ("button", "Place order", POST, "spend"),
        ("button", "Send", POST, "message"),
        ("button", "Reset", POST | {"type": "reset"}, "draft"),
        ("button", "Remove row", POST | {"type": "button"}, "destructive"),
        ("button", "Do it", {"tag": "button"}, "unknown"),
        ("button", "Show more", {"tag": "button"}, "read"),
        ("generic", "x", {"clickable": "true"}, "unknown"),
    ],
)
def test_rules(role: str, name: str, facts: dict[str, str], effect: str) -> None:
    assert effect_of(node("k", role, name, **facts)) == effect


@pytest.mark.parametrize(
    ("words", "effect"),
    [
        ("Angebot löschen", "destructive"),
        ("Supprimer l'offre", "destructive"),
        ("Eliminar oferta", "destructive"),
        ("Usuń", "destructive"),
        ("Verwijderen", "destructive"),
        ("Kostenpflichtig bestellen", "spend"),
        ("Acheter", "spend"),
        ("Pagar ahora", "spend"),
        ("Nachricht senden", "message"),
        ("Envoyer", "message"),
        ("Delete and pay", "destructive"),
        ("Save", None),
        ("Titel", None),
        ("Continue shopping", None),
        ("Payload", "spend"),
    ],
)
def test_words(words: str, effect: str | None) -> None:
    assert word_effect(words) == effect


def test_signing_out_is_known_by_word_and_address() -> None:
    for name, href in (("Bye", "http://h/logout"), ("Abmelden", "http://h/x"), ("Sign out", "")):
        assert leaves_session(node("k", "link", name, href=href))
    assert not leaves_session(node("k", "link", "Blog", href="http://h/blog"))
