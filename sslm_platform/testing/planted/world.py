"""A world of synthetic tasks, and what each of them must do for each other by the world's definition.

Texts are made-up words: some *cues*, whose polarity is the label, among fillers that say nothing. A task is
what its training texts teach of cues, and which cues its test texts ask about. Spelling says nothing of
polarity, so that nobody can know a cue that no training text showed: what a source does for a target follows
from the overlap of two word lists, before any model is trained.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np

from sslm_platform.report.predictions import Pair
from sslm_platform.spec.data import SplitName

Lexicon = Mapping[int, int]
"""Number of a cue to its polarity, 1 or -1."""

LABELS = {1: "good", -1: "bad"}
SPLITS: tuple[SplitName, ...] = ("train", "dev", "test")
NUM_FILLERS = 30
SYLLABLES = tuple("".join(pair) for pair in itertools.product("bdfghjklmnprstvwz", "aeiou"))


@dataclass(frozen=True, slots=True)
class PlantedTask:
    """One task.

    Attributes:
        name: task's name.
        domain: its domain.
        taught: cues of its training and dev texts.
        asked: cues of its test texts.
        coin: labels are drawn by a coin, whatever the cues: there is nothing to learn or to know.
        group: tasks of one group help each other.
    """

    name: str
    domain: str
    taught: Lexicon
    asked: Lexicon
    coin: bool = False
    group: str = ""

    @property
    def identity(self) -> str:
        """The task's name in a run."""
        return f"{self.name}@{self.domain}"

    @property
    def teaches(self) -> Lexicon:
        """What can be learned of it."""
        return {} if self.coin else self.taught


@dataclass(frozen=True, slots=True)
class World:
    """Tasks, and how they are measured: with the source's head, or with a new one (``full/...``).

    With ``probe`` no task is asked about what it teaches: without a source it is at chance.

    Attributes:
        tasks: the tasks.
        target_stage: of the protocol whose gains are planted.
        seed: of the texts.
        sizes: rows of each split; even, as both labels are equally frequent in each.
        num_cues: in each text.
        num_fillers: in each text.
    """

    tasks: tuple[PlantedTask, ...]
    target_stage: Literal["zero_shot", "probe"]
    seed: int = 0
    sizes: tuple[int, int, int] = (360, 60, 240)
    num_cues: int = 2
    num_fillers: int = 3

    def __post_init__(self) -> None:
        assert all(size % 2 == 0 for size in self.sizes)
        if self.target_stage == "probe":
            assert not any(set(task.teaches) & set(task.asked) for task in self.tasks)

    @property
    def protocol(self) -> str:
        """Name of the protocol in matrices."""
        return f"full/{self.target_stage}"

    @property
    def baseline(self) -> str:
        """What gains are over; it is at chance by the world's definition."""
        return "majority" if self.target_stage == "zero_shot" else "pretrained"

    @property
    def effects(self) -> dict[Pair, float]:
        """Gain in accuracy of a perfect learner, for each pair of a source and another task as target."""
        return {
            (source.identity, target.identity): self._effect(source, target)
            for source, target in itertools.permutations(self.tasks, 2)
        }

    @property
    def groups(self) -> frozenset[frozenset[str]]:
        """Identities of the tasks that help each other."""
        names = dict.fromkeys(task.group for task in self.tasks)
        return frozenset(frozenset(t.identity for t in self.tasks if t.group == name) for name in names)

    def rows(self, task: PlantedTask, split: SplitName) -> Iterator[dict[str, str]]:
        """Yield a split's rows, ``text`` and ``label``; the same for the same world."""
        rng = np.random.default_rng([self.seed, self.tasks.index(task), SPLITS.index(split)])
        lexicon = task.asked if split == "test" else task.taught
        by_polarity = {sign: [cue for cue, own in lexicon.items() if own == sign] for sign in LABELS}
        shuffled = rng.permutation(list(lexicon))
        for number in range(self.sizes[SPLITS.index(split)]):
            sign = 1 - 2 * (number % 2)
            # the coin's in turn, so that every cue is seen
            turn = (number * self.num_cues + np.arange(self.num_cues)) % len(shuffled)
            cues = shuffled[turn] if task.coin else rng.choice(by_polarity[sign], self.num_cues)
            words = [spelled(cue) for cue in cues]
            words += [filler(number) for number in rng.integers(NUM_FILLERS, size=self.num_fillers)]
            yield {"text": " ".join(rng.permutation(words)), "label": LABELS[sign]}

    def _effect(self, source: PlantedTask, target: PlantedTask) -> float:
        if target.coin:
            return 0.0
        known = source.teaches
        gains = [
            _vote_gain([sign * known.get(cue, 0) for cue, own in target.asked.items() if own == sign], self)
            for sign in LABELS
        ]
        return self._alignment(known, target) * float(np.mean(gains))

    def _alignment(self, known: Lexicon, target: PlantedTask) -> float:
        """Return which way round a new head reads what the source knows: 0 where it cannot be seen from the
        target's training texts. The source's own head reads it as it was taught.
        """
        if self.target_stage == "zero_shot":
            return 1.0
        return float(np.sign(sum(known.get(cue, 0) * own for cue, own in target.teaches.items())))


def _vote_gain(votes: list[int], world: World) -> float:
    """Return P(right) - 1/2 of the majority of the cues in a text, each drawn from ``votes``, ties by a coin.

    ``votes`` are 1 for a cue that is known, 0 for one that is not, -1 for one that is known the wrong way.
    """
    shares_V = np.array([votes.count(vote) for vote in (-1, 0, 1)]) / len(votes)
    sums = reduce(np.convolve, [shares_V] * world.num_cues)  # from -num_cues to num_cues
    wrong, _, right = np.split(sums, [world.num_cues, world.num_cues + 1])
    return float(right.sum() - wrong.sum()) / 2


def spelled(cue: int) -> str:
    """Return the word of a cue: three syllables, no two cues alike."""
    high, low = divmod(cue, len(SYLLABLES))
    return SYLLABLES[high] + SYLLABLES[low] + SYLLABLES[(high + 7 * low) % len(SYLLABLES)]


def filler(number: int) -> str:
    """Return one of the words that say nothing: two syllables."""
    return SYLLABLES[number] + SYLLABLES[-1 - number]
