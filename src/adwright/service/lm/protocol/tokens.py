"""Text to tokens and back, at the paths and in the words of vLLM."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from adwright.core.errors import ResourceError
from adwright.lm.engine.base import prompt_ids, require_known, require_text
from adwright.lm.engine.generation import Cancellation, LanguageModel, Prompt
from adwright.service.lm.protocol.body import LmBody
from adwright.service.lm.protocol.schemas import MOST_MESSAGES, MessageIn, TemplateSettings, Token
from adwright.service.lm.protocol.tool_schemas import ToolIn


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
