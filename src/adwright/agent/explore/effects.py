"""What acting on a part of a page may do, by rules: its method, role, words and address.

    effect_of(node)               # "destructive" for a button "Löschen" in a form by POST

Rules err to the harmful side: a button of a form by POST commits at least; one without a form, of
which nothing is known, is "unknown", which is refused unless a person allows it. Words are looked
for in several languages, in labels, in the last part of an address and in a button's own name.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit

from adwright.agent.document.elements import EffectClass
from adwright.agent.document.groups import FIELDS, READ
from adwright.agent.drivers.protocol import ScreenNode

__all__ = ["effect_of", "leaves_session", "word_effect"]

# Stems of words, without accents, of English, German, French, Spanish, Italian, Portuguese, Dutch,
# Polish, Swedish, Danish and Czech; checked in this order, the most harmful first.
_WORDS: tuple[tuple[EffectClass, str], ...] = (
    (
        "destructive",
        r"delet|remov|destroy|eras|discard|purg|wipe|trash|archiv|cancel(?!l?ation pol)|revok"
        r"|terminat|deactivat|disable|reset|unpublish|uninstall|drop|refund|void|ban\b|\bblock\b"
        r"|losch|entfern|storn|verwerf|widerruf|sperr"
        r"|supprim|effac|annul|retir(?:er|ez)|revoqu|desactiv"
        r"|elimin|borr(?:ar|a)\b|quitar|anular|cancelar|revocar|cancell|rimuov"
        r"|exclu(?:ir|a)\b|apagar|remover|verwijder|wis(?:sen)?\b|intrekken"
        r"|usun|skasuj|anuluj|radera|ta bort|avbryt|slet|fjern|smazat|odstranit|zrusit",
    ),
    (
        "spend",
        r"\b(?:pay|buy|bid|order now|purchas|checkout|check out|place.{0,12}order|donat|subscrib)"
        r"|upgrade|top.?up|add funds|launch campaign|start campaign|increase budget|transfer"
        r"|\b(?:zahl|bezahl|kauf|bestell|uberweis|abonnier)"
        r"|\b(?:pay(?:er|ez)|achet|command(?:er|ez)|souscri)"
        r"|\b(?:pagar|compr|pedir|paga|acquist|ordina|comprar|encomendar)"
        r"|\b(?:betal|koop|afrekenen|kup|zaplac|zamow|kop(?:a|)\b|kob\b|zaplatit|koupit|objednat)",
    ),
    (
        "message",
        r"\b(?:send|email|e-mail|mail to|notif|reply|invit|shar(?:e|ing)|post\b|tweet|publish"
        r"|broadcast|contact|messag|forward|submit review|comment)"
        r"|\b(?:senden|absenden|schick|einlad|antwort|teilen|veroffentlich|benachrichtig)"
        r"|\b(?:envoy|invit|repond|partag|publi)"
        r"|\b(?:envia|responder|compart|invia|rispond|condivid|pubblica|partilh)"
        r"|\b(?:verzend|stuur|delen|uitnodig|wyslij|udostepnij|skicka|dela\b|del\b|odeslat|sdilet)",
    ),
)
_PATTERNS = tuple((effect, re.compile(words)) for effect, words in _WORDS)
_LEAVES = re.compile(
    r"log.?out|sign.?out|log.?off|abmeld|deconnex|deconnect|cerrar.?sesion|desconect|disconnet"
    r"|esci\b|sair\b|afmeld|uitlog|wylog|logga.?ut|log.?ud|odhlas"
)
_LOOKS = re.compile(
    r"\b(?:menu|toggle|navigation|filter|sort|search|show|hide|expand|collaps|open|close|next"
    r"|previous|prev|more|less|details|preview|help|tab|view|zoom|refresh|suche|anzeigen|mehr"
    r"|weiter|zuruck|chercher|afficher|plus|suivant|buscar|mostrar|siguiente|cerca|mostra)\b"
)


def effect_of(node: ScreenNode) -> EffectClass:
    """The effect class of a node of a screen."""
    role, facts = node.role, node.facts
    if "toggles" in facts and not facts.get("href") and role in ("link", "button", "tab"):
        return "read"
    if role == "link":
        return _of_link(node)
    kind = facts.get("type", "").lower()
    if role in FIELDS or (facts.get("tag") in ("input", "select", "textarea") and kind == "file"):
        return "draft"
    is_box = "block" in facts and "clickable" in facts  # what its script does, nobody knows
    if role in READ and is_box:
        return "unknown"
    if role in READ or role in ("tab", "treeitem", "disclosuretriangle", "cell", "gridcell"):
        return "read"
    sends = facts.get("form") and (
        (facts.get("tag") == "button" and kind in ("", "submit"))
        or (facts.get("tag") == "input" and kind in ("submit", "image"))
    )
    found = word_effect(f"{node.name} {facts.get('name', '')} {_end_of(facts.get('action', ''))}")
    if sends and facts.get("method", "GET") == "GET":
        return "navigate"
    if sends:
        return found or "commit"
    if kind == "reset":
        return "draft"
    if found:
        return found
    return "read" if _opens(node) else "unknown"


def word_effect(text: str) -> EffectClass | None:
    """The most harmful effect that the words of a text name, or None."""
    plain = _plain(text)
    for effect, pattern in _PATTERNS:
        if pattern.search(plain):
            return effect
    return None


def leaves_session(node: ScreenNode) -> bool:
    """Whether it signs out."""
    where = urlsplit(node.facts.get("href") or node.facts.get("action", "")).path
    return bool(_LEAVES.search(_plain(f"{node.name} {where}")))


def _of_link(node: ScreenNode) -> EffectClass:
    href = node.facts.get("href", "")
    scheme = href.partition(":")[0].lower()
    if leaves_session(node):
        return "commit"
    if scheme in ("http", "https"):
        return "navigate"
    if scheme in ("mailto", "tel", "sms"):
        return "message"
    if href:
        return "unknown"
    opens = len(node.facts.get("anchor", "")) > 1 or _opens(node)
    return word_effect(node.name) or ("read" if opens else "unknown")


def _opens(node: ScreenNode) -> bool:
    """Whether it only shows more, or less, of the page."""
    folds = "expanded" in node.facts or "haspopup" in node.facts
    return folds or bool(_LOOKS.search(_plain(node.name)))


def _end_of(url: str) -> str:
    """The last word of an address's path, without data."""
    parts = [one for one in urlsplit(url).path.split("/") if one and not one.isdigit()]
    return parts[-1].replace("-", " ").replace("_", " ") if parts else ""


def _plain(text: str) -> str:
    wide = unicodedata.normalize("NFKD", text.replace("_", " ").replace("-", " ").lower())
    return "".join(one for one in wide if not unicodedata.combining(one)).replace("ß", "ss")
