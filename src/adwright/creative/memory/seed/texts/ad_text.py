"""An ad as a brief and an answer, and back: what is asked, what is learned, what is judged.

    brief = brief_of(record, "slogan", id="s1")      # of an ad that there is
    answer = answer_of(record, "slogan")             # what the writer is to learn to answer
    written = record_of("Fresh at six.", brief)      # what a judge is shown

Content simulation (Harini S I et al., WACV 2025): from brand, title and length to the ad. A slogan
is written from its brand and what it is of, a headline from its story, a description from the name
of its product, a video from its title and length: orientation, pace, what is said, then of each
scene a caption, colours, emotions and tags, in the sentences of `verbalised`. Of a video the first
five scenes are learned (our choice), or a small model would never come to an end.
"""

from __future__ import annotations

from dataclasses import replace

from adwright.creative.memory.seed.texts.brief import AdBrief, BriefKind
from adwright.creative.records.ad_record import AdRecord, read_verbalised, verbalised

__all__ = ["answer_of", "brief_of", "claimed_in", "is_complete", "record_of", "said_in"]

#: Of a video, what its brief tells, and what a writer is not asked for.
_NOT_WRITTEN = (
    *("kind", "brand", "title", "words", "seconds", "motion"),
    *("scene.tone", "scene.style", "scene.complexity", "scene.faces", "scene.start"),
    "scene.seconds",
)
_SCENES = 5
_QUOTES = "\"'“”‘’«»„`*"
#: Names that a model puts before its answer.
_LABELS = ("slogan", "headline", "answer", "tagline", "text", "description")


def brief_of(record: AdRecord, kind: BriefKind, *, id: str, group: str = "") -> AdBrief:
    """The brief that an ad could have been written from; nothing of the answer is in it.

    Raises ValueInvalidError where the ad names no brand and no subject.
    """
    match kind:
        case "slogan":
            return AdBrief(id, kind, record.brand, record.words, group=group)
        case "headline":
            return AdBrief(id, kind, record.brand, record.words, group=group)
        case "description":
            return AdBrief(id, kind, record.brand, record.title, group=group)
        case "video":
            return AdBrief(
                id, kind, record.brand, record.title, seconds=record.seconds, group=group
            )


def answer_of(record: AdRecord, kind: BriefKind) -> str:
    """What the writer learns to answer; empty where the ad has no such part."""
    match kind:
        case "slogan" | "headline":
            return " ".join(record.title.split())
        case "description":
            return " ".join(record.words.split())
        case "video":
            few = replace(record, scenes=record.scenes[:_SCENES])
            return " ".join(verbalised(few, leave_out=_NOT_WRITTEN).split())


def record_of(text: str, brief: AdBrief) -> AdRecord:
    """The ad that an answer stands for, with the brand of its brief, as `answer_of` takes it apart.
    What a slogan is of, and the story of a headline, are no part of it.

    The first line counts, where the kind is of one line; quotes around it and a label before it,
    such as "Slogan:", are no part of the ad.
    """
    match brief.kind:
        case "slogan" | "headline":
            return AdRecord(brand=brief.brand, title=_line(text))
        case "description":
            return AdRecord(brand=brief.brand, title=brief.subject, words=_plain(text))
        case "video":
            read = read_verbalised(" ".join(text.split()))
            return replace(
                read, kind="video", brand=brief.brand, title=brief.subject, seconds=brief.seconds
            )


def said_in(record: AdRecord, kind: BriefKind) -> str:
    """The words of an ad that its writer chose, without the sentences of the form: for filters."""
    if kind != "video":
        return answer_of(record, kind)
    scenes = (line for one in record.scenes[:_SCENES] for line in (one.caption, *one.words))
    return "\n".join(filter(None, (record.speech, *scenes)))


def claimed_in(record: AdRecord, kind: BriefKind) -> str:
    """What an ad tells those who see it. A scene may show what no brief tells."""
    if kind != "video":
        return answer_of(record, kind)
    shown = (line for one in record.scenes[:_SCENES] for line in one.words)
    return "\n".join(filter(None, (record.speech, *shown)))


def is_complete(record: AdRecord, kind: BriefKind) -> bool:
    """Whether an ad has all that its kind needs to be learned from."""
    subject = record.words if kind in ("slogan", "headline") else record.title
    return bool((record.brand.strip() or subject.strip()) and answer_of(record, kind))


def _line(text: str) -> str:
    lines = (_plain(line) for line in text.splitlines())
    return next(filter(None, lines), "")


def _plain(text: str) -> str:
    one = " ".join(text.split()).strip(_QUOTES + " ")
    name, colon, rest = one.partition(":")
    if colon and name.strip(_QUOTES + " ").lower() in _LABELS:
        one = rest.strip(_QUOTES + " ")
    return one
