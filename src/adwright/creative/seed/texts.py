r"""An ad as a brief and an answer, and back: what is asked, what is learned, what is judged.

    brief = brief_of(record, "slogan", id="s1")      # of an ad that there is
    answer = answer_of(record, "slogan")             # what the writer is to learn to answer
    written = record_of("Fresh at six.", brief)      # what a judge is shown

Content simulation (Harini S I et al., WACV 2025): from brand, title and length to the ad. A slogan
is written from its brand and what it is of, a headline from its story, a description from the name
of its product, a video from its title and length: orientation, pace, what is said, then of each
scene a caption, colours, emotions and tags, in the sentences of `verbalised`. Of a video the first
five scenes are learned (our choice), or a small model would never come to an end.

What an ad is to be written from, and the words in which a model is asked for it.

    brief = AdBrief("b1", brand="Mill Lane", facts=("Baked at six",))
    brief.messages()                     # one turn: "Write a slogan. ...\nBrand: Mill Lane\n..."
    parts = split_briefs(briefs, watch=0.1, held=0.25)

Some briefs are held out to measure with, others to watch when to stop; no round samples or learns
from either. All briefs of one brand go the same way, since a brand explains most of how well an ad
is remembered. A brand goes where the hash of its name says: what is added later moves nobody.

How much of a text was copied: from the ads that the writer read, or from its own brief.

    index = CopyIndex(["Just do it, every day.", ...])
    index.share("Just do it!")          # 1.0
    index.share("Do it on Sundays.")    # 0.0

The share of the words of a text that lie in runs of n words which stand in a reference in the same
order; a text of fewer than n words counts whole. A writer that is tuned on few ads learns some by
heart, and what people remember well is what they have seen before: without this, a round would
reward it.

Which of the written ads may be kept at all, and why the others may not.

    filters = AdFilters(AdFilterConfig(), CopyIndex(read))
    filters.reason("Baked at nine.", brief)          # "ungrounded": the brief says six
    filters.reason("Fresh at six.", brief)           # "": it may be kept

A judge of memory never saw such texts, and what it loves in them may be their faults. So what is
cut off, too short or long, copied, repeats itself, merely says the brief again, or claims what the
brief does not is out before a judge is asked. The reasons are looked at in the order of
this list, and the first one that holds is told:

    empty       nothing is left of it
    cut         it had no end within the tokens
    short, long too few or many words
    signs       hardly a letter in it
    repeats     words or pairs of words come again and again
    copied      it stands in an ad that the writer read
    echo        it says the brief again
    ungrounded  a number, colour, claim or name that the brief does not tell
    twice       the same brief has it already
    unlike      the own judge knows nothing like it
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Annotated, Literal, TypeAlias

import numpy as np

from adwright.core.config import Count, Ge, Le, Natural, NotNegative, Positive, settings
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.core.progress import duration
from adwright.creative.records.ad_record import AdRecord, read_verbalised, verbalised
from adwright.lm.engine.generation import GenerationConfig, Message
from adwright.metrics.text.agreement import ngrams, rouge_l, words_of
from adwright.metrics.text.grounding import grounded

#: What is to be written. slogan: one line for a brand or product. headline: one line for a story.
#: description: a sentence or two on a product. video: an ad scene by scene.
BriefKind = Literal["slogan", "headline", "description", "video"]
#: Where a brief goes: the rounds write for it, it tells them when to stop, or it measures them.
BriefPart = Literal["train", "watch", "held"]

_ASKED: dict[BriefKind, str] = {
    "slogan": "Write a slogan. Answer with the slogan alone.",
    "headline": "Write a headline for this story. Answer with the headline alone.",
    "description": "Write a short text that sells this product. Answer with the text alone.",
    "video": "Write a video ad scene by scene: orientation, pace, then what each scene shows.",
}
_SUBJECT: dict[BriefKind, str] = {"headline": "Story", "video": "Title"}
_ONE_LINE = ("slogan", "headline")
#: Characters of a subject and of a fact that a prompt shows.
_SHOWN = 300
_STEPS = 2**32


@settings
class AdBrief:
    """What is known before an ad is written.

    id: its own. kind: what is to be written. brand: whose ad. subject: the product, the story, or
    the title of a video. facts: what else may be said. seconds: of a video. group: of briefs that
    are held out together; by default those of a brand, and without one of a subject.

    Raises ConfigError for another kind, ValueInvalidError where there is nothing to write of.
    """

    id: str
    kind: BriefKind = "slogan"
    brand: str = ""
    subject: str = ""
    facts: tuple[str, ...] = ()
    seconds: float | None = None
    group: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueInvalidError("a brief has an id", column="id", value=self.id)
        if not (self.brand.strip() or self.subject.strip()):
            raise ValueInvalidError(
                "a brief names a brand or a subject",
                column="subject",
                value=self.subject,
                hint="say whose ad it is, or what it is of",
            )

    @property
    def held_by(self) -> str:
        """Briefs with the same are held out together."""
        named = self.group or self.brand or self.subject
        return " ".join(words_of(named)) or named.strip()

    @property
    def known(self) -> tuple[str, ...]:
        """All that an ad may claim."""
        length = () if self.seconds is None else (f"{self.seconds:g} seconds",)
        return tuple(filter(None, (self.brand, self.subject, *self.facts, *length)))

    def messages(self) -> tuple[Message, ...]:
        """What a model is asked. What all briefs of a kind share comes first, so that engines read
        it once."""
        told = [
            ("Brand", self.brand),
            (_SUBJECT.get(self.kind, "Product"), self.subject),
            *(("Fact", fact) for fact in self.facts),
            ("Seconds", "" if self.seconds is None else f"{self.seconds:g}"),
        ]
        lines = []
        for name, value in told:
            line = " ".join(value.split())
            if line:
                lines.append(f"{name}: {line if len(line) <= _SHOWN else line[: _SHOWN - 1] + '…'}")
        return (Message("user", "\n".join((_ASKED[self.kind], *lines))),)


def part_of(group: str, *, watch: float, held: float, seed: int = 0) -> BriefPart:
    """Where a group goes: u < held, u < held + watch, or beyond, u being its hash in [0, 1)."""
    if not (watch >= 0 and held >= 0 and watch + held < 1):
        raise ConfigError(
            "watch and held are shares that leave something to write for",
            where=f"watch {watch}, held {held}",
            hint="watch 0.1, held 0.25",
        )
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    place = int.from_bytes(digest[:4], "big") / _STEPS
    return "held" if place < held else "watch" if place < held + watch else "train"


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
    subject = record.words if kind in _ONE_LINE else record.title
    seconds = record.seconds if kind == "video" else None
    return AdBrief(id, kind, record.brand, subject, seconds=seconds, group=group)


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
            lines = filter(None, map(_plain, text.splitlines()))
            return AdRecord(brand=brief.brand, title=next(lines, ""))
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
    subject = record.words if kind in _ONE_LINE else record.title
    return bool((record.brand.strip() or subject.strip()) and answer_of(record, kind))


def _plain(text: str) -> str:
    one = " ".join(text.split()).strip(_QUOTES + " ")
    name, colon, rest = one.partition(":")
    if colon and name.strip(_QUOTES + " ").lower() in _LABELS:
        one = rest.strip(_QUOTES + " ")
    return one


class CopyIndex:
    """The references as sets of runs of words. n: words of a run."""

    def __init__(self, references: Iterable[str], *, n: int = 4) -> None:
        self.n = n
        self._words = [tuple(words_of(text)) for text in references]
        # Runs of fewer words are looked for only where a text is as short: made when asked for.
        self._runs: dict[int, set[tuple[str, ...]]] = {}

    def share(self, text: str) -> float:
        """Share of the words that lie in a copied run, 0 to 1; 0 for a text without words."""
        words = words_of(text)
        if not words:
            return 0.0
        size = min(self.n, len(words))
        if size not in self._runs:
            self._runs[size] = {run for one in self._words for run in ngrams(one, size)}
        known = self._runs[size]
        copied = [False] * len(words)
        for at, run in enumerate(ngrams(words, size)):
            if run in known:
                copied[at : at + size] = [True] * size
        return sum(copied) / len(words)


#: Words from which on a text is long.
_LONG = 40


@settings
class AdFilterConfig:
    """What is asked of an ad.

    least_words, most_words: of it; video_words: most of a video. letters: least share of its
    characters, blanks aside. distinct: least share of different words, and of different pairs, in
    it; of pairs alone in a long one. in_a_row: most times that a word follows itself. copied: most
    share of its words in copied runs of `run` words. echo: most ROUGE-L with what the brief tells.
    ground: whether claims are checked. unlike: whether an ad that the own judge calls unlike all it
    knows is kept out. locale: of the texts.

    Raises ConfigError for numbers out of range.
    """

    least_words: Count = 2
    most_words: int = 40
    video_words: int = 300
    letters: Annotated[float, Ge(0), Le(1)] = 0.6
    distinct: Annotated[float, Ge(0), Le(1)] = 0.6
    in_a_row: Count = 2
    copied: Annotated[float, Ge(0), Le(1)] = 0.6
    run: Count = 4
    echo: Annotated[float, Ge(0), Le(1)] = 0.8
    ground: bool = True
    unlike: bool = True
    locale: str = "en"

    def __post_init__(self) -> None:
        if self.least_words > self.most_words:
            raise ConfigError(
                "the least words are no more than the most",
                where=f"{self.least_words} to {self.most_words} words",
            )


class AdFilters:
    """The filters of a run. index: of what the writer read. brands: of the catalogue, so that the
    name of another's is found."""

    def __init__(
        self, config: AdFilterConfig, index: CopyIndex, *, brands: Collection[str] = ()
    ) -> None:
        self.config, self.index, self.brands = config, index, frozenset(brands)

    def reasons(
        self, texts: Sequence[str], brief: AdBrief, *, cut: Sequence[bool] = ()
    ) -> list[str]:
        """Of each text written for one brief why it is out, "" where it may be kept.

        cut: whether its tokens ran out. Of texts with the same words the first may be kept.
        """
        ends = list(cut) or [False] * len(texts)
        seen: set[tuple[str, ...]] = set()
        found: list[str] = []
        for text, ended in zip(texts, ends, strict=True):
            reason = self.reason(text, brief, cut=ended)
            words = tuple(words_of(said_in(record_of(text, brief), brief.kind)))
            if not reason and words in seen:
                reason = "twice"
            seen.add(words)
            found.append(reason)
        return found

    def reason(self, text: str, brief: AdBrief, *, cut: bool = False) -> str:
        """Why one text is out by itself, "" where it may be kept."""
        asked, ad = self.config, said_in(record_of(text, brief), brief.kind)
        words = words_of(ad)
        if not words:
            return "empty"
        if cut:
            return "cut"
        most = asked.video_words if brief.kind == "video" else asked.most_words
        if not asked.least_words <= len(words) <= most:
            return "short" if len(words) < asked.least_words else "long"
        signs = "".join(ad.split())
        if sum(sign.isalnum() for sign in signs) < asked.letters * len(signs):
            return "signs"
        if self._repeats(words):
            return "repeats"
        if self.index.share(ad) > asked.copied:
            return "copied"
        if max((rouge_l(ad, one) for one in brief.known), default=0.0) > asked.echo:
            return "echo"
        return "ungrounded" if asked.ground and not self.grounded(text, brief) else ""

    def grounded(self, text: str, brief: AdBrief) -> bool:
        """Whether an ad claims only what its brief tells."""
        claims = claimed_in(record_of(text, brief), brief.kind)
        return grounded(claims, brief.known, brands=self.brands, locale=self.config.locale)

    def _repeats(self, words: list[str]) -> bool:
        row = max(len(list(same)) for _, same in groupby(words))
        pairs = ngrams(words, 2)
        shares = [len(set(pairs)) / max(len(pairs), 1)]
        # Words of a long text come again by themselves, pairs of them hardly.
        if len(words) <= _LONG:
            shares.append(len(set(words)) / len(words))
        return row > self.config.in_a_row or (len(words) > 2 and min(shares) < self.config.distinct)


