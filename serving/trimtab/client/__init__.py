"""A typed client of the model server: predictions over V1 and V2, labels, health; imports core alone."""

from __future__ import annotations

from trimtab.client.client import Client
from trimtab.client.results import Inference, Prediction

__all__ = ["Client", "Inference", "Prediction"]
