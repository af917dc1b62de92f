"""Add a made-up act of the agent, a tap that is made twice, to a copy of src."""

from __future__ import annotations

from benchmarks.common.adding.copied import Copied

VERB = """[double_tap]
takes = [["element"]]
gives = "nothing"
nature = "act"
effect = "element"
example = "double_tap($row)"
help = "tap an element twice"

"""
TOUCH = '    "double_tap": lambda driver, node, _: [driver.tap(node), driver.tap(node)][0],\n'


def put_act(copy: Copied) -> None:
    """Make the addition in `copy`."""
    copy.change("adwright/agent/language/verbs.toml", ("[long_tap]\n", f"{VERB}[long_tap]\n"))
    before = '    "long_tap": lambda'
    copy.change("adwright/agent/run/screen_world.py", (before, TOUCH + before))
