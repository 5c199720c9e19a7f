"""Questions with answers in a context, as data sets write them, to rows."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from sslm_platform.errors import DataError, Problem

_SPAN = re.compile(r"\((\d+), *(\d+)\)")
_SUBJQA_COLUMNS = (
    "human_ans_indices",
    "human_ans_spans",
    "review",
    "q_review_id",
    "item_id",
    "question",
)
_UNANSWERABLE = "ANSWERNOTFOUND"


def squad_rows(text: str, where: str) -> Iterator[dict[str, Any]]:
    """Parse SQuAD's JSON (Rajpurkar et al. 2016); a question that ``is_impossible`` has no answers.

    Raises:
        DataError: the text is no JSON of that form.
    """
    try:
        for article in json.loads(text)["data"]:
            for number, paragraph in enumerate(article["paragraphs"]):
                for one in paragraph["qas"]:
                    found = [] if one.get("is_impossible") else one["answers"]
                    answers = {(a["answer_start"], a["text"]) for a in found}
                    yield {
                        "id": one["id"],
                        "title": article.get("title"),
                        "paragraph": f"{article.get('title')}#{number}",
                        "question": one["question"],
                        "context": paragraph["context"],
                        "answers": [{"text": text, "start": start} for start, text in sorted(answers)],
                    }
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        form = "data[].paragraphs[].{context, qas[].{id, question, answers[].{text, answer_start}}}"
        raise DataError(Problem(where, f"expected {form}: {error!r}")) from None


def subjqa_rows(lines: Iterable[str], where: str) -> Iterator[dict[str, Any]]:
    """Parse SubjQA's CSV (Bjerva et al. 2020): the indices say where in the review the answer is.

    Raises:
        DataError: a row has no indices of that form, with the line.
    """
    reader = csv.DictReader(lines)
    if missing := [name for name in _SUBJQA_COLUMNS if name not in (reader.fieldnames or ())]:
        raise DataError(Problem(where, f"not SubjQA's CSV: no column {missing[0]!r}"))
    for row in reader:
        place = f"{where}:{reader.line_num}"
        span = _SPAN.fullmatch(row.get("human_ans_indices") or "")
        if span is None:
            what = f"no human_ans_indices (start, end): {row.get('human_ans_indices')!r}"
            raise DataError(Problem(place, what))
        start, end = int(span[1]), int(span[2])
        review = row["review"].removesuffix(_UNANSWERABLE).rstrip()  # annotators were shown it as text
        text = review[start:end]
        is_answer = row["human_ans_spans"] != _UNANSWERABLE and text.strip()
        yield {
            "id": row["q_review_id"],
            "item": row["item_id"],
            "question": row["question"],
            "context": review,
            "answers": [{"text": text, "start": start}] if is_answer else [],
        }
