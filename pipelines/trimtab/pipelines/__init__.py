"""The training pipeline: its graph, its compiler, its local runner and launcher."""
