"""Seven kinds of programs, in tokens: what people who advertise have language models do.

    W1  chain_summaries   reviews summarised chunk by chunk, each with the summary so far
    W2  map_reduces       the parts of a catalogue category described one by one, then as a whole
    W3  shared_prompts    one long policy prompt, many users with a line each
    W4  assistants        four merchant assistants with a prompt each, the first asked most (Zipf)
    W5  creative_teams    a copywriter, variants, reviewers of each, an editor; several files
    W6  chats_and_maps    chats, which are wanted soon, beside W2, which is wanted cheaply
    W7  agents            turns that grow, with tools that take their time between them

Programs arrive at once, or as a Poisson process of `rate` a second. Lengths of answers are fixed.
All draws are from the generator of the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

from adwright.programs.program import LATENCY, THROUGHPUT, Objective
from benchmarks.programs.simulation import Segment, SimCall, SimProgram


def fixed(key: str, tokens: int) -> Segment:
    """A text that all programs of the tenant share."""
    return Segment(key, tokens, public=True)


def chain_summaries(
    seed: int,
    *,
    programs: int = 12,
    chunks: tuple[int, int] = (10, 40),
    chunk_tokens: int = 512,
    new_tokens: int = 50,
    rate: float | None = None,
) -> list[SimProgram]:
    """W1. chunks: the fewest and the most of a program."""

    def calls(draw: Random) -> Iterator[SimCall]:
        for at in range(draw.randint(*chunks)):
            before = [Segment(f"c{at - 1}", new_tokens)] if at else []
            text = [fixed("summarise", 60), Segment(f"chunk{at}", chunk_tokens)]
            yield SimCall(f"c{at}", (*text, *before), new_tokens)

    return _programs("w1", seed, programs, rate, calls)


def map_reduces(
    seed: int,
    *,
    programs: int = 4,
    parts: tuple[int, int] = (8, 32),
    part_tokens: int = 494,
    new_tokens: int = 50,
    rate: float | None = None,
    objective: Objective = LATENCY,
    name: str = "w2",
) -> list[SimProgram]:
    """W2. parts: the fewest and the most of a program."""

    def calls(draw: Random) -> Iterator[SimCall]:
        number = draw.randint(*parts)
        for at in range(number):
            text = (fixed("describe", 60), Segment(f"part{at}", part_tokens))
            yield SimCall(f"m{at}", text, new_tokens, objective)
        read = tuple(Segment(f"m{at}", new_tokens) for at in range(number))
        yield SimCall("reduce", (fixed("combine", 40), *read), 2 * new_tokens, objective)

    return _programs(name, seed, programs, rate, calls, kind="batch")


def shared_prompts(
    seed: int,
    *,
    users: int = 64,
    prompt_tokens: int = 1500,
    user_tokens: tuple[int, int] = (20, 60),
    new_tokens: int = 32,
    rate: float | None = None,
) -> list[SimProgram]:
    """W3. A program is one call of one user."""

    def calls(draw: Random) -> Iterator[SimCall]:
        text = (fixed("policy", prompt_tokens), Segment("line", draw.randint(*user_tokens)))
        yield SimCall("answer", text, new_tokens)

    return _programs("w3", seed, users, rate, calls)


def assistants(
    seed: int,
    *,
    requests: int = 200,
    rate: float | None = 2.0,
    prompts: Sequence[int] = (1000, 1000, 1000, 1000),
    user_tokens: tuple[int, int] = (20, 100),
    new_tokens: int = 64,
) -> list[SimProgram]:
    """W4. prompts: tokens of each assistant's; the k-th is asked 1/k as often as the first."""
    shares = [1 / (at + 1) for at in range(len(prompts))]

    def calls(draw: Random) -> Iterator[SimCall]:
        (at,) = draw.choices(range(len(prompts)), shares)
        text = (fixed(f"assistant{at}", prompts[at]), Segment("line", draw.randint(*user_tokens)))
        yield SimCall("answer", text, new_tokens)

    return _programs("w4", seed, requests, rate, calls)


