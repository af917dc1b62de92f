"""What an ad says and shows, as one typed record and as one text."""
