"""Keys and passwords: where they may stand, and that nothing shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.settings import Settings
from fairlead.settings.redaction import shown
from unit.settings.conftest import Load, Problems

SECRET = "sk-ant-very-secret-0123456789"
UPSTREAM = '[[upstreams]]\nname = "a"\nshape = "openai"\nbase_url = "http://gpu:8000/v1"\n'


def everything_told_about(settings: Settings) -> str:
    """Each way by which settings could reach a log."""
    texts = [repr(settings), str(settings), str(settings.describe())]
    for part in (*settings.upstreams, settings.cache, settings.network):
        texts += [repr(part), str(part), f"{part}", part.model_dump_json()]
    return "\n".join(texts)


def test_keys_come_from_variables_and_files(load: Load, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{SECRET}\n")
    toml = UPSTREAM + 'key_env = ["FAIRLEAD_GPU_KEY", "OTHER"]\nkey_file = "key"\n'
    settings = load(toml, FAIRLEAD_GPU_KEY="first-key", OTHER=" second-key ")
    assert settings.upstreams[0].reveal_keys() == ("first-key", "second-key", SECRET)
    told = everything_told_about(settings)
    assert not any(key in told for key in settings.upstreams[0].reveal_keys())


def test_passwords_in_urls_are_never_shown(load: Load) -> None:
    settings = load(
        None,
        FAIRLEAD_CACHE__URL="redis://user:pa@ss@cache:6379/0?password=other",
        FAIRLEAD_NETWORK__PROXY="http://user:word@proxy:3128",
        OPENAI_API_KEY=SECRET,
    )
    assert settings.cache.backend == "redis"
    assert settings.upstreams[0].leg_options().proxy == "http://user:word@proxy:3128"
    told = everything_told_about(settings)
    assert not any(secret in told for secret in ("pa@ss", "other", "word@", SECRET))
    assert "redis://***@cache:6379/0" in told


@pytest.mark.parametrize("key", ["api_key", "key", "keys", "token", "password", "openai_api_key"])
def test_a_secret_in_the_file_is_refused_without_showing_it(problems: Problems, key: str) -> None:
    (told,) = problems(UPSTREAM + f'{key} = "{SECRET}"\n')
    assert told.startswith(f"upstreams[0].{key} (")
    assert "key_env" in told
    assert "key_file" in told
    assert SECRET not in told


@pytest.mark.parametrize(
    ("toml", "fix"),
    [
        ('[cache]\nurl = "redis://:hidden@cache/0"', "FAIRLEAD_CACHE__URL"),
        ('[cache]\nurl = "redis://cache/0?password=hidden"', "FAIRLEAD_CACHE__URL"),
        ('[cache]\npassword = "hidden"', "FAIRLEAD_CACHE__URL"),
        ('[network]\nproxy = "http://me:hidden@proxy:1"', "FAIRLEAD_NETWORK__PROXY"),
        (UPSTREAM + 'proxy = "http://me:hidden@proxy:1"', "FAIRLEAD_NETWORK__PROXY"),
        (UPSTREAM.replace("gpu", "me:hidden@gpu"), "key_env"),
        ('[auth]\ntoken = "hidden"', "unknown key"),
        ('[storage]\nurl = "postgresql://me:hidden@db/x"', "FAIRLEAD_STORAGE__URL"),
        ('[storage]\npassword = "hidden"', "FAIRLEAD_STORAGE__URL"),
    ],
)
def test_passwords_in_the_file_are_refused(problems: Problems, toml: str, fix: str) -> None:
    told = "\n".join(problems(toml))
    assert fix in told
    assert "hidden" not in told


def test_the_key_itself_in_place_of_a_name_is_not_shown(problems: Problems) -> None:
    (told,) = problems(UPSTREAM + f'key_env = "{SECRET}"\n')
    assert "names of environment variables" in told
    assert SECRET not in told


def test_a_variable_that_is_not_set_is_named(problems: Problems) -> None:
    toml = UPSTREAM + 'key_env = ["TEAM_PLATFORM_GPU_1_API_KEY", "EMPTY"]\n'
    first, second = problems(toml, EMPTY="")
    assert "TEAM_PLATFORM_GPU_1_API_KEY is not set" in first
    assert "EMPTY is not set, or empty" in second


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "é", "nul\0"])
def test_a_key_that_no_header_can_carry_is_refused(problems: Problems, key: str) -> None:
    (told,) = problems(UPSTREAM + 'key_env = "K"\n', K=key)
    assert "no header can carry" in told
    assert key not in told


def test_the_cache_url_may_stand_in_a_file(load: Load, problems: Problems, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://:hidden@cache/0\n")
    toml = '[cache]\nurl_file = "url"\n'
    settings = load(toml)
    assert settings.cache.url.get_secret_value() == "redis://:hidden@cache/0"
    assert "hidden" not in everything_told_about(settings)
    assert "only one of the two" in problems(toml, FAIRLEAD_CACHE__URL="sqlite")[0]
    (tmp_path / "url").write_text("hidden:nonsense")
    (told,) = problems(toml)
    assert "the URL in it must be" in told
    assert "hidden" not in told


def test_uuid_and_random_values_are_hidden() -> None:
    for text in ("0b9c2a52-6a7e-4a7e-9d0f-4b8f3c2d1e0f", "aB3" * 12, "Bearer x", "hf_abcdefgh"):
        assert text not in shown(text)
    assert shown("us-east-gpu-cluster-number-12-a") == '"us-east-gpu-cluster-number-12-a"'
