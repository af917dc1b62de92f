"""Will an ad be remembered: judges of it, and ads that are written for it."""
