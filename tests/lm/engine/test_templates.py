from __future__ import annotations

from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.hf_tokens import check_settings, template_names

TEMPLATE = """{{ bos_token }}{% if enable_thinking is defined and enable_thinking %}think{% endif %}
{%- for message in messages %}{{ message.content }}{{ style }}{% if tools %}{{ tools }}{% endif %}
{%- set local = strftime_now("%d") %}{{ local }}{% endfor %}{{ range(3) | list }}{{ loop }}"""


def test_what_a_caller_may_set() -> None:
    assert template_names(TEMPLATE) == {"enable_thinking", "style"}
    assert template_names("{% broken") == frozenset()
    for value in (True, False, 0, 1.5, "", "short"):
        check_settings(TEMPLATE, {"enable_thinking": value, "style": value})


@pytest.mark.parametrize(
    "name",
    [
        *("messages", "tools", "bos_token", "range", "strftime_now", "local", "message", "loop"),
        *("add_generation_prompt", "chat_template", "tokenize", "self", "other", ""),
    ],
)
def test_what_it_may_not(name: str) -> None:
    with pytest.raises(ConfigError, match="no such setting") as caught:
        check_settings(TEMPLATE, {name: "x"})
    assert caught.value.hint == "it has: enable_thinking, style"


@pytest.mark.parametrize("value", [10**7, float("nan"), float("inf"), "a" * 1001, None, [], {}])
def test_values(value: Any) -> None:
    with pytest.raises(ConfigError, match="a flag, a number"):
        check_settings(TEMPLATE, {"style": value})
