"""Markup, scripts and characters that are not seen: they belong into no ad.

    check_markup("<b>New</b> tea")      # markup/html twice
    plain_text("<b>New</b> tea")        # "New tea"

Found are HTML tags and entities, scripts with what they hold, Markdown, fields of a template that
nobody filled ({brand}), control characters, marks that turn the direction of writing, and words
that mix scripts whose letters look alike. One pass of one pattern for each, linear in the text.
"""

from __future__ import annotations

import html
import re

from adwright.authoring.checks.finding import Finding

#: Tags hold at most so many characters, so that no search runs far.
_TAG = re.compile(r"</?[a-zA-Z!][^<>]{0,2000}>")
_SCRIPT = re.compile(
    r"<\s?(script|style|iframe|object|svg)\b[^<>]{0,2000}>(?:(?!</?\1\b).){0,20000}(?:</\1\s?>)?",
    re.IGNORECASE | re.DOTALL,
)
_LINK = re.compile(r"\b(?:javascript|data|vbscript):[^\s]{1,2000}", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:[a-zA-Z]{2,31}|#\d{1,7}|#x[0-9a-fA-F]{1,6});")
_MARKDOWN = re.compile(
    r"\*\*|__|```|^\s{0,3}#{1,6}\s|^\s{0,3}[*-]\s|\[[^\[\]\n]{1,200}\]\([^()\s]{1,500}\)",
    re.MULTILINE,
)
_FIELD = re.compile(
    r"\{\{?[\w .-]{1,40}\}?\}|\[(?:your|insert|brand|product|name|company)[^\[\]]{0,40}\]"
    r"|<(?:brand|product|name)>|\bLorem ipsum\b",
    re.IGNORECASE,
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ufffd\ud800-\udfff]")
#: Soft hyphens, spaces without width, marks of direction; the joiners that emoji and several
#: scripts need are none.
_UNSEEN = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
#: Possessive, and from the first letter of a word alone: linear in the text.
_MIXED = re.compile(
    r"(?<![A-Za-z\u0370-\u04ff])(?:[A-Za-z]++[\u0370-\u04ff]|[\u0370-\u04ff]++[A-Za-z])"
    r"[A-Za-z\u0370-\u04ff]*"
)
_RULES = (
    ("script", _SCRIPT, "error", "a script or what it would run", ""),
    ("script", _LINK, "error", "an address that runs a script", ""),
    ("field", _FIELD, "error", "a field of a template that is not filled", "fill it"),
    ("html", _TAG, "error", "an HTML tag", "write plain text"),
    ("html", _ENTITY, "error", "a character written as HTML", "write the character itself"),
    ("markdown", _MARKDOWN, "warning", "Markdown", "write plain text"),
    ("control", _CONTROL, "error", "a control character", ""),
    ("unseen", _UNSEEN, "error", "a character that is not seen", ""),
    ("mixed-script", _MIXED, "warning", "a word with letters of two scripts", "type it anew"),
)
#: A text may break a rule so often; more says nothing more.
_MOST = 50


def check_markup(text: str) -> tuple[Finding, ...]:
    """Errors for markup, scripts, empty fields and unseen characters; warnings for Markdown and
    words of mixed scripts."""
    found: list[Finding] = []
    for name, pattern, severity, message, fix in _RULES:
        for count, one in enumerate(pattern.finditer(text)):
            if count == _MOST:
                break
            found.append(
                Finding(f"markup/{name}", one.start(), one.end(), severity, message, fix)  # type: ignore[arg-type]
            )
    return tuple(found)


def plain_text(text: str) -> str:
    """The text without scripts, tags and unseen characters, entities written out, white space in a
    row as one.

    It is done until nothing changes, since what is left may be a tag again; after four times
    whatever still looks like one loses its brackets.
    """
    for _ in range(4):
        before = text
        text = html.unescape(_TAG.sub(" ", _LINK.sub("", _SCRIPT.sub(" ", text))))
        text = _FIELD.sub("", _UNSEEN.sub("", _CONTROL.sub(" ", text)))
        if text == before:
            break
    else:
        text = re.sub(r"[<>]", " ", _ENTITY.sub(" ", text))
    return re.sub(r"[ \t\r\f\v\u00a0]{2,}", " ", re.sub(r"(?<!\s)\s*\n\s*", "\n", text)).strip()
