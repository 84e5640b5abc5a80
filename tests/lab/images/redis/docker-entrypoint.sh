#!/bin/sh
# Options, or a file of settings, are for the server; root starts it as the user redis: the contract of the published image.
set -eu
case ${1-} in
  -* | *.conf) set -- redis-server "$@" ;;
esac
umask 0077
if [ "${1-}" = redis-server ] && [ "$(id -u)" -eq 0 ]; then
  chown redis:redis /data
  exec setpriv --reuid=redis --regid=redis --init-groups "$@"
fi
exec "$@"
