# Runs before the image's start script: asks the lock doctor, and hands over the passwords of mounted files, since that
# script knows environment variables only.
set -eu

database_password=$(< /run/secrets/openmrs/database-password)
admin_password=$(< /run/secrets/openmrs/admin-password)
export OMRS_DB_PASSWORD="$database_password"
# The first installation freezes the connection in a file of the data directory; OMRS_EXTRA_* wins over that file, so a
# changed password takes effect at the next start.
export OMRS_EXTRA_CONNECTION_PASSWORD="$database_password"
export OMRS_ADMIN_USER_PASSWORD="$admin_password"

# Only here is it certain that this container has no session with the database: lock-doctor.sh says why that matters.
question=$(< /proc/sys/kernel/random/uuid)
echo "$question" > /run/lock-doctor/.question
mv /run/lock-doctor/.question /run/lock-doctor/question
echo "Waiting for the lock doctor (its container's log says what for)"
until [ -f /run/lock-doctor/answer ] && [ "$(< /run/lock-doctor/answer)" = "$question" ]; do
  sleep 1
done

# The image's script shows the properties files it writes, passwords included. The pod's log must not have them.
cat() {
  if [ "$#" -eq 1 ] && [ "${1%.properties}" != "$1" ]; then
    echo "(content of $1 is not shown)"
  else
    command cat "$@"
  fi
}
export -f cat

exec /openmrs/startup.sh
