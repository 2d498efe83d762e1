"""How good a candidate is, and whether it beats the champion on the same fresh rows."""
