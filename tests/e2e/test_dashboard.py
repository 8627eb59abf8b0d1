"""The example dashboard, the alerts and the table of metrics match the exposed metrics."""

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from harness.stack import REPOSITORY, ServeProcess, Stack

pytestmark = pytest.mark.etcd

DASHBOARD = json.loads((REPOSITORY / "deploy/grafana/scopeway.json").read_text())
PAGE = (REPOSITORY / "docs/operating.md").read_text()
NAME = re.compile(r"\b(?:scopeway|xds|process|python)_[a-z_]+\b")
TARGET_LABELS = {"job", "instance"}
"""Those that Prometheus itself adds."""


@pytest.fixture(scope="module")
def exposed(stack: Stack) -> dict[str, set[str]]:
    """Every sample that a scrape shows after some traffic, with its labels."""
    serve: ServeProcess = stack.serve()
    stack.site("cloud-1", services={"image": stack.service("glance-1")})
    stack.envoys.pop("cloud-1").stop()
    serve.wait_until(lambda: serve.metrics()["xds_streams"] == 0, "its stream has ended")
    text = serve.get("/metrics").body.decode()
    samples: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        # a counter that nothing has counted yet shows only its name
        name = f"{family.name}_total" if family.type == "counter" else family.name
        samples.setdefault(name, set())
        for sample in family.samples:
            samples.setdefault(sample.name, set()).update(sample.labels)
    return samples


def queries() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


ALERTS = [
    (rule["alert"], rule["expr"])
    for group in yaml.safe_load((REPOSITORY / "deploy/prometheus/alerts.yaml").read_text())[
        "groups"
    ]
    for rule in group["rules"]
]


def variables() -> Iterator[tuple[str, str]]:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]


@pytest.mark.parametrize(("title", "query"), [*queries(), *ALERTS])
def test_every_query_of_dashboard_and_alerts_is_valid_promql(title: str, query: str) -> None:
    filled = query.replace("$__rate_interval", "5m").replace("$job", ".*")

    parsed = promql_parser.parse(filled.replace("$instance", ".*"))

    assert isinstance(parsed, promql_parser.Expr), title


def test_queries_use_exposed_metrics(exposed: dict[str, set[str]]) -> None:
    asked = {
        name for _, query in (*queries(), *variables(), *ALERTS) for name in NAME.findall(query)
    }

    assert asked - exposed.keys() == set()


def test_queries_group_by_exposed_labels(exposed: dict[str, set[str]]) -> None:
    for title, query in (*queries(), *ALERTS):
        for labels in re.findall(r" by \(([^)]*)\)", query):
            (name,) = set(NAME.findall(query))
            assert set(labels.split(", ")) <= exposed[name] | TARGET_LABELS, title


def test_legends_name_labels_of_the_result_of_their_query(exposed: dict[str, set[str]]) -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                grouped = re.findall(r"sum by \(([^)]*)\)", target["expr"])
                left = set(grouped[0].split(", ")) if grouped else TARGET_LABELS
                assert label in left, panel["title"]


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at: dict[str, Any] = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert at["x"] + at["w"] <= 24


def test_the_documented_table_of_metrics_is_complete(exposed: dict[str, set[str]]) -> None:
    documented = set(re.findall(r"^\| `([a-z_]+)", PAGE, re.MULTILINE))
    families = {
        name
        for name in exposed
        if name.startswith(("scopeway_", "xds_"))
        and not name.endswith(("_created", "_sum", "_count", "_bucket"))
    }

    assert {name for name in documented if name.startswith(("scopeway_", "xds_"))} == families
