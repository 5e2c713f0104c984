"""The payload log: requests and their answers in Parquet files, and back again as requests."""
