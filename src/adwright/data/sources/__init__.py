"""Read logs and catalogues: CSV and Parquet, RecBole atomic files, and the public data sets."""
