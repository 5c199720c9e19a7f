"""Every check of heads fails on a head that breaks its rule."""

import dataclasses

import numpy as np
import pytest
import torch
from sslm_generation.decoder import Decoder
from sslm_generation.options import DecoderOptions
from sslm_heads.choice import ChoiceScorer
from sslm_heads.electra import ReplacedTokenDetector
from sslm_heads.embedding import Embedding
from sslm_heads.lm import LanguageModelHead
from sslm_heads.options import (
    ChoiceOptions,
    ElectraOptions,
    EmbeddingOptions,
    MultilabelOptions,
    SequenceOptions,
    TokenOptions,
)
from sslm_heads.sequence import MultilabelClassifier, SequenceClassifier
from sslm_heads.token import TokenClassifier
from torch import nn

from sslm_platform.plugins import host
from sslm_platform.testing import decision_checks, head_cases
from sslm_platform.testing import head_checks as checks
from sslm_platform.testing.cases import Case


class ParametersInFeatures(SequenceClassifier):
    def __init__(self, *args):
        super().__init__(*args)
        self.scale = nn.Parameter(torch.randn(()))

    def features(self, hidden_BLD, mask_BL, targets):
        return super().features(hidden_BLD, mask_BL, targets) * self.scale


class DropoutInFeatures(SequenceClassifier):
    def features(self, hidden_BLD, mask_BL, targets):
        return nn.functional.dropout(super().features(hidden_BLD, mask_BL, targets), training=self.training)


class OneLabelTooMany(SequenceClassifier):
    def forward(self, features):
        return nn.functional.pad(super().forward(features), (0, 1))


class ReadsPadding(SequenceClassifier):
    def features(self, hidden_BLD, mask_BL, targets):
        return hidden_BLD.mean(dim=1)


class Centred(SequenceClassifier):
    def forward(self, features):
        return super().forward(features - features.mean(dim=0))


class IdleParameter(SequenceClassifier):
    def __init__(self, *args):
        super().__init__(*args)
        self.idle = nn.Parameter(torch.zeros(3))


class ConstantOnTheCpu(SequenceClassifier):
    def forward(self, features):
        return super().forward(features) * torch.arange(3.0)


class AlwaysDropout(SequenceClassifier):
    def forward(self, features):
        return super().forward(nn.functional.dropout(features, training=True))


class HiddenState(SequenceClassifier):
    def __init__(self, *args):
        super().__init__(*args)
        self.scale = torch.randn(())  # no buffer: lost on save

    def forward(self, features):
        return super().forward(features) * self.scale


class TensorPredictions(SequenceClassifier):
    def predict(self, outputs, targets, num_examples):
        return list(outputs.argmax(dim=-1))


class ForgetsCutOffWords(TokenClassifier):
    def predict(self, outputs, targets, num_examples):
        predictions = super().predict(outputs, targets, num_examples)
        return [p[: int((targets["example"] == i).sum())] for i, p in enumerate(predictions)]


class ReadsAtExamples(TokenClassifier):
    def features(self, hidden_BLD, mask_BL, targets):
        return super().features(hidden_BLD, mask_BL, {**targets, "row": targets["example"]})


class NeedsRows(LanguageModelHead):
    def predict(self, outputs, targets, num_examples):
        return super().predict(outputs, targets, num_examples) if len(outputs) else []


class OneText(Decoder):
    def generate(self, *args):
        return super().generate(*args)[:1]


class GlobalChance(Decoder):
    def generate(self, *args):
        torch.rand(())
        return super().generate(*args)


class MixesExamples(Decoder):
    def generate(self, hidden_BLD, *args):
        return super().generate(hidden_BLD * (len(hidden_BLD) - 2), *args)


class AttendsToPadding(Decoder):
    def generate(self, hidden_BLD, mask_BL, *args):
        return super().generate(hidden_BLD, torch.ones_like(mask_BL), *args)


class StopsAlone(Decoder):
    def generate(self, hidden_BLD, mask_BL, generators, goes_on):
        return super().generate(hidden_BLD, mask_BL, generators, lambda unfinished: unfinished)


class NeverStops(Decoder):
    def generate(self, hidden_BLD, mask_BL, generators, goes_on):
        return super().generate(
            hidden_BLD, mask_BL, generators, lambda unfinished: goes_on(unfinished) or True
        )


class PutsInMore(ReplacedTokenDetector):
    def rewrite(self, input_ids_BL, mask_BL, targets):
        ids_BL, changed = super().rewrite(input_ids_BL, mask_BL, targets)
        return ids_BL.index_fill(1, torch.tensor([0]), 9), changed


class SeesPadding(ReplacedTokenDetector):
    def rewrite(self, input_ids_BL, mask_BL, targets):
        draw = (targets["draw"] + mask_BL.shape[1] / 7) % 1.0
        return super().rewrite(input_ids_BL, mask_BL, {**targets, "draw": draw})


class TunesToOthers(MultilabelClassifier):
    def tune(self, scored):
        super().tune(scored)
        return [score + 1.0 for score in scored.scores]


class DecidesOtherwise(MultilabelClassifier):
    def predict(self, outputs, targets, num_examples):
        return [ids[:0] for ids in super().predict(outputs, targets, num_examples)]


