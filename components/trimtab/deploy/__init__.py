"""Stage `deploy`: asks that a version serve."""
