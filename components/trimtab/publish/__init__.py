"""Stage `publish`: a bundle becomes a signed version of a model."""
