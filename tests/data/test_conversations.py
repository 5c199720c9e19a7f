import pytest

from sslm_platform.data.conversations import read_conversations
from sslm_platform.errors import DataError

CORPUS = """
categories:
- science
conversations:
- - what is 6 x 7
  - 42
  - are you  sure,
    really?
- - 你好
  - 你好啊
- - alone
"""


def test_each_reply_has_the_turn_before_and_all_before():
    assert read_conversations(CORPUS, "science.yml") == {
        "text": ["what is 6 x 7", "42", "你好"],
        "history": ["what is 6 x 7", "what is 6 x 7\n42", "你好"],
        "reply": ["42", "are you sure, really?", "你好啊"],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "science.yml: not YAML: while parsing"),
        ("- a", "science.yml: has no list `conversations`"),
        ("conversations: [hello]", "science.yml: conversation 1: expected a list of turns; got 'hello'"),
        ("conversations: [[a, {b: c}]]", "conversation 1: expected a text; got {'b': 'c'}: put quotes"),
    ],
)
def test_what_is_no_conversation_is_refused(content, message):
    with pytest.raises(DataError, match=message):
        read_conversations(content, "science.yml")