# --------------------------------------------------------------------------------------------------
# What SEED learns from: ads that there are, with or without a measured score, and mere briefs.
#
#     table = read_ads(Path("headlines.parquet"))
#     pool = known_ads(table.records, table.ids, "headline", source="headlines")
#     data = SeedData(labelled + pool, briefs)
#
# An ad with a score was measured on people; one without is annotated by the model's own judge. The
# default pool is the catalogue: products of Complete Journey, which have no ads, as briefs.
#
# Which ads and briefs of the data a run learns from, watches, and holds out.
#
#     parts = run_parts(data, config)
#     parts.briefs_of(2, config)          # what the second round writes for
#
# What is watched and held out are briefs whose original ad is known: of the labelled ads where
# there
# are such, since the judges learned from people about ads like these, else of the pool. Ads and
# briefs of their groups are in no other part, whether they are measured with or left over.
#
# What a run would do and roughly what it would cost, without a model.
#
#     print(plan_seed(config, data).text())
#
# Tokens are taken as four characters each, which holds for English within a fifth. Paces are CPU-
# seconds of one thread on a quiet processor with SmolLM2-135M.
#
# The settings of a run of SEED, beside its model, its judges and its data.


@dataclass(frozen=True)
class KnownAd:
    """An ad that there is. score: how well people remembered it, in the unit of the judges; None
    where nobody asked. source: of which collection.

    Raises ValueInvalidError for a score that is not finite.
    """

    brief: AdBrief
    record: AdRecord
    score: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.score is not None and not abs(self.score) < float("inf"):
            raise ValueInvalidError(
                "the score of an ad is no number", column="score", value=self.score
            )

    @property
    def answer(self) -> str:
        """What the writer learns to answer."""
        return answer_of(self.record, self.brief.kind)

    @property
    def judged(self) -> AdRecord:
        """The ad as judges are shown it: with what a writer could have answered, and no more, so
        that originals and what is written in their place are judged alike."""
        return record_of(self.answer, self.brief)


