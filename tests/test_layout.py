"""The promises about the code as a whole that no linter checks."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
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
from benchmarks.common.house import House
from tests.support.reading import Function, functions_of, lines_without_docstring

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "adwright"
TESTS = ROOT / "tests"
MODULES = sorted(SOURCE.rglob("*.py"))
PYTHON = sorted(
    path for area in ("src", "tests", "benchmarks") for path in (ROOT / area).rglob("*.py")
)
LONGEST_FILE, LONGEST_FUNCTION = 800, 80
#: Classes whose name stands in two files of src. This and the next list must only get shorter.
NAMES_TWICE = {*("Beside", "Bounds", "Comparison", "Message"), *("Report", "RunConfig", "_Loop")}
#: Test files, and what they use of a module although its name begins with an underscore.
PRIVATE_NAMES = {
    "campaigns/store/test_database.py: campaigns.store.compaction._write",
    "data/test_features.py: data.features._FEW",
    "delivery/index/test_index.py: delivery.index.index._LEAST_TRAINING",
    "lm/native_engines/test_openvino_process.py: lm.native_engines.openvino_model._sizes",
    "lm/serving/paging/test_attention.py: lm.serving.paged_attention._FEW",
    "lm/serving/paging/test_attention.py: lm.serving.paged_attention._MOST",
    "lm/serving/paging/test_attention.py: lm.serving.paged_attention._attend",
    "lm/serving/paging/test_attention.py: lm.serving.paged_attention._buckets",
    "lm/serving/test_scheduler.py: lm.serving.adapter_cache._Known",
    "lm/torch_engine/test_decode.py: lm.torch_engine.score._HEAD_ROWS",
    "metrics/reports/test_report.py: metrics.reports.report._BLOCKS",
    "metrics/test_offpolicy.py: metrics.ranking._CHUNK_CELLS",
    "support/store/store_processes.py: campaigns.store.compaction.Compactor._announce",
    "support/store/store_processes.py: campaigns.store.compaction.Compactor._settle",
    "support/store/store_processes.py: campaigns.store.compaction._delete",
    "support/store/store_processes.py: campaigns.store.compaction._write",
    "support/training/kill_and_resume.py: core.atomic._move_into_place",
    "training/offsite/test_sandwich.py: training.offsite.wire._HELLO",
    "training/offsite/test_wire.py: training.offsite.wire._HELLO",
    "training/test_on_ray.py: training.on_ray._cause",
    "tuning/test_packing.py: tuning.packing.texts._SCORES",
    "web/test_bodies.py: web.key_cache._MOST",
}


def module_id(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def from_root(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@dataclasses.dataclass(frozen=True)
class Source:
    """A file of src, read and parsed once for all rules."""

    path: str
    text: str
    tree: ast.Module


@pytest.fixture(scope="module")
def house() -> House:
    """The source and the benchmarks, read once."""
    return House(ROOT)


@pytest.fixture(scope="module")
def sources(house: House) -> list[Source]:
    """All files of src."""
    return [Source(module_id(m.path), m.text, m.tree) for m in house.modules.values()]


def test_modules_are_described_and_done(sources: list[Source]) -> None:
    bare = [each.path for each in sources if each.text and not ast.get_docstring(each.tree)]
    assert bare == [], "modules without a docstring"
    later = re.compile(r"\b(TODO|FIXME|XXX)\b")
    assert [each.path for each in sources if later.search(each.text)] == []


def test_functions_are_short_and_name_their_arguments(sources: list[Source]) -> None:
    functions = [(each.path, node) for each in sources for node in functions_of(each.tree)]
    lengths = [(f"{path}: {node.name}", lines_without_docstring(node)) for path, node in functions]
    assert [(name, lines) for name, lines in lengths if lines > LONGEST_FUNCTION] == []
    public = [(path, node) for path, node in functions if not node.name.startswith("_")]
    # Options of a TypedDict are named there.
    unnamed = [
        f"{path}: {node.name}"
        for path, node in public
        if node.args.kwarg and "Unpack[" not in ast.unparse(node.args.kwarg)
    ]
    assert unnamed == []


def test_a_file_holds_one_idea() -> None:
    lengths = {from_root(path): len(path.read_text("utf-8").splitlines()) for path in PYTHON}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_a_class_name_says_which_is_meant(house: House) -> None:
    found = house.names_twice()
    assert {name: files for name, files in found.items() if name not in NAMES_TWICE} == {}


def test_imports_form_no_ring(house: House) -> None:
    """Among files, of src and of benchmarks, and among the folders of one folder."""
    assert (house.cycles_files(), house.cycles_folders()) == ([], [])


def imported_names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The names of adwright that a file imports: as it calls them, and whole."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("adwright"):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


PRIVATE = re.compile(r"adwright[.\w]*\._[a-zA-Z]\w*")


def is_private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__")


def private_names(tree: ast.Module) -> Iterator[str]:
    """Private names of adwright that a file imports, reads of a module or class, or patches."""
    known = dict(imported_names(tree))
    yield from (whole for whole in known.values() if is_private(whole.rpartition(".")[2]))
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attr) if name in known:
                if is_private(attr):
                    yield f"{known[name]}.{attr}"
            case ast.Call(args=[ast.Name(id=name), ast.Constant(value=attr), *_]) if name in known:
                if is_private(attr):
                    yield f"{known[name]}.{attr}"
            case ast.Constant(value=str(text)) if PRIVATE.fullmatch(text):
                yield text


@pytest.fixture(scope="module")
def tests() -> dict[str, ast.Module]:
    """All files below tests/, parsed once."""
    return {
        path.relative_to(TESTS).as_posix(): ast.parse(path.read_text("utf-8"))
        for path in sorted(TESTS.rglob("*.py"))
    }


def test_tests_use_what_is_public(tests: dict[str, ast.Module]) -> None:
    found = {
        f"{path}: {name.removeprefix('adwright.')}"
        for path, tree in tests.items()
        for name in private_names(tree)
    }
    assert found - PRIVATE_NAMES == set()


PROOFS = ("assert", "check", "expect", "raises", "warns")


def name_called(call: ast.Call) -> str:
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def proves(node: ast.AST, helpers: dict[str, Function], seen: frozenset[str] = frozenset()) -> bool:
    """Whether a function asserts something, itself or through a helper of its file."""
    called: set[str] = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Assert):
            return True
        if isinstance(each, ast.Call):
            called.add(name_called(each))
    return any(name.lstrip("_").startswith(PROOFS) for name in called) or any(
        proves(helpers[name], helpers, seen | {name}) for name in called & helpers.keys() - seen
    )


def test_every_test_asserts_something(tests: dict[str, ast.Module]) -> None:
    empty = []
    for path, tree in tests.items():
        helpers = {node.name: node for node in functions_of(tree)}
        for name, node in helpers.items():
            if name.startswith("test_") and not proves(node, helpers):
                empty.append(f"{path}: {name}")
    assert empty == []


def test_the_checks_of_tests_find_what_they_look_for() -> None:
    tree = ast.parse(
        "from adwright.core import config\nfrom adwright.core.config import _a, b\n"
        "def test_empty():\n    config._c\n    config.public\n    patch(b, '_d')\n"
        "    patch('adwright.core.config._e')\n"
        "def helper():\n    assert b\n"
        "def test_helped():\n    helper()\n"
    )
    names = {name.removeprefix("adwright.core.config.") for name in private_names(tree)}
    assert names == {"_a", "_c", "b._d", "_e"}
    helpers = {node.name: node for node in functions_of(tree)}
    assert {name: proves(node, helpers) for name, node in helpers.items()} == {
        "test_empty": False,
        "helper": True,
        "test_helped": True,
    }


def test_public_functions_have_docstrings(sources: list[Source]) -> None:
    bare = [
        f"{each.path}: {node.name}"
        for each in sources
        for node in each.tree.body
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")
        if not any("overload" in ast.unparse(one) for one in node.decorator_list)
        if not ast.get_docstring(node)
    ]
    assert bare == []


@pytest.mark.parametrize("name", ["adwright", "adwright.cli", "adwright.core.artifacts"])
def test_import_stays_light(name: str) -> None:
    heavy = {"torch", "polars", "pyarrow", "altair", "sklearn", "scipy", "pandas", "ray"}
    code = f"import sys, {name}; print(sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


#: What needs packages of an extra, by nature: all else is imported without them.
NEEDS_EXTRAS = re.compile(
    r"adwright\.(console|service|web)\.|adwright\.campaigns\.|adwright\.core\.vector_code$|"
    r"adwright\.creative\.editor\.operators$|adwright\.lm\.torch_engine\.(kv_cache|row_product)$|"
    r"adwright\.models\.kernels\.(fused_loops|mfalcon_loops|packing|silu|triton_loops)$|"
    r"adwright\.models\.retrieval\.item_item_loops$|adwright\.demos\.(life|loop|shop)$"
)


def test_without_any_extra_each_module_is_imported() -> None:
    code = """
