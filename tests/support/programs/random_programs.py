"""Programs that Hypothesis draws: any graph of calls and steps, with what may go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.program import (
    LATENCY,
    THROUGHPUT,
    NativeStep,
    Objective,
    Program,
    SemanticCall,
    WantedOutput,
)
from adwright.programs.steps import (
    DistinctLines,
    FirstThat,
    Join,
    JsonField,
    JsonItems,
    Majority,
    Numbered,
    StepFunction,
    TextLines,
    Trim,
)

_SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
_ONE_IN: tuple[StepFunction, ...] = (JsonField(("a",)), JsonItems(), TextLines(), Trim())
_MANY_IN: tuple[StepFunction, ...] = (
    *(Join(), DistinctLines(), Numbered(), Majority()),
    FirstThat({"type": "string", "maxLength": 12}),
)
_OBJECTIVES = (
    *(LATENCY, THROUGHPUT, Objective("deadline", 4.0), Objective("deadline", 9.0)),
    *(Objective("ttft", 1.0), Objective("tpot", 0.1)),
)


@dataclass(frozen=True)
class Drawn:
    """A program and what comes from outside: texts of awaited variables (None: a failure), and
    variables that are cancelled."""

    program: Program
    outside: Mapping[str, str | None]
    cancelled: frozenset[str]


@st.composite
def drawn_programs(draw: st.DrawFn, most: int = 12) -> Drawn:
    """A program of up to `most` calls and steps, each of which reads any that come before it."""
    texts = st.sampled_from(("tea", "green\nmild", '{"a": "x"}', '["a", "b"]', ""))
    values = {f"given{at}": draw(texts) for at in range(draw(st.integers(1, 3)))}
    outside = {f"awaited{at}": draw(st.none() | texts) for at in range(draw(st.integers(0, 2)))}
    pool = [*values, *outside]
    calls: list[SemanticCall] = []
    steps: list[NativeStep] = []
    for at in range(draw(st.integers(1, most))):
        match draw(st.sampled_from(("call", "call", "step", "longer"))):
            case "step":
                steps.append(draw(_steps(f"step{at}", tuple(pool))))
                pool += steps[-1].outputs
            case "longer" if calls:
                # A call goes on, and may read what others made of what it wrote.
                call = calls.pop(draw(st.integers(0, len(calls) - 1)))
                calls.append(draw(_longer(call, tuple(pool))))
                pool += sorted({*calls[-1].bindings.values()} - {*pool})
            case _:
                adapter = draw(st.sampled_from((None, "house")))
                start = draw(st.sampled_from(("Write: ", "Shorten: ", "Judge: ")))
                empty = SemanticCall(f"call{at}", start, adapter=adapter)
                calls.append(draw(_longer(empty, tuple(pool))))
                pool += sorted({*calls[-1].bindings.values()} - {*pool})
    made = [one for one in pool if one not in values and one not in outside]
    wanted = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=4, unique=True))
    outputs = tuple(
        WantedOutput(one, draw(st.sampled_from(_OBJECTIVES))) for one in (*wanted, made[-1])
    )
    outputs = tuple({one.variable: one for one in outputs}.values())
    awaited = [one for one in pool if one not in values]
    cancelled = draw(st.sets(st.sampled_from(awaited), max_size=1))
    # In any order: what reads may stand before what is read.
    program = Program(
        calls=tuple(draw(st.permutations(calls))),
        steps=tuple(draw(st.permutations(steps))),
        values=values,
        awaited=tuple(outside),
        outputs=outputs,
    )
    return Drawn(program, outside, frozenset(cancelled))


@st.composite
def _longer(draw: st.DrawFn, call: SemanticCall, pool: tuple[str, ...]) -> SemanticCall:
    """The call with one or two outputs more, each behind up to three inputs."""
    bindings, settings, template = {**call.bindings}, {**call.settings}, call.template
    first = len(settings)
    for at in range(first, first + draw(st.integers(1, 2))):
        for place in range(draw(st.integers(0, 3))):
            read = draw(st.sampled_from((*pool, *bindings.values())))
            bindings[f"in{at}{place}"] = read
            template += f"<{{{{in{at}{place}}}}}> "
        output = f"out{at}"
        bindings[output] = f"{call.name}_{output}"
        schema = _SCHEMA if draw(st.integers(0, 3)) == 0 else None
        tokens = draw(st.sampled_from((8, 64, 200)))
        settings[output] = GenerationConfig(max_tokens=tokens, json_schema=schema)
        template += f"{{{{{output}:output}}}}; "
    return replace(call, template=template, bindings=bindings, settings=settings)


@st.composite
def _steps(draw: st.DrawFn, name: str, pool: tuple[str, ...]) -> NativeStep:
    function = draw(st.sampled_from((*_ONE_IN, *_MANY_IN)))
    count = 1 if function in _ONE_IN else draw(st.integers(1, 4))
    inputs = tuple(draw(st.sampled_from(pool)) for _ in range(count))
    outputs = draw(st.integers(1, 3)) if isinstance(function, JsonItems | TextLines) else 1
    return NativeStep(name, function, inputs, tuple(f"{name}_{at}" for at in range(outputs)))
