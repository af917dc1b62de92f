"""The live service: chains of sessions go to the scheduler, and its decisions to real engines.

`dispatcher.ChainDispatcher` is where to begin: it runs the sessions of many programs and tenants.
"""
