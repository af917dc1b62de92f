"""How creatives will do: click rate, memorability, what they are made of."""
