"""Random search: plans evenly drawn, as many as another search was given calls.

    found = random_search(fitness, calls=130, seed=0)

What a genetic search must beat at equal calls before it is worth anything.

Gradient ascent on a plan's values: by finite differences, or by the judge's own derivative.

    found = gradient_ascent(fitness, calls=130)

Values are measured in ranges of their knobs, u = (v - low) / (high - low). At each point the
gradient g costs K calls by differences of width h, or 3 where the judge offers slopes. Then the
points u + r g / max|g| are judged together, for r = rate, rate / 2, rate / 4, cut at the bounds.
The best is taken; where none is better, rate is divided by 8. It ends at the number of calls, or
where rate is below one step of the grid. A start that lies on a plateau ends there: that is what it
is compared for.

The genetic search of AdSEE, by pymoo: seeded, batched, with operators that do what they say.

    found = genetic_search(fitness, seed=0)
    found.vector, found.gain, found.calls

The first generation is no edit and plans near it. In each generation, parents are drawn with a
chance proportional to their rank and stay; pairs of them are crossed, each value from either with
chance 1/2; a fifth of an offspring's values, at least one, is mutated. Plans that are there already
are not made again. Best is the best of all that were seen.

Edits for several judges at once: NSGA-II and its front.

    front = pareto_search(fitness, seed=0)              # of click rate, expected life, memorability

A plan is on the front where no other one that was seen is as good for every judge and better for
one. The front is that of all that the search saw, and the operators are those of `genetic`. NSGA-II
is pymoo's (Deb et al. 2002); its NSGA-III forgets the seed in one comparison, so it is not used.
"""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from adwright.core.atomic import atomic_write_bytes, atomic_write_text
from adwright.core.errors import ConfigError, DataError, needing
from adwright.creative.editor.edit_plan import EditedPicture, EditPlan
from adwright.creative.editor.fitness import (
    STEPS,
    Archive,
    EnsembleJudge,
    Floats,
    GeneticSettings,
    PictureJudge,
    Pixels,
    PlanFitness,
    SearchOutcome,
    checked_answers,
    require_calls,
)
from adwright.creative.editor.provenance import ESTIMATE
from adwright.metrics.reports.charts import to_svg
from adwright.metrics.reports.report import inline_svg, page_environment

if TYPE_CHECKING:
    import altair as alt
    from PIL.Image import Image


#: Plans that are judged together; draws that repeat, of few values, before the search ends early.
_TOGETHER, _FRUITLESS = 30, 20


def random_search(fitness: PlanFitness, *, calls: int, seed: int) -> SearchOutcome:
    """No edit, and plans evenly drawn from all that the bounds allow, until so many pictures were
    judged.

    What was judged before is not drawn again, so there are fewer calls where there are fewer plans.
    Raises ConfigError for fewer than 2 calls, and a fitness with several judges.
    """
    require_calls(calls)
    rng, start = np.random.default_rng(seed), fitness.calls
    archive = Archive(fitness.neutral, float(fitness.scores(fitness.neutral[None])[0]))
    fruitless = 0
    # Asking about no edit may have cost nothing, where it was known; it counts as one all the same.
    left = calls - 1
    while left > 0 and fruitless < _FRUITLESS:
        size = (min(_TOGETHER, left), len(fitness.low))
        drawn = np.unique(fitness.on_grid(rng.uniform(fitness.low, fitness.high, size)), axis=0)
        new = drawn[[fitness.unjudged(one[None]) > 0 for one in drawn]]
        if not len(new):
            fruitless += 1
            continue
        archive.take(new, fitness.scores(new), fitness.calls - start)
        left, fruitless = left - len(new), 0
    return archive.outcome("random", fitness.calls - start)


#: Of the first step and of differences, as shares of each knob's range.
_RATE, _WIDTH = 0.25, 0.05
_SHARES = np.array([1.0, 0.5, 0.25])


