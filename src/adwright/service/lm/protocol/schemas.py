"""What the OpenAI-compatible endpoints take: the fields of that protocol that we honour.

A field that we would have to ignore is refused instead, unless it changes no answer. Beyond the
protocol stand top_k, min_p, repetition_penalty, stop_token_ids, min_tokens, ignore_eos and
structured_outputs, as vLLM has them. Answers are written in `answers`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from adwright.core.errors import ResourceError
from adwright.lm.engine.base import prompt_ids, require_known, require_text
from adwright.lm.engine.generation import Cancellation, LanguageModel, Prompt

# --------------------------------------------------------------------------------------------------
# What all bodies of the OpenAI-compatible endpoints have in common.


def _finite(given: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(given, allow_nan=False)
    except ValueError:
        raise ValueError("a number in it is beyond what a computer holds") from None
    return given


#: An object that may be told again, such as a schema. 1e999 is JSON, and no number of ours.
JsonObject = Annotated[dict[str, Any], AfterValidator(_finite)]


class LmBody(BaseModel):
    """Unknown fields are refused, never ignored; a null is a field that is not there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None}


class HarmlessIn(LmBody):
    """Fields that frameworks send and that change no answer: they are for who bills, logs, stores
    or caches, which this service does not."""

    user: str | None = None
    store: bool | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None


# --------------------------------------------------------------------------------------------------
# Tools as chats name them, which of them is to be called, and the calls of former turns.

_Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class FunctionIn(LmBody):
    """A function that may be called. parameters: JSON schema of its arguments, which they always
    fit, whatever `strict` says."""

    name: _Name
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class ToolIn(LmBody):
    """A tool; functions are the only ones."""

    type: Literal["function"]
    function: FunctionIn


class NamedFunctionIn(LmBody):
    """The name of a function."""

    name: _Name


class NamedToolIn(LmBody):
    """The one function that is to be called."""

    type: Literal["function"]
    function: NamedFunctionIn


class CalledIn(LmBody):
    """What was called, and with which arguments, as JSON in a text."""

    name: _Name
    arguments: str = "{}"


class ToolCallIn(LmBody):
    """A call of a former turn."""

    id: str
    type: Literal["function"] = "function"
    function: CalledIn


#: none: no call; auto: the model decides; required: at least one.
ToolChoice = Literal["none", "auto", "required"] | NamedToolIn


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


# --------------------------------------------------------------------------------------------------
# What /v1/responses takes: the same as a chat, in other words.

_MOST_ITEMS = 1000


