"""A certificate authority for tests of TLS, new in each process, and contexts and files of its making."""

from __future__ import annotations

import functools
import ssl
from pathlib import Path
from typing import NamedTuple

import trustme


class Files(NamedTuple):
    """Paths, for servers that read their certificates themselves."""

    authority: Path
    certificate: Path
    key: Path


@functools.cache
def authority() -> trustme.CA:
    return trustme.CA()


@functools.cache
def leaf() -> trustme.LeafCert:
    return authority().issue_cert("localhost", "127.0.0.1")


def server_context(*protocols: str) -> ssl.SSLContext:
    """A context for `localhost` and 127.0.0.1 that offers these protocols by ALPN."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf().configure_cert(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def client_context(*protocols: str) -> ssl.SSLContext:
    """A context that trusts the authority, and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def write(folder: Path) -> Files:
    """Write what a server needs into a folder."""
    files = Files(folder / "authority.pem", folder / "certificate.pem", folder / "key.pem")
    authority().cert_pem.write_to_path(files.authority)
    leaf().cert_chain_pems[0].write_to_path(files.certificate)
    leaf().private_key_pem.write_to_path(files.key)
    files.key.chmod(0o600)  # servers refuse a key that others may read
    return files
