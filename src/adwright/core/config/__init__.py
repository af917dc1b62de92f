"""Settings: frozen dataclasses, to and from files, and checked where they are built."""

from adwright.core.config.checked import check_literals, checked, require_count
from adwright.core.config.names import closest_name, names_at, suggesting
from adwright.core.config.plain import (
    from_jsonable,
    load_toml,
    read_toml,
    to_jsonable,
    with_current_names,
    with_overrides,
)

__all__ = [
    "check_literals",
    "checked",
    "closest_name",
    "from_jsonable",
    "load_toml",
    "names_at",
    "read_toml",
    "require_count",
    "suggesting",
    "to_jsonable",
    "with_current_names",
    "with_overrides",
]
