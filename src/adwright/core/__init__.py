"""Floor 0: errors, configuration, artifacts, assets, progress and clocks.

Nothing here imports torch, and nothing here knows what an ad is.
"""
