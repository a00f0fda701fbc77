"""The cold tier: sealed days as Parquet files, and the manifest in PostgreSQL that says which of them count."""
