"""Which chain runs next, on which engine, and which prefixes are kept: pure Python, no engine.

`scheduler.ProgramScheduler` is where to begin: events in, decisions out, on a clock it is given.
"""