def gradient_ascent(fitness: PlanFitness, *, calls: int) -> SearchOutcome:
    """Climb from no edit; nothing is drawn, so it always finds the same.

    Raises ConfigError for fewer than 2 calls, and for a fitness with several judges.
    """
    require_calls(calls)
    start, span = fitness.calls, fitness.high - fitness.low
    archive = Archive(fitness.neutral, float(fitness.scores(fitness.neutral[None])[0]))
    end = start + calls
    point, here, rate = archive.vector, archive.score, _RATE
    while rate >= 1 / STEPS and fitness.calls < end:
        gradient = _gradient(fitness, point, here, end - fitness.calls, archive, start)
        if gradient is None or not np.abs(gradient).max() > 0:
            break
        ahead = gradient / np.abs(gradient).max()
        ahead[((point >= fitness.high) & (ahead > 0)) | ((point <= fitness.low) & (ahead < 0))] = 0
        points = fitness.on_grid(point + rate * _SHARES[:, None] * ahead * span)
        # As many of them, in their order, as the calls that are left allow.
        while len(points) and fitness.unjudged(points) > end - fitness.calls:
            points = points[:-1]
        if not len(points):
            break
        scores = fitness.scores(points)
        archive.take(points, scores, fitness.calls - start)
        best = int(np.argmax(scores))
        if scores[best] > here:
            point, here = points[best], float(scores[best])
        else:
            rate /= 8
    return archive.outcome("ascent", fitness.calls - start)


def _gradient(
    fitness: PlanFitness, point: Floats, here: float, left: int, archive: Archive, start: int
) -> Floats | None:
    """float [K], the score's derivative by u; None where there are too few calls left."""
    span = fitness.high - fitness.low
    steps = np.where(point + _WIDTH * span <= fitness.high, _WIDTH, -_WIDTH) * span
    if left >= 3:
        found = fitness.slopes(point, steps)
        if found is not None:
            return np.asarray(found * span)
    near = fitness.on_grid(point + np.diag(steps))
    if fitness.unjudged(near) > left:
        return None
    scores = fitness.scores(near)
    archive.take(near, scores, fitness.calls - start)
    moved = (near - point).diagonal()
    # A knob whose step the grid rounds away, or whose neighbour is refused, stays.
    usable = (moved != 0) & np.isfinite(scores)
    made = np.zeros(len(point))
    made[usable] = (scores - here)[usable] / moved[usable] * span[usable]
    return made


def genetic_search(
    fitness: PlanFitness, *, seed: int, settings: GeneticSettings | None = None
) -> SearchOutcome:
    """Search the fitness's plan. The same seed finds the same.

    Raises ConfigError where the fitness has several judges, MissingExtraError without pymoo, and as
    the judges do.
    """
    settings = settings or GeneticSettings()
    parts, start = search_parts(), fitness.calls
    archive = Archive(fitness.neutral, float(fitness.scores(fitness.neutral[None])[0]))
    problem = parts.PlanProblem(fitness)
    algorithm = parts.RankSelected(settings)
    # The first generation is one of pymoo's, too.
    algorithm.setup(problem, termination=("n_gen", settings.generations + 1), seed=seed)
    while algorithm.has_next():
        algorithm.next()
        for vectors, values in problem.seen:
            archive.take(vectors, values[:, 0], fitness.calls - start)
        problem.seen.clear()
    return archive.outcome("genetic", fitness.calls - start)


def search_parts() -> Any:
    """The module of operators. Raises MissingExtraError without pymoo."""
    with needing("genetic searches of edits", "creative"):
        from adwright.creative.editor import operators
    return operators


@dataclass(frozen=True, eq=False)
class EditFront:
    """What no other plan beats. names: of J judges. vectors: float [N, K]. values: float [N, J],
    as the fitness gives them, higher is better. unedited: float [J], of no edit. method: of the
    search. calls: pictures that it judged."""

    method: str
    names: tuple[str, ...]
    vectors: Floats
    values: Floats
    unedited: Floats
    calls: int

    def __len__(self) -> int:
        """N."""
        return len(self.vectors)


def pareto_search(
    fitness: PlanFitness, *, seed: int, settings: GeneticSettings | None = None
) -> EditFront:
    """NSGA-II over the fitness's judges, two or more. The same seed finds the same.

    settings: `parents` is not used: of plans and as many offspring, the best `population` survive.
    Pictures judged: population (generations + 1) at most. Raises ConfigError for a single judge,
    MissingExtraError without pymoo.
    """
    settings = settings or GeneticSettings()
    require_several(fitness)
    parts, start = search_parts(), fitness.calls
    unedited = fitness.values(fitness.neutral[None])
    problem = parts.PlanProblem(fitness)
    algorithm = parts.by_domination(settings)
    algorithm.setup(problem, termination=("n_gen", settings.generations + 1), seed=seed)
    algorithm.run()
    return front_of("nsga2", fitness, problem.seen, unedited, fitness.calls - start)


