"""What K3s makes of a node, without K3s: the same names, devices, files, ports and rules.

``start`` brings all of it to a lab; ``python -m lab k3s`` is the same for a reader. Tests take the
pieces: ``networks`` (addresses of pods and services), ``pods`` (network namespaces behind cni0),
``flannel`` (the overlay's devices and files), ``kube_proxy`` (NAT rules), ``services`` (what
listens on a node). ``stand_in`` and ``responder`` are programs that run inside a host.
"""
