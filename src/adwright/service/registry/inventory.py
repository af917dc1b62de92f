"""What lies in a folder of models, without loading it: for the start of a service, and for who
looks at a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from adwright.core.artifacts import MANIFEST, read_manifest
from adwright.core.errors import ArtifactError
from adwright.service.registry.registry import POINTER, SETTINGS

__all__ = ["TenantModels", "inventory"]


@dataclass(frozen=True)
class TenantModels:
    """The folder of a tenant.

    current: the version that decides; empty where none was published. kinds: version -> kind of
    model, empty for one that cannot be read. settings: whether it has a policy of its own.
    """

    tenant: str
    current: str
    kinds: Mapping[str, str]
    settings: bool

    def line(self) -> str:
        """In words: what decides, and what else is there."""
        if not self.current:
            return f"{self.tenant}: nothing is published ({len(self.kinds)} versions)"
        kind = self.kinds.get(self.current) or "missing"
        policy = ", policy of serving.toml" if self.settings else ""
        others = [name for name in self.kinds if name != self.current]
        more = f"; also there: {', '.join(others)}" if others else ""
        return f"{self.tenant}: {self.current} ({kind}{policy}) decides{more}"


def inventory(root: str | Path) -> list[TenantModels]:
    """The tenants of a folder of models, by name; none where the folder is not there."""
    try:
        tenants = sorted(path for path in Path(root).iterdir() if path.is_dir())
    except OSError:
        return []
    return [_tenant(path) for path in tenants if not path.name.startswith(".")]


def _tenant(folder: Path) -> TenantModels:
    try:
        current = (folder / POINTER).read_text("utf-8").strip()
    except (OSError, ValueError):
        current = ""
    versions = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    kinds = {path.name: _kind(path) for path in versions if not path.name.startswith(".")}
    return TenantModels(folder.name, current, kinds, (folder / SETTINGS).exists())


def _kind(folder: Path) -> str:
    try:
        return read_manifest(folder)[1].kind
    except ArtifactError:
        return ""
