"""Networks of the fine ranker: DIN, its base models, and HSTU with the candidate as target."""