def unbeaten_rows(values: Floats) -> NDArray[np.int64]:
    """int [M]: rows of values [N, J] that no other row beats, of equal rows the first. Rows that
    are not finite are none."""
    found, taken = [], set()
    for at, row in enumerate(values):
        if not np.isfinite(row).all() or row.tobytes() in taken:
            continue
        if not ((values >= row).all(1) & (values > row).any(1)).any():
            found.append(at)
            taken.add(row.tobytes())
    return np.array(found, np.int64)


def front_of(
    method: str,
    fitness: PlanFitness,
    seen: Sequence[tuple[Floats, Floats]],
    unedited: Floats,
    calls: int,
) -> EditFront:
    """The front of all plans that were seen, no edit among them."""
    vectors = np.vstack([fitness.neutral[None], *(one for one, _ in seen)])
    values = np.vstack([unedited, *(one for _, one in seen)])
    best = unbeaten_rows(values)
    names = tuple(judge.name for judge in fitness.judges)
    return EditFront(method, names, vectors[best], values[best], unedited[0], calls)


def require_several(fitness: PlanFitness) -> None:
    """Raise ConfigError for judges that have no front."""
    names = [judge.name for judge in fitness.judges]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(
            f"judges {names} have no front", where="judges", hint="two or more, of different names"
        )


# --------------------------------------------------------------------------------------------------
# What a search found, and how it is said: never as more than a model's estimate.
#
#     found = edit_at(fitness, genetic_search(fitness, seed=0))
#     found.plan, found.first.said()
#
# Beside what the searched judge says stands the second opinion: of a judge that the search never
# asked, trained with another seed, encoder or fold. A search finds where its judge is wrong as well
# as where the picture is better; where the second judge sees no gain, `decide` leaves the ad.
# Every gain is said together with `ESTIMATE`.
#
# Edits that were found, to be looked at: a contact sheet as PNG, and a page as HTML.
#
#     write_contact_sheet("sheet.png", {"ad 1": found[0]})
#     write_edits_page("edits.html", {"ad 1": found[0]}, title="Edits", front=front)
#
# The page is a single file without scripts or outside references; text is escaped by jinja2. Beside
# every number that changes stands `ESTIMATE`, on the sheet too.


@dataclass(frozen=True)
class JudgedChange:
    """What a judge says of a picture before and after an edit. low, high: interval of the change,
    None of a judge that is no ensemble. coverage: of the interval."""

    judge: str
    before: float
    after: float
    low: float | None = None
    high: float | None = None
    coverage: float = 0.9

    @property
    def change(self) -> float:
        """After less before."""
        return self.after - self.before

    @property
    def relative(self) -> float:
        """The change as a share of what was said before; not a number where that was 0."""
        return self.change / abs(self.before) if self.before else float("nan")

    def said(self) -> str:
        """In words, with its interval, and what kind of number it is."""
        text = f"{self.judge} {self.before:.4g} to {self.after:.4g}"
        if self.before:
            text += f" ({self.relative:+.1%})"
        if self.low is not None and self.high is not None:
            text += f", change {self.low:+.3g} to {self.high:+.3g} ({self.coverage:.0%} interval)"
        else:
            text += ", without an interval: a single judge"
        return f"{text}; {ESTIMATE}"

    def cells(self, role: str) -> tuple[str, ...]:
        """The same as cells of a table, with the role of the judge."""
        interval = "unknown: no ensemble"
        if self.low is not None and self.high is not None:
            interval = f"{self.low:+.3g} to {self.high:+.3g} ({self.coverage:.0%})"
        change = f"{self.change:+.3g}" + (f" ({self.relative:+.1%})" if self.before else "")
        judge = f"{self.judge.replace('_', ' ')}, {role}"
        return judge, f"{self.before:.4g}", f"{self.after:.4g}", change, interval, ESTIMATE


