"""An address is admitted only if it lies in a root that is listed, wherever it really leads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Unacceptable
from registry.roots import Location, Roots, locate

pieces = st.sampled_from(["models", "a", "..", ".", "", "%2e%2e", "b:c", "file:", "s3:", "::", "\\", "@", "~", "*"])
addresses = st.lists(pieces, max_size=6).map("/".join)


@given(st.sampled_from(["", "file://", "file:", "local://", "FILE://", "/"]), addresses)
def test_no_local_address_leads_out_of_its_root(scheme: str, rest: str) -> None:
    """However it is spelt."""
    try:
        place = Roots.of(["/srv/models"]).admit(f"{scheme}/srv/models/{rest}")
    except Unacceptable:
        return
    assert os.path.realpath(place.path) == place.path
    assert (place.path + "/").startswith("/srv/models/")


@given(st.sampled_from(["s3://bucket/models", "s3://bucket", "S3://bucket/models/x", "gs://bucket/models"]), addresses)
def test_no_remote_address_leads_out_of_its_root(start: str, rest: str) -> None:
    """What is admitted is spelt plainly, so that no driver reads it differently."""
    try:
        place = Roots.of(["s3://bucket/models"]).admit(f"{start}/{rest}")
    except Unacceptable:
        return
    assert (f"{place}/").startswith("s3://bucket/models/")
    assert not {"", ".", ".."} & set(place.path.split("/"))


@pytest.mark.parametrize(
    "address",
    [
        "/etc/passwd",
        "/srv/models-of-others/a",
        "/srv",
        "/srv/models/../secrets",
        "file:///etc/passwd",
        "file://etc/passwd",
        "file://localhost/srv/models",
        "local:///etc/passwd",
        "s3://bucket/models/../secrets",
        "s3://bucket/models%2f..%2fsecrets",
        "s3://bucket-of-others/models",
        "s3://key:secret@bucket/models",
        "https://bucket/models",
        "simplecache::file:///etc/passwd",
        "simplecache::s3://bucket/models",
        "zip://a::/srv/models/a.zip",
        "s3:/bucket/models",
        "digits:v1",
        "",
        "/srv/models/\0",
    ],
)
def test_what_is_not_listed_is_not_admitted(address: str) -> None:
    """Other folders, other buckets, other protocols, and one file system inside another."""
    with pytest.raises(Unacceptable):
        Roots.of(["/srv/models", "s3://bucket/models"]).admit(address)


def test_without_a_list_nothing_is_admitted() -> None:
    """The list is what is allowed, not what is forbidden."""
    with pytest.raises(Unacceptable, match="none of the roots"):
        Roots(()).admit("/srv/models")


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("/srv/models/a/", Location("file", "/srv/models/a")),
        ("file:///srv/models", Location("file", "/srv/models")),
        ("s3://bucket/models/a", Location("s3", "bucket/models/a")),
    ],
)
def test_what_is_listed_is_admitted(address: str, place: Location) -> None:
    """The root itself, and whatever lies below it."""
    assert Roots.of(["/srv/models", "s3://bucket/models/"]).admit(address) == place


def test_a_link_is_followed_before_it_is_judged(tmp_path: Path) -> None:
    """A link out of a root leads out of it, and one into it leads in."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "out").symlink_to(tmp_path)
    (tmp_path / "in").symlink_to(tmp_path / "root")
    roots = Roots.of([str(tmp_path / "root")])
    with pytest.raises(Unacceptable, match="lies in none"):
        roots.admit(str(tmp_path / "root" / "out" / "secret"))
    assert roots.admit(str(tmp_path / "in" / "a")) == locate(str(tmp_path / "root" / "a"))
