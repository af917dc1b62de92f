"""What an edit of a face has to pass: consent, adulthood, words of the ad, directions, drift."""
