"""Ed25519 keys: what publish signs with, and whose signatures a server accepts."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.core.errors import ModelError
from trimtab.core.processes import pid_of
from trimtab.core.settings import Settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

# Read by others: a private key has leaked. A group may read it: a cluster gives a Secret to a pod's group.
_FORBIDDEN = 0o027
# A public key of Ed25519 as PEM, and what stands before its 32 bytes in DER (RFC 8410, section 4).
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----\r?\n([A-Za-z0-9+/=]{60})\r?\n-----END PUBLIC KEY-----\s*")
_DER = bytes.fromhex("302a300506032b6570032100")


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a file (PEM, PKCS 8), made with mode 0600 where there is none.

    Raises:
        ModelError: the file holds no Ed25519 private key, or others may read it.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not path.exists():
        body = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _create_file(path, body, 0o600)
    return load_key(path)


def load_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a file.

    Raises:
        ModelError: there is no such file, it holds no Ed25519 private key, or others may read it.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        mode = path.stat().st_mode & 0o777
        body = path.read_bytes()
    except OSError as error:
        raise ModelError(
            "the signing key cannot be read",
            object=str(path),
            got=error.strerror or "",
            hint="mount the key and name its file in TRIMTAB_SIGNING_KEY; unset, one is made on first use",
        ) from None
    if mode & _FORBIDDEN:
        raise ModelError(
            "the signing key can be read by others",
            object=str(path),
            expected="mode 0600",
            got=f"{mode:04o}",
            hint=f"chmod 600 {path}",
        )
    try:
        key = serialization.load_pem_private_key(body, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ModelError(
            "the file holds no Ed25519 private key",
            object=str(path),
            expected="PEM, PKCS 8, without a password",
            hint="openssl genpkey -algorithm ed25519",
        )
    return key


def signing_key(settings: Settings) -> Ed25519PrivateKey:
    """The key that publish signs with.

    One in its usual place is made on first use, on a laptop. One that TRIMTAB_SIGNING_KEY puts elsewhere, or that a
    pod needs, must be there: a key that no server trusts would sign versions that none loads.

    Raises:
        ModelError: it is not there, or is no key.
    """
    in_a_pod = bool(settings.run_id) and pid_of(settings.run_id) is None
    if settings.signing_key == settings.home / "signing.pem" and not in_a_pod:
        return ensure_keypair(settings)
    return load_key(settings.signing_key)


def ensure_keypair(settings: Settings) -> Ed25519PrivateKey:
    """The private key of these settings, made where there is none, and its public half in the trusted folder.

    Raises:
        ModelError: as `load_or_create_key`.
    """
    key = load_or_create_key(settings.signing_key)
    trust(key.public_key(), settings.trusted_keys)
    return key


def trust(key: Ed25519PublicKey, folder: Path) -> Path:
    """Put a public key into the folder of trusted ones; its file is named by its id."""
    from cryptography.hazmat.primitives import serialization

    path = folder / f"{key_id(key)}.pem"
    if not path.exists():
        body = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        _create_file(path, body, 0o644)
    return path


def trusted_keys(folder: Path) -> dict[str, Ed25519PublicKey]:
    """The public keys (`*.pem`) of a folder by their ids; none where there is no folder.

    Raises:
        ModelError: a file holds no Ed25519 public key.
    """
    keys: dict[str, Ed25519PublicKey] = {}
    for path in sorted(folder.glob("*.pem")):
        key = _public_key(path.read_bytes())
        if key is None:
            raise ModelError(
                "the file holds no Ed25519 public key",
                object=str(path),
                expected="PEM",
                hint="openssl pkey -pubout makes it from the private key; take other files out of that folder",
            )
        keys[key_id(key)] = key
    return keys


def _public_key(pem: bytes) -> Ed25519PublicKey | None:
    """The key in a PEM file, or None where it holds none.

    A file as `trust` and openssl write it is read here: cryptography's reader of all formats is a tenth of a server's
    start, and reads what is written otherwise.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    found = _PEM.fullmatch(pem)
    if found is not None:
        with contextlib.suppress(ValueError):
            der = base64.b64decode(found[1], validate=True)
            if der.startswith(_DER) and len(der) == len(_DER) + 32:
                return Ed25519PublicKey.from_public_bytes(der[len(_DER) :])
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, Ed25519PublicKey) else None


def key_id(key: Ed25519PublicKey) -> str:
    """A public key's id: the first 16 hex digits of the sha256 of its 32 raw bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _create_file(path: Path, body: bytes, mode: int) -> None:
    """A file that appears whole, with its mode, and for the first of several writers only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        temporary.unlink(missing_ok=True)