class ForgetsItsThreshold(MultilabelClassifier):
    def tune(self, scored):
        self.kept = float(np.stack(scored.scores).max()) + 1

    def decide(self, scores):
        return [np.flatnonzero(score >= getattr(self, "kept", 0.0)) for score in scores]


class TunesByTheFirst(MultilabelClassifier):
    def tune(self, scored):
        self.threshold.fill_(scored.scores[0].max())


class ChoosesTwice(ChoiceScorer):
    def predict(self, outputs, targets, num_examples):
        return [np.zeros_like(order) for order in super().predict(outputs, targets, num_examples)]


class WholeNumbers(Embedding):
    def predict(self, outputs, targets, num_examples):
        return [vector.astype(int) for vector in super().predict(outputs, targets, num_examples)]


OPTIONS = {
    "multilabel_classifier": MultilabelOptions(),
    "choice_scorer": ChoiceOptions(),
    "embedding": EmbeddingOptions(),
    "sequence_classifier": SequenceOptions(dropout=0),
    "token_classifier": TokenOptions(),
    "decoder": DecoderOptions(width=16),
    "electra": ElectraOptions(heads=2, width=8),
}


def case_of(name, broken):
    """Return a case of a built-in head, built by a broken class instead."""
    definition = host().registry.heads.get(name).definition
    before = (OPTIONS[name],) if name in OPTIONS else ()
    broken_definition = dataclasses.replace(definition, build=lambda _, context: broken(*before, context))
    return Case(broken_definition, {}, definition.emits)


TWINS = [
    (checks.check_predictions, "choice_scorer", ChoosesTwice, "is no order of"),
    (checks.check_predictions, "embedding", WholeNumbers, "a vector is of floats"),
    (
        checks.check_features_have_no_parameters,
        "sequence_classifier",
        ParametersInFeatures,
        "uses parameters",
    ),
    (checks.check_features_have_no_parameters, "sequence_classifier", DropoutInFeatures, "chance"),
    (checks.check_output_shape, "sequence_classifier", OneLabelTooMany, r"got \(5, 4\)"),
    (checks.check_padding_is_not_read, "sequence_classifier", ReadsPadding, "use mask_BL"),
    (checks.check_batch_is_not_read, "sequence_classifier", Centred, "rest of the batch"),
    (checks.check_every_parameter_learns, "sequence_classifier", IdleParameter, "idle gets no gradient"),
    (checks.check_eval_is_deterministic, "sequence_classifier", AlwaysDropout, "from call to call"),
    (checks.check_state_dict_round_trip, "sequence_classifier", HiddenState, "restored head"),
    (checks.check_device, "sequence_classifier", ConstantOnTheCpu, "keep constants in a head"),
    (checks.check_predictions, "sequence_classifier", TensorPredictions, "is an int; got Tensor"),
    (checks.check_predictions, "token_classifier", ForgetsCutOffWords, "words cut off included"),
    (checks.check_generates_texts, "decoder", OneText, "1 texts of 5 examples"),
    (checks.check_generates_texts, "decoder", GlobalChance, "torch's generator"),
    (checks.check_texts_depend_on_their_example_alone, "decoder", MixesExamples, "rest of the batch"),
    (checks.check_texts_depend_on_their_example_alone, "decoder", AttendsToPadding, "use mask_BL"),
    (checks.check_steps_are_agreed_on, "decoder", StopsAlone, "allowed 1"),
    (checks.check_steps_are_agreed_on, "decoder", NeverStops, "allowed 1"),
    (
        decision_checks.check_decisions_are_predictions,
        "multilabel_classifier",
        DecidesOtherwise,
        "decide says",
    ),
    (decision_checks.check_threshold_is_saved, "multilabel_classifier", ForgetsItsThreshold, "in a buffer"),
    (
        decision_checks.check_tune_ignores_order,
        "multilabel_classifier",
        TunesByTheFirst,
        "threshold depends on the order",
    ),
    (decision_checks.check_tuned_scores, "multilabel_classifier", TunesToOthers, "others than tune"),
    (checks.check_windows_are_read, "token_classifier", ReadsAtExamples, "not read at targets"),
    (checks.check_no_targets, "lm", NeedsRows, "has a prediction too"),
    (checks.check_rewrites_what_is_hidden, "electra", PutsInMore, "that was not hidden is another"),
    (checks.check_rewrites_what_is_hidden, "electra", SeesPadding, "depends on padding"),
]


@pytest.mark.parametrize(
    ("check", "name", "broken", "message"), TWINS, ids=lambda v: getattr(v, "__name__", None)
)
def test_check_fails_on_a_broken_head(check, name, broken, message):
    with pytest.raises(AssertionError, match=message):
        check(case_of(name, broken))


def test_every_check_has_a_twin():
    assert {check for check, *_ in TWINS} == {
        *checks.ANY_HEAD,
        *checks.PREDICTING_HEAD,
        *checks.GENERATING_HEAD,
        *checks.DECIDING_HEAD,
        checks.check_no_targets,
        checks.check_windows_are_read,
        checks.check_rewrites_what_is_hidden,
    }


def test_head_that_is_no_module_is_refused():
    with pytest.raises(AssertionError, match=r"is a torch\.nn\.Module; got int"):
        head_cases.build(case_of("sequence_classifier", lambda *_: 3))
