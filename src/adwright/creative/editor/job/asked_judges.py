"""The judges of a job: those that are searched, one that is not, all on the pictures of one ad.

    with opened_judges(["runs/a", "runs/b"], second="runs/c") as judges:
        judges.of(record).objectives[0].judge(pictures)

Judges of one name are an ensemble, whose lower bound is searched and whose interval decides; of
other names they are objectives of their own, which only the method `pareto` takes. The second judge
is asked about what was found alone; one that is searched too, under whatever path, is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from adwright.core.errors import ArtifactError, ConfigError
from adwright.core.hashing import sha256_file
from adwright.creative.editor.job.ad_judges import (
    AdOnPictures,
    Encodes,
    PictureEyes,
    sees_pictures,
)
from adwright.creative.editor.search.picture_judge import EnsembleJudge, PictureJudge
from adwright.creative.judges import open_judge
from adwright.creative.judging.judgement import AdJudge
from adwright.creative.records.encoders.images import ImageEncoder
from adwright.creative.records.verbal.record import AdRecord

__all__ = ["AskedJudges", "JudgesOfAd", "opened_judges"]

_RECORDS = (("model", "manifest.json"), ("manifest.json",), ("memory.json",))


@dataclass(frozen=True, eq=False)
class JudgesOfAd:
    """objectives: of the search, in their order, an ensemble where there are several of a name.
    second: asked about what was found. searched: every judge that the search asks."""

    objectives: tuple[PictureJudge, ...]
    second: PictureJudge | None
    searched: tuple[AdOnPictures, ...]


@dataclass(frozen=True, eq=False)
class AskedJudges:
    """groups: of each name the judges that are searched. second: see the module. encoder: None
    where none reads vectors. colours: whether one reads them. digest: of all their files."""

    groups: tuple[tuple[str, tuple[AdJudge, ...]], ...]
    second: AdJudge | None = None
    encoder: Encodes | None = field(default=None, repr=False)
    colours: bool = True
    digest: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the objectives."""
        return tuple(name for name, _ in self.groups)

    @property
    def several(self) -> bool:
        """Whether the first objective is an ensemble."""
        return len(self.groups[0][1]) > 1

    def of(self, record: AdRecord) -> JudgesOfAd:
        """On the pictures that the ad of a record might have."""
        eyes = PictureEyes(self.encoder, colours=self.colours)
        searched: list[AdOnPictures] = []
        objectives: list[PictureJudge] = []
        for name, judges in self.groups:
            asked = [AdOnPictures(name, judge, record, eyes) for judge in judges]
            searched += asked
            objectives.append(asked[0] if len(asked) == 1 else EnsembleJudge(name, tuple(asked)))
        second = None
        if self.second is not None:
            second = AdOnPictures(self.second.name, self.second, record, eyes)
        return JudgesOfAd(tuple(objectives), second, tuple(searched))


@contextmanager
def opened_judges(
    folders: Sequence[str | Path],
    second: str | Path | None = None,
    *,
    several_objectives: bool = False,
    offline: bool = False,
) -> Iterator[AskedJudges]:
    """The judges of these runs. several_objectives: whether the search takes more than one.

    Raises ArtifactError where a folder holds no judge, ConfigError for no folder, for one that is
    named twice, for a judge that is blind to pictures, for a second one that is searched too or
    judges something else, and for more or fewer objectives than the search takes.
    """
    ids = [_identity(folder) for folder in folders]
    if not ids or len(set(ids)) != len(ids):
        raise ConfigError(
            "no judge is named, or one twice", where="judges", hint="name each run once"
        )
    other = "" if second is None else _identity(second)
    if other in ids:
        raise ConfigError(
            "the second judge is one of those that are searched",
            where=str(second),
            hint="name one that was trained with another seed, fold or encoder",
        )
    with ExitStack() as stack:
        groups: dict[str, list[AdJudge]] = {}
        reads = {"vectors": False, "colours": False}

        def opened(folder: str | Path) -> AdJudge:
            judge = open_judge(folder)
            if callable(close := getattr(judge, "close", None)):
                stack.callback(close)
            for what, does in sees_pictures(judge, str(folder)).items():
                reads[what] |= does
            return judge

        for folder in folders:
            judge = opened(folder)
            groups.setdefault(judge.name, []).append(judge)
        last = None if second is None else opened(second)
        names = list(groups)
        if last is not None and last.name != names[0]:
            raise ConfigError(
                f"the second judge says {last.name}, the first one {names[0]}",
                where=str(second),
                hint="name a second judge of the same",
            )
        if several_objectives != (len(names) > 1):
            raise ConfigError(
                f"the judges say {', '.join(names)}",
                where="judges",
                hint="pareto takes judges of two things or more, every other method of one",
            )
        encoder = ImageEncoder(offline=offline) if reads["vectors"] else None
        yield AskedJudges(
            tuple((name, tuple(some)) for name, some in groups.items()),
            last,
            encoder,
            reads["colours"],
            (*ids, other),
        )


def _identity(folder: str | Path) -> str:
    """The hash of what names a judge's files."""
    for parts in _RECORDS:
        path = Path(folder).joinpath(*parts)
        if path.is_file():
            return sha256_file(path)
    raise ArtifactError(
        "there is no judge in this folder",
        where=str(folder),
        hint="name a run of `adwright creative train`",
    )
