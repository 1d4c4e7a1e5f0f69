"""A model has one name, wherever its files lie."""

from connectors.model_identity import model_name


def test_a_hub_id_is_the_name():
    assert model_name("owner/model") == "owner/model"


def test_a_directory_gives_its_name(tmp_path):
    (tmp_path / "model").mkdir()
    assert model_name(tmp_path / "model") == model_name(f"{tmp_path}/model/../model/") == "model"


def test_a_directory_of_the_hubs_cache_has_the_hub_id(tmp_path):
    snapshot = tmp_path / "models--owner--a--model" / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    assert model_name(snapshot) == "owner/a--model"
