"""On which engine a chain runs: the one where it costs the fewest seconds.

    score = prefill       its prompt, but for what the engine holds of it
          + queue         prompts before it, and where nothing is free the wait for it
          + interference  its answer's tokens at the step that it causes, and by how much longer
                          all that runs there takes: its prompt stops each row, its row slows each

All terms are seconds of somebody, so that they add without weights: an engine that holds the prefix
is passed over only where its queue costs more than reading the prefix elsewhere. Engines that tie
are taken by room, then by name. A group needs no term of its own: its members share a prefix, which
prefill counts on every engine it would spread to, and it spreads where the queue costs more.

A chain does not always start. It waits at an engine ("park") for a prefix that is just being read
there, or for a place where the engine is worth it though another is free; then it need not be
looked at again until the engine has something new. It waits no longer than the free one would have
cost. Where no engine is free it stays in the queue, whose order may change meanwhile. And where
other chains that wait begin as it does, and no engine holds that yet, the beginning is read once
("fill") while all wait for it, unless the engine finds what is in flight by itself or reading takes
no longer than a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from adwright.programs.scheduling.engine_state import EngineState
from adwright.programs.scheduling.latency_curve import LatencyCurve
from adwright.programs.scheduling.order import class_of
from adwright.programs.scheduling.ready_chain import ReadyChain

__all__ = ["Placement", "PlacementScore", "PlacementTerms", "place"]


@dataclass(frozen=True)
class PlacementTerms:
    """What the score counts; each can be left out. fill: whether cold prefixes are read once first.
    park: how many chains may wait at an engine, over the rows it can hold; 0: none."""

    prefill: bool = True
    queue: bool = True
    interference: bool = True
    fill: bool = True
    park: float = 0.5


class PlacementScore(NamedTuple):
    """Seconds, by term; the total is their sum."""

    prefill: float
    queue: float
    interference: float

    @property
    def total(self) -> float:
        """Seconds in all."""
        return sum(self)


class Placement(NamedTuple):
    """What to do with a chain.

    start: now. park: wait there, at most until `until`, for a place or for the prefix `border`,
    with `unread` tokens of the prompt to read then. fill: read the first `borders` borders first;
    the chain stays where it is.
    """

    engine_id: str
    action: Literal["start", "park", "fill"]
    score: PlacementScore
    until: float = 0.0
    border: int | None = None
    unread: int = 0
    borders: int = 0


def place(
    chain: ReadyChain,
    engines: Iterable[EngineState],
    now: float,
    *,
    sharing: Callable[[int], int],
    backlog: tuple[float, float],
    terms: PlacementTerms,
) -> Placement | None:
    """Choose for one chain; None where it can go nowhere now. sharing: how many chains that wait
    begin with a prefix. backlog: chains and programs that wait and are wanted soon, for each
    engine."""
    rank = class_of(chain)
    options: list[tuple[_Option, EngineState]] = []
    full: list[EngineState] = []
    most = 0
    for engine in engines:
        if not engine.alive or engine.rests is not None:  # `takes`, in the innermost loop
            continue
        if engine.refuses(rank, backlog[0]):
            full.append(engine)
        elif engine.capabilities.accepts(chain):
            cached = engine.cached(chain)
            limit = engine.limit(chain, cached, now, backlog)
            if engine.fits(chain, cached, limit, now):
                options.append((_option(chain, engine, cached, now, terms, free=True), engine))
                most = max(most, cached)
            else:
                engine.refuse(rank, backlog[0])
                full.append(engine)
    if not options:
        return None
    free = min(option.score.total for option, _ in options)
    for engine in full:
        # Worth waiting for is only what none of the free ones holds.
        cached = engine.cached(chain)
        coming = engine.filling and not engine.filling.keys().isdisjoint(chain.prefix)
        if (cached > most or coming) and engine.waits(terms.park):
            option = _option(chain, engine, cached, now, terms, free=False)
            if chain.prompt_tokens - option.unread > most and engine.capabilities.accepts(chain):
                options.append((option, engine))
    option, engine = min(options, key=_preference)
    score = option.score
    if not option.starts:
        until = now + max(free, 2 * score.queue + score.prefill)
        where = (until, option.border, option.unread)
        return Placement(engine.engine_id, "park", score, *where)
    borders = _to_fill(chain, engine, sharing) if terms.fill else 0
    action: Literal["start", "fill"] = "fill" if borders else "start"
    return Placement(engine.engine_id, action, score, borders=borders)


class _Option(NamedTuple):
    """What an engine costs, whether the chain starts there at once, the prefix it waits for, and
    the tokens that it reads then."""

    score: PlacementScore
    starts: bool
    border: int | None
    unread: int


def _preference(option: tuple[_Option, EngineState]) -> tuple[float, int, str]:
    """Fewest seconds first, then the emptiest."""
    return option[0].score.total, option[1].held_tokens, option[1].engine_id


def _option(
    chain: ReadyChain,
    engine: EngineState,
    cached: int,
    now: float,
    terms: PlacementTerms,
    *,
    free: bool,
) -> _Option:
    """What there is on this engine, free or not."""
    curve = engine.curve
    wait = curve.prefill_seconds(engine.unread_tokens + engine.expected_unread)
    border, filled = None, 0.0
    if engine.filling:
        border, filled, cached = _in_flight(chain, engine, cached, now)
        wait = max(wait, filled)
    if not free and border is None:
        wait = max(wait, _until_free(engine, curve))
    unread = chain.prompt_tokens - cached
    prefill = curve.prefill_seconds(unread)
    score = PlacementScore(
        prefill if terms.prefill else 0.0,
        wait if terms.queue else 0.0,
        _interference(chain, engine, prefill) if terms.interference else 0.0,
    )
    return _Option(score, free and border is None, border, unread)


def _interference(chain: ReadyChain, engine: EngineState, prefill: float) -> float:
    """Of the answers that run, half is still to come, on average; of those that wait, all."""
    curve = engine.curve
    rows = engine.batch + engine.expected_rows
    cached = chain.prompt_tokens - round(prefill * curve.prefill)
    read = engine.reads() + engine.expected_reads
    most = engine.reads(chain.prompt_tokens + chain.new_tokens, cached) + engine.expected_reads
    more = curve.step_seconds(rows + 1, most)
    own = chain.new_tokens * more
    if not rows:
        return own
    answers = engine.answer_tokens / 2 + engine.expected_answers
    slower = answers * max(0.0, more - curve.step_seconds(rows, read))
    return own + slower + rows * prefill


def _until_free(engine: EngineState, curve: LatencyCurve) -> float:
    """Seconds until the place is free that is left to one who comes now: the next one after half
    the time between two, on average."""
    batch = max(engine.batch, 1)
    every = engine.answer_tokens / batch * curve.step_seconds(batch, engine.reads()) / batch
    return (len(engine.parked) + 0.5) * every


def _in_flight(
    chain: ReadyChain, engine: EngineState, cached: int, now: float
) -> tuple[int | None, float, int]:
    """The prefix to wait for, how long, and the tokens that are held then; none where reading it
    oneself is no slower."""
    for name, total in zip(reversed(chain.prefix), reversed(chain.prefix_tokens), strict=True):
        if total <= cached:
            break
        over = engine.filling.get(name)
        if over is not None and now < over + engine.curve.prefill_seconds(total):
            wait = max(0.0, over - now)
            # Whoever reads it himself has the same prompts before him.
            if wait < engine.curve.prefill_seconds(engine.unread_tokens + total - cached):
                return name, wait, min(total, chain.prompt_tokens - 1)
            break
    return None, 0.0, cached


def _to_fill(chain: ReadyChain, engine: EngineState, sharing: Callable[[int], int]) -> int:
    """How many borders to read before the chain, for it and for others; 0: none."""
    can = engine.capabilities
    if can.in_flight_prefix or not (can.prefix_cache or can.fork):
        return 0
    if any(border in engine.filling for border in chain.prefix):
        return 0  # it is late, and was not worth waiting for
    held = engine.index.hit(chain.prefix)
    for borders in range(len(chain.prefix), held, -1):
        if sharing(chain.prefix[borders - 1]) > 1:
            tokens = chain.prefix_tokens[borders - 1]
            tokens -= chain.prefix_tokens[held - 1] if held else 0
            worth = engine.curve.prefill_seconds(tokens) > engine.curve.step_seconds(1)
            return borders if worth else 0
    return 0
