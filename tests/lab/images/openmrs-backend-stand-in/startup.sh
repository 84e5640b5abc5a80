#!/bin/bash -aeu
# The stand-in's start, with the contract of OpenMRS's own script and with its faults, because the chart works around
# them: old modules stay, passwords are shown, SIGTERM ends this script and leaves Tomcat to be killed.

OMRS_HOME=${OMRS_HOME:-/openmrs}
CATALINA_HOME=${CATALINA_HOME:-/usr/local/tomcat}

# Each setting: its old name, which wins where it is set and not empty, or its name, or what it is without either.
setting() {
  local name=OMRS_$1 old=OMRS_CONFIG_$2 default=$3
  if [ -n "${!old:-}" ]; then
    printf -v "$name" %s "${!old}"
  elif [ -z "${!name:-}" ]; then
    printf -v "$name" %s "$default"
  fi
}

setting ADMIN_USER_PASSWORD ADMIN_USER_PASSWORD Admin123
setting ADMIN_PASSWORD_LOCKED ADMIN_PASSWORD_LOCKED false
setting AUTO_UPDATE_DATABASE AUTO_UPDATE_DATABASE true
setting CREATE_TABLES CREATE_TABLES true
setting HAS_CURRENT_OPENMRS_DATABASE HAS_CURRENT_OPENMRS_DATABASE true
setting INSTALL_METHOD INSTALL_METHOD auto
setting MODULE_WEB_ADMIN MODULE_WEB_ADMIN true
setting DB DATABASE mysql
setting DB_HOSTNAME CONNECTION_SERVER localhost
setting DB_PORT CONNECTION_PORT 3306
setting DB_NAME CONNECTION_DATABASE openmrs
setting DB_USERNAME CONNECTION_USERNAME openmrs
setting DB_PASSWORD CONNECTION_PASSWORD openmrs
setting DB_ARGS CONNECTION_ARGS ""
setting DB_EXTRA_ARGS CONNECTION_EXTRA_ARGS ""
setting DB_URL CONNECTION_URL ""
setting JAVA_MEMORY_OPTS JAVA_MEMORY_OPTS -XX:NewSize=128m
setting JAVA_SERVER_OPTS JAVA_SERVER_OPTS "-Dfile.encoding=UTF-8 -server -Djava.awt.headless=true"

if [ "$OMRS_DB" != mariadb ]; then
  echo "This stand-in has the driver of MariaDB only; OMRS_DB is $OMRS_DB" >&2
  exit 1
fi
OMRS_DB_URL=${OMRS_DB_URL:-jdbc:mariadb://$OMRS_DB_HOSTNAME:$OMRS_DB_PORT/$OMRS_DB_NAME$OMRS_DB_ARGS$OMRS_DB_EXTRA_ARGS}

data=$OMRS_HOME/data
server_properties=$OMRS_HOME/openmrs-server.properties
runtime_properties=$data/openmrs-runtime.properties

echo "Copying modules and configuration of the image into $data"
for pair in modules:modules owas:owa config:configuration spa:frontend; do
  target=$data/${pair#*:}
  mkdir -p "$target"
  # Deletes nothing: the quoted pattern is no pattern. The fault is part of the contract up to core 2.8.
  rm -fR "${target:?}/*"
  if [ -d "$OMRS_HOME/distribution/openmrs_${pair%:*}" ]; then
    cp -R "$OMRS_HOME/distribution/openmrs_${pair%:*}/." "$target"
  fi
done

# OMRS_EXTRA_A_B__C=value becomes a.b_c=value.
extra=""
for name in ${!OMRS_EXTRA_@}; do
  property=$(tr '[:upper:]' '[:lower:]' <<< "${name#OMRS_EXTRA_}")
  property=${property//_/.}
  extra+="${property//../_}=${!name}\n"
done

echo "Writing $server_properties"
cat > "$server_properties" << END
admin_user_password=$OMRS_ADMIN_USER_PASSWORD
admin.password.locked=$OMRS_ADMIN_PASSWORD_LOCKED
auto_update_database=$OMRS_AUTO_UPDATE_DATABASE
connection.driver_class=org.mariadb.jdbc.Driver
connection.url=$OMRS_DB_URL
connection.username=$OMRS_DB_USERNAME
connection.password=$OMRS_DB_PASSWORD
create_tables=$OMRS_CREATE_TABLES
has_current_openmrs_database=$OMRS_HAS_CURRENT_OPENMRS_DATABASE
install_method=$OMRS_INSTALL_METHOD
module.allow_web_admin=$OMRS_MODULE_WEB_ADMIN
END
echo -e "$extra" >> "$server_properties"
cat "$server_properties"

# What the first installation froze stays, except for OMRS_EXTRA_* and admin.password.locked: the first line of a name counts.
if [ -f "$runtime_properties" ]; then
  echo "Merging into $runtime_properties"
  merged=$(mktemp)
  { echo -e "${extra}admin.password.locked=$OMRS_ADMIN_PASSWORD_LOCKED"; command cat "$runtime_properties"; } \
    | awk -F= 'NF && !seen[$1]++' > "$merged"
  cp "$merged" "$runtime_properties"
  rm "$merged"
  cat "$runtime_properties"
fi

echo "Waiting for $OMRS_DB_HOSTNAME:$OMRS_DB_PORT"
until (: < "/dev/tcp/$OMRS_DB_HOSTNAME/$OMRS_DB_PORT") 2> /dev/null; do
  if [ "$SECONDS" -ge 3600 ]; then
    echo "$OMRS_DB_HOSTNAME:$OMRS_DB_PORT does not answer; gave up after an hour" >&2
    exit 1
  fi
  sleep 1
done

cp -R "$OMRS_HOME/distribution/openmrs_core/." "$CATALINA_HOME/webapps"
cat > "$CATALINA_HOME/bin/setenv.sh" << END
export JAVA_OPTS="$OMRS_JAVA_SERVER_OPTS"
export CATALINA_OPTS="$OMRS_JAVA_MEMORY_OPTS -DOPENMRS_INSTALLATION_SCRIPT=$server_properties -DOPENMRS_APPLICATION_DATA_DIRECTORY=$data/"
END

echo "Starting"
"$CATALINA_HOME/bin/catalina.sh" run &
wait $!
