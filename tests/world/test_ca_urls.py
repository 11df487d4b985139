"""Where a CA may lead us: to its own hosts, over HTTPS."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import parse_url

from certbotless.base.errors import CaUnavailable
from certbotless.world.acme.ca_urls import CaUrls

DIRECTORY = "https://ca.test/directory"


@pytest.mark.parametrize(
    "url",
    [
        "https://ca.test/order/1",
        "https://CA.test:443/order/1?a=b&c=d",
        "https://ca.test",
        "https://ca.test?order=1",
        "https://ca.test/~(it's)/[1]/%41",
    ],
)
def test_a_url_at_the_host_of_the_directory_is_good(url: str) -> None:
    assert CaUrls(DIRECTORY).check(url) == url


def test_the_directory_may_name_further_hosts() -> None:
    urls = CaUrls(DIRECTORY)
    urls.admit("https://orders.ca.test:8443/new")
    assert urls.check("https://orders.ca.test:8443/order/1")
    for url in ("https://orders.ca.test/order/1", "https://ca.test:8443/order/1"):
        with pytest.raises(CaUnavailable, match="a host that its directory does not name"):
            urls.check(url)


@pytest.mark.parametrize(
    "directory", ["https://127.0.0.1:14000/dir", "https://[::1]:14000/dir", "https://ca.internal/acme"]
)
def test_a_private_ca_has_its_own_address(directory: str) -> None:
    assert CaUrls(directory).check(directory) == directory


NO_URLS: list[object] = [
    "",
    "ca.test/order",
    "/order/1",
    "//ca.test/order",
    "file:///etc/passwd",
    "ftp://ca.test/",
    "javascript:alert(1)",
    "https://",
    "https:ca.test/order",
    "https://user:password@ca.test/",
    "https://ca.test@evil.test/",
    "https://ca.test\\@evil.test/",
    "https://ca.test#@evil.test/",
    "https://ca.test/\r\nHost: evil.test",
    "https://ca.test/ order",
    "https://ca.test/\x00",
    "https://ca.test:port/",
    "https://ca.test:99999999/",
    "https://ca。test/",
    "https://ca.test/" + "a" * 2000,
    "\nhttps://ca.test/",
    "https://ca.test/\n",
    None,
    1,
    float("nan"),
    ["https://ca.test/"],
    {"https://ca.test/": 1},
    True,
]


@pytest.mark.row(73)
@pytest.mark.parametrize("url", NO_URLS, ids=[repr(url)[:40] for url in NO_URLS])
def test_what_is_no_url_of_a_ca_is_refused(url: object) -> None:
    with pytest.raises(CaUnavailable, match=r"no URL|does not name") as refused:
        CaUrls(DIRECTORY).check(url)
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 300
    with pytest.raises(CaUnavailable):
        CaUrls(DIRECTORY).admit(url)


@pytest.mark.row(73)
def test_plain_http_is_refused_of_a_ca_that_is_asked_over_https() -> None:
    urls = CaUrls(DIRECTORY)
    for refuse in (urls.admit, urls.check):
        with pytest.raises(CaUnavailable, match="plain HTTP"):
            refuse("http://ca.test/order/1")
    assert CaUrls("http://127.0.0.1:1/dir").check("http://127.0.0.1:1/order")


@given(
    st.text(max_size=40)
    | st.builds(
        "https://{}{}{}".format,
        st.sampled_from(["ca.test", "ca.test:443", "evil.test", "ca.test@", "ca.test\\", "@ca.test"]),
        st.sampled_from(["", "/", "?", "#", "@", ":", "\\", "//", "/@"]),
        st.text("cate.svil:@/\\#?[]%0 ", max_size=20),
    )
)
def test_what_passes_is_the_same_host_for_the_library_that_asks(url: str) -> None:
    try:
        CaUrls(DIRECTORY).check(url)
    except CaUnavailable:
        return
    read = parse_url(url)
    assert (read.scheme, read.host, read.port or 443, read.auth) == ("https", "ca.test", 443, None)
