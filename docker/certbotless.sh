#!/bin/sh
# `certbotless` in its image. A container that is started as root (docker/compose.yaml) becomes the user 10001 before
# anything else, without any right of root, in the group of the engine's socket, whose number differs between machines.
# Folders that the engine has just made for it, root's and empty, become that user's first.
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
