"""Split the rows and learn the preprocessing."""
