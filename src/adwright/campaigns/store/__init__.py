"""The campaign store: tables, events, decisions, keys and compaction to Parquet."""
