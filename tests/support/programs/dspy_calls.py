"""What DSPy does with an engine of programs, in a process of its own: it keeps an event loop and a
cache open to its end.

    python -m tests.support.programs.dspy_calls here
    python -m tests.support.programs.dspy_calls URL

"here" runs on a dispatcher in this process, and a URL on a service of programs.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import dspy
import pytest
from pydantic import BaseModel

from adwright.lm.engine.generation import GenerationConfig, Message
from adwright.programs.adapters.dspy_engine import dspy_lm
from adwright.programs.adapters.program_chats import ProgramChats
from adwright.programs.frontend.remote import RemoteProgram
from adwright.programs.objective import THROUGHPUT
from adwright.programs.runner import Session
from tests.support.programs.dispatching import dispatcher_of
from tests.support.programs.scripted_engine import ScriptedEngine

__all__ = ["main", "written"]

ANSWER = "[[ ## tea ## ]]\ngreen\n\n[[ ## completed ## ]]"
JSON_ANSWER = '{"tea": "green", "hot": true}'
GUESTS = ("Ann", "Bob", "Cy", "Di")


class Cup(BaseModel):
    """What is asked for."""

    tea: Literal["green", "black"]
    hot: bool


def written(model: str, adapter: str | None, prompt: str, settings: GenerationConfig) -> str:
    """What the model writes: fields as DSPy's adapter wants them, or JSON."""
    del model, adapter, prompt
    return ANSWER if settings.json_schema is None else JSON_ANSWER


def line_prompt(turns: Sequence[Message]) -> str:
    """A template of a line a turn."""
    return "".join(f"{one.role}: {one.content}\n" for one in turns) + "assistant:"


@asynccontextmanager
async def in_process() -> Any:
    engine = ScriptedEngine(written)
    async with dispatcher_of({"e0": engine}) as dispatcher:
        with dispatcher.for_program("guests", "shop") as chains:
            chats = ProgramChats(
                lambda: Session(chains),
                line_prompt,
                objective=THROUGHPUT,
                loop=asyncio.get_running_loop(),
            )
            yield chats
            # All are of one program, and what they begin with was read once.
            events = chains.trace.events
            assert sum(one.kind == "set" for one in events) == 2 * len(GUESTS) + 1
            stats = dispatcher.stats
            assert stats.cached_tokens > stats.read_tokens / 2


@asynccontextmanager
async def over_http(url: str) -> Any:
    yield ProgramChats(lambda: RemoteProgram(url), line_prompt, model="model")


def ask_in_threads(lm: Any) -> None:
    """As most programs of DSPy do."""
    with dspy.context(lm=lm):
        predict = dspy.Predict("guest -> tea: Literal['green', 'black']")
        parallel = dspy.Parallel(num_threads=4, disable_progress_bar=True)
        found = parallel([(predict, {"guest": one}) for one in GUESTS])
    assert [one.tea for one in found] == ["green"] * len(GUESTS)
    (told,) = lm("a cup?", response_format=Cup)
    assert Cup.model_validate_json(told).hot
    for changes in ({"logprobs": True}, {"tools": [_tool()]}):
        with pytest.raises(Exception, match=r"not heeded here|not offered here"):
            lm("a cup?", **changes)


def _tool() -> dict[str, Any]:
    parameters = {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": "price", "parameters": parameters}}


async def main(where: str) -> None:
    """Ask from threads and from the loop."""
    opened = in_process() if where == "here" else over_http(where)
    async with opened as chats:
        settings = GenerationConfig(max_tokens=200)
        lm = dspy_lm(chats, "m", settings, temperature=0.0, cache=False)
        with dspy.context(lm=lm):
            predict = dspy.Predict("guest -> tea: Literal['green', 'black']")
            found = await asyncio.gather(*(predict.acall(guest=one) for one in GUESTS))
        assert [one.tea for one in found] == ["green"] * len(GUESTS)
        await asyncio.to_thread(ask_in_threads, lm)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
