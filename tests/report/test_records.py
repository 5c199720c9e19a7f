"""Records on disk."""

import math

from sslm_platform.report.records import CellKey, CellRecord, MetricValue, read_record, write_record


def test_what_is_not_a_number_comes_back(tmp_path):
    """A metric of a plugin may be undefined on a resample; its folder must stay readable."""
    nan, key = math.nan, CellKey(source_stage="none", target_stage="probe", source="", target="a@x", seed=1)
    values = {"odd": MetricValue(value=nan, low=-math.inf, high=nan)}
    record = CellRecord(id="c", key=key, status="done", metric="odd", scores=values, resamples=(0.5, nan))
    write_record(record, tmp_path / "record.json")
    found = read_record(CellRecord, tmp_path / "record.json")
    assert found.scores["odd"].low == -math.inf
    assert [math.isnan(value) for value in found.resamples] == [False, True]
