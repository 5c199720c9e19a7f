"""How well predicted values rank measured ones, for one target.

Shape suffixes: S sources, R rows of measured values (resamples). Every function takes predicted_S and
measured_RS, and returns one number a row, (R,); NaN where a row, or the prediction, has no order.
"""

from __future__ import annotations

import numpy as np


def kendall(predicted_S: np.ndarray, measured_RS: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b (Kendall 1945, "The treatment of ties in ranking problems"), in [-1, 1]."""
    first, second = np.triu_indices(len(predicted_S), k=1)
    predicted_P = np.sign(predicted_S[first] - predicted_S[second])
    measured_RP = np.sign(measured_RS[:, first] - measured_RS[:, second])
    untied = np.sqrt(np.abs(predicted_P).sum() * np.abs(measured_RP).sum(axis=1))
    return _divide(measured_RP @ predicted_P, untied)


def spearman(predicted_S: np.ndarray, measured_RS: np.ndarray) -> np.ndarray:
    """Return the correlation of ranks, ties sharing their mean rank, in [-1, 1]."""
    from scipy.stats import rankdata

    ranks_S = rankdata(predicted_S)
    ranks_RS = rankdata(measured_RS, axis=1)
    ranks_S = ranks_S - ranks_S.mean()
    ranks_RS = ranks_RS - ranks_RS.mean(axis=1, keepdims=True)
    norms_R = np.sqrt((ranks_S**2).sum() * (ranks_RS**2).sum(axis=1))
    return _divide(ranks_RS @ ranks_S, norms_R)


def regret(predicted_S: np.ndarray, measured_RS: np.ndarray, k: int) -> np.ndarray:
    """Return what is lost by trying the k sources that are predicted best, in [0, 1].

    (best - best of the k) / (best - worst): 0 finds the best source, 1 only the worst. Renggli et al. 2022,
    "Which model to transfer? Finding the needle in the growing haystack", divide by the best score; the range
    serves metrics of any unit and direction. Among equal predictions the worse source is taken.
    """
    tried_RK = np.take_along_axis(measured_RS, _predicted_best(predicted_S, measured_RS, k), axis=1)
    best_R, worst_R = measured_RS.max(axis=1), measured_RS.min(axis=1)
    return _divide(best_R - tried_RK.max(axis=1), best_R - worst_R)


def recall(predicted_S: np.ndarray, measured_RS: np.ndarray, k: int) -> np.ndarray:
    """Return the share of the k measured best among the k predicted best, in [0, 1]; ties as in regret."""
    tried_RK = np.take_along_axis(measured_RS, _predicted_best(predicted_S, measured_RS, k), axis=1)
    kth_R1 = np.sort(measured_RS, axis=1)[:, -k][:, None]
    shares_R = (tried_RK >= kth_R1).mean(axis=1)
    ordered_R = measured_RS.max(axis=1) > measured_RS.min(axis=1)
    return np.where(ordered_R, shares_R, np.nan)


def _predicted_best(predicted_S: np.ndarray, measured_RS: np.ndarray, k: int) -> np.ndarray:
    """Return the places of the k largest predictions in each row, (R, k)."""
    predicted_RS = np.broadcast_to(-predicted_S, measured_RS.shape)
    return np.lexsort((measured_RS, predicted_RS), axis=1)[:, :k]


def _divide(numerator_R: np.ndarray, denominator_R: np.ndarray) -> np.ndarray:
    nan_R = np.full(len(numerator_R), np.nan)
    return np.divide(numerator_R, denominator_R, out=nan_R, where=denominator_R > 0)
