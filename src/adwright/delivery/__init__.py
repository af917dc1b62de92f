"""Who sees what: from candidates to a slate, and its record.

Modules are imported by name (`from adwright.delivery.decision import Request`), so that what
needs no network never loads torch.
"""
