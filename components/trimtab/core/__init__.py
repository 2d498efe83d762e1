"""What every part of Trimtab shares; imports nothing of ours."""
