"""XML with one element for each labelled token, as address and name parsers are trained on."""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from sslm_platform.errors import DataError, Problem, suggest


def read_tagged_xml(content: str, item: str, where: str) -> tuple[list[list[str]], list[list[str]]]:
    """Return tokens and tags of every ``item`` element.

    A child element's name is the tag of each of its words. Text between the children that touches a word
    without a space (mostly punctuation) stays with that word; other text between them is tagged ``O``.

    Args:
        content: the document. A document type is refused, and with it every entity of its own.
        item: element name of one example.
        where: the file's name, for messages.

    Raises:
        DataError: not well-formed, a document type, or no such element.
    """
    if "<!DOCTYPE" in content:
        raise DataError(Problem(where, "has a document type (DTD), which is refused; remove it"))
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise DataError(Problem(where, f"not well-formed XML: {error}")) from None
    sentences = [_words(element) for element in root.iter(item)]
    if not sentences:
        names = Counter(element.tag for element in root.iter())
        raise DataError(Problem(where, f"no element {item!r}{suggest(item, names)}"))
    filled = [words for words in sentences if words]
    return [[word for word, _ in words] for words in filled], [[tag for _, tag in words] for words in filled]


def _words(item: Element) -> list[tuple[str, str]]:
    words: list[tuple[str, str]] = []
    touching = False  # whether the text so far ends in a word, without a space
    pieces = [(item.text or "", "O")]
    for child in item:
        pieces += [("".join(child.itertext()), child.tag), (child.tail or "", "O")]
    for text, tag in pieces:
        fresh = text.split()
        if touching and fresh and not text[0].isspace() and "O" in (tag, words[-1][1]):
            word, known = words[-1]
            words[-1] = (word + fresh.pop(0), tag if known == "O" else known)
        words += [(word, tag) for word in fresh]
        touching = bool(words) and (not text[-1].isspace() if text else touching)
    return words
