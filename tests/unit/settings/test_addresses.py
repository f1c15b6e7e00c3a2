"""Which hosts are this machine, and which are one's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.settings.addresses import is_loopback, is_self_hosted

OWN = [
    *("127.0.0.1", "::1", "10.1.2.3", "172.16.0.1", "192.168.7.7", "169.254.1.1", "100.64.0.1"),
    *("fe80::1", "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1", "0.0.0.0"),
    *("localhost", "gpu-1", "GPU-1", "gpu-1.", "a.local", "a.lan", "a.internal", "vm.c.p.internal"),
    *("vllm.models.svc", "vllm.models.svc.cluster.local", "vllm.models.svc.corp.example."),
]
PUBLIC = [
    *("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "172.32.0.1", "100.128.0.1"),
    *("api.openai.com", "api.anthropic.com.", "local.example.com", "svc.example.com", "a.locals"),
    *("internal.dev", "10.0.0.1.example.com", "lan.io"),
]


@pytest.mark.parametrize("host", OWN)
def test_hosts_of_ones_own(host: str) -> None:
    assert is_self_hosted(host)


@pytest.mark.parametrize("host", PUBLIC)
def test_hosts_of_others(host: str) -> None:
    assert not is_self_hosted(host)
    assert not is_loopback(host)


@given(st.text(max_size=60))
def test_no_text_breaks_it_and_this_machine_is_ones_own(host: str) -> None:
    assert is_self_hosted(host) or not is_loopback(host)
