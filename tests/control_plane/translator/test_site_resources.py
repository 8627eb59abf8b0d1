"""The resources of a site's Envoy, made from its manifest."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import betterproto2
import pytest
import yaml
from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.rbac.v3 import Action  # noqa: F401 - so that it can be decoded
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.access_loggers.file.v3 import FileAccessLog  # noqa: F401
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac  # noqa: F401
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret

from harness.envoy import PROGRAM
from scopeway.control_plane.clouds.declared_types import declare
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Certificate, Cloud, Front, Peer
from scopeway.control_plane.clouds.policy import policy_of
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.collector.http import sockets
from scopeway.control_plane.translator import collector_sockets
from scopeway.control_plane.translator.bootstrap import bootstrap
from scopeway.control_plane.translator.early_headers import all_but_words
from scopeway.control_plane.translator.lua import (
    MAX_TARGETS,
    NEW_TARGETS_BURST,
    NEW_TARGETS_PER_SECOND,
)
from scopeway.control_plane.translator.node_setup import Setup
from scopeway.control_plane.translator.routes import peer_routes
from scopeway.control_plane.translator.site_resources import site_resources
from scopeway.xds.type_urls import EXTENSION, LISTENER, ROUTE, SECRET

GOLDEN = Path(__file__).parents[2] / "testdata" / "site"

FRONT = Front(address="127.0.0.1", port=8080)
PEER = Peer(address="127.0.0.1", port=8443)
COLLECTOR = "/run/scopeway"
SITE = Cloud(
    name="cloud-1",
    front=Front(address="127.0.0.1", port=8080, ports={"image": 9292}),
    peer=PEER,
)
SENSOR = ServiceType(name="sensor", aliases=("probe",), forward=("authorization",))
SENSOR_TYPES, _ = declare([SENSOR])


def listeners(
    cloud: Cloud, *, trust_domain: str | None = None, collector: str = ""
) -> Mapping[str, bytes]:
    return site_resources(cloud, trust_domain=trust_domain, setup=Setup(collector=collector))[
        LISTENER
    ]


def routes(cloud: Cloud, *, collector: str = "") -> Mapping[str, bytes]:
    return site_resources(cloud, setup=Setup(collector=collector))[ROUTE]


def filters(cloud: Cloud, *, trust_domain: str | None = None) -> Mapping[str, bytes]:
    return site_resources(cloud, trust_domain=trust_domain)[EXTENSION]


def all_listeners(cloud: Cloud) -> Mapping[str, bytes]:
    return listeners(cloud, collector=COLLECTOR)


def all_routes(cloud: Cloud) -> Mapping[str, bytes]:
    peer = peer_routes(policy_of(cloud), Inventory()).body
    return {**routes(cloud, collector=COLLECTOR), "peer": peer}


def decoded(message: type[betterproto2.Message], bodies: Mapping[str, bytes]) -> dict[str, Any]:
    return {name: message.parse(body).to_dict() for name, body in bodies.items()}


class TestGolden:
    """Everything that an Envoy of this site receives."""

    @pytest.mark.parametrize(
        ("kind", "message", "make"),
        [("listeners", Listener, all_listeners), ("routes", RouteConfiguration, all_routes)],
    )
    def test_resources_of_a_site_equal_the_golden_files(
        self, rewrite: bool, kind: str, message: Any, make: Any
    ) -> None:
        file = GOLDEN / f"{kind}.yaml"
        made = yaml.safe_dump(decoded(message, make(SITE)), sort_keys=True, width=100)
        if rewrite:
            file.write_text(made)

        assert made == file.read_text()


def test_every_route_of_a_front_has_a_name() -> None:
    """By which its Lua knows those of the version before, which bound no login."""
    (host,) = RouteConfiguration.parse(routes(SITE)["front"]).virtual_hosts

    assert all(each.name for each in host.routes)


class TestResourceNames:
    def test_a_site_has_listeners_routes_and_lua_for_front_ports_and_peer(self) -> None:
        made = site_resources(SITE)

        assert made[LISTENER].keys() == {"front", "front/image", "peer", "dispatch", "errors"}
        assert made[ROUTE].keys() == {"front", "front/image"}
        assert made[EXTENSION].keys() == {
            *("links", "lua/dispatch", "lua/front", "lua/front/image", "lua/peer")
        }

    def test_a_site_with_a_collector_has_a_listener_for_it(self) -> None:
        without, made = site_resources(SITE), site_resources(SITE, setup=Setup(collector=COLLECTOR))

        assert made[LISTENER].keys() - without[LISTENER].keys() == {"collect"}
        assert made[ROUTE].keys() - without[ROUTE].keys() == {"collect"}
        assert made[EXTENSION].keys() - without[EXTENSION].keys() == {"lua/collect"}
        for type_url, resources in without.items():  # and nothing else differs
            assert resources.items() <= made[type_url].items()

    @pytest.mark.parametrize("words", [("fanout",), ("fanout", "origin")])
    def test_a_peer_removes_all_headers_of_ours_but_some(self, words: tuple[str, ...]) -> None:
        patterns = all_but_words(*words)
        others = {word[:length] for word in words for length in range(len(word))}
        others |= {f"{word}{more}" for word in words for more in ("x", "-", "s")}
        others |= {f"x{word}" for word in words} | {"target", "members", "operator", "fake"}
        others |= {"fanouts", "fan-out", "from", "of", "original"} | {"fanout", "origin"}
        removed = {
            word
            for word in {*others, *words}
            if any(re.fullmatch(pattern, word) for pattern in patterns)
        }

        assert removed == others - set(words)

    def test_a_site_without_a_front_has_no_listener_for_a_collector(self) -> None:
        cloud = Cloud(name="cloud-1", peer=PEER)

        assert site_resources(cloud, setup=Setup(collector=COLLECTOR)) == site_resources(cloud)

    def test_a_site_without_a_front_has_it_if_the_collector_caches_validations(self) -> None:
        cloud = Cloud(name="cloud-1", peer=PEER)
        caching = Setup(collector=COLLECTOR, caches_validations=True)

        assert "collect" in site_resources(cloud, caching)[LISTENER]

    def test_a_cloud_without_front_and_peer_has_no_listeners(self) -> None:
        made = site_resources(Cloud(name="cloud-1"))

        assert [*made[LISTENER], *made[ROUTE], *made[EXTENSION]] == []

    @pytest.mark.parametrize(
        ("cloud", "names"),
        [
            (Cloud(name="a", front=FRONT), {"front"}),
            (Cloud(name="a", peer=PEER), {"peer"}),
        ],
    )
    def test_internal_listeners_come_with_a_front_or_a_peer(
        self, cloud: Cloud, names: set[str]
    ) -> None:
        assert listeners(cloud).keys() == {*names, "dispatch", "errors"}
        assert routes(cloud).keys() == names - {"peer"}

    def test_a_peer_beyond_loopback_is_not_opened_by_default(self) -> None:
        cloud = Cloud(name="a", front=FRONT, peer=Peer(address="10.0.0.1", port=1, bind="0.0.0.0"))

        assert "peer" not in listeners(cloud)
        assert "lua/peer" not in filters(cloud)

    @pytest.mark.parametrize("allowed", [{"insecure_peers": True}, {"trust_domain": "fleet"}])
    def test_a_peer_beyond_loopback_is_opened_with_tls_or_with_insecure_peers(
        self, allowed: Any
    ) -> None:
        cloud = Cloud(name="a", peer=Peer(address="10.0.0.1", port=1, bind="0.0.0.0"))

        made = site_resources(cloud, **allowed)

        assert "peer" in made[LISTENER]
        assert "lua/peer" in made[EXTENSION]


class TestAddresses:
    @pytest.mark.parametrize(
        ("bind", "address"), [("", "192.0.2.1"), ("0.0.0.0", "0.0.0.0"), ("::", "::")]
    )
    def test_a_listener_uses_bind_rather_than_the_address(self, bind: str, address: str) -> None:
        front = Front(address="192.0.2.1", port=80, ports={"image": 9292}, bind=bind)
        made = decoded(Listener, listeners(Cloud(name="a", front=front)))

        for name, port in (("front", 80), ("front/image", 9292)):
            socket = made[name]["address"]["socketAddress"]
            assert socket == {"address": address, "portValue": port}

    def test_the_access_log_is_written_to_the_file_of_the_envoy(self) -> None:
        made = site_resources(SITE, Setup(access_log="/var/log/scopeway.log"))[LISTENER]

        assert all(b"/dev/stdout" not in body for body in made.values())
        assert b"/var/log/scopeway.log" in made["front"]


class TestLua:
    def lua(self, name: str) -> str:
        config = TypedExtensionConfig.parse(filters(SITE)[name])
        assert config.name == name
        assert config.typed_config is not None
        lua = config.typed_config.unpack()
        assert isinstance(lua, Lua)
        assert lua.default_source_code is not None
        return lua.default_source_code.inline_string or ""

    def test_every_lua_filter_knows_the_cloud_of_its_site(self) -> None:
        assert all('"cloud-1"' in self.lua(name) for name in filters(SITE) if name != "links")

    @pytest.mark.parametrize("name", ["lua/front", "lua/front/image"])
    def test_lua_of_a_front_has_the_limits_of_targets(self, name: str) -> None:
        """Lua has the same defaults, which are for its tests."""
        limits = [
            ("max_targets", MAX_TARGETS),
            ("new_targets_burst", NEW_TARGETS_BURST),
            ("new_targets_per_second", NEW_TARGETS_PER_SECOND),
        ]

        assert all(f'["{limit}"] = {number}, ' in self.lua(name) for limit, number in limits)

    def test_the_links_filter_runs_only_behind_a_matcher(self) -> None:
        config = TypedExtensionConfig.parse(filters(SITE)["links"])
        assert config.typed_config is not None
        gate = config.typed_config.to_dict()

        assert gate["@type"].endswith("matching.v3.ExtensionWithMatcher")
        assert filters(SITE)["links"] == filters(Cloud(name="b", front=FRONT))["links"]

    def test_lua_of_a_single_service_port_differs_from_that_of_the_front(self) -> None:
        assert self.lua("lua/front/image") != self.lua("lua/front")

    def test_lua_of_every_front_has_the_source_for_answers(self) -> None:
        for name in ("lua/front", "lua/front/image"):
            config = TypedExtensionConfig.parse(filters(SITE)[name]).typed_config
            assert config is not None
            lua = config.unpack()
            assert isinstance(lua, Lua)
            assert "envoy_on_response = " in (lua.source_codes["answers"].inline_string or "")

    def test_lua_of_a_front_has_its_urls(self) -> None:
        assert '["url"] = "http\\058\\047\\047127.0.0.1\\0588080"' in self.lua("lua/front")
        assert '["image"] = "http\\058\\047\\047127.0.0.1\\0589292"' in self.lua("lua/front/image")
        assert "8080" not in self.lua("lua/peer")

    def test_equal_sites_have_equal_bytes(self) -> None:
        assert site_resources(SITE) == site_resources(SITE)

    def test_every_lua_that_reads_services_has_the_declared_types(self) -> None:
        made = site_resources(SITE, types=SENSOR_TYPES)[EXTENSION]

        for name in ("lua/front", "lua/front/image", "lua/peer", "lua/dispatch", "links"):
            assert b'["probe"] = "sensor"' in made[name], name
            assert b'["sensor"] = "sensor"' in made[name], name
            assert b'["glance"] = "image"' in made[name], name
            assert b"probe" not in filters(SITE)[name], name

    def test_lua_has_the_headers_that_types_of_protocol_http_forward(self) -> None:
        made = site_resources(SITE, types=SENSOR_TYPES)[EXTENSION]

        for name in ("lua/front", "lua/front/image", "lua/peer", "lua/dispatch"):
            assert b'["http"] = { ["sensor"] = { ["authorization"] = true } }' in made[name], name
            assert b'["http"] =' not in filters(SITE)[name], name

    def test_a_port_of_an_undeclared_service_type_is_open_and_names_its_target(self) -> None:
        front = Front(address="127.0.0.1", port=8080, ports={"sensor": 9292})
        site = Cloud(name="cloud-1", front=front)

        before, after = site_resources(site), site_resources(site, types=SENSOR_TYPES)

        assert before[LISTENER] == after[LISTENER]
        assert b'["sensor"] = "sensor"' in before[EXTENSION]["lua/front/sensor"]
        assert b'["sensor"] = "sensor"' not in before[EXTENSION]["lua/front"]
        assert b'["probe"] = "sensor"' in after[EXTENSION]["lua/front/sensor"]
        # none of its headers leaves the site while Envoy has the older script
        assert b'["http"] = { ["sensor"] = {  } }' in before[EXTENSION]["lua/front/sensor"]


@pytest.mark.envoy
@pytest.mark.parametrize("trust_domain", [None, "fleet"])
def test_envoy_accepts_the_listeners_of_a_site(tmp_path: Path, trust_domain: str | None) -> None:
    config = bootstrap(cloud="cloud-1", xds=[("127.0.0.1", 1)], admin=("127.0.0.1", 0))
    made = decoded(Listener, listeners(SITE, trust_domain=trust_domain))
    config["static_resources"]["listeners"] = list(made.values())
    file = tmp_path / "envoy.yaml"
    file.write_text(yaml.safe_dump(config))
    done = subprocess.run(
        [PROGRAM, "--mode", "validate", "-c", file], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr[-2000:]


class TestTls:
    TLS = Certificate(certificate="/etc/front.pem", key="/etc/keys/front.key")
    SECURE = Cloud(
        name="cloud-1",
        front=Front(address="cloud.example", bind="::", port=443, ports={"image": 9292}, tls=TLS),
        peer=PEER,
    )

    def test_a_front_with_tls_has_it_on_all_ports_and_the_peer_has_none(self) -> None:
        made = decoded(Listener, listeners(self.SECURE))

        for name in ("front", "front/image"):
            (chain,) = made[name]["filterChains"]
            context = chain["transportSocket"]["typedConfig"]
            common = context["commonTlsContext"]
            assert context["@type"].endswith("DownstreamTlsContext")
            assert common["alpnProtocols"] == ["h2", "http/1.1"]
            assert common["tlsParams"]["tlsMinimumProtocolVersion"] == "TLSv1_2"
            (secret,) = common["tlsCertificateSdsSecretConfigs"]
            assert secret["name"] == "front"
        assert "transportSocket" not in made["peer"]["filterChains"][0]

    def test_the_front_secret_names_the_certificate_files(self) -> None:
        made = decoded(Secret, site_resources(self.SECURE)[SECRET])

        assert made == {
            "front": {
                "name": "front",
                "tlsCertificate": {
                    "certificateChain": {"filename": "/etc/front.pem"},
                    "privateKey": {"filename": "/etc/keys/front.key"},
                },
            }
        }

    def test_a_plain_front_has_no_secret(self) -> None:
        assert site_resources(SITE)[SECRET] == {}

    @pytest.mark.parametrize(
        ("front", "urls"),
        [
            (SECURE.front, ("https://cloud.example:443", "https://cloud.example:9292")),
            (
                Front(address="::1", port=80, ports={"image": 92}, url="https://cloud.example"),
                ("https://cloud.example", "https://cloud.example:92"),
            ),
        ],
    )
    def test_lua_of_a_front_with_tls_has_https_urls(
        self, front: Front, urls: tuple[str, ...]
    ) -> None:
        lua = filters(Cloud(name="cloud-1", front=front))["lua/front"]

        for url in urls:
            assert url.replace(":", "\\058").replace("/", "\\047").encode() in lua

    def test_x_forwarded_proto_https_is_added_only_behind_another_tls_proxy(self) -> None:
        behind = Cloud(name="cloud-1", front=Front(address="::1", port=80, url="https://a.example"))

        def says(cloud: Cloud) -> bool:
            (host,) = decoded(RouteConfiguration, routes(cloud))["front"]["virtualHosts"]
            added = [each["header"]["key"] for each in host["requestHeadersToAdd"]]
            return "x-forwarded-proto" in added

        assert says(behind)
        assert not says(self.SECURE)
        assert not says(SITE)


class TestMutualTls:
    def test_a_peer_requires_certificates_of_clouds(self) -> None:
        made = decoded(Listener, listeners(SITE, trust_domain="fleet"))
        (chain,) = made["peer"]["filterChains"]
        context = chain["transportSocket"]["typedConfig"]
        common = context["commonTlsContext"]
        validation = common["combinedValidationContext"]
        (name,) = validation["defaultValidationContext"]["matchTypedSubjectAltNames"]

        assert context["@type"].endswith("DownstreamTlsContext")
        assert context["requireClientCertificate"] is True
        assert context["disableStatelessSessionResumption"] is True
        assert context["disableStatefulSessionResumption"] is True
        assert common["tlsParams"]["tlsMinimumProtocolVersion"] == "TLSv1_3"
        assert common["alpnProtocols"] == ["h2"]
        assert name == {"sanType": "URI", "matcher": {"prefix": "spiffe://fleet/cloud/"}}
        assert validation["validationContextSdsSecretConfig"]["name"] == "authorities"
        (ours,) = common["tlsCertificateSdsSecretConfigs"]
        assert ours["name"] == "identity"
        assert "transportSocket" not in made["front"]["filterChains"][0]

    def test_a_connection_to_a_peer_has_a_maximum_age(self) -> None:
        """A live connection outlives its certificate, and the trust in its authority."""

        def age(trust_domain: str | None) -> str | None:
            made = decoded(Listener, listeners(SITE, trust_domain=trust_domain))
            manager = made["peer"]["filterChains"][0]["filters"][0]["typedConfig"]
            return manager["commonHttpProtocolOptions"].get("maxConnectionDuration")

        assert (age("fleet"), age(None)) == ("600s", None)

    def test_the_caller_of_a_peer_comes_from_its_certificate(self) -> None:
        assert b"DOWNSTREAM_PEER_URI_SAN" in listeners(SITE, trust_domain="fleet")["peer"]
        assert b"DOWNSTREAM_PEER_URI_SAN" not in listeners(SITE)["peer"]
        assert b'["callers"]' in filters(SITE, trust_domain="fleet")["lua/peer"]
        assert b'["callers"]' not in filters(SITE)["lua/peer"]


def test_envoy_and_the_collector_use_the_same_sockets() -> None:
    folder = "/run/scopeway"

    assert collector_sockets.collector_socket(folder) == f"{folder}/{sockets.COLLECTOR}"
    assert collector_sockets.collect_socket(folder) == f"{folder}/{sockets.COLLECT}"
    assert collector_sockets.validations_socket(folder) == f"{folder}/{sockets.VALIDATIONS}"
    assert collector_sockets.LONGEST == sockets.MAX_PATH
