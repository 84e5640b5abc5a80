# Clears the lock of the schema (Liquibase) that a killed migration left behind, and only such a one. Runs beside the
# backend for as long as the pod lives, because a container that is started again brings no init container back.
#
# Whoever changes the schema holds a session of the application's user for as long as it does so. The backend's start
# script asks before each start and opens none until it has its answer, and the StatefulSet has no second pod under this
# name. So at that moment a lock without any other session of that user has lost its holder. A session that is still
# there, be it a pod on a lost node or a statement that outlives its client, is waited for: the lock stays.
set -eu
trap 'exit 0' TERM INT

exchange=/run/lock-doctor
said=-30

query() {
  MYSQL_PWD=$(< /run/secrets/database/database-password) mariadb --no-defaults --connect-timeout=5 \
    --host="$DATABASE_HOST" --port="$DATABASE_PORT" --user="$DATABASE_USER" --database="$DATABASE_NAME" \
    --ssl-ca=/run/openmrs-ca/ca.crt --ssl-verify-server-cert --batch --skip-column-names --execute="$1"
}

# At most every 30 seconds.
say() {
  if [ $((SECONDS - said)) -ge 30 ]; then
    said=$SECONDS
    echo "$1"
  fi
}

tables="SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'liquibasechangeloglock'"
others="FROM information_schema.processlist WHERE user = SUBSTRING_INDEX(USER(), '@', 1) AND id <> CONNECTION_ID()"
holder="SELECT CONCAT(COALESCE(lockedby, 'nobody'), ' since ', COALESCE(lockgranted, 'ever')) FROM liquibasechangeloglock WHERE locked"
# Condition and change are one statement.
release="UPDATE liquibasechangeloglock SET locked = 0, lockgranted = NULL, lockedby = NULL
  WHERE locked AND NOT EXISTS (SELECT 1 $others); SELECT ROW_COUNT()"

# Returns when the schema may be changed.
examine() {
  local held cleared
  while true; do
    if ! held=$(query "$tables"); then
      say "The database does not answer; asking again"
    elif [ "$held" = 0 ]; then
      echo "No lock: nothing was ever installed"
      return
    elif ! held=$(query "$holder"); then
      say "The database does not answer; asking again"
    elif [ -z "$held" ]; then
      echo "No lock"
      return
    elif cleared=$(query "$release") && [ "$cleared" != 0 ]; then
      echo "Cleared the lock of $held: its holder has no session any more"
      return
    else
      say "The lock of $held stays: sessions of $DATABASE_USER are alive ($(query "SELECT GROUP_CONCAT(host) $others" || true))"
    fi
    sleep 2
  done
}

answered=""
while true; do
  if [ -f "$exchange/question" ]; then
    question=$(< "$exchange/question")
    if [ "$question" != "$answered" ]; then
      said=-30
      examine
      answered=$question
      echo "$question" > "$exchange/.answer"
      mv "$exchange/.answer" "$exchange/answer"
    fi
  fi
  sleep 1
done