def creative_teams(
    seed: int,
    *,
    programs: int = 1,
    files: int = 8,
    variants: int = 4,
    brief_tokens: int = 800,
    new_tokens: int = 150,
    rate: float | None = None,
) -> list[SimProgram]:
    """W5. All files of a program share its brief; reviewers are of brand, law and policy."""

    def calls(draw: Random) -> Iterator[SimCall]:
        brief = Segment("brief", brief_tokens)
        for file in range(files):
            about = Segment(f"item{file}", draw.randint(80, 160))
            copy = Segment(f"copy{file}", new_tokens)
            yield SimCall(copy.key, (fixed("copywriter", 200), brief, about), new_tokens)
            read: list[Segment] = []
            for at in range(variants):
                variant = Segment(f"v{file}.{at}", new_tokens)
                style = Segment(f"style{at}", 20)
                text = (fixed("variant", 150), brief, copy, style)
                yield SimCall(variant.key, text, new_tokens)
                read.append(variant)
                for who in ("brand", "legal", "policy"):
                    review = Segment(f"{who}{file}.{at}", new_tokens // 3)
                    asked = (fixed(who, 400), brief, variant)
                    yield SimCall(review.key, asked, new_tokens // 3)
                    read.append(review)
            yield SimCall(f"edit{file}", (fixed("editor", 200), brief, *read), new_tokens)

    return _programs("w5", seed, programs, rate, calls)


def chats_and_maps(
    seed: int,
    *,
    chats: int = 100,
    chat_rate: float = 1.0,
    programs: int = 4,
    map_rate: float = 0.1,
    chat_seconds: float | None = None,
) -> list[SimProgram]:
    """W6. chat_seconds: per token, that a chat is promised; None: soon."""
    soon = LATENCY if chat_seconds is None else Objective("tpot", chat_seconds)

    def calls(draw: Random) -> Iterator[SimCall]:
        text = (fixed("chat", 200), Segment("history", draw.randint(100, 900)))
        yield SimCall("answer", text, draw.randint(60, 180), soon)

    talk = _programs("chat", seed, chats, chat_rate, calls, kind="chat")
    batch = map_reduces(
        seed, programs=programs, rate=map_rate, objective=THROUGHPUT, name="w6", new_tokens=100
    )
    return sorted([*talk, *batch], key=lambda each: each.arrived)


def agents(
    seed: int,
    *,
    programs: int = 20,
    turns: tuple[int, int] = (3, 8),
    rate: float | None = 0.5,
    new_tokens: int = 60,
    tool_seconds: tuple[float, float] = (0.5, 4.0),
) -> list[SimProgram]:
    """W7. Each turn reads all before it and what a tool said."""

    def calls(draw: Random) -> Iterator[SimCall]:
        text: tuple[Segment, ...] = (fixed("tools", 900), Segment("task", draw.randint(50, 200)))
        for at in range(draw.randint(*turns)):
            yield SimCall(f"t{at}", text, new_tokens, LATENCY, draw.uniform(*tool_seconds))
            said = Segment(f"said{at}", draw.randint(100, 400))
            text = (*text, Segment(f"t{at}", new_tokens), said)

    return _programs("w7", seed, programs, rate, calls)


def _programs(
    name: str,
    seed: int,
    number: int,
    rate: float | None,
    calls: Callable[[Random], Iterator[SimCall]],
    kind: str = "",
) -> list[SimProgram]:
    """rate: None: all arrive at once."""
    draw = Random(f"{name} {seed}")
    arrived, found = 0.0, []
    for at in range(number):
        if rate is not None:
            arrived += draw.expovariate(rate)
        found.append(SimProgram(f"{name}-{at}", "shop", arrived, tuple(calls(draw)), kind))
    return found
