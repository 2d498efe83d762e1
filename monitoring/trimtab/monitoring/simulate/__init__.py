"""A labelled table replayed through the code that watches and decides, against the usual policies."""
