"""A typed client of the model server, sync and async: predictions over V1 and V2, labels, health; needs core alone."""

from __future__ import annotations

from trimtab.client.calls import Inference, Prediction
from trimtab.client.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "Inference", "Prediction"]
