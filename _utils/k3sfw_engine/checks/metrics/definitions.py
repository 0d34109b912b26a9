"""Every metric of a node with its help: the only list of them, and the order of the file. Pure."""

from __future__ import annotations

from k3sfw_engine.model.exposition import Metric

BUILD_INFO = Metric("k3sfw_build_info", "The version of k3sfw that wrote this file; always 1.")
NODE_INFO = Metric(
    "k3sfw_node_info", "The node as Salt and the tables know it, to join on; always 1."
)
TABLES_INFO = Metric(
    "k3sfw_tables_info",
    "The digest of the port tables at the last check that could read them; empty before the "
    "first; always 1.",
)
IN_STEP = Metric(
    "k3sfw_in_step",
    "Whether the layer matched the tables at the last check (1 or 0); NaN if it is not known.",
)
PROBLEMS = Metric(
    "k3sfw_check_problems",
    "Questions with this answer, other than ok, at the last check that could be done.",
)
QUESTIONS = Metric(
    "k3sfw_check_questions",
    "Questions of the last check that could be done; not answered are error and unproven.",
)
LAST_RUN = Metric(
    "k3sfw_check_last_run_timestamp_seconds",
    "When the check last ran, even if it could check nothing; 0 if never.",
)
LAST_SUCCESS = Metric(
    "k3sfw_check_last_success_timestamp_seconds",
    "When the check could last be done, whatever it found; 0 if never.",
)
DURATION = Metric("k3sfw_check_duration_seconds", "How long the last run of the check took.")
INTERVAL = Metric(
    "k3sfw_check_interval_seconds", "How often the schedule runs the checks; 0 if it does not."
)
LAST_CHANGE = Metric(
    "k3sfw_last_change_timestamp_seconds",
    "When the last change of the firewall with this outcome began; 0 if there was none.",
)
UNCONFIRMED_UNTIL = Metric(
    "k3sfw_unconfirmed_until_timestamp_seconds",
    "When the change that waits for confirmation will be undone; 0 if none waits.",
)
PEERS = Metric("k3sfw_peers", "The other nodes of the cluster, as the tables know them.")
PEERS_ASKED = Metric("k3sfw_peers_asked", "The peers that the last check of ports sent packets to.")
OLDEST_PROOF = Metric(
    "k3sfw_oldest_proof_timestamp_seconds",
    "When the peer was asked that was not asked for the longest time, or when it became known; "
    "NaN without peers.",
)
TESTS = Metric("k3sfw_tests", "The promises of the tables (k3s:tests) with this result.")
