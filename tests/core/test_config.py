"""Which store is meant, what decided so, and what is refused."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowblob import config, engines
from flowblob.errors import (
    CatalogUnavailableError,
    InvalidInputError,
    NotFoundError,
    NotSupportedError,
)
from flowblob.urls import mask


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), "XDG_DATA_HOME": str(tmp_path / "data")}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    (path / "src" / "deep").mkdir(parents=True)
    return path


@pytest.fixture(autouse=True)
def _forget_warnings() -> Iterator[None]:
    config._warn_once.cache_clear()
    yield
    config._warn_once.cache_clear()


def own_file(env: dict[str, str], text: str) -> Path:
    path = Path(env["HOME"], ".config", "flowblob", "config.toml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_with_nothing_set_it_is_the_users_own_store(env: dict[str, str], project: Path) -> None:
    found = config.find(env=env, cwd=project)
    assert found.url == f"{env['XDG_DATA_HOME']}/flowblob"
    assert found.source == "default"


def test_without_xdg_it_is_under_the_home(env: dict[str, str], project: Path) -> None:
    del env["XDG_DATA_HOME"]
    assert config.find(env=env, cwd=project).url == f"{env['HOME']}/.local/share/flowblob"
    env["XDG_DATA_HOME"] = "relative"  # which the XDG specification says to ignore
    assert config.find(env=env, cwd=project).url == f"{env['HOME']}/.local/share/flowblob"


def test_the_argument_beats_the_variable_and_that_the_project(
    env: dict[str, str], project: Path
) -> None:
    (project / "flowblob.toml").write_text('url = "in-project"')
    deep = project / "src" / "deep"
    assert config.find(env=env, cwd=deep).url == str(project / "in-project")
    env["FLOWBLOB_URL"] = "/from/variable"
    assert config.find(env=env, cwd=deep).url == "/from/variable"
    assert config.find("/argument", env=env, cwd=deep).url == "/argument"


def test_a_host_never_looks_at_the_working_directory(env: dict[str, str], project: Path) -> None:
    (project / "flowblob.toml").write_text('url = "in-project"')
    (project / ".flowblob").mkdir()
    assert config.find(env=env, cwd=project, host=True).source == "default"
    env["FLOWBLOB_URL"] = "/from/variable"
    assert config.find(env=env, cwd=project, host=True).url == "/from/variable"


def test_the_nearest_project_counts(env: dict[str, str], project: Path) -> None:
    (project / "flowblob.toml").write_text('url = "far"')
    (project / "src" / ".flowblob").mkdir()
    assert config.find(env=env, cwd=project / "src/deep").url == str(project / "src/.flowblob")
    (project / "src" / "deep" / "flowblob.toml").write_text('url = "near"')
    assert config.find(env=env, cwd=project / "src/deep").url == str(project / "src/deep/near")


def test_a_project_file_without_a_url_gives_its_options_to_the_store_that_is_found(
    env: dict[str, str], project: Path
) -> None:
    (project / "flowblob.toml").write_text('inline_limit = "1KiB"')
    found = config.find(env=env, cwd=project)
    assert (found.source, found.inline_limit) == ("default", 1024)
    assert found.sources["inline_limit"] == str(project / "flowblob.toml")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_project_file_of_another_user_is_not_used(
    env: dict[str, str], project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = project / "flowblob.toml"
    file.write_text('url = "trap"')
    os.chown(file, 12345, 12345)
    assert config.find(env=env, cwd=project).source == "default"
    assert "belongs to another user" in caplog.text


def test_the_users_own_file_moves_the_users_own_store(env: dict[str, str], project: Path) -> None:
    own_file(env, 'url = "/mnt/flow"')
    assert config.find(env=env, cwd=project).url == "/mnt/flow"
    assert config.find(env=env, cwd=project, host=True).url == "/mnt/flow"


def test_a_profile_is_chosen_by_name(env: dict[str, str], project: Path) -> None:
    own_file(env, '[profiles.prod]\nurl = "/prod"\ninline_limit = 5\n[profiles.dev]\nurl = "/dev"')
    found = config.find(env=env, cwd=project, profile="prod")
    assert (found.url, found.inline_limit) == ("/prod", 5)
    assert config.find(env=env | {"FLOWBLOB_PROFILE": "dev"}, cwd=project).url == "/dev"


def test_a_profile_that_was_asked_for_beats_the_variable(
    env: dict[str, str], project: Path
) -> None:
    own_file(env, '[profiles.prod]\nurl = "/prod"')
    env |= {"FLOWBLOB_URL": "/variable", "FLOWBLOB_PROFILE": "prod"}
    assert config.find(env=env, cwd=project).url == "/variable"
    assert config.find(env=env, cwd=project, profile="prod").url == "/prod"


def test_an_unknown_profile_is_named_with_the_one_that_was_meant(
    env: dict[str, str], project: Path
) -> None:
    own_file(env, '[profiles.prod]\nurl = "/prod"')
    with pytest.raises(NotFoundError, match="Did you mean 'prod'"):
        config.find(env=env, cwd=project, profile="prd")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ulr = '/x'", "Did you mean 'url'"),
        ("url = 3", "Invalid url 3"),
        ("[profiles.a]\nulr = '/x'", "Did you mean 'url'"),
        ("profiles = 3", "not a table"),
        ("url = ", "Cannot read"),
        ("inline_limit = 'many'", "Invalid inline_limit 'many' .from .*flowblob.toml"),
        ("cache = 'of'", "Did you mean 'off'"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_refused(
    env: dict[str, str], project: Path, text: str, says: str
) -> None:
    (project / "flowblob.toml").write_text(text)
    with pytest.raises(InvalidInputError, match=says):
        config.find(env=env, cwd=project)


def test_options_come_from_the_url_then_the_environment_then_a_file(
    env: dict[str, str], project: Path
) -> None:
    (project / "flowblob.toml").write_text('inline_limit = 1\nnote_interval = "1s"')
    assert config.find("/x", env=env, cwd=project).inline_limit == 1
    env["FLOWBLOB_INLINE_LIMIT"] = "2"
    assert config.find("/x", env=env, cwd=project).inline_limit == 2
    found = config.find("sqlite:///x?inline_limit=3", env=env, cwd=project)
    assert (found.url, found.inline_limit) == ("sqlite:///x", 3)
    assert found.note_interval == timedelta(seconds=1)


def test_a_storage_counts_only_where_the_catalog_is_named(
    env: dict[str, str], project: Path
) -> None:
    (project / "flowblob.toml").write_text('url = "here"\nstorage = "payloads-elsewhere"')
    found = config.find(env=env, cwd=project)
    assert found.storage == str(project / "payloads-elsewhere")
    assert config.find("memory://", env=env, cwd=project).storage == ""


def test_cache_modes_come_from_the_environment(env: dict[str, str], project: Path) -> None:
    env["FLOWBLOB_CACHE"] = "Refresh"
    assert config.find(env=env, cwd=project).cache == "refresh"
    env["FLOWBLOB_CACHE"] = "sometimes"
    with pytest.raises(InvalidInputError, match="from FLOWBLOB_CACHE"):
        config.find(env=env, cwd=project)


def test_a_mistyped_variable_is_warned_of_once(
    env: dict[str, str], project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    env |= {"FLOWBLOB_ULR": "/x", "FLOWBLOB_RUN_ID": "1", "FLOWBLOB_SIGNING_KEY": "k"}
    with caplog.at_level(logging.WARNING):
        config.find(env=env, cwd=project)
        config.find(env=env, cwd=project)
    assert [record.getMessage() for record in caplog.records] == [
        "FLOWBLOB_ULR is set, but flowblob reads no such variable. Did you mean 'FLOWBLOB_URL'?"
    ]


@pytest.mark.parametrize(
    "url", ["sqlite://x", "sqlite:///", "file://host/x", "sqlite:///x?inlin_limit=1", "", "a\0b"]
)
def test_a_url_that_cannot_be_is_refused(url: str, env: dict[str, str], project: Path) -> None:
    with pytest.raises(InvalidInputError):
        engines.open_engines(config.find(url, env=env, cwd=project))


def test_an_unknown_parameter_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(InvalidInputError, match="Did you mean 'inline_limit'"):
        config.find("sqlite:///x?inlin_limit=1", env={"HOME": "/nowhere"})


@pytest.mark.parametrize("scheme", ["redis", "ftp", "nonsense"])
def test_an_engine_that_is_not_there_is_answered_with_those_that_are(scheme: str) -> None:
    with pytest.raises(NotSupportedError, match=r"memory.*sqlite"):
        engines.open_catalog(f"{scheme}://host/db")
    with pytest.raises(NotSupportedError, match=r"memory.*sqlite"):
        engines.open_storage(f"{scheme}://host/db")


@pytest.mark.parametrize(
    ("url", "catalog", "storage"),
    [
        (
            "sqlite:///x?cache=off&storage=s3://bucket/p?endpoint=http://h:9&region=eu",
            "sqlite:///x",
            "s3://bucket/p?endpoint=http://h:9&region=eu",
        ),
        (
            "postgresql://db/x?sslmode=require&cache=off&storage=s3://k:a%2Fb@bucket?sse=AES256",
            "postgresql://db/x?sslmode=require",
            "s3://k:a%2Fb@bucket?sse=AES256",
        ),
        (
            "sqlite:///x?storage=s3%3A%2F%2Fbucket%2Fp%3Fregion%3Deu&cache=off",
            "sqlite:///x",
            "s3://bucket/p?region=eu",
        ),
        ("sqlite:///x?storage=s3://bucket/p&cache=off", "sqlite:///x", "s3://bucket/p"),
    ],
)
def test_a_storage_url_with_parameters_of_its_own_runs_to_the_end(
    url: str, catalog: str, storage: str
) -> None:
    found = config.find(url, env={"HOME": "/nowhere"})
    assert (found.url, found.storage) == (catalog, storage)
    assert found.cache == "off"


def test_all_ways_to_write_a_folder_name_one_store(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    quoted = str(folder).replace(" ", "%20")
    for url in (str(folder), f"sqlite://{quoted}", f"sqlite:///{quoted}", f"file://{quoted}"):
        catalog, storage = engines.open_engines(config.find(url, env={"HOME": str(tmp_path)}))
        storage.claim(catalog.store_id)
        assert (folder / "catalog.db").exists()
        assert storage.url == (folder / "payloads").as_uri()
        catalog.close()
        storage.close()


def test_a_new_store_is_closed_to_others(tmp_path: Path) -> None:
    engines.open_catalog(str(tmp_path / "new")).close()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidInputError, match="is a file"):
        engines.open_catalog(str(tmp_path / "file"))


@pytest.mark.parametrize("where", ["file/store", "x" * 300])
def test_a_store_that_cannot_be_made_says_where(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogUnavailableError, match=where) as told:
        engines.open_catalog(str(tmp_path / where))
    assert not told.value.retryable


def test_payloads_may_be_elsewhere(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/catalog?storage={tmp_path}/bytes"
    catalog, storage = engines.open_engines(config.find(url, env={"HOME": str(tmp_path)}))
    assert storage.url == (tmp_path / "bytes").as_uri()
    catalog.close()
    storage.close()


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("/plain/a:b@c", "/plain/a:b@c"),
        ("sqlite:///x", "sqlite:///x"),
        ("postgresql://ana:pw@db/x", "postgresql://ana:***@db/x"),
        ("postgresql://ana:p@w/d@db/x", "postgresql://ana:***@db/x"),
        ("postgresql://ana@db/x?password=pw", "postgresql://ana@db/x?password=***"),
        ("sqlite:///x?storage=s3://id:k@b", "sqlite:///x?storage=s3://id:***@b"),
        ("sqlite:///x?storage=s3%3A%2F%2Fid%3Ak%40b", "sqlite:///x?storage=s3://id:***@b"),
        ("s3://b?secret_key=a&region=eu", "s3://b?secret_key=***&region=eu"),
    ],
)
def test_a_password_is_masked(url: str, masked: str) -> None:
    assert mask(url) == masked


@given(st.text(min_size=8).filter(lambda text: "?" not in text and not text.isspace()))
def test_no_password_survives_masking(password: str) -> None:
    from urllib.parse import quote

    raw = quote(password, safe="")
    assert raw not in mask(f"postgresql://ana:{raw}@db/x").removeprefix("postgresql://ana:")


def test_settings_show_no_password_and_cross_processes() -> None:
    found = config.find("postgresql://ana:pw@db/x?storage=/y", env={"HOME": "/nowhere"})
    assert "pw" not in repr(found)
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("32KiB", 32768), ("1.5GB", 1_500_000_000), ("2 mib", 2097152)]
)
def test_sizes_are_read_in_both_kinds_of_units(text: str, size: int) -> None:
    assert config.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1XB", "1e3", True, 1.5, None])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(InvalidInputError):
        config.parse_size(text)
