"""Server-side apply of the InferenceService: what is ours by force, what is others' left to them."""

from __future__ import annotations

import copy
import logging
from typing import Any

from trimtab.monitoring.kserve.api import Api, ApiError, Object
from trimtab.monitoring.kserve.inference_service import GROUP

# What serves is this controller's alone, whoever else has set it.
OURS = (
    ".spec.canary",
    ".spec.predictor.name",
    ".spec.predictor.model.name",
    ".spec.predictor.model.storageUri",
    ".spec.predictor.model.runtime",
    ".spec.predictor.model.modelFormat",
    f".metadata.annotations.{GROUP}/deploymentMode",
    f".metadata.annotations.{GROUP}/autoscalerClass",
)
_log = logging.getLogger(__name__)


def apply(api: Api, path: str, body: Object, version: str = "") -> Object:
    """Apply a resource; fields of others that are not about what serves are left out.

    Args:
        api: the Kubernetes API.
        path: of the resource.
        body: all that is ours of it.
        version: the resourceVersion that was decided on; where it is another by now nothing is written.

    Returns:
        The resource as it is.

    Raises:
        ApiError: 409 without fields, somebody was faster: read again and decide again; or any other refusal.
    """
    sent = copy.deepcopy(body)
    if version:
        sent["metadata"]["resourceVersion"] = version
    try:
        found = api.apply(path, sent)
    except ApiError as error:
        if error.status != 409 or not error.fields:
            raise
        if not version:  # it was not there a moment ago: whose it is has to be seen first
            raise ApiError(409, error.message, object=error.object) from None
        for field in error.fields:
            if not field.startswith(OURS):
                _log.info("a field is left to the manager that owns it", extra={"field": field, "path": path})
                drop(sent, field)
        found = api.apply(path, sent, force=True)
    if "canary" not in body["spec"] and (found.get("spec") or {}).get("canary"):
        # Somebody else applies the same canary: leaving it out of ours does not remove it.
        found = api.merge(path, {"spec": {"canary": None}})
    return found


def drop(body: Object, field: str) -> None:
    """Leave a field, as a conflict names it, out of what is applied.

    >>> body = {"spec": {"predictor": {"model": {"resources": {"limits": {"cpu": "1"}}}}}}
    >>> drop(body, ".spec.predictor.model.resources.limits.cpu")
    >>> body
    {'spec': {'predictor': {'model': {'resources': {'limits': {}}}}}}
    """
    parts = field.lstrip(".").split(".")
    if parts[:2] in (["metadata", "labels"], ["metadata", "annotations"]):
        parts = [*parts[:2], ".".join(parts[2:])]
    at: Any = body
    for part in parts[:-1]:
        # A list's elements are named by their keys: the whole list is left to its manager.
        name, bracket, _ = part.partition("[")
        if bracket or not isinstance(at.get(name), dict):
            at.pop(name, None)
            return
        at = at[name]
    at.pop(parts[-1].partition("[")[0], None)
