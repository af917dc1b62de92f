"""Ads as texts: what is asked, what is answered, and which answers may be kept."""
