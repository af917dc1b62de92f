"""The queue of drafts: what was written, what is wrong with it, and what a person says of it."""
