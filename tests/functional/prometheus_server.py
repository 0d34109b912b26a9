"""Debian's Prometheus and node_exporter on hosts of a lab, and what Prometheus answers."""

import json
import re
import sys
import urllib.parse
from contextlib import contextmanager

from lab.wait import wait_until
from tests.functional.real_services import program
from tests.paths import ROOT

RULES = ROOT / "monitoring/k3sfw.rules.yml"
SERVER = "127.0.0.1:9090"
FETCH = """
import sys, urllib.request, urllib.error
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())
except urllib.error.HTTPError as error:
    # While it starts, it says 503 in words.
    print('{"status": "down"}' if error.code == 503 else error.read().decode())
except OSError as error:
    print('{"status": "down"}')
"""
CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [/run/k3sfw.rules.yml]
scrape_configs:
  - job_name: node
    static_configs: [{{targets: {targets}}}]
"""


@contextmanager
def node_exporter(host):
    """Debian's node_exporter, with the textfile collector as the package starts it."""
    options = ("--collector.disable-defaults", "--collector.textfile")
    with program(host, "prometheus-node-exporter", *options):
        yield


class Prometheus:
    """A running Prometheus; it looks every second, and its alerts wait for nothing."""

    def __init__(self, host):
        self.host = host

    def get(self, path, **arguments):
        """What its interface answers, whatever it is."""
        url = f"http://{SERVER}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        command = [sys.executable, "-I", "-S", "-c", FETCH, url]
        return json.loads(self.host.run(command).stdout)

    def query(self, text):
        """The labels and the value of each sample that the query finds."""
        answer = self.get("query", query=text)
        assert answer["status"] == "success", (text, answer)
        return [(each["metric"], float(each["value"][1])) for each in answer["data"]["result"]]

    def firing(self):
        """The names of the alerts that fire, each with the node that it is about."""
        alerts = self.get("alerts").get("data", {}).get("alerts", [])
        return {
            (each["labels"]["alertname"], each["labels"].get("node", ""))
            for each in alerts
            if each["state"] == "firing"
        }

    def names(self):
        """The names of all metrics."""
        return set(self.get("label/__name__/values")["data"])


@contextmanager
def prometheus(host, *scraped):
    """Run Prometheus on the host with our rules; it scrapes these hosts."""
    targets = json.dumps([f"{each.ipv4}:9100" for each in scraped])
    host.path("/run/prometheus.yml").write_text(CONFIGURATION.format(targets=targets))
    rules = re.sub(r"\bfor: \w+", "for: 0s", RULES.read_text())
    host.path("/run/k3sfw.rules.yml").write_text(rules)
    options = (
        "--config.file=/run/prometheus.yml",
        "--storage.tsdb.path=/run/prometheus",
        f"--web.listen-address={SERVER}",
    )
    with program(host, "prometheus", *options):
        server = Prometheus(host)
        wait_until(
            lambda: server.get("query", query="up")["status"] == "success",
            "Prometheus does not answer",
            timeout=30,
        )
        yield server
