import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sslm_platform.engine.weights import TensorFile, load_module
from sslm_platform.errors import RunError


@pytest.fixture
def path(tmp_path):
    module = nn.Linear(3, 2)
    save_file({f"a|{name}": value for name, value in module.state_dict().items()}, tmp_path / "heads")
    return tmp_path / "heads", module.state_dict()


def test_a_file_is_a_mapping_and_a_prefix_a_part_of_it(path):
    file, weights = path
    whole, part, other = TensorFile(file), TensorFile(file, "a|"), TensorFile(file, "b|")
    assert set(whole) == {"a|weight", "a|bias"}
    assert set(part) == {"weight", "bias"}
    assert (len(part), len(other)) == (2, 0)
    assert "weight" in part
    assert "a|weight" not in part
    assert torch.equal(part["weight"], weights["weight"])
    with pytest.raises(KeyError):
        part["a|weight"]


def test_weights_are_read_from_a_file_one_by_one(path):
    file, weights = path
    module = nn.Linear(3, 2)
    load_module("head", module, TensorFile(file, "a|"))
    assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())
    with pytest.raises(RunError, match="shape"):
        load_module("head", nn.Linear(4, 2), TensorFile(file, "a|"))
    with pytest.raises(RunError, match="missing 'bias'"):
        load_module("head", nn.Linear(3, 2), TensorFile(file, "b|"))