import importlib, importlib.abc, pkgutil, sys
extras = set(sys.argv[1].split())
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in extras:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import adwright
for info in pkgutil.walk_packages(adwright.__path__, "adwright.", onerror=lambda _: None):
    if not info.name.endswith("__main__"):
        try:
            importlib.import_module(info.name)
        except ImportError:
            print(info.name)
"""
    extras = (
        "alembic faiss fastapi httpx llvmlite numba onnx onnxruntime openai openvino pymoo ray "
        "prometheus_client psycopg scipy sklearn sqlalchemy starlette tokenizers transformers "
        "triton uvicorn"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, extras]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [name for name in found.stdout.split() if not NEEDS_EXTRAS.match(name)] == []


def test_the_changelog_speaks_of_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"## {adwright.__version__}" in text or "## Unreleased" in text


def test_no_test_and_no_module_changes_where_python_imports_from() -> None:
    # Programs that tests start as processes of their own, below tests/support, may.
    tests = [path for path in TESTS.rglob("*.py") if "support" not in path.parts]
    changed = re.compile(r"sys\.path\b(?!_)|syspath_prepend")
    for path in [*MODULES, *tests]:
        if path != Path(__file__):
            found = changed.search(path.read_text())
            assert found is None, f"{path.relative_to(ROOT)} changes sys.path"


def test_torch_is_a_range_that_admits_the_supported_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (torch,) = (one for one in map(Requirement, project["dependencies"]) if one.name == "torch")
    for version in ("2.9.0", "2.10.0", "2.11.0", "2.12.1", "2.13.0", "2.13.0+cpu"):
        assert torch.specifier.contains(version)
    assert not torch.specifier.contains("2.8.0")
    assert not torch.specifier.contains("2.14.0")


def test_everything_asked_for_is_in_all() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    (everything,) = extras["all"]
    assert Requirement(everything).extras == set(extras) - {"all", "dev", "video"}  # of the GPL


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
            if inspect.isabstract(cls):
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
