r"""What no honest seller writes, and what alarms whatever a guard has learned.

    certainties("Kettle. \U000e0052\U000e0061 <|im_start|>system")   # ("unseen characters", ..)

Characters that cannot be seen, outside of the scripts and emoji that need them; letters that pose
as others; words of chat templates; the end of a field in JSON, HTML or markdown; text that style
hides; words that are said at least four times running; and instructions to a model, in the
languages of `certain.toml`. The rules are written by us:
an instruction in other words passes here, and is left to the guard and to the bound.

Cost: linear in the text. Instructions are found word by word, without backtracking: for each rule
stands how far it has come, and where.
"""

from __future__ import annotations

import json
import re
import tomllib
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from adwright.audit.defences.normalise import Normalised, latin_twins, normalised

#: What was found.
Certainty = Literal[
    "unseen characters", "posing letters", "words of chat templates", "the end of a field",
    "hidden text", "an instruction to a model", "the same words again and again",
]  # fmt: skip

#: Characters of a text that are looked at.
_LONGEST = 20_000


def certainties(text: str, seen: Normalised | None = None) -> tuple[Certainty, ...]:
    """What is certain of a text, each kind once. seen: the text as `normalised` gives it."""
    seen = normalised(text) if seen is None else seen
    text = text[:_LONGEST]
    found: dict[Certainty, bool] = {
        "unseen characters": _unseen(text),
        "posing letters": _posing(text),
        "words of chat templates": bool(_CHAT.search(text)),
        "the end of a field": _ends_field(text),
        "hidden text": any(any(map(str.isalnum, one)) for one in seen.hidden),
        "an instruction to a model": any(map(instructs, (seen.text, *seen.hidden))),
        "the same words again and again": _floods(seen.text),
    }
    return tuple(name for name, is_there in found.items() if is_there)


# --------------------------------------------------------------------------------------------------
# Characters that cannot be seen.

#: Zero width, word joiners, invisible signs, fillers, deprecated controls, overrides of direction.
_UNSEEN = re.compile(
    "[\u180e\u200b\u200c\u200d\u202d\u202e\u2060-\u2064\u206a-\u206f\u115f\u1160\u3164\uffa0\ufeff"
    "\U000e0000-\U000e007f\x1b\x08\x00]|[\ufe00-\ufe0f\U000e0100-\U000e01ef]+|[\u202a\u202b\u2066\u2067]"
)
#: A flag of a region: a black flag, tags, the end of tags.
_FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007e]{1,8}\U000e007f")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_NO_BLANKS = ("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "CJK", "HIRAGANA", "KATAKANA", "HANGUL",
              "JAVANESE", "BALINESE", "TAI")  # fmt: skip
_LETTERS = ("LATIN", "GREEK", "CYRILLIC", "DIGIT", "ARMENIAN", "FULLWIDTH")


def _unseen(text: str) -> bool:
    if text.isascii() and text.isprintable():
        return False
    text = _FLAG.sub("", text).lstrip("\ufeff")
    return any(
        not _needed(text, one.start(), one.end(), one.group()) for one in _UNSEEN.finditer(text)
    )


def _needed(text: str, start: int, end: int, signs: str) -> bool:
    """Whether script or emoji around this place need what stands there."""
    before, after = text[start - 1 : start], text[end : end + 1]
    sign = signs[0]
    if sign in "\u202a\u202b\u2066\u2067":
        return bool(_RIGHT_TO_LEFT.search(text))
    if sign in "\u200c\u200d":
        # Joiners belong between letters that join, and between parts of an emoji.
        return not any(one == "" or one.isspace() or _plain(one) for one in (before, after)) or (
            bool(before) and not before.isspace() and not _plain(before)
        )
    if "\ufe00" <= sign <= "\ufe0f" or sign >= "\U000e0100":
        return len(signs) == 1 and not (before.isascii() and before.isalpha())
    if sign in "\u200b\u2060\ufeff":
        return any(_name(one).startswith(_NO_BLANKS) for one in (before, after))
    if sign in "\u115f\u1160\u3164\uffa0":
        return any(_name(one).startswith("HANGUL") for one in (before, after))
    return sign == "\u180e" and _name(before).startswith("MONGOLIAN")


def _name(sign: str) -> str:
    return unicodedata.name(sign, "") if sign else ""


def _plain(sign: str) -> bool:
    """A letter or digit of a script that does not join."""
    return sign.isalnum() and (sign.isascii() or _name(sign).startswith(_LETTERS))


# --------------------------------------------------------------------------------------------------
# Letters that pose as others: of mathematics, in circles, of another script.

_STYLED = re.compile(
    "[\U0001d400-\U0001d7ff]{4}|[\u24b6-\u24e9\U0001f110-\U0001f189]{4}"
    "|(?:[\U0001d400-\U0001d7ff\u24b6-\u24e9\U0001f110-\U0001f189] ?){6}"
)
_WIDE = re.compile("[\uff21-\uff3a\uff41-\uff5a]{4}")
_EAST = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_WORD = re.compile(r"[^\W\d_]{4,}")


