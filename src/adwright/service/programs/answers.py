"""What the endpoints of programs answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from adwright.programs.graph import Chain
from adwright.programs.runner import Variable, VariableState
from adwright.service.programs.open_program import OpenProgram, OutputState

NodeState = Literal["idle", "waiting", "ready", "running", "done", "failed"]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FailureOut(_Answer):
    """Why there is no text. origin: the chain, step or variable in which it began."""

    kind: Literal["call", "output", "step", "outside", "cancelled"]
    origin: str
    what: str


class VariableOut(_Answer):
    """A variable. text: where it is set. characters: of what is known of it by now."""

    name: str
    state: VariableState
    text: str | None = None
    characters: int = 0
    failure: FailureOut | None = None


class NodeOut(_Answer):
    """A chain, which is a part of a call up to an output, or a step.

    state: idle where no output needs it; waiting for what it reads; ready; running; done; failed.
    objective, group: what is asked of it while it is needed. engine: that ran it, or runs it.
    """

    id: str
    kind: Literal["chain", "step"]
    state: NodeState
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    objective: str = ""
    group: str = ""
    engine: str = ""


class ProgramOut(_Answer):
    """A program. state: of what was asked for: running while one output is not settled, failed
    where one has no text. values: the texts of the outputs that have one; failures: why others have
    none. variables: all of them; nodes: each behind those that it reads from."""

    id: str
    object: Literal["program"] = "program"
    created_at: int
    state: OutputState
    values: dict[str, str]
    failures: dict[str, FailureOut]
    variables: dict[str, VariableState]
    nodes: tuple[NodeOut, ...]


class TraceOut(_Answer):
    """What happened to a program, in order. `time` of an event: seconds from the first."""

    id: str
    object: Literal["trace"] = "trace"
    events: tuple[dict[str, Any], ...]


def variable_out(variable: Variable) -> VariableOut:
    """A variable as it is now."""
    return VariableOut(
        name=variable.name,
        state=variable.state,
        text=variable.text if variable.state == "set" else None,
        characters=variable.characters,
        failure=_failure(variable),
    )


def program_out(one: OpenProgram) -> ProgramOut:
    """A program as it is now."""
    session = one.session
    asked = [session.variable(name) for name in one.outputs]
    failures = {each.name: _failure(each) for each in asked}
    return ProgramOut(
        id=one.program_id,
        created_at=one.made,
        state=one.state,
        values={each.name: each.text for each in asked if each.state == "set"},
        failures={name: told for name, told in failures.items() if told is not None},
        variables={name: session.variable(name).state for name in session.graph.variables},
        nodes=tuple(_nodes(one)),
    )


def trace_out(one: OpenProgram) -> TraceOut:
    """What happened to a program so far."""
    events = one.chains.trace.events
    began = events[0].time if events else 0.0
    told = tuple(each.as_json() | {"time": round(each.time - began, 6)} for each in events)
    return TraceOut(id=one.program_id, events=told)


def _nodes(one: OpenProgram) -> list[NodeOut]:
    session = one.session
    deduction, running = session.deduction, set(session.running)
    found = []
    for node_id, node in session.graph.nodes.items():
        written = [session.variable(name) for name in node.outputs]
        asked = [deduction.get_objective(name) for name in node.outputs]
        objective = next((str(each) for each in asked if each is not None), "")
        state: NodeState = "idle"
        if all(each.state == "set" for each in written):
            state = "done"
        elif any(each.failure for each in written):
            state = "failed"
        elif node_id in running:
            state = "running"
        elif objective:
            ready = all(session.variable(name).state == "set" for name in node.inputs)
            state = "ready" if ready else "waiting"
        deduced = deduction.chains.get(node_id)
        found.append(
            NodeOut(
                id=node_id,
                kind="chain" if isinstance(node, Chain) else "step",
                state=state,
                reads=node.inputs,
                writes=node.outputs,
                objective=objective,
                group=(deduced.group or "") if deduced else "",
                engine=one.chains.trace.placed.get(node_id, ""),
            )
        )
    return found


def _failure(variable: Variable) -> FailureOut | None:
    found = variable.failure
    if found is None:
        return None
    return FailureOut(kind=found.kind, origin=found.origin, what=found.what)
