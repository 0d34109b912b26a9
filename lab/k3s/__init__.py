"""What K3s makes of a node, without K3s: the same names, devices, files, ports and rules.

``start`` sets all of it up on a lab, as ``python -m lab k3s`` does. Tests use the parts.

    furniture          the files that installers, roles and K3s leave on a node
    addresses          addresses of pods and services, and ``ip`` inside a host
    pods               network namespaces behind cni0
    container_runtime  pods with hostPorts, made by the CNI's plugins as containerd calls them
    flannel            the overlay: devices, routes, files
    kube_proxy         NAT rules
    services           what listens on a node; ``stand_in`` is the program of most
    responder          a program that answers on many ports, for tests
"""
