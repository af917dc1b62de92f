"""Floor 4: who sees what. Candidates from a recommender, a choice by a policy, and its record.

Modules are imported by name (`from adwright.delivery.decision import Request`), so that what
needs no network never loads torch.
"""
