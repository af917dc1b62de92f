"""How creatives will do: click rate, memorability, what is learnt from both."""
