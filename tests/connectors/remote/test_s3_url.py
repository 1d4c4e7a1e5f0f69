"""What an s3:// URL may say, and what is never repeated of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.remote.opening import open_store
from connectors.remote.s3_url import S3Address
from kvstore import InvalidRequest


def test_a_url_says_where_the_bucket_is_and_who_asks():
    address = S3Address.of("s3://frames/a/b?endpoint=https://s3.example&region=eu-1&access_key_id=k&session_token=t")
    assert (address.bucket, address.prefix) == ("frames", "a/b")
    assert address.place == {"endpoint": "https://s3.example", "region": "eu-1"}
    assert address.secrets == {"access_key_id": "k", "session_token": "t"}
    assert S3Address.of("s3://frames").prefix == S3Address.of("s3://frames/").prefix == ""


def test_what_is_shown_has_no_secrets_and_can_be_given_again():
    address = S3Address.of("s3://frames/a?endpoint=https://s3.example:1&access_key_id=key-7&secret_access_key=secret-7")
    assert address.shown == "s3://frames/a?endpoint=https://s3.example:1"
    assert "key-7" not in repr(address)
    assert "secret-7" not in repr(address)
    assert S3Address.of(address.shown).place == address.place


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3://A",
        "s3://frames/a//b",
        "s3://frames/a b",
        "s3://user:secret-7@frames",
        "s3://frames?secret-7",
        "s3://frames?secret=secret-7",
        "s3://frames?endpoint=secret-7",
        "s3://frames?endpoint=ftp://secret-7",
        "s3://frames?endpoint=http://user:secret-7@127.0.0.1",
        "s3://frames?endpoint=http://[secret-7",
        "s3://frames?allow_http=secret-7",
        "s3://frames#secret-7",
    ],
)
def test_another_form_is_refused_without_being_repeated(url):
    with pytest.raises(InvalidRequest, match="s3://BUCKET") as refused:
        open_store(url)
    assert "secret-7" not in str(refused.value)


def test_nothing_is_sent_in_clear_to_another_host_unless_that_is_said():
    with pytest.raises(InvalidRequest, match="in clear"):
        S3Address.of("s3://frames?endpoint=http://s3.example")
    assert S3Address.of("s3://frames?endpoint=http://s3.example&allow_http=true").allow_http
    assert S3Address.of("s3://frames?endpoint=http://127.0.0.1:8333").allow_http
    assert not S3Address.of("s3://frames?endpoint=https://s3.example").allow_http


def test_a_setting_that_the_client_does_not_understand_is_bad_input():
    with pytest.raises(InvalidRequest, match="s3://frames"):
        open_store("s3://frames?virtual_hosted_style_request=perhaps")


@given(st.text())
def test_any_text_is_an_address_or_refused(text):
    try:
        address = S3Address.of(f"s3://{text}")
    except InvalidRequest:
        return
    assert S3Address.of(address.shown).prefix == address.prefix
