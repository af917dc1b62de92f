"""What an ad is and how it did: creatives, delivery records, and the exports of ad platforms."""
