#!/bin/sh
# Put the environment into the pages, then serve them: the contract of the published image.
#   SPA_PATH API_URL SPA_DEFAULT_LOCALE   as they are
#   IMPORTMAP_URL                         in place of the application's own import map
#   SPA_CONFIG_URLS                       separated by commas or blanks, or none
set -eu
HTML=${HTML:-/usr/share/nginx/html}
export SPA_PATH="${SPA_PATH:-/openmrs/spa}" API_URL="${API_URL:-/openmrs}"
export SPA_DEFAULT_LOCALE="${SPA_DEFAULT_LOCALE:-en}" IMPORTMAP_URL="${IMPORTMAP_URL:-$SPA_PATH/importmap.json}"

urls=""
for url in $(echo "${SPA_CONFIG_URLS:-}" | tr ',' ' '); do
  urls="$urls${urls:+,}\"$url\""
done
export SPA_CONFIG_URLS="$urls"

for page in "$HTML/index.html" "$HTML/service-worker.js"; do
  if [ -f "$page" ]; then
    # Through the environment's temporary folder: the file system of the image may be read-only.
    changed=$(mktemp)
    sed -e "s|\"\$SPA_CONFIG_URLS\"|\$SPA_CONFIG_URLS|" -e "s|\$SPA_PATH/importmap\.json|\$IMPORTMAP_URL|g" "$page" \
      | envsubst '$IMPORTMAP_URL $SPA_PATH $API_URL $SPA_CONFIG_URLS $SPA_DEFAULT_LOCALE' > "$changed"
    cat "$changed" > "$page"
    rm "$changed"
  fi
done

exec nginx -g "daemon off;"
