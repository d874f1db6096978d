"""apt and dpkg are stood in for by small scripts on the PATH; a package is a tar file in a folder."""

import os
import subprocess
import tarfile

import pytest

from audio_ssl.base.errors import UserError
from audio_ssl.data.corpus_tools.fetch import apt_available, fetch_apt

APT = """#!/bin/sh
echo "$@" >> {log}
for last; do :; done
case " $* " in
  *" update "*) exit {update};;
esac
if [ -e {repo}/$last.deb ]; then cp {repo}/$last.deb ./"$last"_1.0_all.deb
else echo "Reading..." >&2; echo "E: Unable to locate package $last" >&2; exit 100; fi
"""
DPKG = """#!/bin/sh
if [ -e {repo}/broken ]; then touch "$3/half"; echo "corrupt" >&2; exit 2; fi
tar -xf "$2" -C "$3"
"""


@pytest.fixture
def apt(tmp_path, monkeypatch):
    """A repository with the packages a and b; returns what the scripts share."""
    repo, tools = tmp_path / "repo", tmp_path / "bin"
    repo.mkdir()
    tools.mkdir()
    for package in ("a", "b"):
        file = tmp_path / f"{package}.txt"
        file.write_text(package)
        with tarfile.open(repo / f"{package}.deb", "w") as archive:
            archive.add(file, f"usr/share/{package}/{package}.txt")

    class Apt:
        log = tmp_path / "apt.log"
        broken = repo / "broken"
        root = tmp_path / "root"

        def write(self, update=0):
            for name, script in (("apt-get", APT), ("dpkg-deb", DPKG)):
                (tools / name).write_text(script.format(log=self.log, repo=repo, update=update))
                (tools / name).chmod(0o755)

        def calls(self):
            return [line.split()[-1] for line in self.log.read_text().splitlines()] if self.log.exists() else []

    apt = Apt()
    apt.write()
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    return apt


def test_packages_are_unpacked_each_in_its_folder(apt):
    assert apt_available()
    fetch_apt(["a", "b"], apt.root)
    assert (apt.root / "a/usr/share/a/a.txt").read_text() == "a"
    assert (apt.root / "b/usr/share/b/b.txt").read_text() == "b"
    assert sorted(p.name for p in apt.root.iterdir()) == ["a", "b"]
    assert apt.calls() == ["update", "a", "b"]


def test_the_systems_state_is_not_touched(apt):
    fetch_apt(["a"], apt.root)
    for line in apt.log.read_text().splitlines():
        assert f"Dir::State::lists={apt.root}/.apt/lists" in line
        assert f"Dir::Cache={apt.root}/.apt/cache" in line


def test_finished_packages_are_left_alone(apt):
    fetch_apt(["a"], apt.root)
    fetch_apt(["a"], apt.root)
    assert apt.calls() == ["update", "a"]
    fetch_apt(["a", "b"], apt.root)
    assert apt.calls() == ["update", "a", "update", "b"]


def test_a_half_unpacked_package_is_done_again(apt):
    apt.broken.touch()
    with pytest.raises(UserError, match="the package `a` cannot be unpacked: corrupt"):
        fetch_apt(["a"], apt.root)
    assert not (apt.root / "a").exists()
    assert (apt.root / ".apt/unpacked/a/half").exists()
    apt.broken.unlink()
    fetch_apt(["a"], apt.root)
    assert [p.name for p in (apt.root / "a").iterdir()] == ["usr"]


def test_an_unknown_package_is_named_and_the_others_stay(apt):
    with pytest.raises(UserError, match=r"`c` cannot be downloaded: E: Unable to locate package c$"):
        fetch_apt(["a", "c"], apt.root)
    assert (apt.root / "a").is_dir()


def test_no_package_lists(apt):
    apt.write(update=100)
    with pytest.raises(UserError, match="the package lists cannot be updated: no reason given"):
        fetch_apt(["a"], apt.root)


def test_without_apt(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not apt_available()
    with pytest.raises(UserError, match="needs apt-get and dpkg-deb, which this system does not have"):
        fetch_apt(["a"], tmp_path)
    (tmp_path / "a").mkdir()
    fetch_apt(["a"], tmp_path)


def test_the_stand_ins_are_scripts_that_run(apt):
    assert subprocess.run(["apt-get", "update"], check=False).returncode == 0
