#!/bin/bash
# Start of a MariaDB container: prepares an empty data directory once, upgrades an older one when asked, then becomes
# the server. The variables, the folder of first-start scripts and the functions that those may call are the contract
# of the published image: https://hub.docker.com/_/mariadb
set -eo pipefail
shopt -s nullglob

INIT_FOLDER=/docker-entrypoint-initdb.d
START_SECONDS=${MARIADB_STARTUP_TIMEOUT:-60}

mysql_log() {
  printf '%s [%s] [Entrypoint]: %s\n' "$(date --rfc-3339=seconds)" "$1" "${*:2}"
}
mysql_note() { mysql_log Note "$@"; }
mysql_warn() { mysql_log Warn "$@" >&2; }
mysql_error() {
  mysql_log ERROR "$@" >&2
  exit 1
}

# --- variables ---

# read_variable NAME [DEFAULT]: takes MARIADB_NAME from itself, from the file that MARIADB_NAME_FILE names, or from
# their older MYSQL_ names; both ways at once is a mistake.
read_variable() {
  local name=MARIADB_$1 old=MYSQL_$1 value='' given=0 candidate file
  for candidate in "$name" "$old"; do
    file=${candidate}_FILE
    if [ -n "${!candidate-}" ] && [ -n "${!file-}" ]; then
      mysql_error "$candidate and $file are both set: set one of them"
    fi
    if [ "$given" = 0 ] && [ -n "${!file-}" ]; then
      [ -r "${!file}" ] || mysql_error "$file names ${!file}, which cannot be read: mount it, readable by $(id -un)"
      value=$(< "${!file}")
      given=1
    elif [ "$given" = 0 ] && [ -n "${!candidate-}" ]; then
      value=${!candidate}
      given=1
    fi
    unset "$file"
  done
  [ "$given" = 1 ] || value=${2-}
  # The names of both generations hold the value: scripts of the first start may use either.
  export "$name=$value" "$old=$value"
}

read_variables() {
  read_variable ROOT_HOST '%'
  local name
  for name in ROOT_PASSWORD ROOT_PASSWORD_HASH ALLOW_EMPTY_ROOT_PASSWORD RANDOM_ROOT_PASSWORD DATABASE \
    CHARACTER_SET COLLATION USER PASSWORD PASSWORD_HASH REPLICATION_USER REPLICATION_PASSWORD \
    REPLICATION_PASSWORD_HASH MASTER_HOST INITDB_SKIP_TZINFO AUTO_UPGRADE DISABLE_UPGRADE_BACKUP; do
    read_variable "$name"
  done
  read_variable MASTER_PORT 3306
}

refuse_wrong_variables() {
  local ways=0 name
  for name in MARIADB_ROOT_PASSWORD MARIADB_ROOT_PASSWORD_HASH MARIADB_ALLOW_EMPTY_ROOT_PASSWORD \
    MARIADB_RANDOM_ROOT_PASSWORD; do
    [ -z "${!name}" ] || ways=$((ways + 1))
  done
  if [ "$ways" = 0 ]; then
    mysql_error "the data directory is empty and no way for root to log in is given: set MARIADB_ROOT_PASSWORD," \
      "MARIADB_ROOT_PASSWORD_HASH, MARIADB_ALLOW_EMPTY_ROOT_PASSWORD or MARIADB_RANDOM_ROOT_PASSWORD"
  fi
  if [ -n "$MARIADB_ROOT_PASSWORD" ] && [ -n "$MARIADB_ROOT_PASSWORD_HASH" ]; then
    mysql_error "MARIADB_ROOT_PASSWORD and MARIADB_ROOT_PASSWORD_HASH exclude each other: set one of them"
  fi
  if [ "$MARIADB_USER" = root ]; then
    mysql_error "MARIADB_USER cannot be root: leave it out, root has variables of its own"
  fi
  if [ -n "$MARIADB_USER" ] && [ -z "$MARIADB_PASSWORD$MARIADB_PASSWORD_HASH" ]; then
    mysql_error "MARIADB_USER has no password: set MARIADB_PASSWORD or MARIADB_PASSWORD_HASH"
  fi
  if [ -n "$MARIADB_REPLICATION_USER$MARIADB_MASTER_HOST" ] && {
    [ -z "$MARIADB_REPLICATION_USER" ] || [ -z "$MARIADB_REPLICATION_PASSWORD$MARIADB_REPLICATION_PASSWORD_HASH" ]
  }; then
    mysql_error "replication needs MARIADB_REPLICATION_USER and MARIADB_REPLICATION_PASSWORD (or its hash)"
  fi
  if [ -n "$MARIADB_MASTER_HOST" ] && [ -z "$MARIADB_REPLICATION_PASSWORD" ]; then
    mysql_error "a replica logs in: MARIADB_MASTER_HOST needs MARIADB_REPLICATION_PASSWORD, a hash is not enough"
  fi
}

