"""How far texts can move ranks at most, exactly, and a signed statement of it."""