@dataclass(frozen=True)
class SeedData:
    """ads: those that there are. briefs: what may be written for beside the briefs of the ads.

    Raises DataError where an id comes twice, or there is no ad.
    """

    ads: tuple[KnownAd, ...]
    briefs: tuple[AdBrief, ...] = ()

    def __post_init__(self) -> None:
        if not self.ads:
            raise DataError("there is no ad to learn from", hint="pass labelled ads or a pool")
        seen: set[str] = set()
        for row, brief in enumerate(self.every_brief):
            if brief.id in seen:
                raise DataError(
                    "two briefs have one id",
                    row=row,
                    column="id",
                    value=brief.id,
                    hint="put the name of the collection before the id",
                )
            seen.add(brief.id)

    @property
    def labelled(self) -> tuple[KnownAd, ...]:
        """Ads that were measured."""
        return tuple(ad for ad in self.ads if ad.score is not None)

    @property
    def pool(self) -> tuple[KnownAd, ...]:
        """Ads that were not."""
        return tuple(ad for ad in self.ads if ad.score is None)

    @property
    def every_brief(self) -> tuple[AdBrief, ...]:
        """Of the ads, and the others."""
        return (*(ad.brief for ad in self.ads), *self.briefs)

    @property
    def digest(self) -> str:
        """Hash of all that a run depends on."""

        def told(brief: AdBrief) -> list[object]:
            return [brief.id, brief.kind, brief.held_by, list(brief.known), brief.seconds]

        ads = [[told(ad.brief), ad.answer, ad.score, ad.source] for ad in self.ads]
        return content_hash([ads, [told(brief) for brief in self.briefs]])


