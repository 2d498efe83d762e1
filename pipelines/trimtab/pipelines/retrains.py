"""What a campaign's retrain is: the champion's own request with other data, seed and candidates, wherever it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.core.launch import RetrainRequest
    from trimtab.core.runs import RunRequest
    from trimtab.core.store import Store


def retrain_request(store: Store, request: RetrainRequest, base: RunRequest) -> RunRequest:
    """The request of a retrain.

    Args:
        store: where the run will be recorded.
        request: what the campaign asks for.
        base: the champion's own request; only data, seed, candidates and campaign change.
    """
    from trimtab.core.project import Project
    from trimtab.pipelines.local import make_request

    return make_request(
        Project.from_canonical(base.project),
        store,
        data=request.data,
        reason=f"campaign {request.campaign}, retrain {request.retrain}",
        release="hold",
        candidates=request.candidates,
        campaign=request.campaign,
        retrain=request.retrain,
        seed=request.seed,
        base=base,
        base_key=request.base_key,
    )
