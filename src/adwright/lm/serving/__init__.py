"""Serve many adapters of one base at once, from bounded memory.

`engine.AdapterModels` is where to begin: one `LanguageModel` per adapter, over one batch.
"""