def known_ads(
    records: Sequence[AdRecord],
    ids: Sequence[str],
    kind: BriefKind,
    *,
    source: str,
    scores: Sequence[float | None] | None = None,
    groups: Sequence[str] | None = None,
) -> tuple[KnownAd, ...]:
    """Ads of a table, each once; rows without all that the kind needs are left out.

    source: put before the ids. scores: of people, one a record. groups: what is held out together,
    where it is no brand. Raises DataError where the numbers of rows differ.
    """
    told = list(scores) if scores is not None else [None] * len(records)
    held = list(groups) if groups is not None else [""] * len(records)
    if not len(records) == len(ids) == len(told) == len(held):
        raise DataError(
            f"there are {len(records)} ads, {len(ids)} ids, {len(told)} scores, {len(held)} groups"
        )
    found: dict[tuple[str, ...], KnownAd] = {}
    for record, id, score, group in zip(records, ids, told, held, strict=True):
        if not is_complete(record, kind):
            continue
        brief = brief_of(record, kind, id=f"{source}-{id}", group=group)
        ad = KnownAd(brief, record, score, source)
        found.setdefault((*brief.known, ad.answer), ad)
    return tuple(found.values())


Share: TypeAlias = Annotated[float, Ge(0), Le(1)]


@settings
class SeedBudget:
    """After which a run stops, to be gone on with; 0 for none. minutes: of this call, by the clock.
    tokens: read, written and tuned on, of all calls."""

    minutes: NotNegative = 0.0
    tokens: Natural = 0


