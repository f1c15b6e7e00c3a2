from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fairlead.app.states import SharedStates
from fairlead.errors import FairleadError, RequestError
from fairlead.testing import ManualClock
from unit.app.conftest import Load
from unit.app.sites import opened

TWO = """
[[upstreams]]
name = "gpu"
shape = "openai"
base_url = ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"]
{more}
[[upstreams]]
name = "far"
shape = "openai"
base_url = "http://127.0.0.1:3/v1"
"""
PLAIN = TWO.format(more="")


def two(*lines: str) -> str:
    return TWO.format(more="\n".join(lines))


class TestViews:
    async def test_every_server_in_the_order_of_the_file(
        self, load: Load, clock: ManualClock
    ) -> None:
        async with opened(load(two("limit = 7", "max_limit = 9")), clock) as site:
            views = site.fleet.views()
            assert [(view.name, view.group) for view in views] == [
                ("gpu.1", "gpu"),
                ("gpu.2", "gpu"),
                ("far", "far"),
            ]
            assert views[1].base_url == "http://127.0.0.1:2/v1"
            assert (views[0].queue.limit, views[0].queue.max_limit) == (7, 9)
            assert {view.probe_error for view in views} == {""}
            assert site.fleet.queues().keys() == {"gpu.1", "gpu.2", "far"}

    async def test_workers_share_the_limits(self, load: Load, clock: ManualClock) -> None:
        text = "[server]\nworkers = 3\n" + two("limit = 10", "max_queued = 20")
        async with opened(load(text), clock) as site:
            assert site.fleet.views()[0].queue.limit == 4
            # Those that run share them, whatever the file says of their number now.
            await site.reload(load("[server]\nworkers = 1\n" + two("limit = 20")))
            assert site.fleet.views()[0].queue.limit == 7


class TestStates:
    async def test_an_entry_or_one_of_its_servers(self, load: Load, clock: ManualClock) -> None:
        async with opened(load(PLAIN), clock) as site:
            (only,) = site.fleet.set_state("gpu.2", "draining")
            assert (only.name, only.server.state) == ("gpu.2", "draining")
            assert site.states == {"gpu.1": "active", "gpu.2": "draining", "far": "active"}
            both = site.fleet.set_state("gpu", "draining")
            assert [view.name for view in both] == ["gpu.1", "gpu.2"]
            assert site.states == {"gpu.1": "draining", "gpu.2": "draining", "far": "active"}
            site.fleet.set_state("gpu", "active")
            assert set(site.states.values()) == {"active"}

    async def test_an_unknown_name_is_answered_with_the_known_ones(
        self, load: Load, clock: ManualClock
    ) -> None:
        async with opened(load(PLAIN), clock) as site:
            with pytest.raises(RequestError, match="there are: gpu, far") as caught:
                site.fleet.set_state("gpu.3", "draining")
            assert caught.value.status == 404

    async def test_the_other_workers_follow_within_a_second(
        self, load: Load, clock: ManualClock, tmp_path: Path
    ) -> None:
        settings = load(PLAIN)
        async with (
            opened(settings, clock, SharedStates(tmp_path)) as one,
            opened(settings, clock, SharedStates(tmp_path)) as other,
        ):
            one.fleet.set_state("gpu.1", "draining")
            await clock.advance(1.0)
            assert other.states["gpu.1"] == "draining"
            other.fleet.set_state("gpu", "active")
            await clock.advance(1.0)
            assert one.states["gpu.1"] == "active"

    async def test_one_that_starts_later_knows_before_its_first_request(
        self, load: Load, clock: ManualClock, tmp_path: Path
    ) -> None:
        SharedStates(tmp_path).set({"gpu.1": "draining", "long-gone": "draining"})
        async with opened(load(PLAIN), clock, SharedStates(tmp_path)) as site:
            assert site.states == {"gpu.1": "draining", "gpu.2": "active", "far": "active"}


class TestReload:
    async def test_servers_come_and_go(self, load: Load, clock: ManualClock) -> None:
        async with opened(load(PLAIN), clock) as site:
            before = {one.name: one for one in site.fleet.upstreams}
            await site.reload(load(PLAIN.replace('"far"', '"new"')))
            after = {one.name: one for one in site.fleet.upstreams}
            assert after.keys() == {"gpu.1", "gpu.2", "new"}
            assert after["gpu.1"] is before["gpu.1"], "what has not changed is not touched"
            assert [one.name for one in site.gateway.routes.upstreams] == list(after)
            assert site.states.keys() == after.keys()

    async def test_only_what_changed_is_made_anew(self, load: Load, clock: ManualClock) -> None:
        keys = {"FIRST": "1", "SECOND": "2"}
        first = load(two('key_env = ["FIRST"]', "limit = 9"), **keys)
        async with opened(first, clock) as site:
            before = site.fleet.upstreams[0]
            await site.reload(load(two('key_env = ["SECOND"]', "limit = 9"), **keys))
            after = site.fleet.upstreams[0]
            assert (before.keys, after.keys) == (("1",), ("2",))
            assert after.leg is before.leg, "its connections stay"
            assert after.admission is before.admission, "and those in its queue"

            await site.reload(load(two('key_env = ["SECOND"]', "limit = 8"), **keys))
            third = site.fleet.upstreams[0]
            assert third.leg is before.leg
            assert third.admission is not before.admission

    async def test_what_an_operator_has_set_stands_until_the_file_says_something_new(
        self, load: Load, clock: ManualClock, tmp_path: Path
    ) -> None:
        states = SharedStates(tmp_path)
        async with opened(load(PLAIN), clock, states) as site:
            site.fleet.set_state("gpu.1", "draining")
            await site.reload(load(two("limit = 5")))
            assert site.states["gpu.1"] == "draining"
            await site.reload(load(two("limit = 5", 'state = "draining"')))
            assert site.states["gpu.2"] == "draining"
            await site.reload(load(PLAIN))
            assert set(site.states.values()) == {"active"}
            await clock.advance(2.0)
            assert set(site.states.values()) == {"active"}
            assert SharedStates(tmp_path).changed() == {}

    async def test_what_needs_a_restart_is_named(
        self, load: Load, clock: ManualClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with opened(load(PLAIN), clock) as site:
            with caplog.at_level(logging.WARNING):
                await site.reload(load("[queue]\nlimit = 3\n" + PLAIN))
            assert caplog.text == ""
            assert site.fleet.views()[0].queue.limit == 3
            with caplog.at_level(logging.WARNING):
                await site.reload(load("[balancer]\nsession_ttl = 3\n" + PLAIN))
            assert "these settings need a restart: balancer.session_ttl" in caplog.text

    async def test_one_that_fails_half_way_changes_nothing(
        self, load: Load, clock: ManualClock, tmp_path: Path
    ) -> None:
        """Certificates that are none show only when the connection is made."""
        async with opened(load(PLAIN), clock) as site:
            (tmp_path / "ca.pem").write_text("this is no certificate")
            secure = PLAIN.replace("http://127.0.0.1:3", "https://localhost:3")
            secure = secure.replace('"far"', '"other"') + 'ca_bundle = "ca.pem"\n'
            with pytest.raises(FairleadError):
                await site.reload(load(secure))
            assert site.states.keys() == {"gpu.1", "gpu.2", "far"}
            assert [one.name for one in site.gateway.routes.upstreams] == ["gpu.1", "gpu.2", "far"]
            await site.reload(load(two("limit = 5")))
            assert site.fleet.views()[0].queue.limit == 5
