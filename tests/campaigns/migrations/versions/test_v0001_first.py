from __future__ import annotations

from alembic.config import Config
from alembic.script import ScriptDirectory

from adwright.campaigns.store.database import MIGRATIONS


def test_it_is_the_first_in_a_line_without_branches() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    line = list(scripts.walk_revisions())
    assert line[-1].revision == "0001"
    assert scripts.get_bases() == ["0001"]
    assert len(scripts.get_heads()) == 1
    for script in line:
        assert script.path.endswith(f"v{script.revision}_{script.path.split('_', 1)[-1]}")
        assert script.doc
