"""The ValidatingAdmissionPolicies: what a schema cannot say, and what a site may write.

One policy for each kind (unknown fields and nulls, and for clouds their labels), and one for the
service accounts of sites. Each denies if it cannot be evaluated.
"""

from collections.abc import Iterator

from scopeway.control_plane.clouds import limits, manifest, validators
from scopeway.control_plane.custom_resources.definitions import GROUP, VERSION, Resource, resources
from scopeway.control_plane.custom_resources.schema import Schema
from scopeway.control_plane.custom_resources.unknown_fields import INDEXES, checks, longest_list
from scopeway.control_plane.custom_resources.values import in_cel, matches

API_VERSION = "admissionregistration.k8s.io/v1"
SITES_NAMESPACE = "scopeway-sites"
"""The namespace of the service accounts of sites: the account `cloud-1` is the site cloud-1."""

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_LONGEST_SELECTOR = 1024
"""Characters of an entry whose labels are compared: with the most selectors of this length, the
comparison is within the budget of CEL for one request. The parser compares those of longer ones."""
_SITE_USER = f"system:serviceaccount:{SITES_NAMESPACE}:"


def policies() -> dict[str, list[Schema]]:
    """Return the documents of each policy, by the name of its file."""
    return {
        **{each.plural: _policy(each.plural, _fields_policy(each)) for each in resources()},
        "sites": _policy("sites", _sites_policy()),
    }


def _policy(name: str, spec: Schema) -> list[Schema]:
    """Return a policy and what puts it into force."""
    metadata = {"name": f"{name}.{GROUP}"}
    binding = {"policyName": metadata["name"], "validationActions": ["Deny"]}
    return [
        {
            "apiVersion": API_VERSION,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": metadata,
            "spec": {"failurePolicy": "Fail", **spec},
        },
        {
            "apiVersion": API_VERSION,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": metadata,
            "spec": binding,
        },
    ]


def _matched(named: str, *operations: str, version: str = VERSION) -> Schema:
    matched = {"apiGroups": [GROUP], "apiVersions": [version], "resources": [named]}
    return {"resourceRules": [{**matched, "operations": list(operations)}]}


def _validation(expression: str, message: str, words: str = "", reason: str = "Invalid") -> Schema:
    found = {"expression": expression, "message": message, "messageExpression": words}
    return {**{key: value for key, value in found.items() if value}, "reason": reason}


def _fields_policy(resource: Resource) -> Schema:
    """Return the policy of one kind.

    An update that leaves the specification and the labels alone passes: a finalizer can be taken
    from an object that was stored before the policy was there.
    """
    is_cloud = resource.kind == manifest.KIND
    found: Schema = {
        "matchConstraints": _matched(resource.plural, "CREATE", "UPDATE"),
        "matchConditions": [{"name": "changed", "expression": _changed(is_cloud)}],
    }
    numbers = ",".join(map(str, range(longest_list(resource.spec))))
    variables = [{"name": "indexes", "expression": f"[{numbers}]"}]
    validations = [
        _validation(
            each.expression,
            f"{each.place or 'the object'} has an unknown field, or a field that is null",
            each.words,
        )
        for each in checks(resource.schema)
    ]
    validations.append(_no_null_that_kubectl_dropped())
    if is_cloud:
        variables += _cloud_variables()
        validations += [*_label_validations(), *_selector_validations()]
    return {**found, "variables": variables, "validations": validations}


def _changed(with_labels: bool) -> str:
    same = (
        "dyn(object).all(key, key in ['metadata', 'status'] || "
        "(key in dyn(oldObject) && object[key] == oldObject[key]))"
    )
    if with_labels:
        there, before = "has(object.metadata.labels)", "has(oldObject.metadata.labels)"
        kept = "object.metadata.labels == oldObject.metadata.labels"
        same += f" && (!{there} || ({before} && {kept}))"
    return f"request.operation == 'CREATE' || !({same})"


def _no_null_that_kubectl_dropped() -> Schema:
    """Return the validation for what `kubectl apply` keeps to itself.

    Without --server-side, kubectl drops every field that is null before it sends the object. Its
    annotation has the object as it was written. A `"` in a text is escaped there. Generators write
    a creationTimestamp of null.
    """
    written = (
        f"object.metadata.annotations['{_LAST_APPLIED}'].replace('\"creationTimestamp\":null', '')"
    )
    field = "'\"[A-Za-z0-9-]+\":null'"
    return _validation(
        f"!has(object.metadata.annotations) || !('{_LAST_APPLIED}' in object.metadata.annotations)"
        f" || !{written}.matches({field})",
        "kubectl apply drops fields that are null; leave the field out",
        f"'kubectl apply drops fields that are null: leave the field out, ' + "
        f"{written}.find({field})",
    )


def _cloud_variables() -> list[Schema]:
    rules = "has(object.spec) && object.spec != null && has(object.spec.accept)"
    identity = "has(rule.identity) && rule.identity != null"
    return [
        {
            "name": "labels",
            "expression": "has(object.metadata.labels) ? "
            "object.metadata.labels.filter(key, !key.contains('/')) : []",
        },
        {
            "name": "rules",
            "expression": f"{rules} && object.spec.accept != null ? object.spec.accept : []",
        },
        {
            "name": "selectors",
            "expression": f"variables.rules.map(rule, {_selectors('rule.clouds')})",
        },
        {
            "name": "identitySelectors",
            "expression": f"variables.rules.map(rule, {identity} ? "
            f"{_selectors('rule.identity.clouds')} : [])",
        },
    ]


