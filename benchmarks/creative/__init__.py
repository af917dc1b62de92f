<<<<<<< HEAD
"""Benchmarks of authoring: what is written, how well, and at what cost."""
=======
"""How creatives will do: click rate, memorability, what they are made of."""
>>>>>>> protocol
