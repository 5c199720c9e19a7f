"""Fetch a package's archive, pinned by SHA-256, without running any of its code."""

from __future__ import annotations

import hashlib
import logging
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from unearth import Package, PackageFinder
from unearth.auth import MultiDomainBasicAuth
from unearth.fetchers import PyPIClient

from sslm_platform.data.pip_config import IndexSettings, index_settings
from sslm_platform.errors import DataError, Problem, suggest
from sslm_platform.files import atomic_path, sha256_of

MAX_ARCHIVE_BYTES = 2 << 30
_ATTEMPTS = 3

logger = logging.getLogger(__name__)


def fetch_archive(package: str, sha256: str, *, cache: Path, where: str) -> Path:
    """Return the archive of ``name==version`` with this digest, from the cache or the user's indexes.

    The cached file's digest is checked every time, so that a damaged one is fetched anew.

    Raises:
        DataError: not found, not reachable, or another digest.
    """
    name, version = package.split("==")
    path = cache / "archives" / f"{name}-{version}.{sha256[:16]}"
    if path.exists() and sha256_of(path) == sha256:
        return path
    settings = index_settings()
    with _client(settings) as client:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download_pinned(client, settings, package, sha256, path, where)
    return path


def _download_pinned(
    client: PyPIClient, settings: IndexSettings, package: str, sha256: str, path: Path, where: str
) -> None:
    candidates, troubles = _find(client, settings, package, where)
    stated = [c for c in candidates if _stated_digest(c) == sha256]
    unstated = [c for c in candidates if _stated_digest(c) is None]
    others = {c.link.filename: _stated_digest(c) for c in candidates if c not in stated + unstated}
    for candidate in stated + unstated:
        try:
            with atomic_path(path) as aside:
                found = _download(client, candidate, aside, where)
                if found != sha256:
                    raise _OtherDigest(found)
        except _OtherDigest as other:
            others[candidate.link.filename] = other.digest
        except httpx2.HTTPError as error:
            troubles.append(f"{candidate.link.redacted}: {_explain(error)}")
        else:
            return
    if others:
        listed = "; ".join(f"{filename} has {digest}" for filename, digest in sorted(others.items()))
        raise DataError(Problem(f"{where}.sha256", f"no file of {package} has {sha256}: {listed}"))
    raise DataError(Problem(f"{where}.package", f"cannot download {package}: {'; '.join(troubles)}{_HELP}"))


class _OtherDigest(Exception):  # noqa: N818  (control flow: leaves atomic_path before the rename)
    def __init__(self, digest: str) -> None:
        self.digest = digest


_HELP = (
    ". Set the index that this machine reaches (pip config set global.index-url URL, or PIP_INDEX_URL),"
    " a proxy (HTTPS_PROXY) or a certificate (PIP_CERT);"
    " or put the file into a folder that PIP_FIND_LINKS names"
)


def _find(
    client: PyPIClient, settings: IndexSettings, package: str, where: str
) -> tuple[list[Package], list[str]]:
    """Return the version's files in every source that answers, and what went wrong with the others."""
    name, version = package.split("==")
    found: list[Package] = []
    troubles: list[str] = []
    versions: set[str] = set()
    sources = [{"index_urls": [u]} for u in settings.index_urls]
    sources += [{"find_links": [u]} for u in settings.find_links]
    for source in sources:
        # The pin chooses the file, so neither the Python version nor the platform may rule it out.
        finder = PackageFinder(client, ignore_compatibility=True, **source)  # type: ignore[arg-type]
        url = finder.sources[0]["url"]
        with _quiet_collector() as warnings:
            try:
                packages = _retry(lambda finder=finder: list(finder.find_all_packages(name, True)))
            except httpx2.HTTPError as error:
                troubles.append(f"{_redact(url)}: {_explain(error)}")
                continue
        if not packages:
            troubles.append(f"{_redact(url)}: {warnings[0] if warnings else 'no such package'}")
        versions.update(p.version for p in packages if p.version)
        found.extend(p for p in packages if p.version == version)
    if found:
        return found, troubles
    if versions:
        what = f"no version {version} of {name}{suggest(version, versions)}"
    else:
        tried = "; ".join(troubles) or "pip is configured with no-index and no find-links"
        what = f"package {name} not found ({tried}){_HELP}"
    raise DataError(Problem(f"{where}.package", what))


def _stated_digest(package: Package) -> str | None:
    digests = (package.link.hash_option or {}).get("sha256")
    return digests[0] if digests else None


def _download(client: PyPIClient, package: Package, path: Path, where: str) -> str:
    """Write the file and return its SHA-256."""
    logger.info("downloading %s", package.link.redacted)
    digest = hashlib.sha256()
    size = 0
    with client.get_stream(package.link.url_without_fragment) as response, path.open("wb") as out:
        response.raise_for_status()
        for chunk in response.iter_bytes(1 << 16):
            size += len(chunk)
            if size > MAX_ARCHIVE_BYTES:
                raise DataError(
                    Problem(f"{where}.package", f"{package.link.filename} exceeds {MAX_ARCHIVE_BYTES} bytes")
                )
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()


def _retry(action: Any) -> Any:
    for _ in range(_ATTEMPTS - 1):
        try:
            return action()
        except httpx2.TransportError as error:
            logger.info("trying again: %s", _explain(error))
    return action()


def _client(settings: IndexSettings) -> PyPIClient:
    verify: ssl.SSLContext | bool = (
        ssl.create_default_context(cafile=settings.cert) if settings.cert else True
    )
    client = PyPIClient(
        trusted_hosts=settings.trusted_hosts,
        verify=verify,
        cert=settings.client_cert,
        timeout=settings.timeout,
        proxy=settings.proxy,
        follow_redirects=True,
    )
    # Credentials come from the URL, netrc or keyring; a run never stops to ask for them.
    client.auth = MultiDomainBasicAuth(prompting=False, index_urls=list(settings.index_urls))
    return client


@contextmanager
def _quiet_collector() -> Iterator[list[str]]:
    """Collect what unearth warns of (an index without the package is ordinary) instead of showing it."""
    messages: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        messages.append(record.getMessage())
        return False

    collector = logging.getLogger("unearth.collector")
    collector.addFilter(keep)
    try:
        yield messages
    finally:
        collector.removeFilter(keep)


def _redact(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", url)


def _explain(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
