"""Fetches the source distribution that carries a suite, and lays its tests out where they can be run.

pip does the fetching, so that a mirror, a proxy or a cache it is configured with is used. The folder made is a function of the
version: once there, it stays.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from pathlib import Path

from conformance.interpreters import Unprepared, command
from conformance.suites import Suite


def lay_out(suite: Suite, python: str, cache: Path) -> Path:
    """Return the folder that pytest takes for the root of the suite.

    Raises:
        Unprepared: The distribution cannot be had, or lacks what is to be taken from it.
    """
    if not suite.source:
        return suite.folder
    root = cache / f"{suite.source}-{suite.version}"
    if not root.exists():
        with tempfile.TemporaryDirectory(dir=ready(cache)) as scratch:
            unpacked = unpack(fetch(suite, python, cache), Path(scratch))
            laid_out = Path(scratch, "laid-out")
            for part in suite.parts:
                take(unpacked / part, laid_out / part)
            laid_out.rename(root)
    overlay = suite.folder / "overlay"
    if overlay.exists():
        shutil.copytree(overlay, root, dirs_exist_ok=True)
    return root


def fetch(suite: Suite, python: str, cache: Path) -> Path:
    archive = cache / f"{suite.source}-{suite.version}.tar.gz"
    if not archive.exists():
        # Only this one from its sources: pip prepares its metadata and would otherwise compile the tools for that, too.
        options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--no-binary", suite.source]
        wanted = f"{suite.source}=={suite.version}"
        command([python, "-m", "pip", "download", *options, "--dest", str(cache), wanted], f"no sources of {wanted}")
    if not archive.exists():
        raise Unprepared(f"pip brought the sources of {suite.source} under another name than {archive.name}")
    return archive


def unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def take(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.exists():
        shutil.copy2(source, target)
    else:
        raise Unprepared(f"{source.name} is not in the distribution")


def ready(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
