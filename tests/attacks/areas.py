"""The areas of attacks: every module below this folder that names its own as AREAS."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

import tests.attacks
from tests.attacks.attack import Area

_OWN = {"attack", "areas", "conftest"}


def areas_of(module: str) -> Sequence[Area]:
    """The areas that a module declares; none where it declares none."""
    found: Sequence[Area] = getattr(importlib.import_module(module), "AREAS", ())
    return found


def _modules() -> list[str]:
    packages = pkgutil.walk_packages(tests.attacks.__path__, "tests.attacks.")
    names = [info.name for info in packages if not info.ispkg]
    last = [name.rpartition(".")[2] for name in names]
    return sorted(n for n, end in zip(names, last, strict=True) if not _is_own(end))


def _is_own(name: str) -> bool:
    return name in _OWN or name.startswith("test_")


def every_area() -> list[Area]:
    """All areas, by the name of their module and in the order in which it lists them."""
    return [area for module in _modules() for area in areas_of(module)]


def module_of(name: str) -> str:
    """The module that declares the area of that name. Raises KeyError where none does."""
    for module in _modules():
        if any(area.name == name for area in areas_of(module)):
            return module
    raise KeyError(name)
