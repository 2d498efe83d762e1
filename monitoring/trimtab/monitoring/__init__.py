"""Watching deployed models: windows, drift, campaigns that answer it, and rollouts that are judged."""
