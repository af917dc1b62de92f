"""Logs, catalogues, histories and batches, from public sets or files of your own.

Modules are imported by name (`from adwright.data.schema import validate_events`), so that
reading a log never loads torch.
"""
