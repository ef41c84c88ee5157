"""Addresses of clusters, and of each node that they lead to."""

import pytest

from relay.addresses.cluster import ClusterUrl, parse_cluster_url


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("redis+cluster://a", ClusterUrl((("a", 6379),), "redis", "", "")),
        ("redis+cluster://a:1,[::1]:2/", ClusterUrl((("a", 1), ("::1", 2)), "redis", "", "")),
        (
            "rediss+cluster://u:p%40@a,b:7/0?ssl_cert_reqs=none",
            ClusterUrl((("a", 6379), ("b", 7)), "rediss", "u:p%40@", "?ssl_cert_reqs=none"),
        ),
        ("redis://a", None),
        ("redis+sentinel://a/s", None),
    ],
)
def test_what_an_address_names(url, parsed):
    assert parse_cluster_url(url) == parsed


def test_a_node_has_the_options_of_all():
    url = parse_cluster_url("rediss+cluster://u:p@a?ssl_cert_reqs=none")
    assert url.of_node("10.0.0.1", 7000) == "rediss://u:p@10.0.0.1:7000/0?ssl_cert_reqs=none"
    assert url.of_node("::1", 7000) == "rediss://u:p@[::1]:7000/0?ssl_cert_reqs=none"