def _selectors(clouds: str) -> str:
    """Return the entries of a list that are labels.

    A loop over thousands of names takes half a second; `join` and `contains` don't loop in CEL.
    """
    return f"({clouds}.join(' ').contains('[') ? {clouds}.filter(e, e.startsWith('[')) : [])"


def _label_validations() -> list[Schema]:
    words = "is not made of lower case letters, digits and inner '-', '.' or '_', at most 63"
    hint = f"{in_cel(words)}; labels of other tools have a \\'/\\' in their key"
    key = matches(validators.LABEL, "key")
    value = matches(validators.LABEL, "object.metadata.labels[key]")
    wrong_key = f"variables.labels.filter(key, !{key})[0]"
    wrong = f"variables.labels.filter(key, !{value})"
    return [
        _validation(
            f"variables.labels.all(key, {key})",
            f"metadata.labels has a key that {words}",
            f"'metadata.labels: \"' + {wrong_key} + '\" {hint}'",
        ),
        _validation(
            f"variables.labels.all(key, {value})",
            f"metadata.labels has a value that {words}",
            f"{wrong}.map(key, 'metadata.labels.' + key + ': \"' + object.metadata.labels[key] + "
            f"'\" {hint}')[0]",
        ),
        _validation(
            f"size(variables.labels) <= {limits.LABELS}",
            f"metadata.labels has more than {limits.LABELS} entries without a '/' in their key",
        ),
    ]


def _selector_validations() -> list[Schema]:
    """Return what the budget that CEL has in schemas leaves no room for."""
    keys = "entry.replace('[', '').split(',').map(pair, pair.split('=')[0].trim())"
    twice = f"[{keys}].exists(keys, keys.exists(key, keys.indexOf(key) != keys.lastIndexOf(key)))"
    short = f"size(entry) <= {_LONGEST_SELECTOR} && entry.contains(',')"
    sizes = "variables.{}.map(list, size(list)).sum()"
    total = f"{sizes.format('selectors')} + {sizes.format('identitySelectors')}"
    return [
        _validation(
            f"{total} <= {limits.SELECTORS}",
            f"spec.accept has more than {limits.SELECTORS} entries with labels in all lists of "
            "clouds",
        ),
        *_of_selectors(
            f"size(entry.split(',')) > {limits.LABELS}", f"has more than {limits.LABELS} labels"
        ),
        *_of_selectors(f"{short} && {twice}", "has a label twice"),
    ]


def _of_selectors(wrong: str, what: str) -> Iterator[Schema]:
    """Yield the validations that no entry that is labels is wrong."""
    for place, variable in (("clouds", "selectors"), ("identity.clouds", "identitySelectors")):
        lists = f"variables.{variable}"
        found = f"{{}}.exists(entry, {wrong})"
        yield _validation(
            f"!{lists}.exists(list, {found.format('list')})",
            f"an entry of spec.accept[].{place} {what}",
            f"{INDEXES}.filter(i, i < size({lists}) && {found.format(f'{lists}[i]')}).map(i, "
            f"'spec.accept[' + string(i) + '].{place}: \"' + "
            f"{lists}[i].filter(entry, {wrong})[0] + '\" {what}')[0]",
        )


def _sites_policy() -> Schema:
    """Return the policy that a site writes its own EdgeCloud, and nothing else of ours."""
    cloud = resources()[0]
    name = "(request.operation == 'DELETE' ? oldObject : object).metadata.name"
    return {
        "matchConstraints": _matched("*/*", "CREATE", "UPDATE", "DELETE", version="*"),
        "matchConditions": [
            {
                "name": "from-a-site",
                "expression": f"request.userInfo.username.startsWith('{_SITE_USER}')",
            }
        ],
        "variables": [
            {
                "name": "site",
                "expression": f"request.userInfo.username.substring({len(_SITE_USER)})",
            }
        ],
        "validations": [
            _validation(
                f"request.resource.resource == '{cloud.plural}' && "
                "(!has(request.subResource) || request.subResource == '')",
                f"a site may write its own {cloud.kind}, and nothing else of {GROUP}",
                "'the site ' + variables.site + ' may write its own "
                f"{cloud.kind} only, not ' + request.resource.resource + "
                "(has(request.subResource) && request.subResource != '' ? '/' + "
                "request.subResource : '')",
                "Forbidden",
            ),
            _validation(
                f"{name} == variables.site",
                f"a site may write the {cloud.kind} of its own name only",
                f"'the site ' + variables.site + ' may write its own {cloud.kind} only, not ' + "
                f"{name}",
                "Forbidden",
            ),
            *_site_metadata_validations(),
        ],
    }


def _site_metadata_validations() -> Iterator[Schema]:
    """Yield that a site leaves alone what decides over the deletion of objects.

    With a finalizer, its cloud would outlive its deletion by an operator. With an owner reference,
    the deletion of another object could wait for its own.
    """
    for field in ("finalizers", "ownerReferences"):
        now, before = (
            f"(has({each}.metadata.{field}) ? dyn({each}.metadata.{field}) : dyn([]))"
            for each in ("object", "oldObject")
        )
        old = f"(request.operation == 'CREATE' ? dyn([]) : {before})"
        yield _validation(
            f"request.operation == 'DELETE' || {now} == {old}",
            f"a site may not change metadata.{field} of its {resources()[0].kind}",
            reason="Forbidden",
        )
