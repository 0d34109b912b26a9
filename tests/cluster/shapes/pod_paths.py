"""Every path of pods in a small cluster, asked with packets: which of them are open."""

from contextlib import ExitStack, contextmanager

from lab.k3s import flannel, kube_proxy, pods
from lab.k3s.kube_proxy import Redirection
from lab.wait import wait_until
from tests.cluster.packets import reach
from tests.cluster.packets.reach import Question, Source, Target

KUBELET, API, WEB = 10250, 6443, 5432
API_SERVICE, API_SERVICE_PORT, NODE_PORT = "10.43.0.1", 443, 30080


class PodPaths:
    """The nodes of a lab with what K3s makes of them, one pod each."""

    def __init__(self, lab, shape):
        self.lab = lab
        self.shape = shape
        self.nodes = dict(enumerate((lab.host(spec.name) for spec in shape.nodes), 1))
        self.addresses = {name: (address,) for name, address in shape.known_by.items()}
        self._stack = ExitStack()
        self._listening = {}

    @contextmanager
    def up(self):
        with ExitStack() as stack:
            for number in self.nodes:
                self.start(number)
                stack.callback(self._stop_listening, number)
            self._wait_for_neighbours()
            yield self

    def start(self, number):
        """What K3s does on a node when it starts, also after a reboot."""
        host = self.nodes[number]
        flannel.forward(host, 1)
        peers = {other: peer for other, peer in self.nodes.items() if other != number}
        if isinstance(self.shape.backend, flannel.Vxlan):
            script = flannel.vxlan_script(host, number, peers, self.shape.backend)
        else:
            addresses = {other: self.addresses[peer.name][0] for other, peer in peers.items()}
            script = flannel.tailscale_script(number, addresses)
        host.run(["sh", "-ec", script])
        flannel.write_files(host, number, self.shape.written, self.shape.configuration)
        pods.make(host, number)
        self.redirect(number)
        self._listen(number)

    def restart(self, number):
        """The same on a node that was off: its programs ended with it."""
        self._stop_listening(number)
        self.start(number)
        self._wait_for_neighbours()

    def redirect(self, number):
        """Write kube-proxy's and flannel's rules, which firewalld may have flushed, anew."""
        host, server = self.nodes[number], self.addresses[self.nodes[1].name][0]
        kube_proxy.stop_redirecting(host, how="iptables")
        kube_proxy.redirect(
            host,
            [
                # kube-proxy masquerades what does not come from a pod.
                Redirection(API_SERVICE, API_SERVICE_PORT, server, API, number != 1, ("tcp",)),
                Redirection("", NODE_PORT, pod_address(1), WEB, number != 1),
            ],
            how="iptables",
        )

    def open(self):
        """The paths that are open, each as source, target and service."""
        asked = list(self._asked())
        verdicts = reach.ask(asked, lambda _question: True)
        return {_name(each) for each in asked if verdicts[each] == "open"}

    def all(self):
        """Every path that is asked."""
        return {_name(each) for each in self._asked()}

    def stranger_reaches(self):
        """What a host outside of the cluster gets to at the nodes."""
        stranger = reach.host_as_source(self.lab.host("out"))
        asked = [
            Question(stranger, self._node(host), stranger.addresses[0], host.ipv4, "tcp", port)
            for host in self.nodes.values()
            for port in (KUBELET, API)
        ]
        verdicts = reach.ask(asked, lambda _question: False)
        return {_name(each) for each in asked if verdicts[each] == "open"}

    def _asked(self):
        web = (self._pod_target(1).name, WEB)
        for number, host in self.nodes.items():
            pod, node = self._pod(number), self._source(host)
            for other, peer in self.nodes.items():
                if other != number:
                    yield from self._ask(pod, self._pod_target(other), WEB)
                    yield from self._ask(node, self._pod_target(other), WEB)
                    yield from self._ask(node, self._node(peer), KUBELET, ("tcp",))
                yield from self._ask(pod, self._node(peer), KUBELET, ("tcp",))
                yield from self._ask(pod, self._node(peer), NODE_PORT, backend=web)
            api = (self.nodes[1].name, API)
            service = Target("the API's service", "", (API_SERVICE,))
            for source in (pod, node):
                yield from self._ask(source, service, API_SERVICE_PORT, ("tcp",), api)

    @staticmethod
    def _ask(source, target, port, protocols=reach.PROTOCOLS, backend=None):
        """One question for each protocol; ``backend`` must answer if it is not the target."""
        name, its_port = backend or (target.name, port)
        for protocol in protocols:
            yield Question(
                *(source, target, source.addresses[0], target.addresses[0], protocol, port),
                answerer=f"{name} {protocol}/{its_port}",
            )

    def _source(self, host):
        # To pods it sends from wherever the kernel says, so no address is chosen.
        return Source(host.name, host.role, host, ("0.0.0.0",))  # noqa: S104

    def _pod(self, number):
        host = self.nodes[number]
        return Source(f"pod on {host.name}", "pod", host, (pod_address(number),), pods.INSIDE)

    def _pod_target(self, number):
        return Target(f"pod on {self.nodes[number].name}", "pod", (pod_address(number),))

    def _node(self, host):
        return Target(host.name, host.role, self.addresses[host.name])

    def _listen(self, number):
        host = self.nodes[number]
        own = {*self.addresses[host.name], flannel.own_address(host)} & self._addresses_of(host)
        stack = self._listening[number] = ExitStack()
        ports = {KUBELET, API} if host.role == "server" else {KUBELET}
        stack.enter_context(reach.responding_as(host.name, host, sorted(own), ports))
        pod = self._pod_target(number)
        stack.enter_context(reach.responding_as(pod.name, host, pod.addresses, {WEB}, pods.INSIDE))

    def _stop_listening(self, number):
        self._listening.pop(number).close()

    @staticmethod
    def _addresses_of(host):
        shown = host.run(["ip", "-brief", "-4", "address"]).stdout.split()
        return {word.partition("/")[0] for word in shown}

    def _wait_for_neighbours(self):
        """Send until answers come: addresses of a new node are looked for first."""
        asked = [each for each in self._asked() if each.protocol == "udp"]

        def came():
            return "open" in reach.ask(asked, lambda _question: False).values()

        wait_until(came, "No path is open", timeout=30)


def pod_address(number):
    """The IPv4 address of the pod of a node."""
    return f"10.42.{number}.2"


def _name(question):
    return f"{question.source.name} -> {question.target.name} {question.service}"
