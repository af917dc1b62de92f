"""Pages in a browser, for people: drawn on the server, and whole without scripts."""
