#!/bin/bash
# Health of the server in this container: each option is a test, all have to pass; exit code 0 or 1.
#   --connect                  it accepts connections over TCP
#   --innodb_initialized       InnoDB is there
#   --innodb_buffer_pool_loaded  the pages of before the restart are back in memory
#   --replication              the replica receives and applies; --replication_io and --replication_sql are its halves
#   --replication_seconds_behind_master=N  it is at most N seconds behind
#   --galera_online            the node is part of a Galera cluster
#   --mariadbupgrade           the data directory is of the server's version
# and --defaults-file=F, --defaults-extra-file=F name another account than the one of the first start.
set -o pipefail

datadir=/var/lib/mysql
defaults=--defaults-extra-file=$datadir/.my-healthcheck.cnf
failed() {
  echo "healthcheck: $*" >&2
  exit 1
}

ask() {
  mariadb "$defaults" --protocol=tcp --host=127.0.0.1 --skip-column-names --batch --connect-timeout=4 \
    --execute="$1" 2>&1 || failed "${test_name}: no answer"
}

status_of_replica() {
  mariadb "$defaults" --protocol=tcp --host=127.0.0.1 --batch --vertical --execute='SHOW REPLICA STATUS' 2>&1 \
    | awk -v name="$1:" '$1 == name { print $2; found = 1 } END { exit !found }' || failed "$test_name: this is no replica"
}

[ $# -gt 0 ] || failed "name at least one test"
for argument; do
  case $argument in
    --defaults-file=* | --defaults-extra-file=*) defaults=$argument ;;
    --datadir=*) datadir=${argument#*=} defaults=--defaults-extra-file=$datadir/.my-healthcheck.cnf ;;
  esac
done
[ -r "${defaults#*=}" ] || failed "${defaults#*=} cannot be read: was this data directory made without a first start?"

for argument; do
  test_name=$argument
  case $argument in
    --defaults-file=* | --defaults-extra-file=* | --datadir=*) continue ;;
    --connect) answer=$(ask 'SELECT @@skip_networking') && [ "$answer" = 0 ] ;;
    --innodb_initialized)
      answer=$(ask "SELECT 1 FROM information_schema.ENGINES WHERE engine = 'innodb' AND support IN ('YES', 'DEFAULT', 'ENABLED')") \
        && [ "$answer" = 1 ]
      ;;
    --innodb_buffer_pool_loaded)
      answer=$(ask "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'Innodb_buffer_pool_load_status'") \
        && [[ $answer =~ "load completed"|"loading disabled"|"not started" ]]
      ;;
    --replication)
      [ "$(status_of_replica Slave_IO_Running)" = Yes ] && [ "$(status_of_replica Slave_SQL_Running)" = Yes ]
      ;;
    --replication_io) [ "$(status_of_replica Slave_IO_Running)" = Yes ] ;;
    --replication_sql) [ "$(status_of_replica Slave_SQL_Running)" = Yes ] ;;
    --replication_seconds_behind_master=*)
      answer=$(status_of_replica Seconds_Behind_Master) && [[ $answer =~ ^[0-9]+$ ]] && [ "$answer" -le "${argument#*=}" ]
      ;;
    --galera_online)
      answer=$(ask "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'wsrep_local_state'") \
        && [ "$answer" = 4 ]
      ;;
    --mariadbupgrade)
      version=$(mariadbd --version | grep -oE '[0-9]+\.[0-9]+' | head -n 1)
      grep -qs "^$version\." "$datadir/mariadb_upgrade_info" "$datadir/mysql_upgrade_info"
      ;;
    *) failed "unknown option $argument" ;;
  esac || failed "$argument did not pass"
done
