"""What LangChain and DSPy do with an endpoint, in a process of their own: both keep connections and
an event loop open to its end.

    python -m tests.support.service.lm_frameworks NAME URL ...
"""

from __future__ import annotations

import sys
from typing import Any, Literal

from pydantic import BaseModel

PRICE = {
    "type": "object",
    "properties": {"item": {"enum": ["tea", "coffee"]}, "count": {"enum": [1, 2]}},
    "required": ["item", "count"],
    "additionalProperties": False,
}
NAMED = {"name": "price", "description": "of an item", "parameters": PRICE, "strict": True}
TOOL: Any = {"type": "function", "function": NAMED}


class Cup(BaseModel):
    """What is asked for."""

    tea: Literal["green", "black"]
    hot: bool


def use_langchain(url: str) -> None:
    """url: of the tiny model."""
    import langchain_openai as lang

    settings: Any = {"base_url": url, "api_key": "k", "model": "tiny"}
    chat = lang.ChatOpenAI(**settings, temperature=0, max_tokens=160)
    few = chat.bind(max_tokens=20)
    whole = few.invoke("name three teas").content
    assert whole == "".join(str(one.content) for one in few.stream("name three teas"))
    for method in ("json_schema", "function_calling"):
        shaped = chat.with_structured_output(Cup, method=method, strict=True)  # type: ignore[arg-type, unused-ignore]
        assert isinstance(shaped.invoke("tea?"), Cup)
    answer: Any = chat.bind_tools([TOOL], tool_choice="price").invoke("what is it?")
    (call,) = answer.tool_calls
    assert (call["name"], call["args"]["item"] in ("tea", "coffee")) == ("price", True)
    # Its texts as they are: the tokens of a hosted model are none of ours.
    vectors = lang.OpenAIEmbeddings(**settings, check_embedding_ctx_length=False)
    assert len(vectors.embed_query("tea")) == 48


def use_dspy(url: str, scripted: str) -> None:
    """url: of the tiny model. scripted: of a model that answers as DSPy's adapter asks for."""
    import dspy

    settings: Any = {"api_key": "k", "max_tokens": 160, "cache": False}
    lm: Any = dspy.LM("openai/tiny", temperature=0, api_base=url, **settings)
    assert len(lm("name three teas", max_tokens=20)) == 1
    assert len(lm("name three teas", max_tokens=20, n=2, temperature=1.0)) == 2
    (told,) = lm("a cup?", response_format=Cup)
    assert Cup.model_validate_json(told)
    named = {"type": "function", "function": {"name": "price"}}
    (called,) = lm("a cup?", tools=[TOOL], tool_choice=named)
    assert called["tool_calls"]
    lm = dspy.LM("openai/m", api_base=scripted, **settings)
    with dspy.context(lm=lm):
        chosen: Any = dspy.Predict("guest -> tea: Literal['green', 'black']")(guest="Ann")
    assert chosen.tea == "green"


if __name__ == "__main__":
    {"langchain": use_langchain, "dspy": use_dspy}[sys.argv[1]](*sys.argv[2:])  # type: ignore[operator]