# --- the server's settings ---

# server_setting NAME: what the command and the configuration files make of a setting.
server_setting() {
  "${COMMAND[@]}" --verbose --help --log-bin-index="$SCRATCH/index" 2>> "$SCRATCH/complaints" \
    | awk -v name="$1" '$1 == name && !/^ / { sub(/^[^ \t]+[ \t]*/, ""); print; exit }'
}

read_settings() {
  SCRATCH=$(mktemp -d)
  if ! "${COMMAND[@]}" --verbose --help --log-bin-index="$SCRATCH/index" > /dev/null 2> "$SCRATCH/complaints"; then
    mysql_error "the server refuses its settings: $(tail -n 5 "$SCRATCH/complaints")"
  fi
  DATADIR=$(server_setting datadir)
  SOCKET=$(server_setting socket)
  PORT=$(server_setting port)
  rm -rf "$SCRATCH"
}

# --- SQL ---

# Quote what goes between single quotes of SQL.
docker_sql_escape_string_literal() {
  local escaped=${1//\\/\\\\}
  printf '%s' "${escaped//\'/\\\'}"
}

# Run SQL from standard input, or what the arguments of mariadb(1) say, as root on the local socket. The first
# argument --dont-use-mysql-root-password leaves the password out.
docker_process_sql() {
  local password=$MARIADB_ROOT_PASSWORD database=()
  if [ "$1" = --dont-use-mysql-root-password ]; then
    password=
    shift
  fi
  [ -z "$MARIADB_DATABASE" ] || database=("--database=$MARIADB_DATABASE")
  MYSQL_PWD=$password mariadb --protocol=socket --user=root --host=localhost --socket="$SOCKET" "${database[@]}" "$@"
}

# identified NAME: the clause that gives an account the password, or the hash, in MARIADB_NAME.
identified() {
  local password=MARIADB_$1 hash=MARIADB_$1_HASH
  if [ -n "${!hash}" ]; then
    printf "IDENTIFIED BY PASSWORD '%s'" "$(docker_sql_escape_string_literal "${!hash}")"
  else
    printf "IDENTIFIED BY '%s'" "$(docker_sql_escape_string_literal "${!password}")"
  fi
}

# --- the server for the first start: on its socket only ---

start_local_server() {
  "${COMMAND[@]}" --skip-networking --default-time-zone=SYSTEM --socket="$SOCKET" --wsrep-on=OFF \
    --skip-slave-start --expire-logs-days=0 --loose-innodb-buffer-pool-load-at-startup=0 "$@" &
  SERVER=$!
  local waited
  for ((waited = 0; waited < START_SECONDS * 10; waited++)); do
    if MARIADB_DATABASE='' docker_process_sql --dont-use-mysql-root-password --database=mysql <<< 'SELECT 1' \
      > /dev/null 2>&1 || MARIADB_DATABASE='' docker_process_sql --database=mysql <<< 'SELECT 1' > /dev/null 2>&1; then
      return
    fi
    kill -0 "$SERVER" 2> /dev/null || mysql_error "the server for the first start ended: its words are above"
    sleep 0.1
  done
  mysql_error "the server for the first start did not answer within $START_SECONDS s"
}

stop_local_server() {
  kill "$SERVER"
  wait "$SERVER" || mysql_error "the server for the first start did not stop cleanly"
}

# --- first start ---

create_system_tables() {
  mysql_note "preparing $DATADIR"
  mariadb-install-db --datadir="$DATADIR" --rpm --auth-root-authentication-method=normal --skip-test-db \
    --default-time-zone=SYSTEM --skip-log-bin --expire-logs-days=0 --loose-innodb-buffer-pool-load-at-startup=0 \
    --loose-innodb-buffer-pool-dump-at-shutdown=0 "${COMMAND[@]:1}" > /dev/null \
    || mysql_error "the system tables could not be made: the words of mariadb-install-db are above"
}

# An account that can see nothing, for healthcheck.sh alone; its password is known to the data directory only.
# Arguments: what docker_process_sql needs to log in.
create_healthcheck_user() {
  local password host
  password=$(head -c 32 /dev/urandom | base64 -w 0 | tr -d '+/=')
  for host in localhost 127.0.0.1 ::1; do
    printf "CREATE OR REPLACE USER healthcheck@'%s' IDENTIFIED BY '%s';\n" "$host" "$password"
    printf "GRANT %s ON *.* TO healthcheck@'%s';\n" "${MARIADB_HEALTHCHECK_GRANTS:-USAGE}" "$host"
  done | { printf 'SET SESSION sql_log_bin = 0;\nFLUSH PRIVILEGES;\n' && cat; } \
    | MARIADB_DATABASE='' docker_process_sql "$@" --database=mysql
  (
    umask 077
    printf '[mariadb-client]\nport=%s\nsocket=%s\nuser=healthcheck\npassword=%s\n' "$PORT" "$SOCKET" "$password" \
      > "$DATADIR/.my-healthcheck.cnf"
  )
}

accounts() {
  local database user
  printf 'SET SESSION sql_log_bin = 0;\n'
  printf "SET SESSION sql_mode = REPLACE(@@sql_mode, 'NO_BACKSLASH_ESCAPES', '');\n"
  # The accounts of root that the system tables come with for other names of this machine.
  printf "DROP USER IF EXISTS root@'127.0.0.1', root@'::1';\n"
  printf "EXECUTE IMMEDIATE CONCAT('DROP USER IF EXISTS root@', QUOTE(@@hostname));\n"
  if [ -n "$MARIADB_REPLICATION_USER" ] && [ -z "$MARIADB_MASTER_HOST" ]; then
    user=$(docker_sql_escape_string_literal "$MARIADB_REPLICATION_USER")
    printf "CREATE USER '%s'@'%%' %s;\nGRANT REPLICATION REPLICA ON *.* TO '%s'@'%%';\n" \
      "$user" "$(identified REPLICATION_PASSWORD)" "$user"
  fi
  if [ -n "$MARIADB_DATABASE" ]; then
    database=${MARIADB_DATABASE//\`/\`\`}
    printf 'CREATE DATABASE IF NOT EXISTS `%s`%s%s;\n' "$database" \
      "${MARIADB_CHARACTER_SET:+ CHARACTER SET $MARIADB_CHARACTER_SET}" "${MARIADB_COLLATION:+ COLLATE $MARIADB_COLLATION}"
  fi
  if [ -n "$MARIADB_USER" ]; then
    user=$(docker_sql_escape_string_literal "$MARIADB_USER")
    printf "CREATE USER '%s'@'%%' %s;\n" "$user" "$(identified PASSWORD)"
    [ -z "$MARIADB_DATABASE" ] || printf "GRANT ALL ON \`%s\`.* TO '%s'@'%%';\n" "${database//_/\\_}" "$user"
  fi
  if [ -n "$MARIADB_ROOT_HOST" ] && [ "$MARIADB_ROOT_HOST" != localhost ]; then
    printf "CREATE USER root@'%s' %s;\nGRANT ALL ON *.* TO root@'%s' WITH GRANT OPTION;\n" \
      "$(docker_sql_escape_string_literal "$MARIADB_ROOT_HOST")" "$(identified ROOT_PASSWORD)" \
      "$(docker_sql_escape_string_literal "$MARIADB_ROOT_HOST")"
  fi
  if [ -n "$MARIADB_ROOT_PASSWORD$MARIADB_ROOT_PASSWORD_HASH" ]; then
    printf "ALTER USER root@localhost %s;\n" "$(identified ROOT_PASSWORD)"
  fi
}

follow_primary() {
  printf "CHANGE MASTER TO MASTER_HOST='%s', MASTER_PORT=%d, MASTER_USER='%s', MASTER_PASSWORD='%s', %s;\nSTART REPLICA;\n" \
    "$(docker_sql_escape_string_literal "$MARIADB_MASTER_HOST")" "$MARIADB_MASTER_PORT" \
    "$(docker_sql_escape_string_literal "$MARIADB_REPLICATION_USER")" \
    "$(docker_sql_escape_string_literal "$MARIADB_REPLICATION_PASSWORD")" 'MASTER_CONNECT_RETRY=10'
}

# Scripts run when they are executable, else they are part of this one and have its functions; SQL goes to the server.
docker_process_init_files() {
  local file
  for file; do
    case $file in
      *.sh)
        mysql_note "$file"
        # shellcheck disable=SC1090
        if [ -x "$file" ]; then "$file"; else . "$file"; fi
        ;;
      *.sql) mysql_note "$file" && docker_process_sql < "$file" ;;
      *.sql.gz) mysql_note "$file" && gunzip --stdout "$file" | docker_process_sql ;;
      *.sql.xz) mysql_note "$file" && xzcat "$file" | docker_process_sql ;;
      *.sql.zst) mysql_note "$file" && zstd --decompress --stdout --quiet "$file" | docker_process_sql ;;
      *) mysql_warn "$file is left out: neither .sh nor .sql, nor compressed SQL" ;;
    esac
  done
}