class ResponsePartIn(LmBody):
    """A text in a turn; annotations and logprobs may come back from an answer, and are not used."""

    type: Literal["input_text", "output_text", "text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


_Content = str | Annotated[list[ResponsePartIn], Field(fail_fast=True)]


class _ItemIn(LmBody):
    id: str | None = None
    status: str | None = None


class ResponseMessageIn(_ItemIn):
    """A turn."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: _Content
    phase: str | None = None


class ResponseCallIn(_ItemIn):
    """A call of a former answer."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    namespace: str | None = None


class ResponseOutputIn(_ItemIn):
    """What came of a call."""

    type: Literal["function_call_output"]
    call_id: str
    output: _Content


class ResponseToolIn(FunctionIn):
    """A function that may be called."""

    type: Literal["function"]


class ResponseToolChoiceIn(LmBody):
    """The one function that is to be called."""

    type: Literal["function"]
    name: str


class ResponseFormatIn(LmBody):
    """The form of the answer, as `ResponseFormat`; the schema stands beside its name."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = "answer"
    description: str | None = None
    schema_: Annotated[JsonObject | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseTextIn(LmBody):
    """What is asked of the text of the answer."""

    format: ResponseFormatIn = ResponseFormatIn()


class ResponseReasoningIn(LmBody):
    """Models here do not reason apart from their answers, so that it has no field but nulls."""


class ResponseIn(HarmlessIn):
    """The body of /v1/responses. Nothing is kept, so there is no former response to go on from."""

    model: str
    input: (
        str
        | Annotated[
            list[ResponseMessageIn | ResponseCallIn | ResponseOutputIn],
            Field(min_length=1, max_length=_MOST_ITEMS, fail_fast=True),
        ]
    )
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1.0
    tools: Annotated[tuple[ResponseToolIn, ...], Field(max_length=128)] = ()
    tool_choice: Literal["none", "auto", "required"] | ResponseToolChoiceIn | None = None
    parallel_tool_calls: bool = True
    text: ResponseTextIn = ResponseTextIn()
    reasoning: ResponseReasoningIn | None = None
    include: Annotated[tuple[Literal["reasoning.encrypted_content"], ...], Field(max_length=8)] = ()
    truncation: Literal["disabled"] = "disabled"
    background: Literal[False] = False
    stream: bool = False
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def _is_a_chat(self) -> ResponseIn:
        try:
            self.chat()
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            raise ValueError(str(first["msg"]).removeprefix("Value error, ")) from None
        return self

    def chat(self) -> ChatIn:
        """The chat that says the same. Raises ValidationError where it is none."""
        fields: dict[str, Any] = {
            "model": self.model,
            "messages": self._messages(),
            "max_completion_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "tools": [
                {"type": "function", "function": tool.model_dump(exclude={"type"})}
                for tool in self.tools
            ],
            "parallel_tool_calls": self.parallel_tool_calls,
        }
        match self.tool_choice:
            case ResponseToolChoiceIn(name=name):
                fields["tool_choice"] = {"type": "function", "function": {"name": name}}
            case "auto" if not self.tools:  # what the client of agents sends beside no tools
                pass
            case choice:
                fields["tool_choice"] = choice
        form = self.text.format
        if form.type != "text":
            fields["response_format"] = {"type": form.type}
            if form.schema_ is not None or form.type == "json_schema":
                told = {"name": form.name, "schema": form.schema_, "strict": form.strict}
                fields["response_format"]["json_schema"] = told
        return ChatIn.model_validate(fields)

    def _messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        if self.instructions:
            found.append({"role": "system", "content": self.instructions})
        if isinstance(self.input, str):
            return [*found, {"role": "user", "content": self.input}]
        for item in self.input:
            match item:
                case ResponseMessageIn():
                    found.append({"role": item.role, "content": _text(item.content)})
                case ResponseCallIn():
                    if not found or found[-1]["role"] != "assistant":
                        found.append({"role": "assistant", "content": ""})
                    function = {"name": item.name, "arguments": item.arguments}
                    calls = found[-1].setdefault("tool_calls", [])
                    calls.append({"id": item.call_id, "type": "function", "function": function})
                case ResponseOutputIn():
                    told = {"tool_call_id": item.call_id, "content": _text(item.output)}
                    found.append({"role": "tool", **told})
        return found


def _text(content: str | list[ResponsePartIn]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


# --------------------------------------------------------------------------------------------------
# Text to tokens and back, at the paths and in the words of vLLM.


class TokenizeIn(LmBody):
    """The body of /tokenize: a text, or the messages of a chat, up to where its answer begins.

    model: by default the first, of adapters their base. add_special_tokens: with those that the
    model wants around a text; a template writes those of a chat. return_token_strs: the text of
    each token too.
    """

    model: str | None = None
    prompt: str | None = None
    messages: (
        Annotated[list[MessageIn], Field(min_length=1, max_length=MOST_MESSAGES, fail_fast=True)]
        | None
    ) = None
    tools: Annotated[tuple[ToolIn, ...], Field(max_length=128)] = ()
    chat_template_kwargs: TemplateSettings = Field(default_factory=dict)
    add_special_tokens: bool | None = None
    add_generation_prompt: Literal[True] = True
    continue_final_message: Literal[False] = False
    return_token_strs: bool = False

    @model_validator(mode="after")
    def _one(self) -> TokenizeIn:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either prompt or messages")
        if self.messages is None and (self.tools or self.chat_template_kwargs):
            raise ValueError("tools and chat_template_kwargs are for messages")
        if len({one.function.name for one in self.tools}) < len(self.tools):
            raise ValueError("two tools have the same name")
        if self.messages is not None and self.add_special_tokens:
            raise ValueError("the chat template writes the special tokens of messages")
        return self


class DetokenizeIn(LmBody):
    """The body of /detokenize."""

    model: str | None = None
    tokens: Annotated[list[Token], Field(fail_fast=True)]


def tokens_of(
    body: TokenizeIn, prompt: Prompt, model: LanguageModel, cancel: Cancellation
) -> dict[str, Any]:
    """The tokens of a prompt, and how many the model takes at most. prompt: of the body.

    Raises as `prompt_ids`; ResourceError where it is cancelled.
    """
    if isinstance(prompt, str):
        require_text(prompt)
        ids = model.tokens.encode(prompt, special=body.add_special_tokens is not False)
    else:
        ids = prompt_ids(model.tokens, prompt, vocabulary=0)
    words = None
    if body.return_token_strs:
        words = []
        for one in ids:
            if cancel.cancelled:
                raise ResourceError("the text of the tokens was cancelled", hint="ask again")
            words.append(model.tokens.decode([one]))
    return {
        "count": len(ids),
        "max_model_len": model.info.context,
        "tokens": ids,
        "token_strs": words,
    }


def text_of(body: DetokenizeIn, model: LanguageModel) -> dict[str, Any]:
    """The text of tokens, without special ones. Raises ValueInvalidError where one is none of the
    model's."""
    require_known(body.tokens, model.vocabulary)
    return {"prompt": model.tokens.decode(body.tokens)}
