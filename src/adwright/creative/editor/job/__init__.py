"""Editing a table or a folder of ads: what is asked for, each ad's search, and what is left."""
