"""Methods that train a chosen part of the base weights."""
