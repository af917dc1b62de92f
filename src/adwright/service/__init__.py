"""The HTTP API: it decides in time or says when to come back, and logs what it decides.

Modules are imported by name (`from adwright.service.app import create_app`); the packages they
need come with the extra `service`.
"""
