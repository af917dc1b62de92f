"""How long ads live, and when to stop them."""
