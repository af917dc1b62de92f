"""The history of the store's tables, for Alembic; they lie in the package and run by themselves.

A change of `adwright.campaigns.store.tables` needs a new file in versions/, written by hand, whose
down_revision is the newest before it. A test compares what all of them together create with the
tables, in each database. There is no way down: it would delete what is logged.
"""
