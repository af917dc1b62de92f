"""From the bodies of the OpenAI protocol to prompts and settings."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any, Protocol

from adwright.lm.engine.generation import Chat, GenerationConfig, Prompt, TokenPrompt
from adwright.service.lm.protocol.schemas import ChatIn, CompletionIn, EmbeddingIn, SamplingIn
from adwright.service.lm.protocol.tools import ToolForm, turns_of
from adwright.web.errors import ApiError


class AnswerLimits(Protocol):
    """What a service allows a request to ask for."""

    @property
    def max_tokens(self) -> int:
        """Tokens of an answer."""

    @property
    def max_texts(self) -> int:
        """Answers."""


def tool_form_of(body: ChatIn | CompletionIn, further: frozenset[str]) -> ToolForm | None:
    """What tools ask of the answer; None where there are none. further: of the model's settings."""
    if isinstance(body, CompletionIn):
        return None
    return ToolForm.of(body, lark="lark" in further, text=_form(body).get("json_schema"))


def settings_of(
    body: ChatIn | CompletionIn, limits: AnswerLimits, tools: ToolForm | None = None
) -> GenerationConfig:
    """Settings of a request. tools: what they ask of the answer.

    Raises ApiError where more is asked for than the service allows, ConfigError for what no
    engine has.
    """
    match body:
        case ChatIn():
            asked = body.max_completion_tokens or body.max_tokens or limits.max_tokens
            logprobs, top = body.logprobs, body.top_logprobs
        case CompletionIn():
            asked = max(1, body.max_tokens)
            logprobs = body.logprobs is not None
            # One tells the token that was taken; the likeliest are for who asks for several.
            top = body.logprobs if body.logprobs and body.logprobs > 1 else 0
    if asked > limits.max_tokens:
        raise ApiError(422, f"max_tokens is at most {limits.max_tokens} here")
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    form = _form(body) if tools is None else {"json_schema": tools.schema, "lark": tools.lark}
    return GenerationConfig(
        max_tokens=asked,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=max(0, body.top_k),
        # Two callers who name no seed want two answers.
        seed=secrets.randbelow(2**31) if body.seed is None else body.seed,
        stop=tuple(one for one in stop if one),
        repetition_penalty=body.repetition_penalty,
        logprobs=logprobs,
        top_logprobs=top,
        min_p=body.min_p,
        frequency_penalty=body.frequency_penalty,
        presence_penalty=body.presence_penalty,
        logit_bias=tuple(body.logit_bias.items()),
        stop_token_ids=tuple(body.stop_token_ids),
        min_tokens=body.min_tokens,
        ignore_eos=body.ignore_eos,
        **form,
    )


def prompts_of(body: ChatIn | CompletionIn, limits: AnswerLimits) -> list[Prompt]:
    """Prompts of a request, each as often as answers to it are asked for.

    Raises ApiError where these are too many.
    """
    found: list[Prompt] = []
    match body:
        case ChatIn():
            found = [chat_of(body)]
        case CompletionIn():
            found = [*_prompts(body.prompt)]
    if len(found) * body.n > limits.max_texts:
        raise ApiError(422, f"one request has at most {limits.max_texts} answers here")
    return [prompt for prompt in found for _ in range(body.n)]


def chat_of(body: ChatIn) -> Prompt:
    """The turns of a chat, with what its template is told."""
    turns, settings = turns_of(body), body.chat_template_kwargs
    return Chat(turns, settings) if settings else turns


def texts_of(body: EmbeddingIn) -> list[str | TokenPrompt]:
    """What is to be embedded."""
    return list(_prompts(body.input))


def _prompts(given: Any) -> Iterator[str | TokenPrompt]:
    """A text, its tokens, or several of either."""
    several = isinstance(given, list) and not isinstance(given[0], int)
    for one in given if several else [given]:
        yield one if isinstance(one, str) else TokenPrompt(tuple(one))


def _form(body: SamplingIn) -> dict[str, Any]:
    """The form of the answer that is asked for, as settings."""
    shaped, wanted = body.structured_outputs, body.response_format
    if shaped is not None:
        if shaped.choice is not None:
            return {"grammar": "root ::= " + " | ".join(map(_quoted, shaped.choice))}
        if shaped.json_object:
            return {"json_schema": {"type": "object"}}
        return {"json_schema": shaped.json_, "grammar": shaped.grammar, "regex": shaped.regex}
    if wanted is None or wanted.type == "text":
        return {}
    if wanted.json_schema is None:
        return {"json_schema": {"type": "object"}}
    return {"json_schema": wanted.json_schema.schema_}


def _quoted(text: str) -> str:
    """A text as GBNF writes it."""
    return json.dumps(text, ensure_ascii=False)
