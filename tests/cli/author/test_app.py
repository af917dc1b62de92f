"""The group teaches its verbs in the order of their use."""

from __future__ import annotations

import re

from tests.support.commands import call


def test_the_verbs_are_named_in_the_order_of_their_use() -> None:
    verbs = ["write", "status", "review", "edit", "undo", "diff", "export"]
    verbs += ["preferences", "evaluate"]
    named = re.findall(r"^\W+(\w+)  ", call("author", "--help"), re.MULTILINE)
    assert [one for one in named if one in verbs] == verbs
    for verb in verbs:
        assert "--help" in call("author", verb, "--help")
