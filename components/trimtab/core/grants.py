"""Who may write what in the store, as policies of S3 users.

The table is the project's contract; policies are made from it, so that there is one place to read and to change.
Everyone reads everything below the store's prefix. Nobody may delete, but for the trial of conditional create.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import Any

from trimtab.core.errors import ProjectError

# Stages (and whoever submits a run) · the model server · the watch · the hook with the rollout controller · on-call.
USERS = ("pipeline", "server", "watch", "hook", "oncall")
READ = ("s3:GetObject",)
WRITE = ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")


@dataclass(frozen=True)
class Grant:
    """A row of the table.

    Attributes:
        keys: which keys, `*` standing for any characters, slashes among them.
        users: who writes them.
        deletes: whether they may delete them too.
    """

    keys: str
    users: tuple[str, ...]
    deletes: bool = False


TABLE = (
    Grant("datasets/*", ("pipeline",)),
    # What a retrain is trained on is fixed by the hook, where the list of log files is long.
    Grant("datasets/*/log.json", ("hook",)),
    Grant("runs/*", ("pipeline", "hook")),
    Grant("models/*/versions/*", ("pipeline",)),
    Grant("models/*/rollouts/*/requested.json", ("pipeline", "hook", "oncall")),
    Grant("models/*/rollouts/*/evidence-*.json", ("hook",)),
    Grant("models/*/refused/*", ("server",)),
    # A rollback by hand must work where no hook answers: the command then appends, under the caller's own rights.
    Grant("models/*/ledger/*", ("hook", "oncall")),
    Grant("predictions/*", ("server",)),
    Grant("labels/*", ("server",)),
    Grant("windows/*", ("watch",)),
    # A `*` matches slashes too: what people say about a campaign must not be among what the hook may write.
    Grant("campaigns/*/opened.json", ("hook",)),
    Grant("campaigns/*/closed.json", ("hook",)),
    Grant("campaigns/*/retrain-*", ("hook",)),
    Grant("campaigns/*/controls/*", ("oncall",)),
    Grant("reports/*", ("pipeline", "watch", "hook")),
    Grant("probe/*", USERS, deletes=True),
)


def may_write(user: str, key: str) -> bool:
    """Whether the table lets a user write a key.

    >>> may_write("pipeline", "models/digits/versions/v1-0a1b2c3d/model.onnx")
    True
    >>> may_write("pipeline", "models/digits/ledger/00000001.json")
    False
    """
    return any(user in grant.users and fnmatch.fnmatchcase(key, grant.keys) for grant in TABLE)


def policy(user: str, bucket: str, prefix: str = "") -> dict[str, Any]:
    """The policy of one of our users.

    Args:
        user: one of `USERS`.
        bucket: the store's bucket.
        prefix: the prefix of the store's keys in it; empty for the whole bucket.

    Raises:
        ProjectError: there is no such user.
    """
    if user not in USERS:
        raise ProjectError("no user of the store is called so", expected=", ".join(USERS), got=repr(user))
    base = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    mine = [grant for grant in TABLE if user in grant.users]
    return {
        "Version": "2012-10-17",
        "Statement": [
            *_listing(bucket, base),
            _allow("Read", READ, [_arn(bucket, f"{base}*")]),
            _allow("Write", WRITE, [_arn(bucket, base + grant.keys) for grant in mine]),
            _allow("Delete", ("s3:DeleteObject",), [_arn(bucket, base + one.keys) for one in mine if one.deletes]),
        ],
    }


def artifacts_policy(bucket: str, prefix: str) -> dict[str, Any]:
    """The policy of a user who reads and writes below one prefix: a project's artifacts in Kubeflow's bucket.

    Args:
        bucket: the bucket.
        prefix: the project's own prefix.

    Raises:
        ProjectError: the prefix is empty, which would be the whole bucket.
    """
    base = prefix.strip("/")
    if not base:
        raise ProjectError("a user of artifacts has a prefix of its own", object=bucket, got="an empty prefix")
    return {
        "Version": "2012-10-17",
        "Statement": [
            *_listing(bucket, f"{base}/"),
            _allow("ReadAndWrite", (*READ, *WRITE), [_arn(bucket, f"{base}/*")]),
        ],
    }


def _listing(bucket: str, base: str) -> list[dict[str, Any]]:
    listing = _allow("List", ("s3:ListBucket",), [_arn(bucket)])
    if base:
        # Without this right a missing key would be 403 in place of 404.
        listing["Condition"] = {"StringLike": {"s3:prefix": [f"{base}*", base.rstrip("/")]}}
    return [listing, _allow("Locate", ("s3:GetBucketLocation",), [_arn(bucket)])]


def _allow(sid: str, actions: tuple[str, ...], resources: list[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resources}


def _arn(bucket: str, key: str = "") -> str:
    return f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}"
