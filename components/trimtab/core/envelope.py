"""A bundle's manifest, and the signed envelope it travels in."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import ModelError, RecordError, SignatureError
from trimtab.core.records import canonical, decode, encode, parse_time, rfc3339
from trimtab.core.signing import key_id
from trimtab.core.store.keys import is_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MANIFEST = "manifest.json"
_NOUN = "manifest"


@dataclass(frozen=True)
class Manifest:
    """What a published version consists of and where it comes from.

    Attributes:
        model: the model's name.
        version: `v<n>-<8 hex>`.
        files: sha256 (hex) of each file by its path in the bundle.
        metrics: figures of the one sealed test, each with its interval.
        threshold: decision threshold of a binary model, None where the most probable class is meant.
        lineage: run_key, code_version, dataset {name, digest}, parent, candidate, campaign.
        project: the whole canonical project.
        created_at: when it was published, UTC.
    """

    model: str
    version: str
    files: dict[str, str]
    metrics: dict[str, Any]
    threshold: float | None
    lineage: dict[str, Any]
    project: dict[str, Any]
    created_at: datetime


def seal(manifest: Manifest, key: Ed25519PrivateKey) -> bytes:
    """The manifest in its envelope: canonical JSON `{key, payload, signature}`.

    Raises:
        ModelError: metrics, lineage or project hold what JSON cannot: NaN, infinite, foreign types.
    """
    try:
        payload = encode(_NOUN, {**asdict(manifest), "created_at": rfc3339(manifest.created_at)})
    except (ValueError, TypeError) as error:
        raise ModelError(
            "a manifest holds what JSON cannot", object=f"{manifest.model} {manifest.version}", got=str(error)
        ) from None
    return canonical(
        {
            "key": key_id(key.public_key()),
            "payload": payload.decode(),
            "signature": base64.b64encode(key.sign(payload)).decode(),
        }
    )


def open_envelope(body: bytes, trusted: Mapping[str, Ed25519PublicKey] | None, where: str) -> Manifest:
    """Take a manifest out of its envelope.

    Args:
        body: the envelope's bytes.
        trusted: accepted public keys by id; None opens it unverified.
        where: its key or path, for the error's sentence.

    Raises:
        SignatureError: it is no envelope, its key is not trusted, or the signature does not hold.
        RecordError: a newer Trimtab wrote it.
    """
    damaged = SignatureError(f"{MANIFEST} is damaged", object=where, hint="fetch it again, or publish the version anew")
    try:
        envelope = json.loads(body)
        payload, name = envelope["payload"].encode(), envelope["key"]
        signature = base64.b64decode(envelope["signature"], validate=True)
        # One manifest has one spelling: whatever byte was changed, also one that JSON would forgive, shows here.
        spelled = {"key": name, "payload": payload.decode(), "signature": base64.b64encode(signature).decode()}
        if canonical(spelled) != body:
            raise damaged
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error):
        raise damaged from None
    if trusted is not None:
        _verify(trusted, str(name), payload, signature, where)
    return _parse(payload, where, damaged)


def _verify(trusted: Mapping[str, Ed25519PublicKey], name: str, payload: bytes, signature: bytes, where: str) -> None:
    from cryptography.exceptions import InvalidSignature

    if name not in trusted:
        raise SignatureError(
            f"{MANIFEST} is signed with a key that is not trusted here",
            object=where,
            expected=f"one of {', '.join(sorted(trusted))}" if trusted else "a trusted key, and there is none",
            got=name[:40],
            hint="put the publisher's public key (PEM) into the folder that TRIMTAB_TRUSTED_KEYS names",
        )
    try:
        trusted[name].verify(signature, payload)
    except InvalidSignature:
        raise SignatureError(
            f"{MANIFEST} was changed after it was signed",
            object=where,
            hint="fetch it again; if that repeats, publish a new version and find out who wrote to the store",
        ) from None


def _parse(payload: bytes, where: str, damaged: SignatureError) -> Manifest:
    record = decode(payload, _NOUN, where)
    try:
        if not all(is_key(name) for name in record["files"]):
            raise damaged
        threshold = record["threshold"]
        return Manifest(
            model=str(record["model"]),
            version=str(record["version"]),
            files={str(k): str(v) for k, v in record["files"].items()},
            metrics=dict(record["metrics"]),
            threshold=None if threshold is None else float(threshold),
            lineage=dict(record["lineage"]),
            project=dict(record["project"]),
            created_at=parse_time(record["created_at"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecordError):
        raise damaged from None
