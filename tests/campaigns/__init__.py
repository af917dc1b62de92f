"""Tests of the campaign store, on SQLite and on PostgreSQL."""
