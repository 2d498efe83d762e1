"""A real MinIO in a pod: our job makes bucket, users and policies, and each user writes what is its own alone."""

from __future__ import annotations

import pytest
from tests.cluster.site import Site
from tests.core.test_grants import WRITERS

from trimtab.core import grants
from trimtab.core.errors import NotFound, StoreRefused

pytestmark = [pytest.mark.cluster, pytest.mark.images]


def test_the_job_makes_users_who_write_what_is_theirs_alone(pod_site: Site) -> None:
    pod_site.start()
    assert "is ready for" in pod_site.kubectl("logs", "job/trimtab-setup")
    denied = 0
    for user in grants.USERS:
        store = pod_site.store(user)
        for key, writers in WRITERS.items():
            # A name of its own: what one user has created, another is told that it is there, not that it may not.
            mine = key.replace("/digits/", f"/{user}/") if "/digits/" in key else f"{key}.{user}"
            if user in writers:
                assert store.create(mine, b"one"), (user, mine)
                assert store.get(mine) == b"one"
                continue
            denied += 1
            with pytest.raises(StoreRefused, match="AccessDenied"):
                store.create(mine, b"one")
            with pytest.raises(StoreRefused, match="AccessDenied"):
                store.put(mine, b"one")
            with pytest.raises(NotFound):
                store.get(mine)
    assert denied > len(grants.USERS) * len(WRITERS) // 2

    # Run again by the next apply, the job changes nothing and says so.
    pod_site.kubectl("delete", "job", "trimtab-setup", "--wait=true")
    pod_site.start()
    assert pod_site.store("watch").get("models/pipeline/versions/v1-0a1b2c3d/manifest.json") == b"one"
