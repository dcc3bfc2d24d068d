"""Settings from files, environment variables and arguments, and the errors for wrong settings."""

import os
from pathlib import Path

import pytest

from framehouse.settings import BadSettings, load_settings, unknown_variables


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("FRAMEHOUSE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FRAMEHOUSE_DATA_DIR", str(tmp_path))


def test_every_setting_has_a_default(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.data_dir == tmp_path
    assert {model.name: (model.resolutions, model.series) for model, _ in settings.served_models()} == {
        "kling-v3-omni": (("1k", "2k", "4k"), True),
        "kling-image-o1": (("1k", "2k"), False),
        **dict.fromkeys(
            ("kling-v3", "kling-v2-1", "kling-v2-new", "kling-v2", "kling-v1-5", "kling-v1"), (("1k", "2k"), False)
        ),
        **dict.fromkeys(("kling-expand", "kolors-virtual-try-on-v1-5", "kolors-virtual-try-on-v1"), (("1k",), False)),
    }


def test_arguments_override_variables_which_override_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "framehouse.toml").write_text("port = 1\nlease_s = 11\nattempts = 7\n")
    (tmp_path / "secret").write_text("postgresql://from-file\n")
    assert load_settings().port == 1
    monkeypatch.setenv("FRAMEHOUSE_PORT", "2")
    monkeypatch.setenv("FRAMEHOUSE_DATABASE_URL_FILE", str(tmp_path / "secret"))
    settings = load_settings()
    assert (settings.port, settings.lease_s, settings.attempts) == (2, 11, 7)
    assert settings.database_url == "postgresql://from-file"
    monkeypatch.setenv("FRAMEHOUSE_DATABASE_URL", "postgresql://from-variable")
    settings = load_settings(port=3)
    assert (settings.port, settings.database_url) == (3, "postgresql://from-variable")
    monkeypatch.setenv("FRAMEHOUSE_PATH_PREFIXES", '["/a", "", "/a"]')
    assert load_settings().path_prefixes == ["/a", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "prot: no such setting"),
        ("port = 99999", "port"),
        ("port = ", "Cannot read"),
        ('path_prefixes = ["kling/"]', "must be empty or a path such as /kling"),
        ("models = {}", "models"),
        ("[models.x]\nroute = []", "models.x.route: no such setting"),
        ('[models.x]\nunits = { "8k" = 1 }', "models.x.units"),
        ('image_format = "gif"', "image_format"),
        ('label_producer = "示例公司"', r'label_producer: must not contain the character U\+793A: "示例公司"'),
        ('label_producer = "a b"', r"label_producer: must not contain the character U\+0020"),
        ("label_producer = 'a\"b'", r"label_producer: must not contain the character U\+0022"),
        ("label_producer = 'a\\b'", r"label_producer: must not contain the character U\+005C"),
        ('explicit_label = "never"', "explicit_label"),
        ('[models.x]\nunits = { "1k" = -5 }', "models.x.units.1k"),
        ('path_prefixes = ["/{id}"]', "path_prefixes"),
        ("path_prefixes = []", "path_prefixes"),
        ('public_url = "not a url"', "public_url"),
        ('[models.""]', "models"),
        ("requests_per_second = inf", "requests_per_second"),
        ('default_model = "none"', 'default_model "none" is not a configured model'),
        ('[models.a]\naliases = ["B"]\n[models.b]', 'the alias "B" of a is also a name of another model'),
    ],
)
def test_the_error_names_the_wrong_setting(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "framehouse.toml").write_text(text)
    with pytest.raises(BadSettings, match=message):
        load_settings()


def test_the_default_models_have_aliases_that_yield_to_configured_names(tmp_path: Path) -> None:
    def aliases(text: str) -> dict[str, tuple[str, ...]]:
        (tmp_path / "framehouse.toml").write_text(text)
        return {model.name: model.aliases for model, _ in load_settings().served_models()}

    assert aliases('default_model = "Kling-O1"')["kling-image-o1"] == ("image-kling-image-o1", "kling-o1")
    assert aliases('[models.kling-image-o1]\nseries = false\n[models."Kling-O1"]') == {
        "kling-image-o1": ("image-kling-image-o1",),
        "Kling-O1": (),
    }
    assert aliases("[models.kling-image-o1]\naliases = []") == {"kling-image-o1": ()}


def test_a_variable_or_a_file_may_contain_a_table_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models.json").write_text('{"m": {"series": false}}')
    monkeypatch.setenv("FRAMEHOUSE_MODELS_FILE", str(tmp_path / "models.json"))
    assert not load_settings().models["m"].series
    monkeypatch.setenv("FRAMEHOUSE_MODELS", "{bad")
    with pytest.raises(BadSettings, match="FRAMEHOUSE_MODELS must be valid JSON"):
        load_settings()


def test_the_error_names_a_secret_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    monkeypatch.setenv("FRAMEHOUSE_DATABASE_URL_FILE", str(tmp_path / "binary"))
    with pytest.raises(BadSettings, match="FRAMEHOUSE_DATABASE_URL_FILE"):
        load_settings()
    monkeypatch.setenv("FRAMEHOUSE_DATABASE_URL_FILE", "/no/such/file")
    with pytest.raises(BadSettings, match="FRAMEHOUSE_DATABASE_URL_FILE"):
        load_settings()


def test_a_resolution_without_a_price_keeps_the_default(tmp_path: Path) -> None:
    (tmp_path / "framehouse.toml").write_text('[models.x]\nunits = { "4k" = 20 }\n')
    ((model, routes),) = load_settings().served_models()
    assert (model.units, routes) == ({"1k": 8, "2k": 8, "4k": 20}, [{"engine": "previz"}])


def test_misspelt_variables_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEHOUSE_PROT", "1")
    assert unknown_variables() == ["FRAMEHOUSE_PROT"]


def test_a_direct_database_url_requires_a_pooled_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEHOUSE_DIRECT_DATABASE_URL", "postgresql://direct")
    with pytest.raises(BadSettings, match="direct_database_url requires database_url"):
        load_settings()
    monkeypatch.setenv("FRAMEHOUSE_DATABASE_URL", "postgresql://pooled")
    assert load_settings().direct_database_url == "postgresql://direct"


def test_spaces_around_the_watermark_text_are_removed_and_line_breaks_become_spaces(tmp_path: Path) -> None:
    (tmp_path / "framehouse.toml").write_text('watermark_text = " AI\\n 生成 "')
    assert load_settings().watermark_text == "AI 生成"
