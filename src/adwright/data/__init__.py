"""Floor 1: logs, catalogues, histories and batches, from public data sets or a user's own files.

Modules are imported by name (`from adwright.data.schema import validate_events`), so that
reading a log never loads torch.
"""
