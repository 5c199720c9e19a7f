"""What the parts of a protocol's name mean."""

from __future__ import annotations

SOURCE_MEANING = {
    "none": "no training on a source",
    "head": "a head is trained on the source, the encoder stays as pretrained",
    "full": "encoder and head are trained on the source",
    "pairwise": "encoder and heads are trained on source and target together",
    "leave_one_out": "encoder and heads are trained on all sources but one",
    "sequential": "encoder and heads are trained on one source after the other",
    "tfidf": "TF-IDF and logistic regression, trained on the source",
    "copy": "the input as it is",
    "lead": "the input's first sentence",
    "majority": "a constant predictor",
}
TARGET_MEANING = {
    "zero_shot": "the source's head is applied to the target as it is",
    "probe": "a new head is trained on the target over the frozen encoder",
    "finetune": "encoder and a new head are trained further on the target",
}
PREFERENCE = ("before", "alone", "full_set", "pretrained", "head", "tfidf", "lead", "copy", "majority")
"""Baselines by how much they say of the protocol that has them; the first one is in the findings."""

BASELINE_MEANING = {
    "before": "the sequence without its last stage",
    "alone": "the target, or a sequence's last stage, trained alone",
    "full_set": "all sources, with the one that is left out",
    "pretrained": "the pretrained encoder, not trained on the source",
    "head": "a head trained on the source over the frozen pretrained encoder",
    "tfidf": "TF-IDF and logistic regression, no encoder",
    "lead": "the input's first sentence",
    "copy": "the input as it is",
    "majority": "the constant predictor",
}


def leaves_out(protocol: str) -> bool:
    """Whether a gain says what the rest does without a source: below 0 the source helps."""
    return protocol.startswith("leave_one_out/")


def explain(protocol: str) -> str:
    """Return a sentence on a protocol such as ``full/probe`` or ``none/few_shot-8-finetune``."""
    source, _, target = protocol.partition("/")
    stage, *shots = target.split("-")
    text = f"{SOURCE_MEANING[source]}; "
    if stage != "few_shot":
        text += TARGET_MEANING[stage]
    elif not shots:
        text += "compared with few-shot cells"
    else:
        learner = TARGET_MEANING["finetune" if shots[1:] else "probe"]
        text += f"{learner}, from {shots[0]} examples for each label"
    return text[0].upper() + text[1:] + "."


def preference(baseline: str) -> tuple[int, str]:
    """Return by what baselines are sorted, the most telling first."""
    return (PREFERENCE.index(baseline) if baseline in PREFERENCE else len(PREFERENCE), baseline)
