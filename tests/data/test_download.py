"""A package index in a folder stands for the network; settings come through pip's environment variables."""

import hashlib
import os
from pathlib import Path

import pytest

from sslm_platform.data import download, pip_config
from sslm_platform.data.download import fetch_archive
from sslm_platform.data.pip_config import PYPI, index_settings, parse_pip_config, settings_from
from sslm_platform.errors import DataError

CONTENT = b"not even an archive: nothing of it is run"
SHA = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture(autouse=True)
def no_pip_settings(monkeypatch):
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr(pip_config, "_pip_config_list", lambda: "")


def make_index(folder: Path, name: str, files: dict[str, tuple[bytes, str | None]]) -> str:
    """Write a simple index (PEP 503); returns its URL."""
    page = folder / name
    page.mkdir(parents=True)
    links = []
    for filename, (content, digest) in files.items():
        (page / filename).write_bytes(content)
        links.append(f'<a href="{filename}{"#sha256=" + digest if digest else ""}">{filename}</a>')
    (page / "index.html").write_text(f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>")
    return folder.as_uri()


def fetch(tmp_path: Path, package: str = "toy-data==1.0", sha256: str = SHA) -> bytes:
    return fetch_archive(package, sha256, cache=tmp_path / "cache", where="streams[0].data").read_bytes()


def test_the_file_with_the_pinned_digest_is_fetched_whatever_its_platform(tmp_path, monkeypatch):
    files = {
        "toy_data-1.0.tar.gz": (b"other", OTHER),
        "toy_data-1.0-cp27-none-win32.whl": (CONTENT, SHA),
        "toy_data-0.9.tar.gz": (CONTENT, SHA),
    }
    monkeypatch.setenv("PIP_INDEX_URL", make_index(tmp_path / "index", "toy-data", files))
    assert fetch(tmp_path) == CONTENT


def test_find_links_without_digests_are_checked_after_the_download(tmp_path, monkeypatch):
    links = tmp_path / "links"
    links.mkdir()
    (links / "toy_data-1.0.zip").write_bytes(b"other")
    (links / "toy_data-1.0.tar.gz").write_bytes(CONTENT)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", f"{links} {tmp_path / 'absent'}")
    assert fetch(tmp_path) == CONTENT


def test_an_extra_index_is_asked_when_the_first_has_nothing(tmp_path, monkeypatch, caplog):
    empty = tmp_path / "empty"
    empty.mkdir()
    url = make_index(tmp_path / "index", "toy-data", {"toy_data-1.0.tar.gz": (CONTENT, None)})
    monkeypatch.setenv("PIP_INDEX_URL", str(empty))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", url)
    assert fetch(tmp_path) == CONTENT
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_warm_cache_needs_no_index_and_a_damaged_one_is_replaced(tmp_path, monkeypatch):
    url = make_index(tmp_path / "index", "toy-data", {"toy_data-1.0.tar.gz": (CONTENT, SHA)})
    monkeypatch.setenv("PIP_INDEX_URL", url)
    fetch(tmp_path)
    monkeypatch.setattr(download, "index_settings", lambda: pytest.fail("the index was asked"))
    assert fetch(tmp_path) == CONTENT
    monkeypatch.undo()
    monkeypatch.setenv("PIP_INDEX_URL", url)
    (cached,) = (tmp_path / "cache" / "archives").iterdir()
    cached.write_bytes(b"half")
    assert fetch(tmp_path) == CONTENT


@pytest.mark.parametrize("stated", [OTHER, None])
def test_another_digest_is_refused_with_both_named_and_nothing_kept(tmp_path, monkeypatch, stated):
    files = {"toy_data-1.0.tar.gz": (b"other", stated)}
    monkeypatch.setenv("PIP_INDEX_URL", make_index(tmp_path / "index", "toy-data", files))
    with pytest.raises(DataError, match=rf"data\.sha256: .*{SHA}: toy_data-1.0.tar.gz has {OTHER}"):
        fetch(tmp_path)
    assert list((tmp_path / "cache" / "archives").iterdir()) == []


def test_a_lying_index_does_not_get_other_bytes_in(tmp_path, monkeypatch):
    files = {"toy_data-1.0.tar.gz": (b"other", SHA)}
    monkeypatch.setenv("PIP_INDEX_URL", make_index(tmp_path / "index", "toy-data", files))
    with pytest.raises(DataError, match=OTHER):
        fetch(tmp_path)


def test_an_unknown_version_and_an_unknown_package_are_told_apart(tmp_path, monkeypatch):
    files = {"toy_data-1.0.1.tar.gz": (CONTENT, SHA)}
    monkeypatch.setenv("PIP_INDEX_URL", make_index(tmp_path / "index", "toy-data", files))
    with pytest.raises(DataError, match=r"data\.package: no version 1.0 of toy-data; did you mean 1.0.1\?"):
        fetch(tmp_path)
    with pytest.raises(DataError, match=r"data\.package: package toys not found .*PIP_INDEX_URL"):
        fetch(tmp_path, "toys==1.0")


def test_no_network_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(
        DataError, match=r"127.0.0.1:9/simple: ConnectError.*PIP_INDEX_URL.*HTTPS_PROXY.*PIP_CERT"
    ):
        fetch(tmp_path)


def test_credentials_in_an_index_url_are_not_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:hunter2@127.0.0.1:9/simple")
    with pytest.raises(DataError) as error:
        fetch(tmp_path)
    assert "hunter2" not in str(error.value)
    assert "***@127.0.0.1" in str(error.value)


LISTING = """\
global.extra-index-url='http://a/simple\\nhttp://b/simple'
global.index-url='http://global/simple'
install.index-url='http://install/simple'
:env:.default-timeout='180'
:env:.trusted-host='a b:8080'
nonsense
"""


def test_pips_listing_is_merged_in_pips_order():
    settings = settings_from(parse_pip_config(LISTING))
    assert settings.index_urls == ("http://install/simple", "http://a/simple", "http://b/simple")
    assert settings.timeout == 180
    assert settings.trusted_hosts == ("a", "b:8080")


def test_no_settings_mean_pypi():
    assert index_settings().index_urls == (PYPI,)


def test_the_real_pip_is_understood(tmp_path, monkeypatch):
    pytest.importorskip("pip")
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://mirror.example/simple\ncert = /some/ca.pem\n")
    monkeypatch.undo()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    settings = index_settings()
    assert settings.index_urls[0] == "https://mirror.example/simple"
    assert settings.cert == "/some/ca.pem"
