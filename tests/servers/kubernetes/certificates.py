"""A certificate authority of one's own: what the parts of a Kubernetes know each other by."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = dt.timedelta(days=2)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; everything is written below a folder.

    Args:
        folder: for the files.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("trimtab-tests", "")
        unsigned = _unsigned(self._name, self._name, self._key.public_key())
        unsigned = unsigned.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        unsigned = unsigned.add_extension(_usage(sign=True), critical=True)
        self._root = unsigned.sign(self._key, hashes.SHA256())
        self.pair = self._written("ca", self._root, self._key)

    @property
    def certificate(self) -> Path:
        """The authority's own certificate."""
        return self.pair.certificate

    def issue(self, file: str, name: str, group: str = "", hosts: Sequence[str] = ()) -> Pair:
        """A certificate for a user (common name) of a group (organisation), for servers with their host names."""
        key = ec.generate_private_key(ec.SECP256R1())
        unsigned = _unsigned(_name(name, group), self._name, key.public_key())
        unsigned = unsigned.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
        unsigned = unsigned.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        if hosts:
            unsigned = unsigned.add_extension(x509.SubjectAlternativeName([_host(h) for h in hosts]), critical=False)
        return self._written(file, unsigned.sign(self._key, hashes.SHA256()), key)

    def key_pair(self, file: str) -> Pair:
        """A bare key pair (public key in place of a certificate): what ServiceAccount tokens are signed with."""
        key = ec.generate_private_key(ec.SECP256R1())
        public = self._folder / f"{file}.pub"
        public.write_bytes(
            key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        return Pair(public, self._kept(file, key))

    def _written(self, file: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
        target = self._folder / f"{file}.crt"
        target.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return Pair(target, self._kept(file, key))

    def _kept(self, file: str, key: ec.EllipticCurvePrivateKey) -> Path:
        target = self._folder / f"{file}.key"
        target.touch(mode=0o600)
        target.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return target


def _name(name: str, group: str) -> x509.Name:
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
    return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _unsigned(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
