"""The store of campaigns, decisions, events and stops, by tenant; the simulation.

    store = Store.open("sqlite:///adwright.db")       # or postgresql+psycopg://...
    key = store.create_key("acme")                    # shown once
    store.record_events("acme", events)               # durable when it returns
    store.compact("acme", "log", before=now)          # whole days, as Parquet that data/ reads

`adwright.campaigns.store.store` is the way into the store, and needs the extra `service`.
"""