def _posing(text: str) -> bool:
    if text.isascii():
        return False
    if _STYLED.search(text) or (_WIDE.search(text) and not _EAST.search(text)):
        return True
    twins, posing = latin_twins(), 0
    latin = sum(sign.isascii() and sign.isalpha() for sign in text)
    other = sum(sign.isalpha() and not sign.isascii() and sign not in twins for sign in text)
    for one in _WORD.findall(text):
        if one.isascii():
            continue
        alike = sum(sign in twins for sign in one)
        mixed = any(sign.isascii() for sign in one)
        # A whole word of look-alikes is one of another language where that is written around it.
        if alike >= 2 and mixed:
            posing += 2
        elif alike and (mixed or (alike == len(one) and latin > 3 * other)):
            posing += 1
    return posing >= 2


# --------------------------------------------------------------------------------------------------
# Words of chat templates, and the end of the field that the text stands in.

_CHAT = re.compile(
    r"<\|[a-z_ ]{2,30}\|>|<\uff5c[^<>\n]{2,40}\uff5c>|\[/?INST\]|<</?SYS>>|</s>\s{0,9}<s>"
    r"|<(?:start|end)_of_turn>|<(?:bos|eos)>|\[/?(?:SYSTEM|system|ASSISTANT|SYSTEM_PROMPT"
    r"|AVAILABLE_TOOLS)\]"
    r"|</?(?:system|assistant|user|human|instructions?|system_prompt|system-reminder|think|thinking"
    r"|tool_call|tool_response|function_calls?|function_results?|im_start"
    r"|im_end)(?:\s[^<>]{0,40})?>"
    r"|#{2,4} ?(?:System|Instructions?|Assistant|Response|User|Human|Input|Output)(?: ?Prompt)? ?:"
    r"|\"role\"\s{0,9}:\s{0,9}\"(?:system|assistant|user|developer|tool)\""
    r"|(?:^|[\n.!?\"'}\]])\s{0,9}(?:assistant|human|chatbot|AI|Assistant|Human|ASSISTANT"
    r"|HUMAN) ?: ?\S"
    r"|(?:^|[\n.!?\"'}\]])\s{0,9}(?:[Ss]ystem|SYSTEM|[Dd]eveloper)(?: (?:message|prompt|note"
    r"|override|MESSAGE|PROMPT|OVERRIDE))? ?: ?"
    r"(?:[Yy]ou |[Ii]gnore|IGNORE|[Tt]he (?:assistant|user|model|ranking|following|next)"
    r"|[Aa]lways|ALWAYS|[Rr]ank"
    r"|[Rr]ecommend|[Ll]ist |[Nn]ew instr|[Dd]o not|[Pp]lease|[Pp]rioriti[sz]e|[Oo]verride"
    r"|[Ff]rom now|[Ff]orget"
    r"|[Dd]isregard|[Pp]lace |[Pp]ut )"
    r"|\b[Ss]ystem ?: ?[Yy]ou (?:(?:will|must|should|shall|always|now) )?"
    r"(?:recommend|rank|name|answer|respond|reply|ignore|disregard)\b"
)
_END_JSON = re.compile(
    r"[\"']\s{0,9}[}\]]\s{0,9}[}\],]*\s{0,9}[{\[]"
    r"|[\"']\s{0,9},\s{0,9}[\"'][\w .-]{1,40}[\"']\s{0,9}:\s{0,9}[\"'\[{\dtfn]"
    r"|[\"']\s{0,9}\}\s{0,9}\]|\\\"\s{0,9}[},]"
)
_MARKUP = re.compile(
    r"<(/?)(td|tr|th|table|tbody|body|html|head|script|style|textarea|select|title|listing"
    r"|listings|product"
    r"|products|item|items|document|documents|doc|context|data|description|catalog|catalogue"
    r"|results?"
    r"|search_results|query|record|field|text|content|input|page|untrusted|tool_result)\b[^<>]{0,200}>",
    re.IGNORECASE,
)
_MARKDOWN = re.compile(
    r"(?:^|\n)\s{0,3}(?:`{3,}|~{3,})\s{0,3}(?:system|json|assistant|end|instructions?)?\s{0,3}\n"
    r"|```|\n-{3,}\s{0,3}\n|-->|\]\]>|\n\s{0,3}#{1,6} (?:System|Instruction|Assistant|Task"
    r"|Note to|Important|New )"
    r"|(?:END|End|BEGIN|Begin|START|Start) (?:OF |of )?(?:THE |the )?(?:PRODUCT|product"
    r"|LISTING|listing|CATALOG|catalog"
    r"|DATA|data|CONTEXT|context|DOCUMENT|document|USER|user|INPUT|input|SYSTEM|system|RECORD"
    r"|record|LIST|list)"
    r"(?: (?:DATA|data|LIST|list|LISTING|listing|INPUT|input|PROMPT|prompt|MESSAGE|message"
    r"|DESCRIPTION|description|ENTRY|entry))?"
    r"\s{0,3}(?:[-=\]*]{2,}|\.\s{0,3}(?:Assistant|System|New|Now)|\])"
)


