"""Adapters of ``peft`` in the encoder: what they leave alone, and what becomes of them on disk."""

import pytest
import torch
from transformers import AutoModel

pytest.importorskip("peft")

from sslm_platform.errors import RunError, SpecError
from sslm_platform.model.adapter import add_adapter, load_adapter, save_adapter
from sslm_platform.spec.schema import AdapterSpec, EncoderSpec

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PeftModel's

TARGETS = ["query", "value", "intermediate.dense"]
SPECS = {
    "lora": {"r": 4, "target_modules": TARGETS},
    "adalora": {"init_r": 6, "target_r": 3, "target_modules": TARGETS},
    "ia3": {"target_modules": TARGETS, "feedforward_modules": ["intermediate.dense"]},
    "loha": {"r": 4, "target_modules": TARGETS},
    "lokr": {"r": 4, "target_modules": TARGETS},
}
IDS_BL = torch.tensor([[2, 5, 7, 3], [2, 9, 11, 3]])


@pytest.fixture
def base(encoder_folder):
    def load():
        return AutoModel.from_pretrained(encoder_folder["path"]).eval()

    return load


def adapted(base, name, seed=1, **options):
    backbone = base()
    add_adapter(backbone, AdapterSpec(name=name, options=SPECS[name] | options), "somewhere", seed)
    return backbone


def trained(base, name):
    """Return an adapted backbone whose adapter has some values."""
    backbone = adapted(base, name)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return backbone.eval()


def states(backbone):
    with torch.no_grad():
        return backbone(IDS_BL).last_hidden_state


@pytest.mark.parametrize("name", SPECS)
def test_a_new_adapter_changes_nothing_and_is_all_that_is_trained(base, name):
    backbone = adapted(base, name).eval()
    torch.testing.assert_close(states(backbone), states(base()))
    before = {n: p.clone() for n, p in backbone.named_parameters()}
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.5)
    for _ in range(2):  # the first step moves one of a product's two factors
        optimizer.zero_grad()
        backbone(IDS_BL).last_hidden_state[..., 0].sum().backward()
        optimizer.step()
    moved = {n for n, p in backbone.named_parameters() if not p.equal(before[n])}
    assert moved
    assert moved == {n for n, p in backbone.named_parameters() if p.requires_grad}
    assert all(".default" in n for n in moved)


@pytest.mark.parametrize("name", SPECS)
def test_merged_it_is_the_adapted_encoder_and_peft_loads_the_file(base, name, tmp_path):
    from peft import PeftModel

    backbone = trained(base, name)
    assert not torch.allclose(states(backbone), states(base()), atol=1e-2)
    before = {n: p.clone() for n, p in backbone.state_dict().items()}
    merged, weights = save_adapter(tmp_path, backbone, backbone.state_dict())
    assert weights.keys() == base().state_dict().keys()
    torch.testing.assert_close(states(merged.eval()), states(backbone), rtol=1e-4, atol=1e-4)
    assert all(value.equal(before[n]) for n, value in backbone.state_dict().items())
    torch.testing.assert_close(states(PeftModel.from_pretrained(base(), tmp_path).eval()), states(backbone))


@pytest.mark.parametrize("name", SPECS)
def test_saved_and_loaded_it_has_the_same_bits(base, name, tmp_path):
    backbone = trained(base, name)
    save_adapter(tmp_path, backbone, backbone.state_dict())
    again = adapted(base, name, seed=2)
    load_adapter(tmp_path, again)
    assert all(value.equal(again.state_dict()[n]) for n, value in backbone.state_dict().items())


def test_another_adapters_file_is_refused(base, tmp_path):
    backbone = trained(base, "lora")
    save_adapter(tmp_path, backbone, backbone.state_dict())
    with pytest.raises(RunError, match=r"adapter_model.safetensors: is an adapter of another form"):
        load_adapter(tmp_path, adapted(base, "lora", target_modules=["query", "key"]))
    with pytest.raises(RunError, match="missing: this model was trained without"):
        load_adapter(tmp_path / "nowhere", backbone)


def test_first_weights_depend_on_the_seed_alone(base):
    torch.manual_seed(5)
    one = adapted(base, "lora").state_dict()
    torch.manual_seed(6)
    two, other = adapted(base, "lora").state_dict(), adapted(base, "lora", seed=2).state_dict()
    assert all(value.equal(two[name]) for name, value in one.items())
    assert any(not value.equal(other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"lora_alfa": 8},
            r"encoder.adapter.options.lora_alfa: unknown option of lora; did you mean lora_alpha\?",
        ),
        ({"modules_to_save": ["pooler"]}, r"options.modules_to_save: unknown option of lora"),
        ({"target_modules": ["kwery"]}, r"encoder.adapter: .*kwery.* not found in the base model"),
        ({"r": 0}, r"encoder.adapter: `r` should be a positive integer"),
        ({"target_modules": ["word_embeddings"]}, r"encoder.adapter: .*heads tied to it; leave it out"),
    ],
)
def test_options_that_do_not_fit_are_refused(base, options, message):
    with pytest.raises(SpecError, match=message):
        add_adapter(base(), AdapterSpec(name="lora", options=options), None, 1)


@pytest.mark.parametrize("options", [{"bias": "all"}, {"init_lora_weights": "pissa"}])
def test_adapters_of_single_heads_leave_the_encoder_as_it_is(base, options):
    add_adapter(base(), AdapterSpec(name="lora", options=options), None, 1)
    (name,) = options
    with pytest.raises(SpecError, match=f"encoder.adapter: {name}: .* changes the encoder's own weights"):
        add_adapter(base(), AdapterSpec(name="lora", per="task", options=options), None, 1)


def test_what_makes_no_sense_beside_an_adapter_is_refused():
    with pytest.raises(ValueError, match="give adapter or freeze"):
        EncoderSpec(path="x", adapter=AdapterSpec(name="lora"), freeze=["embeddings"])
    with pytest.raises(ValueError, match="give a path"):
        EncoderSpec(config={"model_type": "bert"}, tokenizer={"train": {}}, adapter={"name": "lora"})
