#!/usr/bin/env bash
# Install the Debian packages that some tests need. Does nothing where they are there already.
set -euo pipefail

packages=(
    chromium # tests/evidence opens verify.html in it.
    clickhouse-server zookeeper # tests/storage has a cluster of its own.
    openssl  # tests/publisher has its own time-stamping authority.
    rsyslog rsyslog-gnutls bsdutils # tests/transport sends by rsyslog and logger, tests/feeding receives.
    nats-server                     # tests/feeding has it as a receiver.
)
# tests/clients runs JavaScript; whoever has another npm keeps it.
command -v npm >/dev/null || packages+=(nodejs npm)

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
[ "${#missing[@]}" -eq 0 ] && exit 0

cannot() {
    echo "install_debian.sh: $1; missing: ${missing[*]}" >&2
    exit 1
}
command -v apt-get >/dev/null || cannot 'this is no Debian'
[ "$(id -u)" -eq 0 ] || cannot 'only root can install packages'

log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# Nothing is started: the tests run servers of their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$log" "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
if ! { apt-get --quiet --quiet update &&
    apt-get --quiet --quiet --yes --no-install-recommends install "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    cannot 'apt-get failed'
fi
