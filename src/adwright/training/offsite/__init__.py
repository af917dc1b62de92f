"""Tuning where the model and the texts belong to different people, over a wire between two
processes.

`wire` carries messages. `sandwich` and `offsite_tuning`: the texts' owner trains the ends of the
model beside a thinned middle, and only numbers go back. `kill_revive`, `cloud` and `device`: the
cloud keeps the base, the device the tuned modules and the texts, and modules that hardly move are
left out for a while.
"""