@dataclass(frozen=True, eq=False)
class FoundEdit:
    """An edit that a search found. first: what the judge says that was searched. second: of the
    one that was not. penalties: of the edit, by name, without weights. calls: pictures judged, in
    batches. cpu_seconds: of the search, of all threads. reason: why it was kept or not, where that
    was decided."""

    plan: EditPlan
    method: str
    original: Pixels = field(repr=False)
    done: EditedPicture = field(repr=False)
    first: JudgedChange
    second: JudgedChange | None
    penalties: Mapping[str, float]
    score_gain: float
    calls: int
    batches: int
    cpu_seconds: float
    reason: str = ""

    @property
    def changed(self) -> bool:
        """Whether there is anything in it; a search that finds nothing better returns no edit."""
        return not np.array_equal(self.done.picture, self.original)

    def settings(self) -> list[tuple[str, float]]:
        """(name, value) of each knob that is not neutral, edits that were skipped left out."""
        skipped = {one.at for one in self.done.skipped}
        return [
            (f"{edit.kind.replace('_', ' ')} {knob.name}", value)
            for at, edit in enumerate(self.plan.edits)
            if at not in skipped and not edit.is_neutral()
            for knob, value in zip(edit.knobs(), edit.values(), strict=True)
            if value != knob.neutral
        ]


def edit_at(
    fitness: PlanFitness,
    outcome: SearchOutcome,
    *,
    second: PictureJudge | None = None,
    batches: int = 0,
    cpu_seconds: float = float("nan"),
) -> FoundEdit:
    """What an outcome is, judged before and after. second: a judge that the search did not ask.
    Raises ConfigError where the fitness has several judges."""
    if len(fitness.judges) != 1:
        raise ConfigError(
            f"{len(fitness.judges)} judges were searched", where="fitness", hint="see pareto"
        )
    batch = fitness.batch(outcome.vector[None])
    pair = np.stack([fitness.picture, batch.pictures[0]])
    return FoundEdit(
        plan=batch.plans[0],
        method=outcome.method,
        original=fitness.picture,
        done=batch.done[0],
        first=judged_change(fitness.judges[0], pair),
        second=None if second is None else judged_change(second, pair),
        penalties={one.penalty.name: float(one.penalty.of(batch)[0]) for one in fitness.penalties},
        score_gain=outcome.gain,
        calls=outcome.calls,
        batches=batches,
        cpu_seconds=cpu_seconds,
    )


def judged_change(judge: PictureJudge, pair: Pixels, *, coverage: float = 0.9) -> JudgedChange:
    """What a judge says of pictures uint8 [2, H, W, 3], before and after.

    Of an ensemble of M with an interval: what another such model would say of the change, if the
    members are drawn from the same kind,

        mean +- t(M - 1) sd sqrt(1 + 1 / M)

    with the mean and standard deviation of the members' changes. It says nothing of what all
    members get wrong alike. Raises MissingExtraError without scipy.
    """
    before, after = checked_answers(judge, pair)
    if not isinstance(judge, EnsembleJudge):
        return JudgedChange(judge.name, float(before), float(after), coverage=coverage)
    with needing("intervals of predicted changes", "creative"):
        from scipy.stats import t
    said = judge.members(pair)
    changes, many = said[:, 1] - said[:, 0], len(said)
    reach = t.ppf((1 + coverage) / 2, many - 1) * changes.std(ddof=1) * np.sqrt(1 + 1 / many)
    mean = changes.mean()
    return JudgedChange(
        judge.name, float(before), float(after), float(mean - reach), float(mean + reach), coverage
    )


_SIDE, _MARGIN, _LINE = 320, 8, 16
_DETAILS = 50
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def write_contact_sheet(path: str | Path, edits: Mapping[str, FoundEdit]) -> None:
    """Write a PNG, whole or not at all: a row an edit, by its ad's name, before and after side by
    side, what the judges say below. Raises DataError where there is no edit."""
    if not edits:
        raise DataError("there is no edit to show", hint="give at least one")
    rows = [_sheet_row(edit, name) for name, edit in edits.items()]
    out = io.BytesIO()
    _image(np.concatenate(rows)).save(out, "PNG")
    atomic_write_bytes(path, out.getvalue())


