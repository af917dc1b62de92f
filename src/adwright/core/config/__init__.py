"""Settings: frozen dataclasses, to and from files, and checked where they are built."""

from annotated_types import Ge, Gt, Le, Lt, MinLen

from adwright.core.config.declared import (
    Count,
    Finite,
    Help,
    Natural,
    NotNegative,
    Positive,
    check_literals,
    choices_of,
    require_count,
    settings,
)
from adwright.core.config.names import closest_name, name_hint, names_at, suggesting
from adwright.core.config.plain import (
    from_jsonable,
    load_toml,
    package_patterns,
    package_toml,
    read_toml,
    to_jsonable,
    with_current_names,
    with_overrides,
)

__all__ = [
    "Count",
    "Finite",
    "Ge",
    "Gt",
    "Help",
    "Le",
    "Lt",
    "MinLen",
    "Natural",
    "NotNegative",
    "Positive",
    "check_literals",
    "choices_of",
    "closest_name",
    "from_jsonable",
    "load_toml",
    "name_hint",
    "names_at",
    "package_patterns",
    "package_toml",
    "read_toml",
    "require_count",
    "settings",
    "suggesting",
    "to_jsonable",
    "with_current_names",
    "with_overrides",
]
