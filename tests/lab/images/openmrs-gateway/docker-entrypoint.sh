#!/bin/sh
# Fills the image's own configuration, where it can be written, and becomes the command.
set -e
if [ "$1" = nginx ] && [ -w /etc/nginx/conf.d ] && [ -e /etc/nginx/templates/default.conf.template ]; then
  # shellcheck disable=SC2016
  envsubst '$FRAME_ANCESTORS' < /etc/nginx/templates/default.conf.template > /etc/nginx/conf.d/default.conf
fi
exec "$@"
