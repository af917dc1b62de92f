"""Where a finger must come down so that exactly one view gets the touch.

    touch_point(tree, view)          # (540, 320), or None where something else would get it
    swipe_line(bounds, "down")       # (540, 1500, 540, 500): the finger goes up

Of views that overlap, the one that is drawn last gets a touch; UIAutomator lists them in this
order. What is asked is never the place alone: in the middle of a row there may be another button.
"""

from __future__ import annotations

from adwright.agent.drivers.android.phone_screen import role_of
from adwright.agent.drivers.android.ui_tree import UiTree, UiView, ViewBounds
from adwright.agent.drivers.protocol import Direction

__all__ = ["screen_bounds", "swipe_line", "touch_point"]

#: Shares of width and height at which one tries, the middle first. Our choice.
_TRIED = tuple(
    sorted(
        ((x, y) for x in (0.5, 0.25, 0.75, 0.1, 0.9) for y in (0.5, 0.25, 0.75, 0.1, 0.9)),
        key=lambda one: (one[0] - 0.5) ** 2 + (one[1] - 0.5) ** 2,
    )
)
#: Of its bounds, a swipe covers this share: it begins inside, away from the edges of the screen,
#: at which phones take swipes for themselves.
_SWIPED = 0.6


def touch_point(tree: UiTree, view: UiView) -> tuple[int, int] | None:
    """A point, in pixels, at which `view` gets a touch; None where it can be seen nowhere, or
    another view would get it."""
    seen = view.bounds.clipped(screen_bounds(tree))
    if seen.is_empty or not view.shown:
        return None
    takers = [one for one in tree.views if _takes_touch(tree, one) and one.is_visible]
    wanted = {view.place}
    if not _takes_touch(tree, view):
        # A text hands a touch on to what is around it, or to nothing.
        outer = next((one for one in tree.around(view) if _takes_touch(tree, one)), None)
        wanted = {-1 if outer is None else outer.place}
    for across, down in _TRIED:
        x = min(seen.left + int((seen.right - seen.left) * across), seen.right - 1)
        y = min(seen.top + int((seen.bottom - seen.top) * down), seen.bottom - 1)
        hit = [one.place for one in takers if one.bounds.holds(x, y)]
        if (hit[-1] if hit else -1) in wanted:
            return x, y
    return None


def swipe_line(bounds: ViewBounds, direction: Direction) -> tuple[int, int, int, int]:
    """From where to where a finger goes to see what lies in that direction, in pixels."""
    middle_x, middle_y = (bounds.left + bounds.right) // 2, (bounds.top + bounds.bottom) // 2
    across = int((bounds.right - bounds.left) * _SWIPED / 2)
    down = int((bounds.bottom - bounds.top) * _SWIPED / 2)
    match direction:
        case "down":
            return middle_x, middle_y + down, middle_x, middle_y - down
        case "up":
            return middle_x, middle_y - down, middle_x, middle_y + down
        case "right":
            return middle_x + across, middle_y, middle_x - across, middle_y
        case "left":
            return middle_x - across, middle_y, middle_x + across, middle_y


def screen_bounds(tree: UiTree) -> ViewBounds:
    """The bounds of the window: those of the first view that has any."""
    return next((one.bounds for one in tree.views if not one.bounds.is_empty), ViewBounds())


def _takes_touch(tree: UiTree, view: UiView) -> bool:
    takes = view.clickable or view.long_clickable or view.checkable
    return takes or role_of(tree, view) == "textbox"
