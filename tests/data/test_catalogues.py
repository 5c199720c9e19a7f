"""Gettext's catalogues against Python's own reader."""

import gettext
import io
import struct

import pytest

from sslm_platform.data.catalogues import read_catalogue
from sslm_platform.errors import DataError

MESSAGES = {
    b"": b"Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=1; plural=0;\n",
    b"Cancel": "取消".encode(),
    b"verb\x04Open": "打开".encode(),
    b"%d file\0%d files": "%d 个文件".encode(),
    b"Not yet": b"",
}


def compiled(messages, order="<"):
    """Write a catalogue as the gettext manual describes it."""
    keys = sorted(messages)
    offset = 28 + 16 * len(keys)
    tables, texts = [], b""
    for text in [*keys, *(messages[key] for key in keys)]:
        tables.append(struct.pack(f"{order}2I", len(text), offset + len(texts)))
        texts += text + b"\0"
    head = struct.pack(f"{order}7I", 0x950412DE, 0, len(keys), 28, 28 + 8 * len(keys), 0, offset)
    return head + b"".join(tables) + texts


@pytest.mark.parametrize("order", ["<", ">"])
def test_rows_are_what_gettext_translates(order):
    content = compiled(MESSAGES, order)
    columns = read_catalogue(content, "django.mo")
    translations = gettext.GNUTranslations(io.BytesIO(content))
    rows = list(zip(columns["source"], columns["target"], columns["context"], strict=True))
    assert {source for source, _, _ in rows} == {"Cancel", "Open", "%d file"}
    for source, target, context in rows:
        if context is not None:
            expected = translations.pgettext(context, source)
        else:
            expected = (
                translations.ngettext(source, source, 1) if "%d" in source else translations.gettext(source)
            )
        assert target == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + b"\0" * 40, "django.mo: not a gettext catalogue: it does not begin with the magic"),
        (b"\xde", "not a gettext catalogue"),
        (compiled(MESSAGES)[:-40], "goes beyond its end"),
        (compiled({b"": b"charset=klingon", b"a": b"b"}), "not a gettext catalogue: unknown encoding"),
    ],
)
def test_what_is_no_catalogue_is_refused(content, message):
    with pytest.raises(DataError, match=message):
        read_catalogue(content, "django.mo")
