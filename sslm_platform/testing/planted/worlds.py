"""The two worlds that are measured: domains of one task, and tasks of which one needs another's features."""

from __future__ import annotations

import numpy as np

from sslm_platform.testing.planted.world import Lexicon, PlantedTask, World

LEAST_SHARE = 0.5
GROUPS = {"arts": (0, 1), "irony": (0, -1), "trades": (1, 1)}  # group: (number of its pool, polarity)


def domains(per_group: int = 2, num_words: int = 96, seed: int = 0) -> World:
    """Return domains of one task, in three groups.

    Domains of a group use words of one pool, from all of it down to half, and words of their own. ``irony``
    means the opposite of ``arts`` by the same words; ``trades`` has other words.

    Args:
        per_group: domains in each group, 2 or more.
        num_words: cues of each domain.
        seed: of the texts.
    """
    shares = np.linspace(1.0, LEAST_SHARE, per_group)
    made: list[PlantedTask] = []
    for group, (pool, sign) in GROUPS.items():
        for number, share in enumerate(shares):
            num_shared = 2 * round(share * num_words / 2)
            own = (len(GROUPS) + len(made)) * num_words  # after the pools
            cues = [*range(pool * num_words, pool * num_words + num_shared)]
            cues += [*range(own, own + num_words - num_shared)]
            lexicon = {cue: sign * _polarity(cue) for cue in cues}
            made.append(PlantedTask("verdict", f"{group}{number}", lexicon, lexicon, group=group))
    return World(tuple(made), "zero_shot", seed)


def tasks(num_words: int = 96, seed: int = 0) -> World:
    """Return tasks that are probed about words which they do not teach.

    ``pupil`` is asked about words that only ``teacher`` and ``contrary`` know. ``contrary`` means the
    opposite by them, but not by the words that the pupil teaches, so that it leads the pupil's head astray.
    ``stranger`` has other words. The labels of ``coin`` are random. Only the pupil has something to gain.

    Args:
        num_words: cues that the pupil teaches, and as many that it is asked about.
        seed: of the texts.
    """
    shown, asked, other, *unknown = (_block(number, num_words) for number in range(6))
    turned = {cue: -sign for cue, sign in asked.items()}
    everything = {cue: sign for number in range(6) for cue, sign in _block(number, num_words).items()}
    made = (
        PlantedTask("teacher", "made", {**shown, **asked}, unknown[0]),
        PlantedTask("pupil", "made", shown, asked),
        PlantedTask("contrary", "made", {**shown, **turned}, unknown[1]),
        PlantedTask("stranger", "made", other, unknown[2]),
        # without this one, the tokenizer would see some of the words that are asked about in no training text
        PlantedTask("coin", "made", everything, everything, coin=True),
    )
    return World(made, "probe", seed)


def _block(number: int, num_words: int) -> Lexicon:
    return {cue: _polarity(cue) for cue in range(number * num_words, (number + 1) * num_words)}


def _polarity(cue: int) -> int:
    return 1 - 2 * (cue % 2)
