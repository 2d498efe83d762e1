"""The mission on a Kubernetes node: train, serve, drift, retrain, canary, promote, roll back, under load."""
