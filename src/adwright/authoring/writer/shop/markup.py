"""Plain text out of what shops keep in their fields: without markup, scripts or hidden characters.

plain_text("<p>Fresh &amp; green</p><script>x()</script>") == ("Fresh & green", True)
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

#: What ends a line of text; between others nothing is put.
_BLOCKS = frozenset(
    (
        *("p", "div", "br", "li", "ul", "ol", "tr", "table", "h1", "h2", "h3", "h4", "h5", "h6"),
        *("section", "article", "header", "footer", "blockquote", "pre", "hr", "dl", "dt", "dd"),
    )
)
_CELLS = frozenset(("td", "th"))
#: What holds no text for people.
_HIDDEN = frozenset(("script", "style", "template", "noscript", "iframe", "object", "svg", "head"))
#: Control characters, marks that turn the direction of text, and characters of no width; not the
#: joiners, which words of Persian and Hindi need, as do emoji.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SPACE = re.compile(r"[ \t\u00a0]+")
_LINES = re.compile(r" ?(?:\r\n?|\n)(?: ?(?:\r\n?|\n))* ?")
_TAG = re.compile(r"<(?=[a-zA-Z/!?])")
#: One tag. Its texts in quotes hold no "<", so that no character is looked at for many tags.
_WHOLE = re.compile(r"""<[/!?]?([a-zA-Z][\w:-]*)?(?:[^<>"']++|"[^"<]*+"|'[^'<]*+'|["'])*+>""")
_COMMENT, _COMMENT_END = "<!--", "-->"


def plain_text(text: str, *, lines: bool = True) -> tuple[str, bool]:
    """The text that people would read, and whether there was markup or something hidden.

    lines: keep line ends, of which several become one; otherwise they become spaces. Entities such
    as &amp; become their characters. A "<" that begins no tag stays, as in "screws < 5 mm". The
    time grows with the length, whatever the text.
    """
    changed = False
    if _TAG.search(text):
        # What is left of a broken tag is no tag, and what an entity stands for never was one.
        text, changed = html.unescape(_TAG.sub(" ", "".join(_between_tags(text)))), True
    elif "&" in text:
        found = html.unescape(text)
        changed = found != text
        text = found
    shown = _INVISIBLE.sub("", text)
    changed |= shown != text
    shown = _LINES.sub("\n" if lines else " ", _SPACE.sub(" ", shown)).strip()
    return shown, changed


def _between_tags(text: str) -> Iterator[str]:
    """The pieces of text that tags part, with what the tags put between them."""
    at, open_comments = 0, True
    while (begin := _TAG.search(text, at)) is not None:
        yield text[at : begin.start()]
        at = begin.start()
        if open_comments and text.startswith(_COMMENT, at):
            end = text.find(_COMMENT_END, at)
            open_comments = end >= 0
            at = end + len(_COMMENT_END) if open_comments else at + len(_COMMENT)
            continue
        whole = _WHOLE.match(text, at)
        if whole is None:
            yield text[at]
            at += 1
            continue
        at, tag = whole.end(), (whole[1] or "").lower()
        if tag in _HIDDEN and not whole[0].startswith("</") and not whole[0].endswith("/>"):
            ends = re.compile(rf"</{tag}\b[^<>]*>?", re.IGNORECASE).search(text, at)
            at = len(text) if ends is None else ends.end()
        if tag in _BLOCKS or tag in _CELLS:
            yield "\n" if tag in _BLOCKS else " "
    yield text[at:]
