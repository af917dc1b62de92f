"""Floor 5: campaigns, creatives, decisions and events, kept in a database by tenant.

    store = Store.open("sqlite:///adwright.db")       # or postgresql+psycopg://...
    key = store.create_key("acme")                    # shown once
    store.record_events("acme", events)               # durable when it returns
    store.compact("acme", "log", before=now)          # whole days, as Parquet that data/ reads

Needs the extra `service`. `adwright.campaigns.store` is the way in; the other modules are its
parts.
"""

from importlib.util import find_spec

from adwright.core.errors import MissingExtraError

if find_spec("sqlalchemy") is None or find_spec("alembic") is None:
    raise MissingExtraError("the campaign store", "service")
