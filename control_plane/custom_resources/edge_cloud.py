"""The schema of EdgeCloud: the structure that `clouds.manifest` reads (docs/clouds.md)."""

from scopeway.control_plane.clouds import fields, limits, validators
from scopeway.control_plane.clouds.caller_limits import AT_ONCE, DEFAULT, PER_SECOND
from scopeway.control_plane.clouds.manifest import DEFAULT_IDS, DEFAULT_ROLES, IDS
from scopeway.control_plane.clouds.policy import ENFORCE, MODES
from scopeway.control_plane.custom_resources import values
from scopeway.control_plane.custom_resources.schema import (
    Schema,
    boolean,
    choice,
    distinct_list_of,
    fields_of,
    list_of,
    map_of,
    number_or_word,
    rule,
)
from scopeway.control_plane.scope import IDENTITY_VALIDATE

DESCRIPTION = (
    "EdgeCloud registers one independent cloud. Its name is the word for it in scopes: "
    "`{image: cloud-1}`. Its labels are for scopes and rules that say `[region=eu]`; labels with a "
    "'/' in their key belong to other tools and do not count. `kubectl wait "
    "--for=condition=Accepted edgecloud/NAME` waits until Scopeway uses it."
)


def spec() -> Schema:
    """Return the schema of `spec`."""
    return fields_of(
        fields.SPEC,
        "The addresses of the cloud and of its services, and the rules for other clouds.",
        {
            "front": _front(),
            "peer": _peer(),
            "services": _services(),
            "accept": _accept(),
            "acceptMode": choice(
                "What happens to requests that no rule of `accept` allows. `enforce`: the peer "
                "denies them. `audit`: the peer allows, logs and counts them, so that an operator "
                "can try rules out; limits hold all the same. Default: "
                f"`{ENFORCE}`.",
                MODES,
                default=ENFORCE,
            ),
        },
        rules=[_distinct_listeners(), *_totals()],
    )


def _front() -> Schema:
    taken = "self.ports.exists(word, self.ports[word] == self.port)"
    shared = "self.ports.exists(other, other != word && self.ports[other] == self.ports[word])"
    return fields_of(
        fields.FRONT,
        "The listener for the clients and services of this site. Leave it out if this site has no "
        "Envoy of Scopeway for its own clients.",
        {
            "address": values.address(
                "The address that clients connect to: an IP address, or a host name. A host name "
                "needs `bind`."
            ),
            "port": values.port(
                "The port that serves every service, each below its own path: /identity, /image."
            ),
            "ports": map_of(
                "A port of its own for a service, by service type: `{identity: 5000, image: "
                "9292}`. Paths stay as they are there. For clients that have fixed endpoints.",
                values.port("The port of this service; each service has another one."),
                most=limits.SERVICES,
                rules=values.service_keys(),
            ),
            "bind": values.bind(
                "The IP address to listen on, such as 0.0.0.0. Default: `address`."
            ),
            "region": values.region(
                "The region of Keystone that clients and services of this site ask for. In tokens "
                "of other clouds, Scopeway adds each endpoint under this region, too. Default: "
                "none. This is not a label: scopes do not see it."
            ),
            "url": values.url(
                "How clients write `address` and `port`, if something stands in front of Envoy, "
                "such as a load balancer that terminates TLS: https://cloud-1.example. Without a "
                "path. Catalogs have this URL. Default: made of `address` and `port`."
            ),
            "tls": fields_of(
                fields.TLS,
                "The certificate of the front. With it, all ports of the front speak TLS. Default: "
                "plain HTTP.",
                {
                    "certificate": values.file(
                        "The file of the certificate, by its absolute path at Envoy. PEM: the "
                        "certificate first, then the intermediate ones."
                    ),
                    "key": values.file(
                        "The file of the private key, by its absolute path at Envoy. PEM."
                    ),
                },
                required=("certificate", "key"),
            ),
        },
        required=("address", "port"),
        rules=[
            *values.listener_rules(),
            rule(
                f"!has(self.ports) || !({taken})",
                "has a port of a service that is the port of the front",
                at=".ports",
                words="'\"' + self.ports.filter(word, self.ports[word] == self.port)[0] + "
                "'\" has the port of the front'",
            ),
            rule(
                f"!has(self.ports) || !self.ports.exists(word, {shared})",
                "has two services with one port",
                at=".ports",
                words=f"'\"' + self.ports.filter(word, {shared})[0] + "
                "'\" has the port of another service'",
            ),
            rule(
                "!has(self.tls) || !has(self.url) || !self.url.startsWith('http:')",
                "is not https, though the front has a certificate",
                at=".url",
                words="'\"' + self.url + '\" is not https, though the front has a certificate'",
            ),
        ],
    )


