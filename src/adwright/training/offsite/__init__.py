"""Tuning where model and texts have different owners, over a wire between two processes.

`wire` carries messages. `sandwich` and `offsite_tuning`: the texts' owner trains the ends of the
model beside a thinned middle, and only weights go back. `kill_revive`, `cloud` and `device`: the
cloud keeps the base, the device the tuned modules and the texts, and modules that hardly change are
left out for a while. `pipeline` and `revive` do both from files.
"""
