"""Add a made-up act of the agent, a tap that is made twice, to a copy of src."""

from __future__ import annotations

from benchmarks.common.adding.copied import Copied

VERB = """    Verb(
        *("double_tap", (_ONE,), "nothing", "act", "double_tap($row)", "tap an element twice"),
        effect="element",
    ),
"""
BEHIND = '    Verb(\n        *("long_tap", '
TOUCH = '    "double_tap": lambda driver, node, _: [driver.tap(node), driver.tap(node)][0],\n'


def put_act(copy: Copied) -> None:
    """Make the addition in `copy`."""
    copy.change("adwright/agent/language/kinds.py", (BEHIND, VERB + BEHIND))
    before = '    "long_tap": lambda'
    copy.change("adwright/agent/run/screen_world.py", (before, TOUCH + before))
