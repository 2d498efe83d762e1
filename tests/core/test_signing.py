"""Keys: made once, kept private, trusted by their public half."""

from __future__ import annotations

import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trimtab.core import processes, signing
from trimtab.core.errors import ModelError
from trimtab.core.settings import Settings, load


def settings(home: Path, **extra: str) -> Settings:
    return load({"HOME": str(home), **extra})


def test_a_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "signing.pem"
    first = signing.load_or_create_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert signing.load_or_create_key(path).private_bytes_raw() == first.private_bytes_raw()
    assert [p.name for p in path.parent.iterdir()] == ["signing.pem"]


def test_many_who_make_it_at_once_get_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: signing.load_or_create_key(tmp_path / "k.pem").private_bytes_raw(), range(16)))
    assert len(set(keys)) == 1


def test_a_pair_is_trusted_where_it_was_made(tmp_path: Path) -> None:
    env = settings(tmp_path)
    key = signing.ensure_keypair(env)
    trusted = signing.trusted_keys(env.trusted_keys)
    name = signing.key_id(key.public_key())
    assert list(trusted) == [name]
    assert len(name) == 16
    trusted[name].verify(key.sign(b"x"), b"x")
    assert signing.trusted_keys(tmp_path / "none") == {}


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    signing.load_or_create_key(tmp_path / "k.pem")
    (tmp_path / "k.pem").chmod(mode)
    with pytest.raises(ModelError, match="hmod 600"):
        signing.load_key(tmp_path / "k.pem")


def test_openssl_keys_are_read_and_others_refused(tmp_path: Path) -> None:
    def openssl(algorithm: str) -> Path:
        path = tmp_path / f"{algorithm}.pem"
        subprocess.run(["openssl", "genpkey", "-algorithm", algorithm, "-out", path], check=True, capture_output=True)
        path.chmod(0o600)
        return path

    assert signing.load_key(openssl("ed25519")).sign(b"x")
    with pytest.raises(ModelError, match="no Ed25519 private key"):
        signing.load_key(openssl("x25519"))
    (tmp_path / "junk.pem").write_text("junk")
    (tmp_path / "junk.pem").chmod(0o600)
    with pytest.raises(ModelError, match="no Ed25519 private key"):
        signing.load_key(tmp_path / "junk.pem")
    (tmp_path / "trusted").mkdir()
    (tmp_path / "junk.pem").rename(tmp_path / "trusted" / "junk.pem")
    with pytest.raises(ModelError, match=r"junk\.pem.*no Ed25519 public key"):
        signing.trusted_keys(tmp_path / "trusted")


def test_public_keys_are_read_however_they_are_written(tmp_path: Path) -> None:
    folder = tmp_path / "trusted"
    key = signing.load_or_create_key(tmp_path / "k.pem").public_key()
    path = signing.trust(key, folder)
    ours = path.read_bytes()
    made: list[str] = ["openssl", "pkey", "-in", str(tmp_path / "k.pem"), "-pubout"]
    by_openssl = subprocess.run(made, check=True, capture_output=True).stdout
    lines = ours.splitlines()
    folded = b"\n".join([lines[0], lines[1][:30], lines[1][30:], lines[2]])
    for written in (ours, by_openssl, ours.replace(b"\n", b"\r\n"), b"a key of mine\n" + ours, folded, ours.strip()):
        path.write_bytes(written)
        (read,) = signing.trusted_keys(folder).values()
        assert read.public_bytes_raw() == key.public_bytes_raw()


def test_what_is_another_kind_of_key_is_trusted_by_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "trusted"
    path = signing.trust(signing.load_or_create_key(tmp_path / "k.pem").public_key(), folder)
    ours = path.read_bytes()
    other = subprocess.run(["openssl", "genpkey", "-algorithm", "x25519"], check=True, capture_output=True).stdout
    public = subprocess.run(["openssl", "pkey", "-pubout"], input=other, check=True, capture_output=True).stdout
    assert len(public) == len(ours)
    for written in (public, ours.replace(b"MCow", b"MCox"), ours.replace(b"PUBLIC", b"PRIVATE"), ours[:-40], b""):
        path.write_bytes(written)
        with pytest.raises(ModelError, match="no Ed25519 public key"):
            signing.trusted_keys(folder)


def test_publish_makes_a_key_on_a_laptop_and_never_in_a_pod(tmp_path: Path) -> None:
    laptop = settings(tmp_path / "a", TRIMTAB_RUN_ID=processes.local_id())
    assert signing.signing_key(laptop)
    pod = settings(tmp_path / "b", TRIMTAB_RUN_ID="0c9a8a5e-6c1e-4a51-b05b-d8ed7f6a32f1")
    with pytest.raises(ModelError, match="TRIMTAB_SIGNING_KEY"):
        signing.signing_key(pod)
    named = settings(tmp_path / "c", TRIMTAB_SIGNING_KEY=str(tmp_path / "c" / "mounted.pem"))
    with pytest.raises(ModelError, match=r"mounted\.pem"):
        signing.signing_key(named)
