import pytest


@pytest.fixture(scope="session")
def start(tmp_path_factory, start_ranks):
    """Return a function that runs a script in some processes, and fails with what they said."""
    folder = tmp_path_factory.mktemp("ranks")
    bare = folder / "bin"  # no compiler and no ninja: nothing may need to be built
    bare.mkdir()
    environment = {"PATH": str(bare), "TORCH_EXTENSIONS_DIR": str(folder / "extensions")}

    def run(processes, script, *arguments):
        logs = tmp_path_factory.mktemp("said")
        out, err = logs / "out", logs / "err"
        codes = start_ranks([script, *arguments], processes, out, err, **environment).wait(900.0)
        said = "".join(path.read_text() for path in sorted(logs.glob("err.*")))
        assert codes == [0] * processes, said[-4000:]
        assert "Warning" not in said, said[-4000:]
        assert not any(path.read_text() for path in folder.glob(f"{out.name}.*")), (
            "DeepSpeed's chatter got through"
        )
        assert not (folder / "extensions").exists(), "something was compiled"

    return run