def _peer() -> Schema:
    return fields_of(
        fields.PEER,
        "The listener for the Envoys of other sites (HTTP/2, with mutual TLS). Leave it out if "
        "this site has no Envoy of Scopeway: other sites then use the endpoints of `services` "
        "directly, where their control plane allows that (`serve --direct`), and nothing enforces "
        "`accept` here.",
        {
            "address": values.address(
                "The address that other sites connect to: an IP address, or a host name. A host "
                "name needs `bind`."
            ),
            "port": values.port("The port that other sites connect to."),
            "bind": values.bind(
                "The IP address to listen on, such as 0.0.0.0. Default: `address`."
            ),
            "limits": _limits(
                "How much each calling cloud may ask of this peer, if no rule of `accept` says "
                "otherwise.",
                f"Default: {DEFAULT.requests_per_second}.",
                f"Default: {DEFAULT.requests_at_once}.",
            ),
        },
        required=("address", "port"),
        rules=values.listener_rules(),
    )


def _limits(description: str, per_second: str, at_once: str) -> Schema:
    beyond = "Requests beyond it are answered with 429. `unlimited` turns the limit off."
    return fields_of(
        fields.LIMITS,
        f"{description} One of the two fields, or both. Each worker of Envoy counts for itself.",
        {
            PER_SECOND: number_or_word(
                f"New requests a second, of all services together. {beyond} {per_second}",
                *validators.PER_SECOND_RANGE,
                validators.UNLIMITED_WORD,
            ),
            AT_ONCE: number_or_word(
                f"Requests under way, of all services together. {beyond} {at_once}",
                *validators.AT_ONCE_RANGE,
                validators.UNLIMITED_WORD,
            ),
        },
        rules=[
            rule(
                f"has(self.{PER_SECOND}) || has(self.{AT_ONCE})",
                f"states neither {PER_SECOND} nor {AT_ONCE}",
            )
        ],
    )


def _services() -> Schema:
    endpoint = fields_of(
        fields.ENDPOINT,
        "One server.",
        {
            "address": values.address("An IP address, or a host name that Envoy resolves."),
            "port": values.port("The TCP port of the server."),
        },
        required=("address", "port"),
    )
    service = fields_of(
        fields.SERVICE,
        "The servers of one service, without Envoy in between.",
        {
            "endpoints": list_of(
                "The servers; Envoy spreads requests over them.", endpoint, most=limits.ENDPOINTS
            ),
            "path": values.path(
                "A prefix that the servers want before every path, such as /image. Default: none."
            ),
            "host": values.host(
                "The Host header that the servers want, such as glance.example. Default: the one "
                "of the client."
            ),
        },
        required=("endpoints",),
    )
    return map_of(
        "Where each service of this cloud answers, by official service type: image, not glance. "
        "`scopeway service-type list` prints the types that are built in. Declare others with a "
        "ServiceType; a service of an undeclared type is not served.",
        service,
        most=limits.SERVICES,
        rules=values.service_keys(),
    )