first_start() {
  refuse_wrong_variables
  if [ -n "$MARIADB_RANDOM_ROOT_PASSWORD" ]; then
    MARIADB_ROOT_PASSWORD=$(head -c 24 /dev/urandom | base64 -w 0)
    export MARIADB_ROOT_PASSWORD MYSQL_ROOT_PASSWORD=$MARIADB_ROOT_PASSWORD
    mysql_note "GENERATED ROOT PASSWORD: $MARIADB_ROOT_PASSWORD"
  fi
  create_system_tables
  start_local_server
  if [ -z "$MARIADB_INITDB_SKIP_TZINFO" ]; then
    # In one transaction of a storage engine that has them: thousands of rows.
    mariadb-tzinfo-to-sql /usr/share/zoneinfo 2> /dev/null \
      | MARIADB_DATABASE='' docker_process_sql --dont-use-mysql-root-password --database=mysql
  fi
  accounts | MARIADB_DATABASE='' docker_process_sql --dont-use-mysql-root-password --database=mysql
  if [ -z "$MARIADB_ROOT_PASSWORD" ] && [ -n "$MARIADB_ROOT_PASSWORD_HASH" ]; then
    mysql_warn "root has a hash only: scripts of the first start cannot use docker_process_sql"
  fi
  create_healthcheck_user
  docker_process_init_files "$INIT_FOLDER"/*
  if [ -n "$MARIADB_MASTER_HOST" ]; then
    follow_primary | MARIADB_DATABASE='' docker_process_sql --database=mysql
  fi
  stop_local_server
  mysql_note "the first start is done: $(mariadbd --version)"
}

# --- upgrade ---

version_of_data() {
  local file
  for file in "$DATADIR"/mariadb_upgrade_info "$DATADIR"/mysql_upgrade_info; do
    [ ! -s "$file" ] || { head -n 1 "$file" && return; }
  done
}

# Upgrades are of the first two numbers: 10.11.5 and 10.11.9 have the same system tables.
upgrade_needed() {
  local data server
  data=$(version_of_data)
  server=$(mariadbd --version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1)
  [ "$(cut -d. -f1-2 <<< "$data")" != "$(cut -d. -f1-2 <<< "$server")" ]
}

upgrade() {
  mysql_note "the data directory is of version '$(version_of_data)', older than the server: upgrading it"
  start_local_server --skip-grant-tables
  if [ -z "$MARIADB_DISABLE_UPGRADE_BACKUP" ]; then
    local kept
    kept=$DATADIR/system_mysql_backup_$(version_of_data | tr -cd '0-9.A-Za-z-').sql.zst
    mariadb-dump --socket="$SOCKET" --user=root --skip-lock-tables --replace --databases mysql \
      | zstd --quiet --force -o "$kept" || mysql_error "the system tables could not be saved to $kept before the upgrade"
    mysql_note "the system tables of before are kept in $kept"
  fi
  # Its last step reads the grants again: from here on the server asks for passwords.
  mariadb-upgrade --socket="$SOCKET" --user=root --upgrade-system-tables
  stop_local_server
  mysql_note "the upgrade is done"
}

# A data directory from before health checks had an account, or from a backup, whose root may have another password than
# this container was given: so all of it is one session, which logs in before the server reads its grants.
ensure_healthcheck_user() {
  [ ! -f "$DATADIR/.my-healthcheck.cnf" ] || return 0
  mysql_note "making the account of the health check"
  start_local_server --skip-grant-tables
  create_healthcheck_user --dont-use-mysql-root-password
  stop_local_server
}

# --- main ---

wants_help() {
  local argument
  for argument; do
    case $argument in
      -'?' | --help | --print-defaults | -V | --version) return 0 ;;
    esac
  done
  return 1
}

become_mysql() {
  mkdir -p "$DATADIR" "$(dirname "$SOCKET")"
  find "$DATADIR" "$(dirname "$SOCKET")" \! -user mysql -exec chown mysql: '{}' +
  exec setpriv --reuid=mysql --regid=mysql --init-groups "$0" "$@"
}

main() {
  case ${1-} in -*) set -- mariadbd "$@" ;; esac
  if [ "${1-}" = mariadbd ] || [ "${1-}" = mysqld ]; then
    if ! wants_help "$@"; then
      COMMAND=("$@")
      read_settings
      [ "$(id -u)" != 0 ] || become_mysql "$@"
      read_variables
      if [ ! -d "$DATADIR/mysql" ]; then
        first_start
      elif [ -n "$MARIADB_AUTO_UPGRADE" ]; then
        if upgrade_needed; then upgrade; fi
        ensure_healthcheck_user
      fi
    fi
  fi
  exec "$@"
}

# Sourced, it only gives its functions.
if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  main "$@"
fi
