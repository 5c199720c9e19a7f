import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from sslm_platform.data import archive
from sslm_platform.data.archive import read_members
from sslm_platform.errors import DataError


def tar_bytes(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tape:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tape.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zip_bytes(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return out.getvalue()


def read(tmp_path: Path, content: bytes, member: str) -> list[tuple[str, bytes]]:
    path = tmp_path / "pkg-1.0.0123"
    path.write_bytes(content)
    return read_members(path, member, where="data.member")


@pytest.mark.parametrize(
    "make", [tar_bytes, zip_bytes, lambda m: tar_bytes(m, "w"), lambda m: tar_bytes(m, "w:xz")]
)
def test_a_member_is_read_from_every_kind_of_archive(tmp_path, make):
    assert read(tmp_path, make({"p/a.txt": b"A", "p/b.txt": b"B"}), "p/b.txt") == [("p/b.txt", b"B")]


def test_archives_inside_archives_are_opened(tmp_path):
    inner = zip_bytes({"deep/x.csv": b"1"})
    outer = tar_bytes({"p/data.tar": tar_bytes({"in/more.zip": inner}, "w")})
    assert read(tmp_path, outer, "p/data.tar!in/more.zip!deep/x.csv") == [("deep/x.csv", b"1")]


def test_a_glob_matches_in_its_own_folder_in_order_of_name(tmp_path):
    content = tar_bytes({"p/b.xml": b"B", "p/sub/c.xml": b"C", "p/a.xml": b"A", "p/a.csv": b""})
    assert read(tmp_path, content, "p/*.xml") == [("p/a.xml", b"A"), ("p/b.xml", b"B")]


def test_a_tar_that_ends_with_a_zip_is_read_as_a_tar(tmp_path):
    content = tar_bytes({"a.zip": zip_bytes({"inside": b"1"})}, "w")
    assert read(tmp_path, content, "a.zip!inside") == [("inside", b"1")]


@pytest.mark.parametrize("member", ["../etc/passwd", "/etc/passwd", "a.zip!../x", "a/../../x", "a!!b", ""])
def test_paths_that_leave_the_archive_are_refused(tmp_path, member):
    with pytest.raises(DataError, match=r"data\.member: .* is not a path inside an archive"):
        read(tmp_path, tar_bytes({"../etc/passwd": b"root"}), member)


def test_a_member_that_would_leave_the_archive_never_matches_a_glob(tmp_path):
    with pytest.raises(DataError, match=r"no member '\*'"):
        read(tmp_path, tar_bytes({"../evil": b"1", "/evil": b"2"}), "*")


def test_links_are_not_followed(tmp_path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tape:
        info = tarfile.TarInfo("p/link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tape.addfile(info)
    with pytest.raises(DataError, match=r"'p/link' in pkg-1.0.0123 is a link or device"):
        read(tmp_path, out.getvalue(), "p/link")


def test_a_missing_member_suggests_the_nearest(tmp_path):
    with pytest.raises(
        DataError, match=r"no member 'p/lables.xml' in pkg-1.0.0123; did you mean p/labels.xml\?"
    ):
        read(tmp_path, tar_bytes({"p/labels.xml": b"", "p/setup.py": b""}), "p/lables.xml")


@pytest.mark.parametrize("make", [tar_bytes, zip_bytes])
def test_a_member_over_the_limit_is_refused(tmp_path, monkeypatch, make):
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 1000)
    assert read(tmp_path, make({"bomb": bytes(1000)}), "bomb")[0][1] == bytes(1000)
    with pytest.raises(DataError, match="'bomb' exceeds 1000 bytes"):
        read(tmp_path, make({"bomb": bytes(1001)}), "bomb")


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"no archive at all", lambda b: b""]
)
def test_a_damaged_archive_is_an_error_of_the_data(tmp_path, damage):
    content = tar_bytes({"a": bytes(range(256)) * 500})
    with pytest.raises(DataError, match="damaged or no archive"):
        read(tmp_path, damage(content), "a")


def test_a_file_that_is_only_gzipped_is_no_archive(tmp_path):
    with pytest.raises(DataError, match="damaged or no archive"):
        read(tmp_path, gzip.compress(b"text"), "text")
