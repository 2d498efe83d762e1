"""Validate: what the rows are good for; the schema resolved, useless fields and rows left out by name."""
