import sys
import textwrap
from inspect import cleandoc

import pytest

from sslm_platform.data import docstrings
from sslm_platform.data.docstrings import find_docstrings
from sslm_platform.data.prose import prose
from sslm_platform.data.sources import read_source
from sslm_platform.errors import DataError
from sslm_platform.spec.data import DocstringData

NUMPY = """
    Return the :func:`~numpy.sum` of ``a``, *quickly*, as in [1]_.

    The method follows `Knuth <https://example.org>`_::

        x = code(1)

    .. versionadded:: 1.2
       Not prose either.

    Parameters
    ----------
    a : array_like
        Numbers to add.

    Flush with the margin, but still a parameter.

    Notes
    -----
    Rounding is considered here.
    >>> total(1)
    1

    - a list item
    - another

    Examples
    --------
    Some words before code.

    >>> total([1, 2])
    3
"""

GOOGLE = """
    Copies the file.

    Args:
        source: where from.

    Returns:
        The number of bytes.

    Existing files are kept.
    Raises:
        OSError: no space left.
"""


def test_numpy_style_keeps_prose_and_plain_text_of_markup():
    assert prose(cleandoc(NUMPY)) == [
        "Return the numpy.sum of a, quickly, as in.",
        "The method follows Knuth:",
        "Rounding is considered here.",
    ]


def test_google_style_leaves_sections_out():
    assert prose(cleandoc(GOOGLE)) == ["Copies the file.", "Existing files are kept."]


@pytest.mark.parametrize(
    "text",
    [
        ":param x: the number of rows",
        "=====  =====\nA      B",
        ">>> print(1)",
        "| a | b |\n|---|---|",
        "1234",
    ],
)
def test_blocks_that_are_no_prose_are_dropped(text):
    assert prose(text) == []


def test_stars_of_arguments_are_not_emphasis():
    assert prose("Pass *args and **kwargs on.") == ["Pass *args and **kwargs on."]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose import would fail: it must be read, not run."""
    root = tmp_path / "site" / "sslm_toy_package"
    files = {
        "__init__.py": '"""The package, in eight words or rather more."""\nraise SystemExit("imported")',
        "b/__init__.py": '''
            class Thing:
                """A thing that has a docstring of its own here."""

                def method(self):
                    """A method of it, described at some small length too."""

            def twin():
                """A thing that has a docstring of its own here."""
        ''',
        "b/broken.py": "def (:",
        "tests/test_b.py": '"""Tests are left out, however long the docstring may be."""',
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return "sslm_toy_package"


def read(*packages):
    return find_docstrings([*packages], 8, "data")[1]()


def test_a_package_is_read_without_importing_it(package):
    columns = read(package)
    assert list(zip(columns["module"], columns["name"], strict=True)) == [
        ("sslm_toy_package", ""),
        ("sslm_toy_package.b", "Thing"),
        ("sslm_toy_package.b", "Thing.method"),
    ]
    both = zip(columns["summary"], columns["body"], strict=True)
    assert [f"{first} {rest}".strip() for first, rest in both] == columns["text"]
    assert columns["text"][1] == columns["summary"][1] == "A thing that has a docstring of its own here."
    assert package not in sys.modules


def test_a_part_of_a_package_can_be_named(package):
    columns = read(f"{package}.b")
    assert set(columns["module"]) == {"sslm_toy_package.b"}


def test_a_second_call_reads_the_cache_until_a_file_changes(package, tmp_path, monkeypatch):
    def rows():
        data = DocstringData(source="docstrings", packages=[package], min_words=8)
        return read_source(data, base=tmp_path, cache=tmp_path, where="data").parts["all"].to_dict()

    first = rows()
    parsed = []
    original = docstrings._extract
    monkeypatch.setattr(docstrings, "_extract", lambda *args: parsed.append(1) or original(*args))
    assert rows() == first
    assert not parsed
    module = tmp_path / "site" / package / "b" / "__init__.py"
    module.write_text(module.read_text().replace("A method of it", "One method of it"))
    assert rows() != first
    assert len(parsed) == 1


def test_packages_that_cannot_be_read_are_named():
    with pytest.raises(DataError, match=r"data\.packages: package 'sslm_absent' is not installed"):
        find_docstrings(["sslm_absent"], 8, "data")
    with pytest.raises(DataError, match="'_struct' has no Python source"):
        find_docstrings(["_struct"], 8, "data")
