"""Ingest: rows from files, bundled data, datasets and the log, as one typed dataset."""
