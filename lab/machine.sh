#!/bin/sh
# Install the Debian packages that the lab and its Salt need; those that are there already stay as
# they are.
#
# Their services run only inside the lab's hosts: none of them is started or enabled on this
# machine, so its own firewall does not change.
set -eu

# Chromium opens the reports; nothing else of a desktop comes with it.
packages="chromium conntrack containernetworking-plugins dbus etcd-client etcd-server firewalld \
git haproxy iproute2 ipset iptables keepalived network-manager nftables openssh-client openssh-server openssl \
procps prometheus prometheus-node-exporter python3-venv redis-server serf systemd ufw util-linux wireguard-go \
wireguard-tools"
# Salt needs a Python package that is distributed only as source.
packages="$packages gcc libc6-dev python3-dev"

missing=""
for package in $packages; do
    if ! dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null |
        grep -qx installed; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "lab/machine.sh: missing packages:$missing. Fix: run it as root" >&2
    exit 1
fi

refusal=/usr/sbin/policy-rc.d
if [ ! -e "$refusal" ]; then
    # Debian's way to say that an installation must not start services.
    printf '#!/bin/sh\nexit 101\n' >"$refusal"
    chmod 755 "$refusal"
    trap 'rm -f "$refusal"' EXIT INT TERM
fi
# shellcheck disable=SC2016,SC2086 # expanded by the shell inside; a list of words
"$(dirname "$0")/quietly.sh" "Installing $(echo $missing | wc -w) Debian packages" sh -ec '
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -q -y --no-install-recommends "$@"' sh $missing
for pair in firewalld nftables etcd-server:etcd redis-server network-manager:NetworkManager \
    openssh-server:ssh ufw haproxy keepalived prometheus prometheus-node-exporter serf; do
    case " $missing " in
    *" ${pair%:*} "*) systemctl --quiet disable "${pair#*:}" 2>/dev/null || true ;;
    esac
done