def write_edits_page(
    path: str | Path,
    edits: Mapping[str, FoundEdit],
    *,
    title: str,
    sentences: Sequence[str] = (),
    front: Sequence[EditFront] = (),
) -> None:
    """Write the page, whole or not at all: of each edit, by its ad's name, both pictures and what
    the judges say.

    sentences: said at its top. front: drawn at its end, one chart of all. Raises DataError where
    there is no edit, and as `front_chart`.
    """
    if not edits:
        raise DataError("there is no edit to show", hint="give at least one")
    values = {
        "title": title,
        "estimate": ESTIMATE,
        "sentences": sentences,
        "edits": list(edits.items())[:_DETAILS],
        "address": _address,
        "left": len(edits) - _DETAILS,
        "charts": [inline_svg(to_svg(front_chart(front)), "front")] if front else [],
    }
    page = page_environment(__package__ or "").get_template("edits.html").render(values)
    atomic_write_text(path, page)


def front_chart(fronts: Sequence[EditFront]) -> alt.TopLevelMixin:
    """Fronts of one search and others, for their first two judges; a cross is no edit.

    Raises DataError for no front, and for fronts of other judges.
    """
    import altair as alt

    if not fronts or len({front.names for front in fronts}) > 1:
        raise DataError("there is no front, or they are of other judges", hint="pass some")
    x, y = fronts[0].names[:2]
    rows = [
        {"x": float(value[0]), "y": float(value[1]), "series": front.method}
        for front in fronts
        for value in front.values
    ]
    ways = list(dict.fromkeys(front.method for front in fronts))
    scale = alt.Scale(domain=ways, range=[_COLOURS[at % len(_COLOURS)] for at in range(len(ways))])
    free = alt.Scale(zero=False, padding=12)
    across, up = alt.X("x:Q", title=x, scale=free), alt.Y("y:Q", title=y, scale=free)
    points = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_circle(size=60, opacity=0.8)
        .encode(x=across, y=up, color=alt.Color("series:N", title=None, scale=scale))
    )
    start = [{"x": float(fronts[0].unedited[0]), "y": float(fronts[0].unedited[1])}]
    cross = (
        alt.Chart(alt.InlineData(values=start))
        .mark_point(shape="cross", size=90, color="#000000")
        .encode(x=across, y=up)
    )
    title = alt.Title("Edits that no other beats", subtitle=f"cross: no edit; {ESTIMATE}")
    return alt.layer(points, cross).properties(width=480, height=360, title=title)


def _sheet_row(edit: FoundEdit, name: str) -> Pixels:
    with needing("sheets of pictures", "creative"):
        from PIL import Image, ImageDraw, ImageFont
    second = "none was asked" if edit.second is None else edit.second.said()
    lines = [edit.first.said(), f"second opinion: {second}", edit.reason]
    lines = [name, *lines]
    wide, high = 2 * _SIDE + 3 * _MARGIN, _SIDE + 2 * _MARGIN
    font = ImageFont.load_default(11)
    texts = [part for line in lines for part in textwrap.wrap(line, wide // 6)]
    sheet = Image.new("RGB", (wide, high + _LINE * len(texts) + _MARGIN), "white")
    for at, picture in enumerate((edit.original, edit.done.picture)):
        small = _image(picture)
        scale = _SIDE / max(small.size)
        size = tuple(max(1, round(scale * side)) for side in small.size)
        sheet.paste(small.resize((size[0], size[1])), (_MARGIN + at * (_SIDE + _MARGIN), _MARGIN))
    pen = ImageDraw.Draw(sheet)
    for at, text in enumerate(texts):
        pen.text((_MARGIN, high + at * _LINE), text, fill=(28, 28, 28), font=font)
    return np.asarray(sheet, np.uint8)


def _image(picture: Pixels) -> Image:
    with needing("sheets of pictures", "creative"):
        from PIL import Image
    return Image.fromarray(picture)


def _address(picture: Pixels) -> str:
    """A small PNG of a picture as a data address."""
    small = _image(picture)
    small.thumbnail((2 * _SIDE, 2 * _SIDE))
    out = io.BytesIO()
    small.save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode('ascii')}"
