"""The promises about the code as a whole that no linter checks."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from packaging.requirements import Requirement

import adwright
from adwright.core.errors import ConfigError, MissingExtraError

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "adwright"
TESTS = ROOT / "tests"
MODULES = sorted(SOURCE.rglob("*.py"))
CODE = [path for path in MODULES if path.name != "__init__.py"]
# Tests about the project as a whole, which have no module of their own.
OWN_TESTS = {"test_layout.py", "test_docs.py", "test_broken_inputs.py"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def module_id(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def functions_of(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def lines_without_docstring(node: Function) -> int:
    last = node.end_lineno or node.lineno
    length = last - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        length -= (first.end_lineno or first.lineno) - first.lineno + 1
    return length


def public_names(tree: ast.Module) -> set[str]:
    return {
        node.name
        for node in tree.body
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")
    }


def declared_names(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None


@pytest.mark.parametrize("path", CODE, ids=module_id)
def test_every_module_has_its_test(path: Path) -> None:
    twin = TESTS / path.relative_to(SOURCE).with_name(f"test_{path.name}")
    assert twin.is_file(), f"{twin.relative_to(ROOT)} is missing"


def test_every_test_has_its_module() -> None:
    for path in TESTS.rglob("test_*.py"):
        if path.name not in OWN_TESTS and not path.name.startswith("test_adding_"):
            twin = SOURCE / path.relative_to(TESTS).with_name(path.name.removeprefix("test_"))
            assert twin.is_file(), f"{path.relative_to(ROOT)} tests no module"


@pytest.mark.parametrize("path", CODE, ids=module_id)
def test_public_surface_is_declared(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    declared = declared_names(tree)
    assert declared is not None, "the module declares no __all__"
    assert declared == sorted(set(declared), key=declared.index), "a name stands twice in __all__"
    assert public_names(tree) <= set(declared), "a public name is missing from __all__"


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_small_rules(path: Path) -> None:
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    assert text == "" or ast.get_docstring(tree), "the module has no docstring"
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)
    assert len(text.splitlines()) <= 500, "the file holds more than one idea"
    for node in functions_of(tree):
        length = lines_without_docstring(node)
        assert length <= 60, f"{node.name} has {length} lines"
        public = not node.name.startswith("_")
        assert not (public and node.args.kwarg), f"{node.name} takes **kwargs"


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_public_functions_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


@pytest.mark.parametrize("name", ["adwright", "adwright.cli", "adwright.core.artifacts"])
def test_import_stays_light(name: str) -> None:
    heavy = {"torch", "polars", "pyarrow", "altair", "sklearn", "scipy", "pandas", "ray"}
    code = f"import sys, {name}; print(sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


def test_the_changelog_speaks_of_this_version() -> None:
    assert f"## {adwright.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8") or (
        "## Unreleased" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    )


def test_torch_is_a_range_that_admits_the_supported_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    torch = next(
        requirement
        for requirement in map(Requirement, project["dependencies"])
        if requirement.name == "torch"
    )
    for version in ("2.9.0", "2.10.0", "2.11.0", "2.12.1", "2.13.0", "2.13.0+cpu"):
        assert torch.specifier.contains(version)
    assert not torch.specifier.contains("2.8.0")
    assert not torch.specifier.contains("2.14.0")


def test_everything_asked_for_is_in_all() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    (everything,) = extras["all"]
    assert Requirement(everything).extras == set(extras) - {"all", "dev"}


def importable() -> Iterator[ModuleType]:
    """Each module of the package, but those whose optional packages are not installed."""
    for info in pkgutil.walk_packages(adwright.__path__, "adwright."):
        # Those are scripts of Alembic, which runs them in its own surroundings.
        if "migrations" in info.name.split("."):
            continue
        try:
            yield importlib.import_module(info.name)
        except (ImportError, MissingExtraError):
            continue


def made_up(hint: Any) -> Any:
    """A value that the field annotated with `hint` must not take; None where it has no choices."""
    if get_origin(hint) is Literal:
        return "made up"
    parts = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return next(filter(None, map(made_up, parts)), None)
    if get_origin(hint) is tuple and parts[1:] == (...,):
        return made_up(parts[0]) and (made_up(parts[0]),)
    return None


def hints_of(cls: type[Any]) -> dict[str, Any]:
    """The annotations of `cls`; Any for names that only the type checker imports."""
    unknown: dict[str, Any] = {}
    while True:
        try:
            return get_type_hints(cls, localns=unknown)
        except NameError as error:
            unknown[error.name] = Any


def fields_of_choices() -> list[tuple[type[Any], str, Any]]:
    found: dict[tuple[type[Any], str], Any] = {}
    for module in importable():
        for cls in vars(module).values():
            ours = isinstance(cls, type) and cls.__module__.startswith("adwright.")
            if not ours or not dataclasses.is_dataclass(cls):
                continue
            if not cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
                continue
            hints = hints_of(cls)
            for each in dataclasses.fields(cls):
                value = made_up(hints[each.name])
                if value is not None:
                    found[cls, each.name] = value
    return [(cls, name, value) for (cls, name), value in found.items()]


def test_every_choice_of_a_config_is_checked() -> None:
    cases = fields_of_choices()
    names = {f"{cls.__name__}.{name}" for cls, name, _ in cases}
    assert len(cases) > 90
    assert {"DINConfig.interest", "FitConfig.precision", "LoRA.targets"} <= names
    unchecked = [
        f"{cls.__module__}.{cls.__qualname__}.{name}"
        for cls, name, value in cases
        if not refuses(cls, name, value)
    ]
    assert unchecked == []


def refuses(cls: type[Any], name: str, value: Any) -> bool:
    """Whether `cls` refuses `value` for its field `name`, and says so of that field."""
    required = [
        each.name
        for each in dataclasses.fields(cls)
        if each.default is each.default_factory is dataclasses.MISSING and each.name != name
    ]
    hints = hints_of(cls)
    # What else must be given is None, or one of its choices: choices are checked before the rest.
    given = dict.fromkeys(required) | {
        each: get_args(hints[each])[0] for each in required if get_origin(hints[each]) is Literal
    }
    given |= {each: () for each in required if get_origin(hints[each]) is tuple}
    try:
        cls(**given, **{name: value})
    except ConfigError as error:
        return error.where == f"{cls.__name__}.{name}" and "'made up'" in error.what
    except (TypeError, ValueError, AttributeError):
        return False
    return False
