"""Is a text whole: sentences with a verb, no loop, no stump, nothing of the prompt in it?

    check_form("This product is a product that is a product.", request)    # form/loop
    check_form("Karaoke machine Mighty Kar", request)                      # form/cut
    check_whole("Eczema.", request, sentences=True)    # form/no-verb, form/no-name

`check_form` holds for any text, a person's too. `check_whole` is asked before a machine's text is
kept: it has to name its product, and where the slot asks for sentences, each has a verb. Verbs are
told by a list and by their subject: English alone; of other languages only the rest is checked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from adwright.authoring.checks.limits import Finding
from adwright.authoring.checks.names import says_name
from adwright.authoring.tasks import AuthoringRequest
from adwright.core.config import read_toml
from adwright.metrics.text.mentions import language_of

_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
_END = re.compile(r"(?<=[.!?])[\"”')\]]*\s+(?=[\"“'(\[]?[^\Wa-z])|(?<=[。！？])|\n+")
#: What a point ends that is no sentence.
_SHORT = re.compile(
    r"\b(?:e\.g|i\.e|etc|inc|ltd|co|corp|st|dr|mr|mrs|ms|vs|approx|no|nr|oz|fl|lb|lbs|in|ft|vol|ed|[A-Za-z])\.$",
    re.IGNORECASE,
)
_OPEN = re.compile(r"[,;:&/(\[{<|=+–—-]\s*[.!?]?\s*$")
_FIELDS = (
    "title|headline|long headline|description|product description|product|ad|ad text|text|answer"
    "|sentence|caption|query|input|output|response|instruction|question|category|slogan|copy"
)
_PROMPT = re.compile(
    rf"^[^\w\n]*+(?:{_FIELDS})\s*:"
    r"|^[^\w\n]*+(?:sure|certainly|of course)\b"
    rf"|^[^\w\n]*+here(?:'s| is| are)(?: the| a| an| your)?(?: \w+){{0,3}} (?:{_FIELDS})\b"
    r"|\[shortened\]|<\|?\w+\|?>|\bas an ai\b|\bin at most \d+ characters\b"
    r"|\bwrite the (?:headline|sentence|text|description|title) alone\b|#{2,}",
    re.IGNORECASE | re.MULTILINE,
)
_MARKDOWN = re.compile(
    r"\*\*|__|```|^\s{0,3}#{1,6}\s|^\s{0,3}(?:[*•-]|\d{1,2}[.)])\s", re.MULTILINE
)
_SAME = re.compile(r"\b([^\W\d_]{4,})\b (?:is|are) (?:a|an|the)? ?(?:\w+ )?\1\b", re.IGNORECASE)
_PRONOUN = re.compile(
    r"\b(?:it|you|they|we|this|that|which|who)\s+(?:\w+ly\s+)?([a-z]{3,})\b", re.I
)


@cache
def words_named(name: str) -> frozenset[str]:
    """A list of words.toml."""
    return frozenset(read_toml(Path(__file__).with_name("words.toml"))[name])


def sentences_of(text: str) -> Iterator[str]:
    """The sentences of a text in their order, with the marks that end them."""
    kept = ""
    for part in _END.split(text):
        if not part or not part.strip():
            continue
        kept = f"{kept} {part}" if kept else part
        if _SHORT.search(kept.rstrip()):
            continue
        yield kept.strip()
        kept = ""
    if kept.strip():
        yield kept.strip()


def unfinished(text: str) -> bool:
    """Whether a text ends with a word or a sign that leads nowhere."""
    bare = text.rstrip(" .!?\"”'")
    words = _WORD.findall(bare)
    return bool(_OPEN.search(text)) or (
        bool(words) and words[-1].lower() in words_named("dangling")
    )


def why_no_sentence(text: str) -> str:
    """Why an English text is no whole sentence; "" where it is one."""
    words = [one.lower().replace("’", "'") for one in _WORD.findall(text)]
    if len(words) < 2:
        return "it is no sentence"
    has_verb = words[0] in words_named("orders") or _has_verb(words)
    if not has_verb:
        said = _PRONOUN.search(text)
        plural = text.lower().startswith(("you", "they"))
        has_verb = said is not None and (plural or said[1].lower().endswith("s"))
    if not has_verb:
        return "it has no verb"
    return "it ends with a word that leads nowhere" if unfinished(text) else ""


def _has_verb(words: list[str]) -> bool:
    """Whether one of the verbs stands as such: with an ending, or behind what it belongs to; "to
    provide" is none."""
    finite, before = words_named("finite"), words_named("before")
    for at, one in enumerate(words):
        if one not in finite or (at and words[at - 1] in ("to", "a", "an", "the", "of")):
            continue
        ends = one.endswith("s") and one not in words_named("doubtful")
        if ends or one in words_named("helping") or "'" in one:
            return True
        if at and (words[at - 1] in before or (at < 6 and not one.endswith("s"))):
            return at == 0 or words[at - 1] in before or words[at - 1].endswith("s")
        if at and words[at - 1] in ("it", "this", "one", "model", "product", "set", "kit"):
            return True
    return False


