"""Every check of objectives fails on an objective that breaks its rule, with its own message."""

import dataclasses

import numpy as np
import pytest
import torch
from sslm_objectives.contrastive.future import ContrastivePredictiveCoding
from sslm_objectives.contrastive.ranking import ChoiceCrossEntropy
from sslm_objectives.contrastive.simcse import SimCSE
from sslm_objectives.cross_entropy import SequenceCrossEntropy, TokenCrossEntropy
from sslm_objectives.halves import SentenceOrder
from sslm_objectives.mlm import MaskedLanguageModelling
from sslm_objectives.next_token import CausalLanguageModelling, PrefixLanguageModelling

from sslm_platform.kinds import AttentionPattern, Field, FieldKind, OutputKind
from sslm_platform.plugins import host
from sslm_platform.testing import objective_checks as checks
from sslm_platform.testing.cases import Case
from sslm_platform.types import ObjectiveDef

ROWS = ("labels", "example", "position", "word")


def change(batch, **targets):
    return dataclasses.replace(batch, targets={**batch.targets, **targets})


class NegativeWeights(SequenceCrossEntropy):
    def collate(self, examples, generators):
        return dataclasses.replace(super().collate(examples, generators), weight_B=-torch.ones(len(examples)))


class NoLabels(SequenceCrossEntropy):
    def collate(self, examples, generators):
        return dataclasses.replace(super().collate(examples, generators), targets={})


class ForgetsCutOffWords(TokenCrossEntropy):
    def collate(self, examples, generators):
        batch = super().collate(examples, generators)
        seen_B = torch.bincount(batch.targets["example"], minlength=len(examples))
        return change(batch, num_words=seen_B)


class PositionOfSpecialToken(TokenCrossEntropy):
    def collate(self, examples, generators):
        batch = super().collate(examples, generators)
        return change(batch, position=torch.zeros_like(batch.targets["position"]))


class BeyondTheExample(MaskedLanguageModelling):
    def collate(self, examples, generators):
        batch = super().collate(examples, generators)
        return change(batch, position=batch.targets["position"] + 50)


class OwnGenerator(MaskedLanguageModelling):
    """Draws from a generator of its own, so the second call differs from the first."""

    def __init__(self, *args):
        super().__init__(*args)
        self.rng = np.random.default_rng(0)

    def collate(self, examples, generators):
        return super().collate(examples, [self.rng] * len(examples))


class GlobalGenerator(SequenceCrossEntropy):
    def collate(self, examples, generators):
        torch.rand(1)
        return super().collate(examples, generators)


class WritesIntoExamples(MaskedLanguageModelling):
    def collate(self, examples, generators):
        batch = super().collate(examples, generators)
        for example, ids_L in zip(examples, batch.input_ids, strict=True):
            example.input_ids_L[:] = ids_L
        return batch


class FirstCountsTwice(SequenceCrossEntropy):
    def losses(self, outputs, targets, num_examples):
        return super().losses(outputs, targets, num_examples) * (1.0 + (torch.arange(num_examples) == 0))


class BatchMean(SequenceCrossEntropy):
    def losses(self, outputs, targets, num_examples):
        return super().losses(outputs, targets, num_examples) / num_examples


class Scalar(SequenceCrossEntropy):
    def losses(self, outputs, targets, num_examples):
        return super().losses(outputs, targets, num_examples).mean()


class WeightsOnTheCpu(SequenceCrossEntropy):
    def losses(self, outputs, targets, num_examples):
        return super().losses(outputs, targets, num_examples) * torch.ones(num_examples)


class Detached(SequenceCrossEntropy):
    def losses(self, outputs, targets, num_examples):
        return super().losses(outputs.detach(), targets, num_examples)


class ExampleMean(TokenCrossEntropy):
    """The usual mistake: mean over an example's words, while the weight counts words."""

    def losses(self, outputs, targets, num_examples):
        counts_B = torch.bincount(targets["example"], minlength=num_examples).clamp(min=1)
        return super().losses(outputs, targets, num_examples) / counts_B


class NeverWeighsNothing(MaskedLanguageModelling):
    def collate(self, examples, generators):
        batch = super().collate(examples, generators)
        return dataclasses.replace(batch, weight_B=batch.weight_B.clamp(min=1))


class Unchanged(MaskedLanguageModelling):
    def collate(self, examples, generators):
        return dataclasses.replace(super().collate(examples, generators), input_ids=None)


class MasksSpecialTokens(MaskedLanguageModelling):
    def _choose(self, example, rng):
        places = np.arange(len(example.input_ids_L))
        return places, places


class PrefixOfNothing(PrefixLanguageModelling):
    def collate(self, examples, generators):
        batch = super().collate(examples, generators)
        return dataclasses.replace(batch, prefix_B=torch.zeros_like(batch.prefix_B))


