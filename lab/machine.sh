#!/bin/sh
# Install what the lab needs from Debian's packages, and nothing that is there already.
#
# The services of these packages run inside of the lab's hosts only: none of them is started or
# enabled on this machine, so its own firewall stays as it is.
set -eu

packages="containernetworking-plugins dbus etcd-client etcd-server firewalld iproute2 ipset \
iptables network-manager nftables openssh-client openssh-server procps python3-venv redis-server \
systemd ufw util-linux wireguard-go wireguard-tools"

missing=""
for package in $packages; do
    if ! dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null |
        grep -qx installed; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "lab/machine.sh: missing packages:$missing. Fix: run this as root." >&2
    exit 1
fi

refusal=/usr/sbin/policy-rc.d
if [ ! -e "$refusal" ]; then
    # Debian's way to say that an installation must not start services.
    printf '#!/bin/sh\nexit 101\n' >"$refusal"
    chmod 755 "$refusal"
    trap 'rm -f "$refusal"' EXIT INT TERM
fi
apt-get update -q
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
for pair in firewalld nftables etcd-server:etcd redis-server network-manager:NetworkManager \
    openssh-server:ssh ufw; do
    case " $missing " in
    *" ${pair%:*} "*) systemctl disable "${pair#*:}" 2>/dev/null || true ;;
    esac
done
