"""View trees: literal ones and hostile ones."""

from __future__ import annotations

import pytest

from adwright.agent.android.views import (
    MOST_BYTES,
    UiView,
    ViewBounds,
    read_ui_tree,
)
from adwright.core.errors import FileUnreadableError

#: As `uiautomator dump` of Android 14 writes it, on one line.
DUMP = (
    "<?xml version='1.0' encoding='UTF-8' standalone='yes' ?><hierarchy rotation=\"1\">"
    '<node index="0" text="" resource-id="" class="android.widget.FrameLayout" '
    'package="com.shop.ads" content-desc="" checkable="false" checked="false" clickable="false" '
    'enabled="true" focusable="false" focused="false" scrollable="true" long-clickable="false" '
    'password="false" selected="false" bounds="[0,0][1080,2400]">'
    '<node index="0" text="Tea &amp; mugs&#10;new" resource-id="com.shop.ads:id/title" '
    'class="android.widget.TextView" package="com.shop.ads" content-desc="Title" enabled="false" '
    'bounds="[0,-20][1080,100]" />'
    '<node NAF="true" index="1" text="••••" class="android.widget.EditText" password="true" '
    'checkable="true" checked="true" clickable="true" focused="true" long-clickable="true" '
    'selected="true" hint="PIN" visible-to-user="false" bounds="[0,100][540,200]" />'
    '<node index="2" class="android.widget.TextView" bounds="gone" />'
    "</node></hierarchy>"
)


def test_a_dump_is_read_as_it_stands() -> None:
    tree = read_ui_tree(DUMP.encode())
    assert (tree.rotation, tree.package, len(tree.views)) == (1, "com.shop.ads", 4)
    frame, title, pin, broken = tree.views
    assert frame == UiView(
        *(0, -1, "/hierarchy/android.widget.FrameLayout[1]", "android.widget.FrameLayout"),
        package="com.shop.ads",
        bounds=ViewBounds(0, 0, 1080, 2400),
        scrollable=True,
    )
    assert (title.text, title.description, title.short_id) == ("Tea & mugs\nnew", "Title", "title")
    assert (title.enabled, title.bounds) == (False, ViewBounds(0, -20, 1080, 100))
    assert pin == UiView(
        *(2, 0, f"{frame.path}/android.widget.EditText[1]", "android.widget.EditText"),
        **{"text": "••••", "hint": "PIN", "bounds": ViewBounds(0, 100, 540, 200)},
        **{"checkable": True, "checked": True, "clickable": True, "focused": True},
        **{"long_clickable": True, "password": True, "selected": True, "shown": False},
    )
    assert broken.path.endswith("/android.widget.TextView[2]")
    assert not broken.is_visible
    assert not pin.is_visible
    assert title.is_visible
    assert [one.place for one in tree.around(pin)] == [0]
    assert tree.children == [[1, 2, 3], [], [], []]
    assert tree.by_path[pin.path] is pin


def test_trees_of_other_tools_name_elements_after_classes() -> None:
    data = (
        b'<hierarchy rotation="x"><android.widget.Button text="A" bounds="[0,0][1,1]"/></hierarchy>'
    )
    (view,) = read_ui_tree(data).views
    assert (view.kind, view.text) == ("android.widget.Button", "A")
    odd = b'<hierarchy><node class="a/b[1]/*"/><node/></hierarchy>'
    assert [one.path for one in read_ui_tree(odd).views] == [
        "/hierarchy/a_b_1___[1]",
        "/hierarchy/view[1]",
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no view tree"),
        (b"ERROR: could not get idle state.", "no view tree"),
        (b"<html/>", "begins with <html>"),
        (b"<hierarchy><node></hierarchy>", "no view tree"),
        (b"<hierarchy>\xff</hierarchy>", "no view tree"),
        (b'<!DOCTYPE h [<!ENTITY a "b">]><hierarchy/>', "document type"),
        (b'<!DOCTYPE h SYSTEM "file:///etc/passwd"><hierarchy/>', "document type"),
        (b"<hierarchy>&a;</hierarchy>", "no view tree"),
        (b"<hierarchy>" + b"<node>" * 300, "levels"),
        (b"<hierarchy>" + b"<node/>" * 20_001, "20000 views"),
        (b" " * (MOST_BYTES + 1), "larger than 5 MB"),
    ],
)
def test_what_is_no_tree_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(FileUnreadableError, match=words) as caught:
        read_ui_tree(data, file="views/1.xml")
    assert caught.value.file == "views/1.xml"
    assert caught.value.hint


def test_bounds() -> None:
    box = ViewBounds(10, 20, 30, 60)
    assert (box.area, box.is_empty) == (800, False)
    assert box.holds(10, 59)
    assert not box.holds(30, 20)
    assert box.clipped(ViewBounds(0, 0, 20, 30)) == ViewBounds(10, 20, 20, 30)
    assert ViewBounds(5, 5, 1, 9).area == 0
