"""W1 to W7 as programs with real texts; the same kinds as in `adwright.programs.simulation`.

Sizes are such that a cell takes about a minute of one busy core. Each cell begins all of its
prompts with a mark of its own, so that caches are cold and a system finds nothing that another left
behind. Lengths of answers are fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.program import (
    LATENCY,
    THROUGHPUT,
    Objective,
    Program,
    SemanticCall,
    WantedOutput,
)
from benchmarks.programs._texts import CatalogueTexts


@dataclass(frozen=True)
class ToolWait:
    """A tool that runs on `after` for so many seconds, and then sets `sets` to `text`."""

    after: str
    sets: str
    seconds: float
    text: str


@dataclass(frozen=True)
class BenchProgram:
    """A program that arrives so many seconds after the start. kind: of a workload that mixes."""

    name: str
    program: Program
    arrived: float = 0.0
    kind: str = ""
    tools: tuple[ToolWait, ...] = ()


@dataclass(frozen=True)
class _Writer:
    """mark: what all prompts begin with."""

    mark: str
    texts: CatalogueTexts
    draw: Random

    def text(self, tokens: int) -> str:
        return self.texts.text(tokens, self.draw)

    def call(
        self, name: str, template: str, tokens: int, bindings: Mapping[str, str] | None = None
    ) -> SemanticCall:
        """A call whose only output is the variable of its name."""
        settings = {"out": GenerationConfig(max_tokens=tokens, ignore_eos=True)}
        text = f"{self.mark} {template}\n{{{{out:output}}}}"
        return SemanticCall(name, text, {**(bindings or {}), "out": name}, settings)


def chain_summaries(writer: _Writer) -> Iterator[BenchProgram]:
    """W1: ten chains at once."""
    for at in range(10):
        calls, values = [], {}
        chunks = writer.draw.randint(2, 6)
        for chunk in range(chunks):
            values[f"chunk{chunk}"] = writer.text(400)
            before = f"\nSo far:\n{{{{c{chunk - 1}}}}}" if chunk else ""
            template = f"Sum up what this shop sells.\n{{{{chunk{chunk}}}}}{before}\nSummary:"
            calls.append(writer.call(f"c{chunk}", template, 16))
        yield _program(f"w1-{at}", calls, values, f"c{chunks - 1}")


def map_reduces(
    writer: _Writer, objective: Objective = LATENCY, kind: str = ""
) -> Iterator[BenchProgram]:
    """W2: eight parts of a category."""
    parts = range(8)
    values = {f"part{part}": writer.text(250) for part in parts}
    template = "Describe this part of the catalogue.\n{{text}}\nIn one paragraph:"
    calls = [writer.call(f"m{part}", template, 24, {"text": f"part{part}"}) for part in parts]
    read = "\n".join(f"{{{{m{part}}}}}" for part in parts)
    calls.append(writer.call("reduce", f"One description of all of:\n{read}\nAll:", 32))
    yield _program("w2", calls, values, "reduce", objective, kind=kind)


def shared_prompts(writer: _Writer) -> Iterator[BenchProgram]:
    """W3: sixteen users behind one prompt of 1,500 tokens."""
    policy = writer.text(1500)
    for at in range(16):
        template = f"What the shop's assistant has to know:\n{policy}\nCustomer: {{{{line}}}}\nYou:"
        values = {"line": writer.text(30)}
        yield _program(f"w3-{at}", [writer.call("answer", template, 32)], values, "answer")


def assistants(writer: _Writer) -> Iterator[BenchProgram]:
    """W4: four assistants with 600 tokens each, 32 requests, the k-th asked 1/k as often."""
    prompts = [writer.text(600) for _ in range(4)]
    shares = [1 / (at + 1) for at in range(4)]
    for at in range(32):
        (which,) = writer.draw.choices(range(4), shares)
        template = f"Assistant {which} of the shop.\n{prompts[which]}\nAsked: {{{{line}}}}\nAnswer:"
        values = {"line": writer.text(25)}
        yield _program(f"w4-{at}", [writer.call("answer", template, 24)], values, "answer")


def creative_teams(writer: _Writer) -> Iterator[BenchProgram]:
    """W5: four files, each a copywriter, two variants, three reviewers of each, an editor."""
    values, calls = {"brief": writer.text(300)}, []
    for file in range(4):
        values[f"item{file}"] = writer.text(40)
        copy = f"copy{file}"
        template = "The brief:\n{{brief}}\nWrite an ad for:\n{{item}}\nAd:"
        calls.append(writer.call(copy, template, 24, {"item": f"item{file}"}))
        read = []
        for at, style in enumerate(("short", "warm")):
            variant = f"v{file}-{at}"
            template = "The brief:\n{{brief}}\nAn ad:\n{{copy}}\nThe same, " + style + ":"
            calls.append(writer.call(variant, template, 24, {"copy": copy}))
            read.append(variant)
            for who in ("brand", "law", "policy"):
                template = (
                    "The brief:\n{{brief}}\nYou watch over " + who + ". The ad:\n{{ad}}\nSay:"
                )
                calls.append(writer.call(f"{who}{file}-{at}", template, 8, {"ad": variant}))
                read.append(f"{who}{file}-{at}")
        texts = "\n".join(f"{{{{{each}}}}}" for each in read)
        template = f"The brief:\n{{{{brief}}}}\nAds and what was said:\n{texts}\nThe best ad:"
        calls.append(writer.call(f"edit{file}", template, 24))
    wanted = tuple(WantedOutput(f"edit{file}") for file in range(4))
    yield BenchProgram("w5", Program(tuple(calls), (), values, (), wanted))


def chats(writer: _Writer) -> Iterator[BenchProgram]:
    """The chats of W6: one about every three quarters of a second."""
    arrived = 0.0
    for at in range(8):
        arrived += writer.draw.expovariate(1 / 0.75)
        values = {"history": writer.text(writer.draw.randint(60, 200))}
        calls = [writer.call("answer", "A chat.\n{{history}}\nYou:", writer.draw.randint(16, 40))]
        yield _program(f"chat-{at}", calls, values, "answer", kind="chat", arrived=arrived)


def batches(writer: _Writer) -> Iterator[BenchProgram]:
    """The W2 of W6, wanted cheaply."""
    yield from map_reduces(writer, THROUGHPUT, "batch")


def agents(writer: _Writer) -> Iterator[BenchProgram]:
    """W7: five agents, whose turns read all before them and what a tool said after a while."""
    rules = writer.text(500)
    arrived = 0.0
    for at in range(5):
        arrived += writer.draw.expovariate(1.0)
        values, calls, tools = {"task": writer.text(60)}, [], []
        text = f"Tools of the shop:\n{rules}\nTask: {{{{task}}}}"
        turns = writer.draw.randint(2, 4)
        for turn in range(turns):
            calls.append(writer.call(f"t{turn}", f"{text}\nNext step:", 16))
            text += f"\nNext step: {{{{t{turn}}}}}\nTool: {{{{said{turn}}}}}"
            wait = writer.draw.uniform(0.3, 1.5)
            tools.append(ToolWait(f"t{turn}", f"said{turn}", wait, writer.text(80)))
        tools.pop()
        awaited = tuple(each.sets for each in tools)
        wanted = (WantedOutput(f"t{turns - 1}"),)
        program = Program(tuple(calls), (), values, awaited, wanted)
        yield BenchProgram(f"w7-{at}", program, arrived, tools=tuple(tools))


_MADE: Mapping[str, Callable[[_Writer], Iterator[BenchProgram]]] = {
    "w1_many": chain_summaries,
    "w2": map_reduces,
    "w3": shared_prompts,
    "w4": assistants,
    "w5": creative_teams,
    "w6_chat": chats,
    "w6_batch": batches,
    "w7": agents,
}


def _program(
    name: str,
    calls: list[SemanticCall],
    values: Mapping[str, str],
    wanted: str,
    objective: Objective = LATENCY,
    *,
    kind: str = "",
    arrived: float = 0.0,
) -> BenchProgram:
    outputs = (WantedOutput(wanted, objective),)
    return BenchProgram(name, Program(tuple(calls), (), values, (), outputs), arrived, kind)


def _made(name: str) -> Callable[[CatalogueTexts, int, str], list[BenchProgram]]:
    def make(texts: CatalogueTexts, seed: int, mark: str) -> list[BenchProgram]:
        # What W6 consists of is the same alone and together.
        if name == "w6":
            parts = [*WORKLOADS["w6_chat"](texts, seed, mark)]
            return [*parts, *WORKLOADS["w6_batch"](texts, seed, mark)]
        return list(_MADE[name](_Writer(mark, texts, Random(f"{name} {seed}"))))

    return make


#: By name: the programs of a seed, whose prompts begin with a mark.
WORKLOADS: Mapping[str, Callable[[CatalogueTexts, int, str], list[BenchProgram]]] = {
    name: _made(name) for name in (*_MADE, "w6")
}