#: How long an ad of a kind may be, in tokens of the writer.
TOKENS: Mapping[str, int] = {"slogan": 32, "headline": 48, "description": 160, "video": 600}


@settings
class SeedConfig:
    """How a run goes.

    rounds: at most. samples: ads that a round writes for a brief. briefs: of a round, drawn anew
    for each; 0 for all. keep: share of these briefs whose best ad is tuned on. pool: share of the
    ads without a measured score that is tuned on, the best of each collection; pool_most: at most
    so many, 0 for all. rows: at most so many are tuned on in a round, what was kept before what
    was there before; 0 for all.
    watch, held: shares of the groups of briefs, see `part_of`; watch_most, held_most: briefs of
    them that are written for, 0 for all; measured: ads for each of them. patience: rounds that may
    bring nothing by the second judge's view. gain: what counts as something, relative.
    temperature, top_p, tokens: of what is written, see `TOKENS`. batch: briefs of one call. draws:
    of intervals.

    Raises ConfigError for numbers out of range.
    """

    rounds: Count = 3
    samples: Count = 6
    briefs: Natural = 200
    keep: Share = 0.5
    pool: Share = 0.25
    pool_most: Natural = 2000
    rows: Natural = 420
    watch: float = 0.1
    held: float = 0.25
    watch_most: Natural = 60
    held_most: Natural = 120
    measured: Count = 4
    patience: Count = 3
    gain: float = 0.0
    temperature: Positive = 0.9
    top_p: float = 0.95
    tokens: Count = 32
    batch: Count = 20
    draws: Count = 1000
    seed: Natural = 0
    filters: AdFilterConfig = field(default_factory=AdFilterConfig)
    budget: SeedBudget = field(default_factory=SeedBudget)

    def __post_init__(self) -> None:
        part_of("", watch=self.watch, held=self.held)
        self.generation()

    def generation(self, seed: int = 0) -> GenerationConfig:
        """How one call writes."""
        return GenerationConfig(
            max_tokens=self.tokens, temperature=self.temperature, top_p=self.top_p, seed=seed
        )


@dataclass(frozen=True)
class RunParts:
    """labelled, pool: ads to learn from. briefs: to write for. watch, held: originals."""

    labelled: tuple[KnownAd, ...]
    pool: tuple[KnownAd, ...]
    briefs: tuple[AdBrief, ...]
    watch: tuple[KnownAd, ...]
    held: tuple[KnownAd, ...]

    def briefs_of(self, at: int, config: SeedConfig) -> tuple[AdBrief, ...]:
        """The briefs of round `at`, in order: drawn anew for each round."""
        count = config.briefs or len(self.briefs)
        if count >= len(self.briefs):
            return self.briefs
        drawn = np.random.default_rng([config.seed, at]).choice(
            len(self.briefs), count, replace=False
        )
        return tuple(self.briefs[row] for row in sorted(drawn.tolist()))