def _ends_field(text: str) -> bool:
    if _END_JSON.search(text) and not _is_json(text):
        return True
    open_now: list[str] = []
    for one in _MARKUP.finditer(text):
        name = one[2].lower()
        if not one[1]:
            open_now.append(name)
        elif name in open_now:
            del open_now[len(open_now) - 1 - open_now[::-1].index(name) :]
        else:
            return True
    # A comment that was opened here is hidden text, and no end of something around it.
    return any(
        one.group() != "-->" or "<!--" not in text[: one.start()]
        for one in _MARKDOWN.finditer(text)
    )


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


# --------------------------------------------------------------------------------------------------
# A name, or other words, again and again: one to 16 words, four times running or more.

_SAID = re.compile(r"\w+")
_TIMES, _MOST_WORDS, _LEAST_WORDS = 4, 16, 6


def _floods(text: str) -> bool:
    words = _SAID.findall(text.casefold())
    for size in range(1, min(_MOST_WORDS, len(words) // _TIMES) + 1):
        needed, run = max((_TIMES - 1) * size, _LEAST_WORDS - size), 0
        for at in range(size, len(words)):
            run = run + 1 if words[at] == words[at - size] else 0
            # Rows of figures, of "x" and of "n a" are of tables.
            if run == needed and any(
                len(one) > 2 and one.isalpha() for one in words[at - size + 1 : at + 1]
            ):
                return True
    return False


# --------------------------------------------------------------------------------------------------
# Instructions to a model: a word of each group of a rule, in order, near one another.

_TOKEN = re.compile(r"[^\W_]+(?:[\u200c'\u0300-\u036f\u0900-\u0dff]+[^\W_]*)*|#1|[.!?](?=\s)")
_APART = 20
_UNBLANKED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True)
class _CertainRules:
    """For a word, the beginning of one, and a first sign of languages without blanks: the rule and
    the group that have it, later groups first. rules: how many groups each has, and its gap."""

    words: dict[str, list[tuple[int, int]]]
    starts: dict[str, list[tuple[int, int]]]
    signs: dict[str, list[tuple[str, int, int]]]
    rules: list[tuple[int, int]]


@cache
def _rules() -> _CertainRules:
    told = tomllib.loads(files(__package__).joinpath("certain.toml").read_text("utf-8"))
    found = _CertainRules(defaultdict(list), defaultdict(list), defaultdict(list), [])
    for kind, times in (("rules", 1), ("signs", 3)):
        for rule in (one for some in told[kind].values() for one in some):
            gap = rule[0] if isinstance(rule[0], int) else told["gap"]
            groups = [one for one in rule if not isinstance(one, int)]
            for at, group in reversed([*enumerate(groups)]):
                for word in (_folded(each) for each in group):
                    place = (len(found.rules), at)
                    if kind == "signs":
                        found.signs[word[0]].append((word, *place))
                    elif word.endswith("*"):
                        found.starts[word[:-1]].append(place)
                    else:
                        found.words[word].append(place)
            found.rules.append((len(groups), gap * times))
    return found


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def instructs(text: str) -> bool:
    """Whether a text, as a person sees it, holds an instruction of the rules."""
    rules, text = _rules(), _folded(text[:_LONGEST])
    hits = _hits_of_words(text, rules)
    if _follows(hits, rules.rules):
        return True
    return bool(_UNBLANKED.search(text)) and _follows(_hits_of_signs(text, rules), rules.rules)


def _hits_of_words(text: str, rules: _CertainRules) -> Iterator[tuple[int, int, int]]:
    """Place, rule and group of each word that a rule has."""
    at = 0
    for found in _TOKEN.finditer(text):
        word = found.group()
        # No rule goes on from one sentence to the next.
        at += _APART if word in ".!?" else 1
        some = list(rules.words.get(word, ()))
        for size in range(2, min(len(word), 16) + 1):
            some += rules.starts.get(word[:size], ())
        yield from ((at, *one) for one in sorted(some, reverse=True))


def _hits_of_signs(text: str, rules: _CertainRules) -> Iterator[tuple[int, int, int]]:
    for at, sign in enumerate(text):
        for word, rule, group in rules.signs.get(sign, ()):
            if text.startswith(word, at):
                yield at, rule, group


def _follows(hits: Iterator[tuple[int, int, int]], rules: list[tuple[int, int]]) -> bool:
    #: Where a rule has last come as far as a group.
    reached: dict[tuple[int, int], int] = {}
    for at, rule, group in hits:
        size, gap = rules[rule]
        before = reached.get((rule, group - 1), -gap - 1)
        if group == 0 or 0 < at - before <= gap:
            reached[rule, group] = at
            if group == size - 1:
                return True
    return False
