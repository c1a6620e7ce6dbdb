# shellcheck shell=sh
# Addresses, routes, neighbours and listening sockets. No arguments.
section addresses
ip -j address
section routes
ip -j route
section neighbours
ip -j neighbour
section listening
cat /proc/net/tcp /proc/net/tcp6 2>/dev/null
section resolver
if [ -r /etc/resolv.conf ]; then cat /etc/resolv.conf; fi
section end
