"""A screen as elements of a document: names, locators, types, options, limits and effects.

    page = describe(screen)
    page.elements[0].element.label, page.elements[0].leads_to

Forms are described, not sent. Labels pass the guard; what a list holds is described once. Names are
those within the page; `building` gives them the name of their state.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import urldefrag, urlencode, urlsplit

from adwright.agent.document.elements import (
    EffectClass,
    Element,
    Locator,
    ValueConstraints,
    ValueType,
    guarded,
    header_of,
    url_template,
)
from adwright.agent.document.finding import (
    CONTROLS,
    FIELDS,
    READ,
    NodeGroup,
    element_name,
    groups_of,
    item_path,
    locators_of,
)
from adwright.agent.drivers.protocol import Screen, ScreenNode
from adwright.core.config import package_patterns

# --------------------------------------------------------------------------------------------------
# Whether a page is still the same: a hash of its text without what is new in each answer.

_DIGITS = 32
_CHANGING = re.compile(
    rb"""<input[^>]*(?:csrf|token|nonce|authenticity)[^>]*>
    | \snonce=["'][^"']*["']
    | <meta\s[^>]*>
    | csrf\w*["']?\s*[:=]\s*["'][^"']*["']""",
    re.IGNORECASE | re.VERBOSE,
)


def page_content(body: bytes) -> str:
    """32 hexadecimal digits of SHA-256 of a page, without tokens against forged forms and what only
    programs read of it."""
    return hashlib.sha256(_CHANGING.sub(b"", body)).hexdigest()[:_DIGITS]


# --------------------------------------------------------------------------------------------------
# What acting on a part of a page may do, by rules: its method, role, words and address.
#
#     effect_of(node)               # "destructive" for a button "Löschen" in a form by POST
#
# Rules err to the harmful side: a button of a form by POST commits at least, and one of a form that
# a script sends, unless it says that it searches or shows; one without a form, of which nothing is
# known, is "unknown", which is refused unless a person allows it. Words are looked for in several
# languages, in labels, in the last part of an address and in a button's own name.