def _accept() -> Schema:
    entry = fields_of(
        fields.RULE,
        "One rule. A request is allowed if one rule allows all of it: the calling cloud, the "
        "service, the method, and the fan-out.",
        {
            "clouds": values.clouds(
                'The calling clouds: names, or "[label=value,...]" in quotes for all clouds that '
                "have these labels now. Whoever may write an EdgeCloud says which labels it has, "
                "so name the clouds where you do not trust that. A name need not be registered.",
                limits.CLOUDS,
            ),
            "services": distinct_list_of(
                "The services that they may use, by official service type. "
                f"`{IDENTITY_VALIDATE}` is the question whether a token is valid; it is a part of "
                "`identity`, and can be allowed alone. Default: all services.",
                values.service("A service type.", IDENTITY_VALIDATE),
                most=limits.SERVICES,
            ),
            "methods": distinct_list_of(
                "The HTTP methods that they may use. A rule with methods allows no request that "
                "may carry a form, because a form can name another method. Default: all methods.",
                choice("An HTTP method.", sorted(validators.METHODS)),
                most=limits.METHODS,
            ),
            "identity": fields_of(
                fields.IDENTITY,
                "Whose tokens count here, and with which power. Default: only tokens of this "
                "cloud's own Keystone. The cloud that issues the tokens must allow this cloud "
                f"`{IDENTITY_VALIDATE}`.",
                {
                    "clouds": values.clouds(
                        "The clouds whose tokens count here, as in `accept.clouds`.",
                        limits.IDENTITY_CLOUDS,
                    ),
                    "roles": distinct_list_of(
                        "The roles that count, if the token has them. Default: "
                        f"{' and '.join(DEFAULT_ROLES)}. By the policies of OpenStack, `admin` and "
                        "`service` may do much in every project.",
                        values.role("The name of a role."),
                        most=limits.ROLES,
                    ),
                    "ids": choice(
                        "What becomes of the ids of users and projects of a foreign Keystone. "
                        "`mapped`: they are moved into a namespace of their own, so that they "
                        "cannot pass for ids of this cloud. `kept`: they stay as they are, which "
                        f"is for clouds of one owner only. Default: {DEFAULT_IDS}.",
                        IDS,
                    ),
                },
                required=("clouds",),
            ),
            "limits": _limits(
                "How much each of these clouds may ask of this peer. The first rule for a cloud "
                "that states a limit decides, whatever its services and methods.",
                "Default: what another rule says, else `spec.peer.limits`.",
                "Default: what another rule says, else `spec.peer.limits`.",
            ),
            "fanout": boolean(
                "Whether the rule also allows requests that are part of a fan-out: of a scope "
                "that asks several clouds at once, with & or ^. Default: true."
            ),
        },
        required=("clouds",),
    )
    return list_of(
        "The rules that say which other clouds may use services of this cloud, and how. Whatever "
        "no rule allows is denied; without rules, no other cloud may use anything. The Envoy of "
        "this site enforces them at its peer.",
        entry,
        most=limits.RULES,
        least=0,
    )


def _distinct_listeners() -> Schema:
    def listening(at: str) -> str:
        return f"(has(self.{at}.bind) ? self.{at}.bind : self.{at}.address)"

    ours, theirs = listening("front"), listening("peer")
    same_port = (
        "self.peer.port == self.front.port || (has(self.front.ports) && "
        "self.front.ports.exists(word, self.front.ports[word] == self.peer.port))"
    )
    apart = f"({ours} != {theirs} && !ip({ours}).isUnspecified() && !ip({theirs}).isUnspecified())"
    return rule(
        f"!has(self.front) || !has(self.peer) || !({same_port}) || !isIP({ours}) || "
        f"!isIP({theirs}) || {apart}",
        "the port of the peer is used by the front, too",
        at=".peer.port",
    )


def _totals() -> list[Schema]:
    identities = "(has(each.identity) ? size(each.identity.clouds) : 0)"
    return [
        rule(
            f"!has(self.accept) || self.accept.map(each, {count}).sum() <= {most}",
            f"has more than {most} {what}",
            at=".accept",
        )
        for count, most, what in (
            (
                f"size(each.clouds) + {identities}",
                limits.CLOUDS,
                "entries in all lists of clouds",
            ),
            (identities, limits.IDENTITY_CLOUDS, "entries in all identity lists"),
        )
    ]
