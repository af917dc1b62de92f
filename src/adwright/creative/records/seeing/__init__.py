"""What an ad's picture or video shows, looked at by small models on this machine."""
