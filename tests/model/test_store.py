"""Model folders: weights in several files."""

from __future__ import annotations

import torch
from transformers import AutoModel

from sslm_platform.model.store import save_model
from sslm_platform.train.model import encoder_weights


def test_large_weights_are_several_files_that_transformers_and_we_read(corpus, model, tmp_path):
    folder = tmp_path / "model"
    state = model.encoder.state_dict()
    for size, is_sharded in (("40KB", True), ("5GB", False)):
        save_model(folder, model.encoder.backbone, corpus.tokenizer, state, {}, max_shard_size=size)
        files = sorted(file.name for file in (folder / "encoder").glob("*.safetensors*"))
        assert ("model.safetensors.index.json" in files) == is_sharded
        assert (len(files) > 2) == is_sharded
        read = encoder_weights(folder)
        assert read.keys() == state.keys()
        assert all(torch.equal(read[name], value) for name, value in state.items())
        loaded = AutoModel.from_pretrained(folder / "encoder").state_dict()
        assert all(torch.equal(loaded[name.removeprefix("backbone.")], v) for name, v in state.items())
