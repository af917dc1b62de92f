"""Many tuned parts of one base, served at once from bounded memory.

`engine.AdapterModels` is where to begin: one `LanguageModel` a tuned part, over one batch.
"""
