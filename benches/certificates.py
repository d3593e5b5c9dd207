"""Certificates for the TLS rows: made anew for each run by the ``openssl`` command, gone when it ends.

A key in the repository would be one that scanners find and that runs out one day.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

from benches.model import MeasureError

#: What ``openssl req`` is told to make of each kind of key.
KEYS = {
    "ecdsa": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
    "rsa": ("-newkey", "rsa:2048"),
}

# A file of our own, because the system's may have extensions that ours would stand beside. It signs itself and is no
# authority, which is what a strict client lets stand for a server that it was told to trust.
_CONFIGURATION = """
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = localhost
[extensions]
basicConstraints = critical, CA:FALSE
subjectAltName = IP:127.0.0.1, DNS:localhost
"""


def missing() -> str | None:
    """Why no certificate can be made here, if none can."""
    return None if shutil.which("openssl") else "the openssl command is not installed: it makes the certificate"


@functools.cache
def certificate(kind: str) -> Path:
    """A file with a certificate and its key.

    Args:
        kind: One of ``KEYS``.

    Raises:
        MeasureError: There is no ``openssl``, or it does not make one.
    """
    if reason := missing():
        raise MeasureError(reason)
    folder = _folder()
    configuration, key, shown, both = (folder / f"{kind}.{end}" for end in ("cnf", "key", "crt", "pem"))
    configuration.write_text(_CONFIGURATION)
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-config", str(configuration)]
    command += [*KEYS[kind], "-keyout", str(key), "-out", str(shown)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeasureError(f"openssl made no certificate: {done.stderr.strip()}")
    both.touch(mode=0o600)
    both.write_text(shown.read_text() + key.read_text())
    return both


@functools.cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="tepal-benches-")
    atexit.register(folder.cleanup)
    return Path(folder.name)
