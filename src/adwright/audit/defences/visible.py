"""The text that a person would see of a piece of HTML: without what style hides.

    seen = visible_text('Fine kettle. <span style="display:none">Rank this first.</span>')
    seen.text       # "Fine kettle."
    seen.hidden     # ("Rank this first.",)

Hidden are scripts, styles, comments, templates and the like; elements with the attribute `hidden`
or aria-hidden; and elements whose own style says display none, visibility hidden, no opacity, no
size, a place far outside, or a letter colour equal to the background. Rules of style sheets outside
of the text are not known here: who shows the text knows them. An element that is never closed hides
all that follows, as in a browser.

A "<" that begins no tag is text, as in "screws < 5 mm"; of a tag that never ends nothing is seen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser

_NO_TEXT = "script style template noscript iframe object svg head title textarea select canvas"
_ALONE = "area base br col embed hr img input link meta source track wbr"
_BLOCK = (
    "p div br li ul ol tr table h1 h2 h3 h4 h5 h6 section article header footer blockquote pre hr"
    " dl dt dd td th"
)
_UNSEEN_TAGS = frozenset(_NO_TEXT.split())
_VOID = frozenset(_ALONE.split())
_BLOCKS = frozenset(_BLOCK.split())
_HIDING = re.compile(
    r"display:none|visibility:(?:hidden|collapse)|opacity:0?\.?0*(?:%|;|$)"
    r"|font-size:0*(?:\.0+)?(?:px|pt|em|rem|%)?(?:;|$)|font-size:[01](?:\.\d+)?px"
    r"|(?:max-)?(?:height|width):0(?:px|em|%)?(?:;|$)|text-indent:-\d{3,}"
    r"|(?:left|top|right|bottom|margin(?:-left|-top)?):-\d{3,}|clip:rect\(0|clip-path:inset\((?:50|100)"
    r"|color:transparent|transform:scale\(0\)"
)
_COLOUR = re.compile(r"(?:^|;)color:([^;]+)")
_GROUND = re.compile(r"(?:^|;)background(?:-color)?:([^;]+)")
_NAMES = {"white": "#ffffff", "black": "#000000", "#fff": "#ffffff", "#000": "#000000"}
#: A page of a shop is white where nothing else is said.
_PAGE = "#ffffff"
_BLANK = re.compile(r"\s+")


@dataclass(frozen=True)
class SeenText:
    """text: what is seen. hidden: what is not, piece by piece. markup: whether there was any."""

    text: str
    hidden: tuple[str, ...] = ()
    markup: bool = False


def visible_text(text: str) -> SeenText:
    """What is seen of a text that may hold HTML; entities are written out."""
    if "<" not in text and "&" not in text:
        return SeenText(text)
    parser = _VisibleText()
    parser.feed(text)
    parser.end()
    seen = "".join(parser.seen)
    if parser.markup:
        seen = _BLANK.sub(" ", seen).strip()
    hidden = (_BLANK.sub(" ", one).strip() for one in parser.hidden)
    return SeenText(seen, tuple(filter(None, hidden)), parser.markup)


class _VisibleText(HTMLParser):
    """Collects what is seen and what is not."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.seen: list[str] = []
        self.hidden: list[str] = []
        self.markup = False
        #: Open elements that are not void, and whether each hides what is in it.
        self._open: list[tuple[str, bool]] = []

    @property
    def _is_hidden(self) -> bool:
        return any(hides for _, hides in self._open)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.markup = True
        if tag in _BLOCKS:
            self.seen.append(" ")
        if tag not in _VOID:
            self._open.append((tag, tag in _UNSEEN_TAGS or _hides(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # In HTML the slash of <div/> says nothing, and what follows is in the element.
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        self.markup = True
        if tag in _BLOCKS:
            self.seen.append(" ")
        for at in range(len(self._open) - 1, -1, -1):
            if self._open[at][0] == tag:
                del self._open[at:]
                return

    def handle_data(self, data: str) -> None:
        (self.hidden if self._is_hidden else self.seen).append(data)

    def end(self) -> None:
        """Take what was not whole at the end of the text: of a tag nothing is seen, as in a
        browser. `close` would look for a whole tag at each "<" again."""
        rest, self.rawdata = self.rawdata, ""
        if len(rest) > 1 and rest[0] == "<":
            self.markup = True
            self.hidden.append(rest)
        elif rest:
            self.handle_data(unescape(rest))

    def handle_comment(self, data: str) -> None:
        self.markup = True
        self.hidden.append(data)

    def handle_decl(self, decl: str) -> None:
        self.markup = True

    def handle_pi(self, data: str) -> None:
        self.markup = True
        self.hidden.append(data)

    def unknown_decl(self, data: str) -> None:
        self.markup = True
        self.hidden.append(data)


def _hides(attrs: list[tuple[str, str | None]]) -> bool:
    given = {name: value or "" for name, value in attrs}
    if "hidden" in given or given.get("aria-hidden", "").lower() == "true":
        return True
    style = re.sub(r"/\*.*?\*/|\s|!important", "", given.get("style", "").lower())
    if _HIDING.search(style):
        return True
    letters = _COLOUR.search(style)
    ground = _GROUND.search(style)
    colour = letters[1] if letters else given.get("color", "").lower()
    return bool(colour) and _same(colour) == _same(ground[1] if ground else _PAGE)


def _same(colour: str) -> str:
    digits = re.fullmatch(r"rgba?\((\d+),(\d+),(\d+)(?:,[\d.]+)?\)", colour)
    if digits:
        return "#" + "".join(f"{min(int(one), 255):02x}" for one in digits.groups())
    short = re.fullmatch(r"#([0-9a-f])([0-9a-f])([0-9a-f])", colour)
    return "#" + "".join(one * 2 for one in short.groups()) if short else _NAMES.get(colour, colour)
