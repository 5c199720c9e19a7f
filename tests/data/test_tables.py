import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sslm_platform.data.tables import record_batch, stored_table, table_path

values = st.one_of(
    st.none(), st.integers(-9, 9), st.lists(st.none() | st.text(max_size=2), max_size=2), st.text(max_size=3)
)


@pytest.fixture
def store(tmp_path):
    def make(*batches, name="table"):
        path = table_path(tmp_path, "kind", name)
        return stored_table(path, lambda: [record_batch(columns) for columns in batches])

    return make


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.fixed_dictionaries({"a": st.lists(values, max_size=3)}), max_size=4))
def test_a_table_of_batches_is_the_table_of_all_their_rows(store, batches):
    rows = [value for columns in batches for value in columns["a"]]
    name = repr(batches)
    try:
        expected = pa.array(rows)
    except pa.ArrowException:
        with pytest.raises(pa.ArrowException, match="column 'a' does not hold one kind of value"):
            store(*batches, name=name)
        return
    table = store(*batches, name=name)
    assert table.num_rows == len(rows)
    if rows:
        assert table.column("a").to_pylist() == rows
        assert table.column("a").type == expected.type


def test_columns_that_come_later_are_null_before(store):
    table = store({"a": [1]}, {"a": [0.5], "b": [["x"]]}, {"c": ["y"]})
    assert table.to_pylist() == [
        {"a": 1.0, "b": None, "c": None},
        {"a": 0.5, "b": ["x"], "c": None},
        {"a": None, "b": None, "c": "y"},
    ]


def test_what_fails_leaves_nothing_behind(tmp_path):
    path = table_path(tmp_path, "kind", 1)

    def make():
        yield record_batch({"a": [1]})
        yield record_batch({"a": [0.5]})
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        stored_table(path, make)
    assert list(path.parent.iterdir()) == []


def test_a_damaged_table_is_made_again(store, tmp_path, caplog):
    store({"a": [1, 2]})
    (path,) = (tmp_path / "kind").iterdir()
    for damage in (path.read_bytes()[:-10], b""):
        path.write_bytes(damage)
        assert store({"a": [3]}).to_pydict() == {"a": [3]}
    assert "damaged" in caplog.text
    assert store({"a": [4]}).to_pydict() == {"a": [3]}
