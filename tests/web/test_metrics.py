from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from adwright.web.gate import CONTENT_TYPE, ServiceMetrics


def test_two_services_in_one_process_count_apart() -> None:
    one, two = ServiceMetrics(), ServiceMetrics()
    one.requests.labels("/v1/decide", "POST", "200").inc()
    labels = {"route": "/v1/decide", "method": "POST", "status": "200"}
    assert one.registry.get_sample_value("adwright_requests_total", labels) == 1
    assert two.registry.get_sample_value("adwright_requests_total", labels) is None


def test_the_text_is_what_prometheus_reads() -> None:
    metrics = ServiceMetrics()
    level = [3.0]
    metrics.gauge("level", "A level.", lambda: level[0])
    metrics.seconds.labels("/healthz").observe(0.002)
    level[0] = 5.0
    families = {f.name: f for f in text_string_to_metric_families(metrics.text().decode())}
    assert families["adwright_level"].samples[0].value == 5
    assert families["adwright_request_seconds"].type == "histogram"
    assert all(name.startswith("adwright_") for name in families)
    assert CONTENT_TYPE.startswith("text/plain")


def test_no_measure_names_a_tenant() -> None:
    for family in ServiceMetrics().registry.collect():
        for sample in family.samples:
            assert not {"tenant", "user"} & sample.labels.keys()
