"""What the OpenAI-compatible endpoints take: the fields of that protocol that we honour.

A field that we would have to ignore is refused instead, and so is a value that means something
which no engine here does. Beyond the protocol stand top_k, repetition_penalty and
structured_outputs, as vLLM has them. Answers are written in `answers`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "ChatIn",
    "CompletionIn",
    "EmbeddingIn",
    "JsonSchemaIn",
    "MessageIn",
    "ResponseFormat",
    "SamplingIn",
    "StreamOptions",
    "StructuredOutputs",
    "TextPartIn",
]

_MOST_STOPS = 16
_LONGEST_STOP = 1000
_MOST_MESSAGES = 1000
#: No vocabulary is larger, and no engine counts further.
_MOST = 2**31 - 1
_Zero = Annotated[float, Field(ge=0, le=0)]
# A long list ends at its first error: a message for each item would take seconds to write.
_Ids = Annotated[
    list[Annotated[int, Field(ge=0, le=_MOST, strict=True)]], Field(min_length=1, fail_fast=True)
]
_Texts = Annotated[list[str], Field(min_length=1, fail_fast=True)]
_Stop = Annotated[str, Field(max_length=_LONGEST_STOP)]


class _ModelBody(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextPartIn(_ModelBody):
    """A part of a message; other kinds of parts are not understood."""

    type: Literal["text"]
    text: str


class MessageIn(_ModelBody):
    """One turn of a chat. name: is allowed and not used."""

    role: Literal["system", "user", "assistant"]
    content: str | Annotated[list[TextPartIn], Field(fail_fast=True)]
    name: str | None = None


class StreamOptions(_ModelBody):
    """include_usage: a last event tells the numbers of tokens."""

    include_usage: bool = False


class JsonSchemaIn(_ModelBody):
    """A schema that the answer has to fit; it always does, whatever `strict` says."""

    name: str = "answer"
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class ResponseFormat(_ModelBody):
    """The form of the answer: free text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaIn | None = None

    @model_validator(mode="after")
    def _schema_where_it_belongs(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema belongs to the type json_schema, which needs it")
        return self


class StructuredOutputs(_ModelBody):
    """As vLLM takes it: JSON of a schema, or a word of a grammar in GBNF."""

    json_: Annotated[dict[str, Any] | None, Field(alias="json")] = None
    grammar: str | None = None

    @model_validator(mode="after")
    def _one(self) -> StructuredOutputs:
        if (self.json_ is None) == (self.grammar is None):
            raise ValueError("give either json or grammar")
        return self


class SamplingIn(_ModelBody):
    """Fields that chats and completions share. The seed is drawn where it is absent."""

    model: str
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1.0
    top_k: Annotated[int, Field(ge=-1, le=_MOST)] = 0
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10, allow_inf_nan=False)] = 1.0
    n: Annotated[int, Field(ge=1)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**62)] | None = None
    stop: _Stop | Annotated[list[_Stop], Field(max_length=_MOST_STOPS, fail_fast=True)] | None = (
        None
    )
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    frequency_penalty: _Zero | None = None
    presence_penalty: _Zero | None = None
    user: str | None = None

    @model_validator(mode="after")
    def _one_form(self) -> SamplingIn:
        if self.response_format is not None and self.structured_outputs is not None:
            raise ValueError("give either response_format or structured_outputs")
        if self.stream and self.n > 1:
            raise ValueError("a stream has one answer: n must be 1")
        return self


class ChatIn(SamplingIn):
    """The body of /v1/chat/completions."""

    messages: Annotated[
        list[MessageIn], Field(min_length=1, max_length=_MOST_MESSAGES, fail_fast=True)
    ]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=0)] | None = None


class CompletionIn(SamplingIn):
    """The body of /v1/completions. echo: with max_tokens 0, tells the log-probabilities of the
    prompt itself."""

    prompt: str | _Ids | _Texts | Annotated[list[_Ids], Field(min_length=1, fail_fast=True)]
    max_tokens: Annotated[int, Field(ge=0)] = 16
    logprobs: Annotated[int, Field(ge=0, le=1)] | None = None
    echo: bool = False

    @model_validator(mode="after")
    def _echo_alone(self) -> CompletionIn:
        if self.echo != (self.max_tokens == 0):
            raise ValueError("echo and max_tokens 0 are understood only together")
        if self.echo and (self.stream or self.n > 1 or self.logprobs is None):
            raise ValueError("an echo needs logprobs, one answer and no stream")
        if self.stream and isinstance(self.prompt, list) and not isinstance(self.prompt[0], int):
            raise ValueError("a stream has one prompt")
        return self


class EmbeddingIn(_ModelBody):
    """The body of /v1/embeddings."""

    model: str
    input: str | _Texts
    encoding_format: Literal["float", "base64"] = "float"
    user: str | None = None
