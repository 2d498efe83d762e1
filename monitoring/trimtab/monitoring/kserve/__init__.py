"""Versions on a cluster: the rollout controller's place is KServe's InferenceService."""
