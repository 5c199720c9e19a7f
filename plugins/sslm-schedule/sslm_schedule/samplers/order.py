"""Shares that the spec gives: in turn, by name, or in stages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import numpy as np
from pydantic import Field

from sslm_platform.api import Options, Problem, SamplingState
from sslm_schedule.patterns import (
    FEED_PATTERN,
    Tasks,
    all_names,
    last_match,
    matches_any,
    names_of,
    unmatched,
)
from sslm_schedule.samplers.sizes import power_shares


class RoundRobin:
    """One feed after the other, slot by slot, in the order of the spec."""

    def probabilities(self, state: SamplingState) -> np.ndarray:
        """Return 1 for the feed whose turn it is, (number of feeds,)."""
        turn = state.step * state.slots_per_step + state.slot
        return np.eye(len(state.feeds))[turn % len(state.feeds)]


class StaticRatioOptions(Options):
    """Options of ``static``."""

    ratios: dict[str, Annotated[float, Field(gt=0.0)]] = Field(
        min_length=1,
        description=f"Ratio for each feed: {FEED_PATTERN}; the last that matches counts; feeds that match"
        " none have 1.",
    )


class StaticRatio:
    """p ~ the ratio that the spec gives each feed."""

    def __init__(self, options: StaticRatioOptions) -> None:
        self.ratios = options.ratios

    def probabilities(self, state: SamplingState) -> np.ndarray:
        """Return the ratios, scaled to sum to 1, (number of feeds,)."""
        found = (last_match(self.ratios, names_of(feed, state.tasks)) for feed in state.feeds)
        ratios_F = np.array([1.0 if ratio is None else ratio for ratio in found])
        return ratios_F / ratios_F.sum()


def check_ratios(options: StaticRatioOptions, tasks: Tasks) -> Iterable[Problem]:
    """Yield patterns that match no feed."""
    return unmatched(options.ratios, all_names(tasks), "ratios")


class Stage(Options):
    """One stage of ``sequential``."""

    feeds: list[str] = Field(min_length=1, description=f"Each: {FEED_PATTERN}.")
    share: float = Field(default=1.0, gt=0.0, description="Length; the stages' shares make up the training.")


class SequentialOptions(Options):
    """Options of ``sequential``."""

    stages: list[Stage] = Field(
        min_length=1,
        description="In order, each with `feeds` (names, tasks or patterns) and `share` (of the steps).",
    )
    replay: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Share of a stage's slots that go to earlier stages' feeds."
    )


class Sequential:
    """Stages of training: a curriculum (Bengio et al. 2009), or tasks one after the other.

    Within a stage p ~ n over its feeds. A share ``replay`` goes to feeds of earlier stages that this one has
    not, p ~ n over them (experience replay: Robins 1995; de Masson d'Autume et al. 2019). Feeds of no stage
    are never drawn. In a source's training with some of the feeds, stages without any are left out and the
    others take their time; with none left, p ~ n.
    """

    def __init__(self, options: SequentialOptions) -> None:
        self._stages = options.stages
        self.replay = options.replay

    def probabilities(self, state: SamplingState) -> np.ndarray:
        """Return the stage's shares, (number of feeds,)."""
        members_GF, shares_G = self._members(state)
        if not len(members_GF):
            return power_shares(state.sizes, 1.0)
        ends_G = _ends(shares_G, state.num_steps)
        stage = min(int(np.searchsorted(ends_G, state.step, side="right")), len(ends_G) - 1)
        current_F = members_GF[stage]
        earlier_F = members_GF[:stage].any(axis=0) & ~current_F
        replay = self.replay if earlier_F.any() else 0.0
        return (1.0 - replay) * _among(current_F, state) + replay * _among(earlier_F, state)

    def stages(self, state: SamplingState) -> list[tuple[int, list[str]]]:
        """Return each stage's end and feeds, of stages that have some."""
        members_GF, shares_G = self._members(state)
        ends_G = _ends(shares_G, state.num_steps) if shares_G else np.empty(0)
        return [
            (int(end), [feed for feed, is_member in zip(state.feeds, row, strict=True) if is_member])
            for end, row in zip(ends_G, members_GF, strict=True)
        ]

    def _members(self, state: SamplingState) -> tuple[np.ndarray, list[float]]:
        """Return which feeds each stage has, (stages, feeds), and the shares, of stages that have some."""
        rows, shares = [], []
        for stage in self._stages:
            row = [
                any(matches_any(pattern, names_of(feed, state.tasks)) for pattern in stage.feeds)
                for feed in state.feeds
            ]
            if any(row):
                rows.append(row)
                shares.append(stage.share)
        return np.array(rows, dtype=bool), shares


def check_stages(options: SequentialOptions, tasks: Tasks) -> Iterable[Problem]:
    """Yield patterns that match no feed."""
    for index, stage in enumerate(options.stages):
        yield from unmatched(stage.feeds, all_names(tasks), f"stages[{index}].feeds")


def _ends(shares_G: list[float], num_steps: int) -> np.ndarray:
    """Return how many steps are done when each stage ends."""
    return np.round(np.cumsum(shares_G) / sum(shares_G) * num_steps)


def _among(members_F: np.ndarray, state: SamplingState) -> np.ndarray:
    sizes_F = np.where(members_F, np.asarray(state.sizes, dtype=np.float64), 0.0)
    return sizes_F / max(sizes_F.sum(), 1.0)
