import pytest

from sslm_platform.plugins import host
from sslm_platform.testing import checks_of, parametrize_with_checks

VARIANTS = [
    {"pooling": pooling, "hidden_layer": hidden}
    for pooling in ("mean", "cls", "max", "markers")
    for hidden in (False, True)
]


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: "-".join(str(v) for v in o.values()))
@pytest.mark.parametrize("name", ["sequence_classifier", "sequence_regressor"])
def test_sequence_heads(name, options):
    for check in checks_of(host().registry.heads.get(name).definition, options):
        check()


@pytest.mark.parametrize("alignment", ["first", "mean", "last"])
def test_token_classifier(alignment):
    for check in checks_of(
        host().registry.heads.get("token_classifier").definition, {"alignment": alignment}
    ):
        check()


@parametrize_with_checks("lm")
def test_lm(check):
    check()


@parametrize_with_checks("multilabel_classifier")
def test_multilabel_classifier(check):
    check()


@parametrize_with_checks("ordinal_classifier", options={"order": ["negative", "neutral", "positive"]})
def test_ordinal_classifier(check):
    check()


@parametrize_with_checks("span_extractor")
def test_span_extractor(check):
    check()


@parametrize_with_checks("electra")
def test_electra(check):
    check()


EMBEDDINGS = [
    {"pooling": pooling, "projection": projection, "steps": steps}
    for pooling in ("mean", "cls")
    for projection, steps in (("none", 0), ("linear", 1), ("mlp", 1))
]


@pytest.mark.parametrize("options", EMBEDDINGS, ids=lambda o: "-".join(str(v) for v in o.values()))
def test_embedding(options):
    for check in checks_of(host().registry.heads.get("embedding").definition, options):
        check()


@parametrize_with_checks("bi_encoder")
def test_bi_encoder(check):
    check()


@parametrize_with_checks("choice_scorer")
def test_choice_scorer(check):
    check()
