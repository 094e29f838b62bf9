"""Compiled programs on disk: read as they were compiled, bounded, and done without where they cannot be kept."""

import logging
import os
import warnings

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

import nqmjax as nq
from nqmjax._tools import cache_by_environment, compilation_cache, forget
from nqmjax.cli import main
from nqmjax.cli.app import _choose_cache, _note

RATES = np.geomspace(1e-3, 1.9, 50)


@pytest.fixture
def own_cache(tmp_path):
    before = {name: getattr(jax.config, name) for name in ("jax_compilation_cache_dir", *compilation_cache.SETTINGS)}
    yield nq.use_compilation_cache(tmp_path / "cache")
    reset_cache()
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture
def environment(monkeypatch):
    """As of a user who has said nothing."""
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE", *map(str.upper, compilation_cache.SETTINGS)):
        monkeypatch.setenv(name, "")  # put back at the end whatever the test does
        monkeypatch.delenv(name)
    return monkeypatch


def compiled_anew():
    """Stationary risks by a function that JAX does not know yet."""

    def risks(rate):
        return nq.stationary_risk(nq.power_law(5), nq.SGD(rate), 64)

    with jax.enable_x64(True):
        return np.asarray(jax.jit(risks)(RATES))


def test_what_is_read_is_what_was_compiled(own_cache, caplog, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(own_cache))
    compiled = compiled_anew()
    [entry] = own_cache.glob("jit_risks-*-cache")
    with caplog.at_level(logging.DEBUG, "jax._src.compiler"):
        assert compiled_anew().tobytes() == compiled.tobytes()
    assert "cache hit for 'jit_risks'" in caplog.text
    whole = entry.read_bytes()
    entry.write_bytes(whole[: len(whole) // 2])  # its writer was killed
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert compiled_anew().tobytes() == compiled.tobytes()
    assert forget(str(seen[0].message))
    assert not entry.exists()
    compiled_anew()
    assert len(entry.read_bytes()) == pytest.approx(len(whole), rel=0.01)


def test_a_directory_that_cannot_be_written(environment, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"directory is .*file/x: Not a directory; choose one that can be written"):
        nq.use_compilation_cache(tmp_path / "file" / "x")
    environment.setenv("NQMJAX_CACHE", str(tmp_path / "file" / "x"))
    _choose_cache(["scaling"])
    assert capsys.readouterr().err == f"nqmjax: note: compiled programs are not kept, {tmp_path}/file/x: Not a directory\n"
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_a_disk_that_fills_up_is_said_once(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = _note
        for name in ("jit_f", "jit_g"):
            text = f"Error writing persistent compilation cache entry for '{name}': OSError: [Errno 28] No space left on device"
            warnings.warn(text, stacklevel=1)
    assert capsys.readouterr().err == "nqmjax: note: compiled programs are not kept, [Errno 28] No space left on device\n"


def test_where_it_is(environment, tmp_path):
    environment.setenv("NQMJAX_CACHE", str(tmp_path / "there"))
    assert cache_by_environment() is None
    [folder] = (tmp_path / "there").iterdir()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(folder)
    assert folder.name.startswith(f"nqmjax-{nq.__version__}-jaxlib-")
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("value", ["off", "0", ""])
def test_switched_off_by_the_environment(environment, value):
    environment.setenv("NQMJAX_CACHE", value)
    _choose_cache(["scaling"])
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_switched_off_in_a_command(environment, tmp_path, capsys):
    environment.setenv("NQMJAX_CACHE", str(tmp_path / "there"))
    _choose_cache(["--no-cache", "scaling"])
    assert os.environ["JAX_ENABLE_COMPILATION_CACHE"] == "false"
    assert not (tmp_path / "there").exists()
    assert main(["example", "--no-cache", "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_a_cache_of_ones_own_stays(environment, tmp_path):
    environment.setenv("JAX_COMPILATION_CACHE_DIR", "mine")
    environment.setenv("NQMJAX_CACHE", str(tmp_path / "there"))
    _choose_cache(["scaling"])
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "mine"
    assert not (tmp_path / "there").exists()


def test_what_was_not_used_for_long_goes(monkeypatch, tmp_path):
    folder = compilation_cache.prepared(tmp_path)
    (tmp_path / "older version").mkdir()
    for age, place in enumerate([folder, tmp_path / "older version"] * 3):
        entry = place / f"jit_f-{age}-cache"
        entry.write_bytes(bytes(10))
        os.utime(entry, (1e9 - age, 1e9 - age))
    monkeypatch.setattr(compilation_cache, "LARGEST", 60)
    compilation_cache.prepared(tmp_path)
    assert len([*tmp_path.rglob("*-cache")]) == 6
    monkeypatch.setattr(compilation_cache, "LARGEST", 50)
    compilation_cache.prepared(tmp_path)
    assert sorted(entry.name for entry in tmp_path.rglob("*-cache")) == ["jit_f-0-cache", "jit_f-1-cache"]