_RULES = package_patterns(__package__, "effects.toml", "pages")
_EFFECTS: dict[EffectClass, re.Pattern[str]] = package_patterns(
    __package__, "effects.toml", "effects"
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
        looks = "scripted" not in facts or (not found and _RULES["looks"].search(_plain(node.name)))
        return "navigate" if looks else found or "commit"
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
    for effect, pattern in _EFFECTS.items():
        if pattern.search(plain):
            return effect
    return None


def leaves_session(node: ScreenNode) -> bool:
    """Whether it signs out."""
    where = urlsplit(node.facts.get("href") or node.facts.get("action", "")).path
    return bool(_RULES["leaves"].search(_plain(f"{node.name} {where}")))


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
    return folds or bool(_RULES["looks"].search(_plain(node.name)))


def _end_of(url: str) -> str:
    """The last word of an address's path, without data."""
    parts = [one for one in urlsplit(url).path.split("/") if one and not one.isdigit()]
    return parts[-1].replace("-", " ").replace("_", " ") if parts else ""


def _plain(text: str) -> str:
    wide = unicodedata.normalize("NFKD", text.replace("_", " ").replace("-", " ").lower())
    return "".join(one for one in wide if not unicodedata.combining(one)).replace("ß", "ss")


#: Options that a document lists; of longer lists only the first.
_MOST_OPTIONS = 60
_DATES = ("date", "datetime-local", "month", "week", "time")
#: The state of elements whose page has no name yet.
UNNAMED = "page"


@dataclass(frozen=True)
class SeenElement:
    """An element of a page that was seen.

    href: where a link of it leads, for the explorer, of a list that of the first, and of a form by
    GET where it leads with what stands in it; leads_to: the template of that. opens: tapping it may
    show more of the same page. leaves: it signs out.
    """

    element: Element
    href: str = ""
    leads_to: str = ""
    opens: bool = False
    leaves: bool = False


def describe(screen: Screen) -> tuple[SeenElement, ...]:
    """The elements of a screen, in the order of their first nodes; parts without a name, a use or
    a text are left out."""
    found: list[SeenElement] = []
    taken: set[str] = set()
    wrappers = _wrappers(screen) | _drawn_over(screen)
    for group in groups_of(screen):
        if not _is_worth(group) or group.first.key in wrappers:
            continue
        seen = _seen(group, screen, taken)
        taken.add(seen.element.name)
        found.append(seen)
    return tuple(found)


def _is_worth(group: NodeGroup) -> bool:
    node = group.first
    if node.role in READ:
        return bool(node.text or node.name)
    if node.role in ("cell", "gridcell"):
        return group.many
    return bool(node.name or node.text or node.role in FIELDS or node.facts.get("href"))


def _wrappers(screen: Screen) -> set[str]:
    """Items that hold nothing but one control, such as those of a menu: the control says it all."""
    by_key = {one.key: one for one in screen.nodes}
    found = set()
    for node in screen.nodes:
        around = by_key.get(node.parent)
        while node.role in CONTROLS and around is not None:
            if around.role in ("listitem", "row") and around.text in (node.name, node.text):
                found.add(around.key)
            around = by_key.get(around.parent)
    return found


def _drawn_over(screen: Screen) -> set[str]:
    """Parts that a page draws over its native lists: forms send the lists, which are described."""
    forms = {one.facts.get("form") for one in screen.nodes if "covered" in one.facts}
    return (
        {
            one.key
            for one in screen.nodes
            if one.role in ("combobox", "textbox", "listbox")
            and one.facts.get("form") in forms
            and one.facts.get("tag") not in ("input", "select", "textarea")
        }
        if forms
        else set()
    )


def _seen(group: NodeGroup, screen: Screen, taken: set[str]) -> SeenElement:
    node = group.first
    effect = effect_of(node)
    href = ""
    if effect == "navigate":
        href = node.facts.get("href", "") if node.role == "link" else _asked(node, screen)
    label = "" if group.many and not group.label else guarded(node.name or node.text).text
    if node.role in READ and (group.many or node.role not in ("heading", "dialog", "alertdialog")):
        label = ""
    column = _column(node, screen)
    if node.role in ("cell", "gridcell"):
        label = ""
    word = label or column
    element = Element(
        name=element_name(UNNAMED, word, node.role, taken),
        state=UNNAMED,
        role=node.role,
        label=label,
        locators=_locators(group, screen),
        value_type=_value_type(node),
        options=_options(node),
        constraints=_constraints(node),
        many=group.many,
        effect=effect,
        requests=_requests(node, effect),
        description=_about(group, screen),
    )
    return SeenElement(
        element,
        href=href,
        leads_to=url_template(href) if href else "",
        opens=effect == "read" and _opens_menu(node),
        leaves=leaves_session(node),
    )


def _opens_menu(node: ScreenNode) -> bool:
    """Whether it is closed, or a tab that is not the one in front, or leads within its page."""
    facts = node.facts
    if facts.get("selected") == "true" or facts.get("expanded") == "true":
        return False
    closed = facts.get("expanded") == "false" or node.role == "tab"
    return closed or "toggles" in facts or len(facts.get("anchor", "")) > 1


def _asked(button: ScreenNode, screen: Screen) -> str:
    """Where the form of a button leads by GET, with what stands in its fields."""
    action, form = button.facts.get("action", ""), button.facts.get("form")
    if not action or form is None:
        return action
    pairs = []
    for one in screen.nodes:
        name = one.facts.get("name")
        if one.facts.get("form") != form or not name or one.secret or one.role not in FIELDS:
            continue
        if one.role in ("checkbox", "radio", "switch"):
            if one.value == "true":
                pairs.append((name, one.facts.get("value", "on")))
        else:
            pairs.append((name, one.facts.get("chosen", one.value)))
    if button.facts.get("name"):
        pairs.append((button.facts["name"], button.facts.get("value", button.name)))
    base = urldefrag(action)[0].partition("?")[0]
    return f"{base}?{urlencode(pairs)}" if pairs else base


def _locators(group: NodeGroup, screen: Screen) -> tuple[Locator, ...]:
    node = group.first
    if not group.many:
        return locators_of(node)
    found = []
    if group.label:
        found.append(Locator("role", group.label, role=node.role, of=0, frame=node.frame))
    css = {one.facts.get("css", "") for one in group.nodes}
    if len(css) == 1 and "" not in css:
        found.append(Locator("css", css.pop(), of=0, frame=node.frame))
    path = item_path(group, screen)
    if path:
        found.append(Locator("xpath", path, of=0, frame=node.frame))
    return tuple(found)


def _value_type(node: ScreenNode) -> ValueType:
    kind = node.facts.get("type", "").lower()
    if node.secret:
        return "secret"
    if kind == "file":
        return "file"
    if node.role in ("checkbox", "radio", "switch", "menuitemcheckbox", "menuitemradio"):
        return "switch"
    if node.options or node.facts.get("tag") == "select" or node.role in ("listbox",):
        return "choice"
    if kind in _DATES:
        return "date"
    if kind in ("number", "range") or node.role in ("spinbutton", "slider"):
        return "number"
    return "text" if node.role in FIELDS else "none"


def _options(node: ScreenNode) -> tuple[str, ...]:
    return tuple(guarded(one).text for one in node.options[:_MOST_OPTIONS])


def _constraints(node: ScreenNode) -> ValueConstraints:
    facts = node.facts
    if node.role not in FIELDS and facts.get("type") != "file":
        return ValueConstraints()
    most = facts.get("maxlength", "")
    return ValueConstraints(
        required="required" in facts,
        lowest=facts.get("min") or None,
        highest=facts.get("max") or None,
        pattern=facts.get("pattern", ""),
        most_characters=int(most) if most.isascii() and most.isdigit() and len(most) < 9 else None,
    )


def _requests(node: ScreenNode, effect: EffectClass) -> tuple[str, ...]:
    """What the form says that a button sends; nothing was sent."""
    if effect in ("read", "draft") or node.role == "link" or not node.facts.get("action"):
        return ()
    if "scripted" in node.facts and effect != "navigate":
        return ()  # what its script sends is seen when it is sent
    method = node.facts.get("method", "GET")
    return (f"{method} {url_template(node.facts['action']).partition('?')[0]}",)


def _about(group: NodeGroup, screen: Screen) -> str:
    node = group.first
    said = guarded(node.facts.get("placeholder") or node.facts.get("title") or "").text
    parts = [said] if said and said != node.name else []
    if group.many:
        column = _column(node, screen)
        parts.append(f"one of a list{f', column {column}' if column else ''}")
    if len(node.options) > _MOST_OPTIONS:
        parts.append(f"{len(node.options)} options, the first {_MOST_OPTIONS} are listed")
    return "; ".join(parts)


def _column(node: ScreenNode, screen: Screen) -> str:
    """The header of the column that a node stands in, where its table has one."""
    said = node.facts.get("column")
    return guarded(said).text if said else header_of(screen, node)
