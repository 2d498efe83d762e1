"""Whether S3 users may write what the table lets them, and nothing else; asked without writing anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trimtab.core import grants
from trimtab.core.errors import StoreError
from trimtab.doctor.checks import Finding
from trimtab.doctor.kube import Kube, Unseen, core, decoded, in_pod

if TYPE_CHECKING:
    from trimtab.core.store.s3 import S3Store
    from trimtab.doctor.checks import Where

# A key of each row of the table, and one of none.
KEYS = tuple(grant.keys.replace("*", "doctor") for grant in grants.TABLE)
HINT = "trimtab setup makes users and policies anew; on an S3 of others, trimtab setup --policies FOLDER writes them"


def check_own(where: Where) -> Iterator[Finding]:
    """Whose rights the credential of this environment has."""
    store = _s3(where)
    if store is None:
        yield Finding("bucket policies", "not looked at", "a folder has none")
        return
    try:
        may = frozenset(key for key in KEYS if store.allows(key))
    except StoreError as error:
        yield Finding("bucket policies", "not looked at", error.sentence())
        return
    for user in grants.USERS:
        if may == _mine(user):
            yield Finding("bucket policies", "ok", f"this credential may write what `{user}` may")
            return
    if may == frozenset(KEYS):
        said = "this credential may write everything: an administrator's"
        yield Finding("bucket policies", "warning" if in_pod() else "ok", said, f"no pod should have it; {HINT}")
    else:
        said = f"this credential has the rights of none of our users; it may write {_few(may) or 'nothing'}"
        yield Finding("bucket policies", "warning", said, HINT)


def check_users(where: Where, kube: Kube) -> Iterator[Finding]:
    """The credentials in the namespace's Secrets, each against the table."""
    if _s3(where) is None:
        return
    well, unread = [], []
    for user in grants.USERS:
        try:
            secret = kube.get(
                core(where.runs_in if user == "pipeline" else where.namespace, "secrets", f"trimtab-s3-{user}")
            )
        except Unseen:
            unread.append(user)
            continue
        entries = decoded(secret or {})
        if not entries.get("access_key") or not entries.get("secret_key"):
            continue  # said by the check of Secrets
        store = _s3(where, entries)
        assert store is not None
        try:
            may = frozenset(key for key in KEYS if store.allows(key))
        except StoreError as error:
            yield Finding(f"S3 user {user}", "not looked at", error.sentence(), "is the endpoint reachable from here?")
            continue
        if more := may - _mine(user):
            yield Finding(f"S3 user {user}", "failed", f"it may write what is not its own: {_few(more)}", HINT)
        elif less := _mine(user) - may:
            yield Finding(f"S3 user {user}", "failed", f"it may not write {_few(less)}", HINT)
        else:
            well.append(user)
    if well:
        yield Finding("S3 users", "ok", f"{', '.join(well)}: may write what is theirs and nothing else")
    if unread:
        yield Finding("S3 users", "not looked at", f"this account may not read the Secrets of {', '.join(unread)}")


def _mine(user: str) -> frozenset[str]:
    return frozenset(key for key in KEYS if grants.may_write(user, key))


def _few(keys: frozenset[str]) -> str:
    return ", ".join(sorted(keys)[:3]) + (", …" if len(keys) > 3 else "")


def _s3(where: Where, entries: dict[str, str] | None = None) -> S3Store | None:
    """The store as this environment's user, or as that of a Secret; None where it is a folder."""
    from trimtab.core.store.retry import Retry
    from trimtab.core.store.s3 import open_s3

    settings = where.settings
    if not settings.store.startswith("s3://"):
        return None
    s3 = settings.s3
    if entries:
        s3 = s3._replace(
            access_key=entries["access_key"],
            secret_key=entries["secret_key"],
            session_token="",
            endpoint=entries.get("endpoint") or s3.endpoint,
            region=entries.get("region") or s3.region,
        )
    return open_s3(settings.store, s3, retry=Retry(attempts=3), read_seconds=5.0)