def check_form(text: str, request: AuthoringRequest) -> tuple[Finding, ...]:
    """Errors for loops, stumps, words that were cut, and what a prompt or markup leaves."""
    return (*_loops(text, request), *_stumps(text, request), *_prompt(text))


def check_whole(text: str, request: AuthoringRequest, *, sentences: bool) -> tuple[Finding, ...]:
    """Errors where a text does not name its product or, of `sentences`, one of them is none."""
    found = []
    end = len(text)
    is_answer = request.task.wanted.name == "answer"
    if not is_answer and not says_name(text, request.product):
        said = "it does not say its product's name, or a part that can stand for it"
        found.append(Finding("form/no-name", 0, end, "error", said, "name it"))
    if not sentences:
        return tuple(found)
    english = language_of(request.product.locale) == "en"
    at = 0
    for one in sentences_of(text):
        start = max(text.find(one, at), 0)
        at = start + len(one)
        why = "" if one[-1] in '.!?"”)。！？' else "it has no end"
        why = why or (why_no_sentence(one) if english and one.isascii() else "")
        if why:
            found.append(Finding("form/no-sentence", start, at, "error", why, "write it whole"))
    return tuple(found)


def _plain(text: str) -> list[str]:
    return [one.casefold() for one in re.findall(r"[^\W_]+", text)]


def _joined(text: str) -> str:
    return "".join(_plain(text))


def _loops(text: str, request: AuthoringRequest) -> Iterator[Finding]:
    message, fix = "it says the same again", "say it once"
    found = _SAME.search(text)
    if found and found.group().casefold() not in _facts(request):
        yield Finding("form/loop", *found.span(), "error", message, fix)
    said = Counter(_joined(one) for one in sentences_of(text) if len(one) > 12)
    if said and max(said.values()) > 1:
        again = next(one for one, count in said.items() if count > 1)
        part = [one for one in sentences_of(text) if _joined(one) == again][1]
        start = text.rfind(part)
        yield Finding("form/loop", start, start + len(part), "error", message, fix)
    words = [(one.group().casefold(), one.start(), one.end()) for one in _WORD.finditer(text)]
    runs: Counter[tuple[str, ...]] = Counter()
    for at in range(len(words) - 3):
        run = tuple(word for word, _, _ in words[at : at + 4])
        runs[run] += 1
        if runs[run] == 3:
            yield Finding("form/loop", words[at][1], words[at + 3][2], "error", message, fix)
            return


def _stumps(text: str, request: AuthoringRequest) -> Iterator[Finding]:
    at = 0
    for one in sentences_of(text):
        start = max(text.find(one, at), 0)
        at = start + len(one)
        if unfinished(one) and not request.product.title.rstrip(" .").endswith(one.rstrip(" .!?")):
            said = "it ends with a word that leads nowhere"
            yield Finding("form/stump", start, at, "error", said, "end it before")
    last = re.search(r"(?<!\w)([^\W\d_]{2,})$", text.rstrip())
    if last:
        low, known = last[1].casefold(), set(_plain(_facts(request)))
        longer = [one for one in known if one.startswith(low) and len(one) > len(low) + 1]
        plural = any(one in (f"{low}s", f"{low}es", f"{low}ed", f"{low}ing") for one in known)
        if low not in known and longer and not plural and low not in words_named("finite"):
            yield Finding(
                "form/cut", *last.span(1), "error", f"{last[1]!r} is cut", "end it before"
            )


def _prompt(text: str) -> Iterator[Finding]:
    for pattern, said in ((_PROMPT, "words of a prompt"), (_MARKDOWN, "Markdown")):
        found = pattern.search(text)
        if found:
            yield Finding("form/prompt", *found.span(), "error", said, "write the text alone")


def _facts(request: AuthoringRequest) -> str:
    return " ".join((*request.product.facts(), *(text for _, text in request.values))).casefold()
