"""Attacks on the service that decides, over HTTP."""
