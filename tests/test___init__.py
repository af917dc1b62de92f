from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

import adwright


@pytest.mark.parametrize("name", [name for name in adwright.__all__ if name != "__version__"])
def test_each_name_is_the_one_of_its_room(name: str) -> None:
    found = getattr(adwright, name)
    assert found is getattr(import_module(adwright._ROOMS[name]), name)


def test_the_declared_names_are_those_that_can_be_fetched() -> None:
    assert set(adwright.__all__) == {*adwright._ROOMS, "__version__"}
    assert dir(adwright) == sorted(adwright.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = adwright.no_such_name


def test_type_checkers_see_the_same_rooms() -> None:
    tree = ast.parse(Path(str(adwright.__file__)).read_text("utf-8"))
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module not in (None, "typing")
        for alias in node.names
        if alias.name not in ("import_module", "__version__")
    }
    assert seen == adwright._ROOMS
