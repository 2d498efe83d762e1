"""The score of doing nothing clever."""
