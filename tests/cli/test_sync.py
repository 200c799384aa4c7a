"""Models of the configuration file, registered by hand."""

import pytest

MODEL = """
[[models]]
name = "emotions"
architecture = "{architecture}"
preprocessing = {{ color = "grey", size = [64, 64] }}
weights_file = {{ path = "weights.safetensors", sha256 = "{sha256}" }}
"""
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture
def synced(run, tmp_path):
    """What the command says of a model."""

    def sync(architecture: str) -> str:
        file = tmp_path / "attribution.toml"
        file.write_text(MODEL.format(architecture=architecture, sha256=EMPTY))
        found = run("models", "sync", "--config", str(file))
        assert found.exit_code == 1
        return found.output

    return sync


def test_weights_that_are_not_there_are_told_with_their_whole_path(synced, tmp_path):
    said = synced("mnist_cnn")
    assert f"emotions@1: there is no weights file {tmp_path}/weights.safetensors: where its path is relative" in said


def test_a_factory_that_the_gateway_lacks_asks_for_the_same_file(synced, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"")
    said = synced("factory:emotions")
    assert "the gateway's ATTRIBUTION_CONFIG_FILE has no factory 'emotions'" in said
    assert "gateways and workers with the same file" in said