class ShowsItsTargets(PrefixLanguageModelling):
    """The whole text as the prefix: every target is seen."""

    def collate(self, examples, generators):
        lengths = torch.tensor([len(example.input_ids_L) for example in examples])
        return dataclasses.replace(super().collate(examples, generators), prefix_B=lengths)


class ReadsTheTargetItself(CausalLanguageModelling):
    def batch(self, examples, places):
        batch = super().batch(examples, places)
        return change(batch, position=batch.targets["position"] + 1)


class AlwaysOrdered(SentenceOrder):
    def pair(self, example, halves, label):
        return halves

    def collate(self, examples, generators):
        batch = super().collate(examples, generators)
        return change(batch, labels=torch.zeros_like(batch.targets["labels"]))


class LongerPairs(SentenceOrder):
    """Doubles a text, so that it is longer than what its batch was planned with."""

    def pair(self, example, halves, label):
        return np.concatenate(halves), np.concatenate(halves)


class NoSeparator(SentenceOrder):
    def collate(self, examples, generators):
        batch = super().collate(examples, generators)
        ids = [ids_L[:1] for ids_L in batch.input_ids]
        return dataclasses.replace(batch, input_ids=ids, segments=[s[:1] for s in batch.segments])


class ForgottenSegments(SentenceOrder):
    def collate(self, examples, generators):
        batch = super().collate(examples, generators)
        return dataclasses.replace(batch, segments=[s[:-1] for s in batch.segments])


def case_of(name, broken=None, kind=None, **changes):
    """Return a case of a built-in objective, built by a broken class instead."""
    definition = host().registry.objectives.get(name).definition
    if broken is not None:
        reads = {
            "mlm": slice(2),
            "clm": slice(1, 2),
            "prefix_lm": slice(1, 2),
            "cross_entropy": slice(0, 3, 2),
        }
        wanted = (reads | {"sop": slice(1, 2)}).get(name, slice(1))
        changes["build"] = lambda o, context: broken(*(o, context.vocabulary, context)[wanted])
    return Case(dataclasses.replace(definition, **changes), {}, kind or next(iter(definition.needs)))


def choice_case(broken):
    definition = host().registry.objectives.get("choice_cross_entropy").definition
    changed = dataclasses.replace(definition, build=lambda options, context: broken())
    return Case(changed, {}, OutputKind.CHOICE_LOGITS)


class OneRowEach(TokenCrossEntropy):
    def collate(self, examples, generators):
        batch = super().collate(examples, generators)
        return dataclasses.replace(batch, targets={**batch.targets, "row": batch.targets["example"]})


def token_case(broken):
    return case_of("cross_entropy", broken, OutputKind.TOKEN_LOGITS)


TEXT_AND_TOKENS = {"text": Field(FieldKind.TEXT), "tokens": Field(FieldKind.TOKENS)}


class BeyondItsRow(SimCSE):
    def collate(self, examples, generators):
        batch = super().collate(examples, generators)
        return change(batch, end=batch.targets["end"] + 9)


class TakesInSpecialTokens(SimCSE):
    def collate(self, examples, generators):
        batch = super().collate(examples, generators)
        return change(batch, start=torch.zeros_like(batch.targets["start"]))


class LongRows(SimCSE):
    def collate(self, examples, generators):
        batch = super().collate(examples, generators)
        return dataclasses.replace(batch, windows=[window_S[:1] for window_S in batch.windows])


class NoCalls(SimCSE):
    def collate(self, examples, generators):
        return dataclasses.replace(super().collate(examples, generators), calls=None)


class CallsFromOne(SimCSE):
    def collate(self, examples, generators):
        batch = super().collate(examples, generators)
        return dataclasses.replace(batch, calls=[call_S + 1 for call_S in batch.calls])


class SecondCallOnly(ContrastivePredictiveCoding):
    def collate(self, examples, generators):
        batch = super().collate(examples, generators)
        return dataclasses.replace(batch, calls=[np.ones_like(call_S) for call_S in batch.calls])


class NoneRight(ChoiceCrossEntropy):
    def collate(self, examples, generators):
        batch = super().collate(examples, generators)
        return change(batch, labels=torch.zeros_like(batch.targets["labels"]))


