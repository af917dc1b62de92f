"""An engine for DSPy: what its modules ask runs here, as chains of one program.

    with dispatcher.for_program("optimise", "shop") as engine:
        chats = ProgramChats(lambda: Session(engine), text.chat_text, loop=get_running_loop())
        lm = dspy_lm(chats, "smollm2", max_tokens=200)
        answer = await dspy.Predict("question -> answer").acall(question="Which tea is green?")

DSPy makes several calls at a time, in threads or tasks, and most of them begin alike: with the
instructions and examples of a signature. Those are read once. DSPy takes such an engine since
version 3.4; it keeps its own cache, retries and history. Functions to call, pictures and
log-probabilities are refused.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig, Message, Role
from adwright.programs.adapters.program_chats import ProgramChats

__all__ = ["AsyncDspyEngine", "DspyEngine", "dspy_lm"]

#: Settings of a request that have the same name here.
_SAME = (
    *("max_tokens", "temperature", "top_p", "top_k"),
    *("stop", "seed", "frequency_penalty", "presence_penalty"),
)
_ROLES: Mapping[str, Role] = {"user": "user", "assistant": "assistant", "developer": "system"}


class DspyEngine:
    """Completes a request of DSPy, and waits for it. chats: asks them. settings: what a request
    does not say."""

    supports_response_schema = True
    supported_params = frozenset((*_SAME, "response_format"))

    def __init__(self, chats: ProgramChats, settings: GenerationConfig | None = None) -> None:
        self._chats, self._settings = chats, settings or GenerationConfig()

    def complete(self, request: Any) -> Any:
        """A `dspy.lm15.Response`. Raises ConfigError for what cannot be asked for here,
        ProgramError where there is no answer."""
        asked = _turns(request), _settings(request.config, self._settings)
        return _response(request, self._chats.ask_and_wait(*asked))


class AsyncDspyEngine(DspyEngine):
    """The same for callers that await it."""

    async def complete(self, request: Any) -> Any:
        """A `dspy.lm15.Response`."""
        asked = _turns(request), _settings(request.config, self._settings)
        return _response(request, await self._chats.ask(*asked))


def dspy_lm(
    chats: ProgramChats,
    name: str,
    settings: GenerationConfig | None = None,
    *,
    max_tokens: int | None = None,
    temperature: float | None = None,
    cache: bool = True,
) -> Any:
    """A `dspy.LM` whose calls are chats of a program. name: under which DSPy knows it. settings:
    what neither DSPy nor the rest here says. cache: whether DSPy answers what it has asked before.

    Raises ConfigError where DSPy is not installed, or too old.
    """
    try:
        dspy = import_module("dspy")
        import_module("dspy.lm15")
    except ImportError as error:
        hint = 'pip install "dspy>=3.4"'
        raise ConfigError(f"DSPy is not there: {error}", where="dspy", hint=hint) from error
    return dspy.LM(
        f"adwright/{name}",
        engine=DspyEngine(chats, settings),
        async_engine=AsyncDspyEngine(chats, settings),
        max_tokens=max_tokens,
        temperature=temperature,
        cache=cache,
    )


def _turns(request: Any) -> list[Message]:
    if request.tools:
        raise ConfigError(
            "functions to call are not offered here", where="tools", hint="leave them out"
        )
    turns = []
    if request.system is not None:
        turns.append(Message("system", _text(request.system)))
    for one in request.messages:
        if one.role not in _ROLES:
            hint = f"it is one of {', '.join(_ROLES)}"
            raise ConfigError(f"no turn is of {one.role!r} here", where="messages", hint=hint)
        turns.append(Message(_ROLES[one.role], _text(one.parts)))
    return turns


def _text(parts: Any) -> str:
    if isinstance(parts, str):
        return parts
    other = next((one.type for one in parts if one.type != "text"), None)
    if other is not None:
        raise ConfigError(
            f"a turn is text here, and no {other}", where="messages", hint="leave out"
        )
    return "".join(one.text for one in parts)


def _settings(config: Any, default: GenerationConfig) -> GenerationConfig:
    """What is set in a request, over the default. Raises ConfigError for what nobody would heed."""
    told = {name: getattr(config, name) for name in type(config).__dataclass_fields__}
    # What asks for nothing, or for what is anyway so: prefixes are kept.
    given = {
        name: one for name, one in told.items() if one not in (None, (), {}) and name != "cache"
    }
    form = given.pop("response_format", None)
    unknown = [name for name in given if name not in _SAME]
    if unknown:
        hint = f"these are: {', '.join(DspyEngine.supported_params)}"
        raise ConfigError(f"{unknown[0]} is not heeded here", where="config", hint=hint)
    if form is not None:
        given["json_schema"] = form.get("schema", {"type": "object"})
    return GenerationConfig(**_kept(default) | given)


def _kept(default: GenerationConfig) -> dict[str, Any]:
    return {name: getattr(default, name) for name in type(default).__dataclass_fields__}


def _response(request: Any, text: str) -> Any:
    lm15 = import_module("dspy.lm15")
    answer = lm15.Message.assistant(text)
    name = f"program-{uuid.uuid4().hex}"
    return lm15.Response(name, request.model, answer, finish_reason="stop", usage=lm15.Usage())