def run_parts(data: SeedData, config: SeedConfig) -> RunParts:
    """Divide the data. Raises DataError where a part that is needed is empty."""

    def part(brief: AdBrief) -> str:
        return part_of(brief.held_by, watch=config.watch, held=config.held, seed=config.seed)

    def some(name: str, most: int) -> tuple[KnownAd, ...]:
        """Measured ads of a part, if any: at most so many, by the hashes of their ids, in order."""
        ads = [ad for ad in data.labelled or data.pool if part(ad.brief) == name]
        place = [hashlib.sha256(f"{config.seed}:{ad.brief.id}".encode()).digest() for ad in ads]
        rows = sorted(range(len(ads)), key=place.__getitem__)
        return tuple(ads[row] for row in sorted(rows[: most or None]))

    found = RunParts(
        labelled=tuple(ad for ad in data.labelled if part(ad.brief) == "train"),
        pool=tuple(ad for ad in data.pool if part(ad.brief) == "train"),
        briefs=tuple(one for one in data.every_brief if part(one) == "train"),
        watch=some("watch", config.watch_most),
        held=some("held", config.held_most),
    )
    for name, those in (
        ("to learn from", (*found.labelled, *found.pool)),
        ("to watch", found.watch),
        ("held out", found.held),
    ):
        if not those:
            raise DataError(
                f"of {len(data.ads)} ads none is {name}",
                hint="pass more brands, or other shares of watch and held",
            )
    return found


#: What one CPU-second does: tokens of training, of prompts that are read, of answers; ads judged.
_PACES = {"tuned": 130.0, "read": 600.0, "written": 80.0, "judged": 100.0}
#: Characters of a token; tokens of the chat template around a prompt and its answer; of the tokens
#: that an answer may have, what it has where no ad tells.
_CHARACTERS, _TEMPLATE, _USUAL_ANSWER = 4, 30, 0.5


@dataclass(frozen=True)
class SeedPlan:
    """What a run would do. briefs: that a round writes for, `ads` in all. rows: tuned on in each
    round, at most. work: of the whole run, about: tokens "tuned" on, "read" and "written", and ads
    "judged"."""

    parts: RunParts
    briefs: int
    ads: int
    rows: tuple[int, ...]
    work: dict[str, int]

    @property
    def seconds(self) -> float:
        """Of CPU, about."""
        return sum(count / _PACES[name] for name, count in self.work.items())

    def text(self) -> str:
        """A line each."""
        parts, work = self.parts, self.work
        learned = f"{len(parts.labelled):,} labelled ads and the best of {len(parts.pool):,} others"
        return "\n".join(
            (
                f"learn from {learned}",
                f"each round: {self.ads:,} ads for {self.briefs:,} briefs",
                f"rows tuned on, by round from 0: {', '.join(f'{rows:,}' for rows in self.rows)}",
                f"watched {len(parts.watch):,} briefs, held out {len(parts.held):,}",
                f"tokens, about: {work['tuned']:,} tuned on, {work['read']:,} read, "
                f"{work['written']:,} written; {work['judged']:,} ads judged",
                f"about {duration(self.seconds)} of CPU; nothing was done yet",
            )
        )


def plan_seed(config: SeedConfig, data: SeedData) -> SeedPlan:
    """Count what all rounds do. Raises as `run_parts`."""
    parts = run_parts(data, config)
    pool = round(config.pool * len(parts.pool))
    pool = min(pool, config.pool_most or pool)
    briefs = min(config.briefs or len(parts.briefs), len(parts.briefs))
    kept = round(config.keep * briefs)
    first, later = len(parts.labelled) + pool, round(len(parts.labelled) / 2) + pool
    rows = [first] + [later + at * kept for at in range(1, config.rounds + 1)]
    rows = [min(one, config.rows or one) for one in rows]
    letters = [sum(len(turn.content) for turn in brief.messages()) for brief in parts.briefs]
    prompt = _TEMPLATE + float(np.mean(letters or [0])) / _CHARACTERS
    answers = [len(ad.answer) / _CHARACTERS for ad in parts.labelled or parts.pool]
    answer = min(float(np.mean(answers or [_USUAL_ANSWER * config.tokens])), config.tokens)
    sampled = config.rounds * briefs * config.samples
    calls = (config.rounds + 1) * len(parts.watch) + 2 * len(parts.held)
    measured = config.measured * calls
    work = {
        "tuned": round(sum(rows) * (prompt + answer)),
        "read": round((config.rounds * briefs + calls) * prompt),
        "written": round((sampled + measured) * answer),
        "judged": len(parts.pool) + sampled + 2 * measured,
    }
    return SeedPlan(parts, briefs, briefs * config.samples, tuple(rows), work)
