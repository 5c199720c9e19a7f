"""A training of an adapter: what moves, what is saved, and that it goes on with the same bits."""

import json

import pytest
import torch
from transformers import AutoModel

pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PeftModel's


@pytest.fixture
def content(specs, trainings, encoder_folder):
    adapter = {"name": "lora", "options": {"r": 4, "lora_alpha": 8}}
    encoder = {**encoder_folder, "adapter": adapter, "max_unknown": 1.0}
    return specs.content("films", "names", **trainings.sections, encoder=encoder)


def test_an_adapter_is_trained_killed_resumed_saved_and_answers(
    specs, content, encoder_folder, tmp_path, trainings, cli
):
    from peft import PeftModel

    from sslm_platform.train.model import load_trained

    corpus = specs.corpus(content)
    corpus.check_backbone()
    said = trainings.train(corpus, tmp_path / "whole")
    assert "parameters of the encoder are trained (" in said
    trainings.kill(corpus, tmp_path / "killed", 5)
    trainings.train(corpus, tmp_path / "killed")
    trainings.assert_same(tmp_path / "killed", tmp_path / "whole")

    folder = tmp_path / "whole" / "train" / "model"
    assert json.loads((folder / "model.json").read_text())["base"]["files"]
    ids_BL = torch.tensor([[2, 5, 7, 3]])
    base = AutoModel.from_pretrained(encoder_folder["path"]).eval()
    before = base(ids_BL).last_hidden_state
    loaded = load_trained(corpus, list(corpus.run.tasks.values()), folder).encoder.backbone.eval()
    expected = loaded(ids_BL).last_hidden_state
    assert not torch.allclose(expected, before, atol=1e-4)
    for other in (
        AutoModel.from_pretrained(folder / "encoder").eval(),
        PeftModel.from_pretrained(base, folder / "adapter").eval(),
    ):
        torch.testing.assert_close(other(ids_BL).last_hidden_state, expected, rtol=1e-4, atol=1e-4)


def test_adalora_takes_ranks_away_and_goes_on_with_the_same_bits(
    specs, content, encoder_folder, tmp_path, trainings
):
    from peft import PeftModel

    from sslm_platform.train.model import load_trained

    options = {"init_r": 4, "target_r": 2, "tinit": 1, "tfinal": 3, "target_modules": ["query", "value"]}
    content["encoder"]["adapter"] = {"name": "adalora", "options": options}
    content["optimizer"] = {"lr": 5.0e-3, "warmup": 0.0}
    corpus = specs.corpus(content)
    corpus.check_backbone()
    trainings.train(corpus, tmp_path / "whole")
    for step in (4, 8):  # among the steps that take ranks away, and after them
        trainings.kill(corpus, tmp_path / f"killed-{step}", step)
        trainings.train(corpus, tmp_path / f"killed-{step}")
        trainings.assert_same(tmp_path / f"killed-{step}", tmp_path / "whole")
    folder = tmp_path / "whole" / "train" / "models" / "step-8"
    folder = folder if folder.exists() else tmp_path / "whole" / "train" / "model"
    loaded = load_trained(corpus, list(corpus.run.tasks.values()), folder).encoder.backbone.eval()
    entries = [p for name, p in loaded.named_parameters() if ".lora_E." in name]
    assert sum(int((p != 0).sum()) for p in entries) == 2 * len(entries), "target_r of each on average"
    ids_BL = torch.tensor([[2, 5, 7, 3]])
    expected = loaded(ids_BL).last_hidden_state
    base = AutoModel.from_pretrained(encoder_folder["path"]).eval()
    assert not torch.allclose(base(ids_BL).last_hidden_state, expected, atol=1e-5)
    merged = AutoModel.from_pretrained(folder / "encoder").eval()
    with_peft = PeftModel.from_pretrained(base, folder / "adapter").eval()
    for other in (merged, with_peft):
        torch.testing.assert_close(other(ids_BL).last_hidden_state, expected, rtol=1e-4, atol=1e-4)


def test_adalora_ends_with_its_budget_where_the_last_step_takes_ranks_away(
    specs, content, tmp_path, trainings
):
    from sslm_platform.train.model import load_trained

    options = {"init_r": 4, "target_r": 2, "deltaT": 4, "target_modules": ["query", "value"]}
    content["encoder"]["adapter"] = {"name": "adalora", "options": options}
    content["optimizer"] = {"lr": 5.0e-3, "warmup": 0.0}
    content["evaluation"] = {"every": content["schedule"]["max_steps"]}  # the last step's model is kept
    corpus = specs.corpus(content)
    trainings.train(corpus, tmp_path / "run")
    folder = tmp_path / "run" / "train" / "model"
    loaded = load_trained(corpus, list(corpus.run.tasks.values()), folder).encoder.backbone
    entries = [p for name, p in loaded.named_parameters() if ".lora_E." in name]
    assert sum(int((p != 0).sum()) for p in entries) == 2 * len(entries)


def test_adalora_is_refused_where_it_is_not_exact(specs, content, cli):
    content["encoder"]["adapter"] = {"name": "adalora", "per": "task", "options": {"tinit": 5, "tfinal": 5}}
    content["engine"] = {"name": "deepspeed", "zero_stage": 1}
    content["optimizer"] = {"average": {"name": "ema"}}
    status, _, err = cli("check", specs.write(content))
    assert status == 2
    assert "encoder.adapter.per: task: adalora shares one budget of ranks" in err
    assert "encoder.adapter.name: adalora reads whole gradients" in err
    assert "optimizer.average: an average would have the ranks" in err
    assert "encoder.adapter.options: tinit + tfinal = 10 leave none of 9 steps" in err


def test_options_are_checked_before_training(specs, content, cli):
    content["encoder"]["adapter"]["options"] = {"rr": 4}
    status, _, err = cli("check", specs.write(content), "--data", "--cache", specs.texts / "cache")
    assert status == 2
    assert "encoder.adapter.options.rr: unknown option of lora; did you mean r?" in err
