#!/bin/sh
# `certbotless` in its image. If the container starts as root (docker/compose.yaml), this script first changes to the
# user 10001 without any right of root, in the group of the engine's socket. The number of that group differs between
# machines. Before that, it gives this user the empty folders that the engine has created as root.
set -eu
program=/opt/certbotless/bin/certbotless
user=10001
[ "$(id -u)" = 0 ] || exec "$program" "$@"

for folder in /certs /var/lib/certbotless; do
    if [ "$(stat -c %u "$folder")" = 0 ] && [ -z "$(ls -A "$folder")" ]; then
        [ "$folder" = /certs ] || chmod 0700 "$folder"
        chown "$user:$user" "$folder"
    fi
done
socket=${DOCKER_HOST:-unix:///var/run/docker.sock}
group=$(stat -c %g "${socket#unix://}" 2>/dev/null || echo "$user")
exec setpriv --reuid="$user" --regid="$user" --groups="$group" -- "$program" "$@"
