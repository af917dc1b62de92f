"""What the OpenAI-compatible endpoints take: the fields of that protocol that we honour.

A field that we would have to ignore is refused instead, unless it changes no answer. Beyond the
protocol stand top_k, min_p, repetition_penalty, stop_token_ids, min_tokens, ignore_eos and
structured_outputs, as vLLM has them. Answers are written in `answers`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from adwright.service.lm.protocol.body import HarmlessIn, JsonObject, LmBody
from adwright.service.lm.protocol.tool_schemas import NamedToolIn, ToolCallIn, ToolChoice, ToolIn

_MOST_STOPS = 16
_LONGEST_STOP = 1000
MOST_MESSAGES = 1000
#: No vocabulary is larger, and no engine counts further.
_MOST = 2**31 - 1
_MOST_TOP = 20
_MOST_BIASES = 300
_MOST_TOOLS = 128
_Token = Annotated[int, Field(ge=0, le=_MOST)]
#: A token in a list.
Token = Annotated[int, Field(ge=0, le=_MOST, strict=True)]
#: What a chat template reads beside the messages; the model's own says which.
TemplateSettings = Annotated[
    dict[
        Annotated[str, Field(pattern=r"^[_A-Za-z][_A-Za-z0-9]{0,63}$")],
        bool | int | float | Annotated[str, Field(max_length=1000)],
    ],
    Field(max_length=16),
]
_Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
# A long list ends at its first error: a message for each item would take seconds to write.
_Ids = Annotated[list[Token], Field(min_length=1, fail_fast=True)]
_Texts = Annotated[list[str], Field(min_length=1, fail_fast=True)]
_Stop = Annotated[str, Field(max_length=_LONGEST_STOP)]


class TextPartIn(LmBody):
    """A part of a message; other kinds of parts are not understood."""

    type: Literal["text"]
    text: str


class MessageIn(LmBody):
    """One turn of a chat. name: is allowed and not used, and so is what a turn of the assistant may
    carry back from an answer (refusal, annotations)."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[TextPartIn], Field(fail_fast=True)] | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCallIn], Field(max_length=_MOST_TOOLS)] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None

    @model_validator(mode="after")
    def _as_its_role(self) -> MessageIn:
        if self.content is None and self.role != "assistant":
            raise ValueError("only a turn of the assistant has no content")
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only the assistant has tool_calls")
        if (self.tool_call_id is None) == (self.role == "tool"):
            raise ValueError("tool_call_id belongs to the role tool, which needs it")
        return self

    @property
    def text(self) -> str:
        """Its content, the parts of it in a row."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "".join(part.text for part in self.content)


class StreamOptions(LmBody):
    """include_usage: a last event tells the numbers of tokens. include_obfuscation: is allowed, and
    no event is padded."""

    include_usage: bool = False
    include_obfuscation: bool = False


class JsonSchemaIn(LmBody):
    """A schema that the answer has to fit; it always does, whatever `strict` says."""

    name: str = "answer"
    description: str | None = None
    schema_: Annotated[JsonObject, Field(alias="schema")]
    strict: bool | None = None


class ResponseFormat(LmBody):
    """The form of the answer: free text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaIn | None = None

    @model_validator(mode="after")
    def _schema_where_it_belongs(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema belongs to the type json_schema, which needs it")
        return self


class StructuredOutputs(LmBody):
    """As vLLM takes it: JSON of a schema, any JSON object, a word of a grammar in GBNF, what a
    regular expression matches, or one of several texts."""

    json_: Annotated[dict[str, Any] | None, Field(alias="json")] = None
    json_object: bool | None = None
    grammar: str | None = None
    regex: str | None = None
    choice: Annotated[list[str], Field(min_length=1, max_length=500, fail_fast=True)] | None = None

    @model_validator(mode="after")
    def _one(self) -> StructuredOutputs:
        forms = (self.json_, self.json_object or None, self.grammar, self.regex, self.choice)
        if sum(one is not None for one in forms) != 1:
            raise ValueError("give one of json, json_object, grammar, regex and choice")
        return self


class SamplingIn(HarmlessIn):
    """Fields that chats and completions share. The seed is drawn where it is absent."""

    model: str
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1.0
    top_k: Annotated[int, Field(ge=-1, le=_MOST)] = 0
    min_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10, allow_inf_nan=False)] = 1.0
    frequency_penalty: _Penalty = 0.0
    presence_penalty: _Penalty = 0.0
    logit_bias: Annotated[
        dict[_Token, Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]],
        Field(max_length=_MOST_BIASES, default_factory=dict),
    ]
    stop_token_ids: Annotated[tuple[_Token, ...], Field(max_length=64)] = ()
    min_tokens: Annotated[int, Field(ge=0, le=_MOST)] = 0
    ignore_eos: bool = False
    n: Annotated[int, Field(ge=1)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**62)] | None = None
    stop: _Stop | Annotated[list[_Stop], Field(max_length=_MOST_STOPS, fail_fast=True)] | None = (
        None
    )
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None

    @model_validator(mode="after")
    def _one_form(self) -> SamplingIn:
        if self.response_format is not None and self.structured_outputs is not None:
            raise ValueError("give either response_format or structured_outputs")
        return self


class ChatIn(SamplingIn):
    """The body of /v1/chat/completions."""

    messages: Annotated[
        list[MessageIn], Field(min_length=1, max_length=MOST_MESSAGES, fail_fast=True)
    ]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=_MOST_TOP)] = 0
    tools: Annotated[tuple[ToolIn, ...], Field(max_length=_MOST_TOOLS)] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool = True
    chat_template_kwargs: TemplateSettings = Field(default_factory=dict)
    modalities: list[Literal["text"]] | None = None

    @model_validator(mode="after")
    def _whole(self) -> ChatIn:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs")
        match self.tool_choice:
            case NamedToolIn(function=wanted):
                if wanted.name not in {one.function.name for one in self.tools}:
                    raise ValueError("tool_choice names none of the tools")
            case "required" | "auto" if not self.tools:
                raise ValueError("tool_choice needs tools")
        if len({one.function.name for one in self.tools}) < len(self.tools):
            raise ValueError("two tools have the same name")
        if self.tools and self.structured_outputs is not None:
            raise ValueError("give either tools or structured_outputs")
        return self


class CompletionIn(SamplingIn):
    """The body of /v1/completions. echo: the prompt stands before the answer; with max_tokens 0 it
    stands alone, to tell its log-probabilities."""

    prompt: str | _Ids | _Texts | Annotated[list[_Ids], Field(min_length=1, fail_fast=True)]
    max_tokens: Annotated[int, Field(ge=0)] = 16
    logprobs: Annotated[int, Field(ge=0, le=_MOST_TOP)] | None = None
    echo: bool = False
    best_of: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _echoed(self) -> CompletionIn:
        if not self.max_tokens and not self.echo:
            raise ValueError("max_tokens 0 is understood only beside echo")
        if not self.max_tokens and (self.stream or self.n > 1 or self.logprobs is None):
            raise ValueError("an echo alone needs logprobs, and is neither several nor a stream")
        if self.echo and (self.logprobs or 0) > 1:
            raise ValueError("an echo tells the tokens of the prompt alone: logprobs is 0 or 1")
        if self.best_of not in (None, self.n):
            raise ValueError("best_of is understood only where it is n")
        return self


class EmbeddingIn(HarmlessIn):
    """The body of /v1/embeddings. dimensions: the first so many numbers of each vector, scaled to
    length 1 again."""

    model: str
    input: str | _Ids | _Texts | Annotated[list[_Ids], Field(min_length=1, fail_fast=True)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None
