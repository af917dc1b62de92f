from __future__ import annotations

import json
from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import Message
from adwright.service.lm.protocol.schemas import ChatIn
from adwright.service.lm.protocol.tools import Call, CallReader, ToolForm, read_calls, turns_of

PRICE = {
    "type": "object",
    "properties": {"item": {"type": "string"}, "count": {"$ref": "#/$defs/count"}},
    "required": ["item"],
    "additionalProperties": False,
    "$defs": {"count": {"type": "integer"}},
}
TOOLS = [
    {"type": "function", "function": {"name": "price", "parameters": PRICE}},
    {"type": "function", "function": {"name": "now"}},
]
CALL = '<tool_call>\n{"name": "price", "arguments": {"item":"tea","count":2}}\n</tool_call>'
NOW = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'


def chat(**fields: Any) -> ChatIn:
    messages = [{"role": "user", "content": "a"}]
    return ChatIn.model_validate({"model": "m", "messages": messages, "tools": TOOLS, **fields})


def admits(body: ChatIn, text: str, said: dict[str, Any] | None = None) -> bool:
    """Whether the grammar of a body admits a whole answer."""
    llguidance = pytest.importorskip("llguidance")
    form = ToolForm.of(body, lark=True, text=said)
    assert form is not None
    grammar = llguidance.LLMatcher.grammar_from_lark(form.lark)
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    ids = list(text.encode())
    return bool(matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting())


def test_the_grammar_of_an_answer() -> None:
    free = chat()
    for text in ("", "fine < 3 {}", CALL, f"well, {CALL}", f"{CALL}\n{NOW}\n{CALL}"):
        assert admits(free, text), text
    wrong = CALL.replace("price", "prize"), CALL.replace('"tea"', "5"), CALL[:-1], f"{CALL}x"
    for text in (*wrong, "<tool_call>", CALL.replace("count", "kount")):
        assert not admits(free, text), text
    one = chat(parallel_tool_calls=False)
    assert admits(one, CALL)
    assert not admits(one, f"{CALL}\n{CALL}")
    must = chat(tool_choice="required")
    assert admits(must, f"{CALL}\n{NOW}")
    assert not admits(must, "no")
    named = chat(tool_choice={"type": "function", "function": {"name": "now"}})
    assert admits(named, NOW)
    assert not admits(named, CALL)
    assert not admits(named, f"{NOW}\n{NOW}")


def test_an_answer_without_a_call_may_have_a_form_of_its_own() -> None:
    schema = {"type": "integer"}
    assert admits(chat(), "12", schema)
    assert admits(chat(), CALL, schema)
    assert not admits(chat(), "twelve", schema)


def test_engines_that_read_no_such_grammar() -> None:
    assert ToolForm.of(chat(), lark=False, text=None) == ToolForm()
    body = chat(tool_choice={"type": "function", "function": {"name": "price"}})
    assert ToolForm.of(body, lark=False, text=None) == ToolForm(PRICE, alone="price")
    with pytest.raises(ConfigError, match="one of several"):
        ToolForm.of(chat(tool_choice="required"), lark=False, text=None)
    assert ToolForm.of(chat(tool_choice="none"), lark=True, text=None) is None
    deep: dict[str, Any] = {}
    for _ in range(70):
        deep = {"type": "object", "properties": {"a": deep}}
    tool = {"type": "function", "function": {"name": "f", "parameters": deep}}
    with pytest.raises(ConfigError, match="levels of nesting"):
        ToolForm.of(chat(tools=[tool]), lark=True, text=None)


def test_what_is_said_and_called() -> None:
    said, calls = read_calls(f"well {CALL}\n{NOW}\n", ToolForm())
    assert said == "well "
    assert [(one.name, json.loads(one.arguments)) for one in calls] == [
        ("price", {"item": "tea", "count": 2}),
        ("now", {}),
    ]
    tricky = CALL.replace("tea", "</tool_call>")
    assert json.loads(read_calls(tricky, ToolForm())[1][0].arguments)["item"] == "</tool_call>"
    for broken in ("<tool_call>", CALL[:30], "<tool_call>\nno\n</tool_call>", "a <tool"):
        assert read_calls(broken, ToolForm()) == (broken, [])
    said, (call,) = read_calls('{"item":"tea"}', ToolForm(PRICE, alone="price"))
    assert (said, call) == ("", Call(call.id, "price", '{"item":"tea"}'))
    assert read_calls('{"item":', ToolForm(PRICE, alone="price")) == ('{"item":', [])


@pytest.mark.parametrize("size", [1, 2, 7, 500])
def test_in_pieces_it_is_the_same(size: int) -> None:
    text = f"a <b> <tool {CALL}\n{NOW}"
    reader = CallReader(ToolForm())
    said, names = "", []
    for at in range(0, len(text), size):
        more, calls = reader.add(text[at : at + size])
        said, names = said + more, names + [one.name for one in calls]
    rest, _ = reader.add("", is_last=True)
    assert (said + rest, names, reader.called) == ("a <b> <tool ", ["price", "now"], True)


def test_the_turns_of_a_chat() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    turns = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": "when?"},
        {"role": "assistant", "content": None, "tool_calls": [call, {**call, "id": "c2"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "noon"},
        {"role": "tool", "tool_call_id": "c2", "content": "late"},
    ]
    told = turns_of(chat(messages=turns))
    assert [one.role for one in told] == ["system", "user", "assistant", "user"]
    assert told[0].content.startswith("be brief\n\n# Tools\n")
    assert '"name": "price"' in told[0].content
    assert told[2].content == f"{NOW}\n{NOW}"
    results = "<tool_response>\nnoon\n</tool_response>\n<tool_response>\nlate\n</tool_response>"
    assert told[3].content == results
    assert turns_of(chat())[0].role == "system"
    assert turns_of(chat(tool_choice="none")) == (Message("user", "a"),)
