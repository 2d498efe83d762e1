"""Choose a winner, and test it once."""