TWINS = [
    (
        checks.check_needs_name_one_input,
        case_of("mse", needs={OutputKind.SEQUENCE_VALUES: TEXT_AND_TOKENS}),
        "exactly one kind of input",
    ),
    (checks.check_weights, case_of("cross_entropy", NegativeWeights), "negative"),
    (checks.check_targets_convention, case_of("cross_entropy", NoLabels), "no 'labels'"),
    (checks.check_targets_convention, token_case(ForgetsCutOffWords), "words cut off"),
    (checks.check_targets_convention, token_case(PositionOfSpecialToken), "first token"),
    (checks.check_targets_convention, case_of("mlm", BeyondTheExample), "beyond its example"),
    (checks.check_word_windows, token_case(OneRowEach), "windows of the examples before"),
    (checks.check_same_generators_same_batch, case_of("mlm", OwnGenerator), "another batch"),
    (checks.check_same_generators_same_batch, case_of("cross_entropy", GlobalGenerator), "global"),
    (checks.check_examples_stay_unchanged, case_of("mlm", WritesIntoExamples), "wrote into input_ids"),
    (checks.check_batch_order, case_of("cross_entropy", FirstCountsTwice), "depend on the order"),
    (checks.check_additive, case_of("cross_entropy", BatchMean), "additive=False"),
    (checks.check_losses_shape, case_of("cross_entropy", Scalar), r"losses are \(\)"),
    (checks.check_losses_are_differentiable, case_of("cross_entropy", Detached), "no gradient"),
    (checks.check_device, case_of("cross_entropy", WeightsOnTheCpu), "where the inputs are"),
    (checks.check_losses_are_sums, token_case(ExampleMean), "not sums over targets"),
    (checks.check_example_without_targets, case_of("mlm", NeverWeighsNothing), "must weigh 0"),
    (checks.check_changed_input, case_of("mlm", Unchanged), "gives no input_ids"),
    (checks.check_changed_input, case_of("mlm", changes_input=False), "declare changes_input=True"),
    (checks.check_changed_input, case_of("mlm", MasksSpecialTokens), "a special token changed"),
    (checks.check_special_tokens_are_no_targets, case_of("mlm", MasksSpecialTokens), "special token is a"),
    (checks.check_changed_input, case_of("sop", LongerPairs), "an example got longer"),
    (checks.check_changed_input, case_of("sop", NoSeparator), "a special token is gone"),
    (checks.check_changed_input, case_of("sop", ForgottenSegments), "not as long as their input_ids"),
    (checks.check_targets_convention, case_of("simcse", BeyondItsRow), "are not in a row"),
    (checks.check_vectors_are_of_text, case_of("simcse", TakesInSpecialTokens), "takes in a special token"),
    (checks.check_changed_input, case_of("simcse", LongRows), "is made of a text of"),
    (checks.check_encoder_calls, case_of("simcse", NoCalls), "gives no calls"),
    (checks.check_encoder_calls, case_of("simcse", encoder_calls=1), "declare encoder_calls"),
    (checks.check_encoder_calls, case_of("simcse", CallsFromOne), "there are 2, from 0"),
    (checks.check_encoder_calls, case_of("cpc", SecondCallOnly), "reads nothing of an example"),
    (checks.check_targets_convention, choice_case(NoneRight), "one candidate of each example is right"),
    (checks.check_labels, case_of("sop", AlwaysOrdered), "not the ids of ordered, swapped"),
    (checks.check_prefix, case_of("clm", attention=AttentionPattern.PREFIX), "gives no prefix_B"),
    (checks.check_prefix, case_of("prefix_lm", attention=AttentionPattern.CAUSAL), "declare attention"),
    (checks.check_prefix, case_of("prefix_lm", PrefixOfNothing), "must be 1 to the number of tokens"),
    (checks.check_targets_are_not_seen, case_of("prefix_lm", ShowsItsTargets), "inside the prefix"),
    (checks.check_targets_are_not_seen, case_of("clm", ReadsTheTargetItself), "not the token after"),
    (
        checks.check_targets_are_not_seen,
        case_of("mlm", BeyondTheExample, attention=AttentionPattern.CAUSAL),
        "nothing follows",
    ),
]


@pytest.mark.parametrize(
    ("check", "case", "message"), TWINS, ids=lambda value: getattr(value, "__name__", None)
)
def test_check_fails_on_a_broken_objective(check, case, message):
    with pytest.raises(AssertionError, match=message):
        check(case)


def test_every_check_has_a_twin():
    every = (
        *checks.ANY_OBJECTIVE,
        *checks.ADDITIVE_OBJECTIVE,
        *checks.ROW_OBJECTIVE,
        *checks.GENERATING_OBJECTIVE,
        *checks.VECTOR_OBJECTIVE,
        checks.check_word_windows,
    )
    assert {check for check, _, _ in TWINS} == set(every)


def test_objective_that_is_not_additive_is_exempt():
    case = case_of("cross_entropy", BatchMean, additive=False)
    assert checks.check_additive not in checks.objective_checks(case)
    assert isinstance(case.definition, ObjectiveDef)
